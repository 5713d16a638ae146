package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/contract"
)

// A refused role is named, and the roles that there are.
func TestRolesAreExplained(t *testing.T) {
	m := contract.Manifest{Name: "loan", Roles: []contract.RoleSpec{{Role: "ORIGINATOR"}, {Role: "INVESTOR", Min: 1, Max: 2}}}
	for text, roles := range map[string][]string{
		"":                                     {"ORIGINATOR", "INVESTOR"},
		`no role "CUSTODIAN"`:                  {"CUSTODIAN", "INVESTOR"},
		"1 affiliate(s) in role ORIGINATOR":    {"INVESTOR"},
		"1 to 2 affiliates in role INVESTOR, ": {"ORIGINATOR", "INVESTOR", "INVESTOR", "INVESTOR"},
	} {
		var parties []*affiliatev1.Party
		for i, r := range roles {
			parties = append(parties, &affiliatev1.Party{Role: r, Address: fmt.Sprintf("tp1%d", i)})
		}
		err := checkRoles(parties, m)
		if text == "" {
			if err != nil {
				t.Errorf("%v: %v", roles, err)
			}
			continue
		}
		var e *agreement.Error
		if !errors.As(err, &e) || e.Code != agreement.CodeUnknownRole || !strings.Contains(e.Text, text) || !strings.Contains(e.Hint, "ORIGINATOR, INVESTOR") {
			t.Errorf("%v: %v", roles, err)
		}
	}
}

// canBeRead wants the values of an agreement listed, and open to who has to
// decide about it.
func (net *network) canBeRead(node int, id agreement.ID, want map[string]string) {
	net.t.Helper()
	n := net.nodes[node]
	got, err := agreementAPI{n}.GetAgreement(net.t.Context(), connect.NewRequest(&affiliatev1.GetAgreementRequest{AgreementId: id.String()}))
	net.must(err)
	for _, v := range got.Msg.GetValues() {
		what := v.GetKind() + " " + v.GetName()
		hash, err := agreement.ParseHash(v.GetContentHash())
		net.must(err)
		content, media, err := n.content(net.t.Context(), hash)
		net.must(err)
		if media != v.GetMediaType() || int64(len(content)) != v.GetSize() || !strings.Contains(string(content), want[what]) || want[what] == "" {
			net.t.Errorf("%v is %s: %.100q", v, media, content)
		}
		delete(want, what)
	}
	if len(want) > 0 {
		net.t.Errorf("missing among the values: %v", want)
	}
}
