package node

import (
	"errors"
	"strings"
	"testing"

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
		for _, r := range roles {
			parties = append(parties, &affiliatev1.Party{Role: r, Address: "tp1x"})
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
