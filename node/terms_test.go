package node

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/contract"
)

const sampleSpec = "6c6f616e-0000-4000-8000-000000000001"

// sampleTerms are good terms of sampleManifest's contract, for a new scope.
func sampleTerms() *affiliatev1.Terms {
	spec, _ := agreement.ParseUUID(sampleSpec)
	parties := []*affiliatev1.Party{{Address: "tp1a", Role: "ORIGINATOR"}, {Address: "tp1b", Role: "SERVICER"}}
	return &affiliatev1.Terms{
		AgreementId: bytes.Repeat([]byte{1}, 16), Network: testChain, Proposer: "tp1a",
		ScopeId: bytes.Repeat([]byte{2}, 16), NewScope: true, ScopeSpecificationId: spec[:],
		ContractHash: bytes.Repeat([]byte{3}, 32), ContractName: "sample", Module: sampleRef(4),
		Parties: parties, Owners: parties, Inputs: []*affiliatev1.InputRef{sampleInput("in", 5)},
		Secret: bytes.Repeat([]byte{6}, agreement.SaltSize), TimeUnixMs: 1_700_000_000_000, DeadlineUnixMs: 1_700_000_600_000,
	}
}

func sampleRef(b byte) *affiliatev1.ObjectRef {
	return &affiliatev1.ObjectRef{ContentHash: bytes.Repeat([]byte{b}, 32), ObjectId: bytes.Repeat([]byte{b, 0}, 16), Size: 1, SealedSize: 33}
}

func sampleInput(name string, b byte) *affiliatev1.InputRef {
	return &affiliatev1.InputRef{Name: name, Object: sampleRef(b), Salt: bytes.Repeat([]byte{b}, agreement.SaltSize), Hash: "aGFzaA=="}
}

func sampleManifest() contract.Manifest {
	return contract.Manifest{
		ABI: contract.ABI, Name: "sample", Version: "1",
		Roles:               []contract.RoleSpec{{Role: "ORIGINATOR"}, {Role: "SERVICER", Max: 2}},
		ScopeSpecifications: []contract.ScopeSpecification{{ID: sampleSpec, Name: "sample", Roles: []string{"ORIGINATOR"}}},
		Inputs:              []contract.ValueSpec{{Name: "in", Type: "T"}, {Name: "maybe", Type: "T", Optional: true}},
		Existing:            []contract.ValueSpec{{Name: "old", Type: "T", Optional: true}},
	}
}

func readTerms(t *testing.T, m *affiliatev1.Terms) terms {
	t.Helper()
	out, err := newTerms(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestParseTermsRefuses(t *testing.T) {
	for what, change := range map[string]func(*affiliatev1.Terms){
		"agreement id":           func(m *affiliatev1.Terms) { m.AgreementId = m.AgreementId[1:] },
		"need an id":             func(m *affiliatev1.Terms) { m.AgreementId = make([]byte, 16) },
		"scope id":               func(m *affiliatev1.Terms) { m.ScopeId = nil },
		"scope specification id": func(m *affiliatev1.Terms) { m.ScopeSpecificationId = nil },
		"contract hash":          func(m *affiliatev1.Terms) { m.ContractHash = m.ContractHash[:31] },
		"the secret has":         func(m *affiliatev1.Terms) { m.Secret = nil },
		"0 parties":              func(m *affiliatev1.Terms) { m.Parties = nil },
		"and 65 owners": func(m *affiliatev1.Terms) {
			m.Owners = make([]*affiliatev1.Party, maxParticipants+1)
			for i := range m.Owners {
				m.Owners[i] = &affiliatev1.Party{Address: "tp1a", Role: "OWNER"}
			}
		},
		"257 entries":    func(m *affiliatev1.Terms) { m.DataAccess = make([]string, maxValues+1) },
		"a salt has":     func(m *affiliatev1.Terms) { m.Inputs[0].Salt = []byte{1} },
		`input "in": co`: func(m *affiliatev1.Terms) { m.Inputs[0].Object.ContentHash = nil },
		`input "in": ob`: func(m *affiliatev1.Terms) { m.Inputs[0].Object.ObjectId = []byte{1} },
		"impossible":     func(m *affiliatev1.Terms) { m.Inputs[0].Object.Size = -1 },
		"impossible ":    func(m *affiliatev1.Terms) { m.Inputs[0].Object.SealedSize = 0 },
		"media type":     func(m *affiliatev1.Terms) { m.Inputs[0].Object.MediaType = strings.Repeat("x", 256) },
		"module":         func(m *affiliatev1.Terms) { m.Module = nil },
		`input "old"`: func(m *affiliatev1.Terms) {
			m.Existing = []*affiliatev1.InputRef{{Name: "old"}}
		},
		"262144": func(m *affiliatev1.Terms) { m.ContractName = strings.Repeat("x", maxTerms) },
	} {
		m := sampleTerms()
		change(m)
		_, err := newTerms(m)
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(what)) {
			t.Errorf("%s: %v", what, err)
		}
		if code := agreement.CodeOf(err); code != agreement.CodeBadMessage && code != agreement.CodeTooLarge {
			t.Errorf("%s: code %s", what, code)
		}
	}
	if _, err := newTerms(sampleTerms()); err != nil {
		t.Errorf("good terms: %v", err)
	}
}

func TestTermsTime(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	for _, c := range []struct {
		what            string
		start, deadline time.Duration // from now
		want            agreement.Code
	}{
		{"good", -time.Minute, time.Minute, ""},
		{"a clock that is a little ahead", maxClockSkew, maxClockSkew + time.Minute, ""},
		{"from the future", maxClockSkew + time.Millisecond, time.Hour, agreement.CodeBadMessage},
		{"over", -time.Hour, 0, agreement.CodeExpired},
		{"as long as allowed", 0, time.Hour, ""},
		{"too long", 0, time.Hour + time.Millisecond, agreement.CodeBadMessage},
		{"begun long ago", -1000 * time.Hour, time.Minute, agreement.CodeBadMessage},
	} {
		m := sampleTerms()
		m.TimeUnixMs, m.DeadlineUnixMs = now.Add(c.start).UnixMilli(), now.Add(c.deadline).UnixMilli()
		tm := readTerms(t, m)
		if err := tm.checkTime(now, time.Hour); codeOrNone(err) != c.want {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	for _, at := range []int64{-1 << 63, 1<<63 - 1} {
		tm := readTerms(t, sampleTerms())
		if tm.TimeUnixMs, tm.DeadlineUnixMs = at, now.Add(time.Minute).UnixMilli(); tm.checkTime(now, time.Hour) == nil {
			t.Errorf("a time of %d passes", at)
		}
		if tm.TimeUnixMs, tm.DeadlineUnixMs = now.UnixMilli(), at; tm.checkTime(now, time.Hour) == nil {
			t.Errorf("a deadline of %d passes", at)
		}
	}
}

func codeOrNone(err error) agreement.Code {
	if err == nil {
		return ""
	}
	return agreement.CodeOf(err)
}

func TestTermsFitTheContract(t *testing.T) {
	party := func(role string) *affiliatev1.Party { return &affiliatev1.Party{Address: "tp1c", Role: role} }
	for _, c := range []struct {
		what   string
		change func(*affiliatev1.Terms, *contract.Manifest)
		want   agreement.Code
	}{
		{"good", func(*affiliatev1.Terms, *contract.Manifest) {}, ""},
		{"another name", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.ContractName = "loan" }, agreement.CodeSpecification},
		{"another scope specification", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.ScopeSpecificationId[0]++ }, agreement.CodeSpecification},
		{"a role too few", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.Parties = m.Parties[:1] }, agreement.CodeUnknownRole},
		{"as many as allowed", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.Parties = append(m.Parties, party("SERVICER")) }, ""},
		{"one affiliate twice", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.Parties = append(m.Parties, m.Parties[1]) }, agreement.CodeUnknownRole},
		{"a role too many", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.Parties = append(m.Parties, party("ORIGINATOR")) }, agreement.CodeUnknownRole},
		{"an unknown role", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.Parties = append(m.Parties, party("INVESTOR")) }, agreement.CodeUnknownRole},
		{"no role", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.Parties = append(m.Parties, party("")) }, agreement.CodeUnknownRole},
		{"an input missing", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.Inputs = nil }, agreement.CodeMissingInput},
		{"an input twice", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.Inputs = append(m.Inputs, m.Inputs[0]) }, agreement.CodeUnexpectedInput},
		{"an input that it doesn't have", func(m *affiliatev1.Terms, _ *contract.Manifest) {
			m.Inputs = append(m.Inputs, sampleInput("other", 7))
		}, agreement.CodeUnexpectedInput},
		{"an optional input", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.Inputs = append(m.Inputs, sampleInput("maybe", 7)) }, ""},
		{"no salt", func(m *affiliatev1.Terms, _ *contract.Manifest) { m.Inputs[0].Salt = nil }, agreement.CodeBadMessage},
		{"a salt where hashes are plain", func(_ *affiliatev1.Terms, m *contract.Manifest) { m.Hash = contract.HashPlain }, agreement.CodeBadMessage},
		{"an existing record", func(m *affiliatev1.Terms, _ *contract.Manifest) {
			m.Existing = append(m.Existing, sampleInput("old", 7))
		}, ""},
		{"an existing record that it doesn't read", func(m *affiliatev1.Terms, _ *contract.Manifest) {
			m.Existing = append(m.Existing, sampleInput("in", 7))
		}, agreement.CodeUnexpectedInput},
		{"an optional role", func(_ *affiliatev1.Terms, m *contract.Manifest) {
			m.Roles = append(m.Roles, contract.RoleSpec{Role: "CUSTODIAN", Optional: true})
		}, ""},
		{"a party in an optional role", func(t *affiliatev1.Terms, m *contract.Manifest) {
			m.Roles = append(m.Roles, contract.RoleSpec{Role: "CUSTODIAN", Optional: true})
			t.Parties = append(t.Parties, party("CUSTODIAN"))
		}, ""},
		{"too many in an optional role", func(t *affiliatev1.Terms, m *contract.Manifest) {
			m.Roles[1] = contract.RoleSpec{Role: "SERVICER", Optional: true}
			t.Parties = append(t.Parties, party("SERVICER"))
		}, agreement.CodeUnknownRole},
		{"some functions skipped", func(_ *affiliatev1.Terms, m *contract.Manifest) {
			m.Functions = []contract.Function{{Name: "f", SkipWithout: "maybe"}, {Name: "g", SkipIf: "old"}}
		}, ""},
		{"all functions skipped", func(t *affiliatev1.Terms, m *contract.Manifest) {
			m.Functions = []contract.Function{{Name: "f", SkipWithout: "maybe"}, {Name: "g", SkipIf: "old"}}
			t.Existing = append(t.Existing, sampleInput("old", 7))
		}, agreement.CodeBadRequest},
		{"a required record missing", func(_ *affiliatev1.Terms, m *contract.Manifest) { m.Existing[0].Optional = false }, agreement.CodeMissingRecord},
	} {
		m, spec := sampleTerms(), sampleManifest()
		c.change(m, &spec)
		tm := readTerms(t, m)
		if err := tm.checkContract(spec); codeOrNone(err) != c.want {
			t.Errorf("%s: %v, want %s", c.what, err, c.want)
		}
	}
}

func TestTermsFitTheScope(t *testing.T) {
	owners := []agreement.Party{{Address: "tp1a", Role: "OWNER"}, {Address: "tp1z", Role: "OWNER"}}
	old := func(m *affiliatev1.Terms) { // of the scope that onChain describes
		m.NewScope, m.Owners, m.DataAccess = false, fromParties(owners), []string{"tp1d"}
		m.Existing = []*affiliatev1.InputRef{sampleInput("old", 7)}
	}
	for _, c := range []struct {
		what   string
		exists bool
		change func(*affiliatev1.Terms)
		want   agreement.Code
	}{
		{"new", false, func(*affiliatev1.Terms) {}, ""},
		{"new, and there already", true, func(*affiliatev1.Terms) {}, agreement.CodeSpecification},
		{"new, with other owners", false, func(m *affiliatev1.Terms) { m.Owners = fromParties(owners) }, agreement.CodeBadMessage},
		{"new, with records that it can't have", false, func(m *affiliatev1.Terms) {
			m.Existing = []*affiliatev1.InputRef{sampleInput("old", 7)}
		}, agreement.CodeMissingRecord},
		{"new, without an owner that its kind wants", false, func(m *affiliatev1.Terms) {
			m.Parties = m.Parties[1:]
			m.Owners = m.Parties
		}, agreement.CodeUnknownRole},
		{"new, with data access that is added", false, func(m *affiliatev1.Terms) { m.AddedDataAccess = []string{"tp1d"} }, agreement.CodeBadMessage},
		{"not there", false, old, agreement.CodeNotFound},
		{"as it is", true, old, ""},
		{"an owner left out", true, func(m *affiliatev1.Terms) { old(m); m.Owners = m.Owners[:1] }, agreement.CodeSpecification},
		{"an owner in another role", true, func(m *affiliatev1.Terms) { old(m); m.Owners[1].Role = "SERVICER" }, agreement.CodeSpecification},
		{"data access left out", true, func(m *affiliatev1.Terms) { old(m); m.DataAccess = nil }, agreement.CodeSpecification},
		{"data access that isn't written", true, func(m *affiliatev1.Terms) { old(m); m.DataAccess = append(m.DataAccess, "tp1e") }, agreement.CodeSpecification},
		{"data access that is added", true, func(m *affiliatev1.Terms) {
			old(m)
			m.DataAccess, m.AddedDataAccess = append(m.DataAccess, "tp1e"), []string{"tp1e"}
		}, ""},
		{"a record left out", true, func(m *affiliatev1.Terms) { old(m); m.Existing = nil }, agreement.CodeMissingRecord},
		{"a record that has changed", true, func(m *affiliatev1.Terms) { old(m); m.Existing[0].Hash = "b3RoZXI=" }, agreement.CodeMissingRecord},
	} {
		m := sampleTerms()
		c.change(m)
		tm := readTerms(t, m)
		var scope *chainclient.Scope
		if c.exists {
			scope = &chainclient.Scope{
				ID: tm.scope, Specification: tm.spec, Owners: owners, DataAccess: []string{"tp1d"},
				Records: map[string]chainclient.RecordOnChain{"old": {Hash: "aGFzaA=="}},
			}
		}
		if err := tm.checkScope(scope, sampleManifest()); codeOrNone(err) != c.want {
			t.Errorf("%s: %v, want %s", c.what, err, c.want)
		}
	}
}

// TestParticipants puts the proposer first, then parties, then owners without a part.
func TestParticipants(t *testing.T) {
	m := sampleTerms()
	m.Proposer = "tp1z"
	m.Parties = append(m.Parties, &affiliatev1.Party{Address: "tp1a", Role: "SERVICER"})
	m.Owners = []*affiliatev1.Party{{Address: "tp1a", Role: "OWNER"}, {Address: "tp1z", Role: "OWNER"}}
	m.DataAccess = []string{"tp1d", "tp1a"}
	tm := readTerms(t, m)
	signers, err := tm.signers()
	if got := strings.Join(signers, " "); err != nil || got != "tp1z tp1a tp1b" {
		t.Errorf("signers: %s, %v", got, err)
	}
	audience, err := tm.audience()
	if got := strings.Join(audience, " "); err != nil || got != "tp1z tp1a tp1b tp1d" {
		t.Errorf("audience: %s, %v", got, err)
	}
	parts, err := tm.participants()
	if err != nil || len(parts) != 4 || parts[0].Role != "" || parts[1].Role != "ORIGINATOR" || parts[3].Role != "SERVICER" {
		t.Errorf("participants: %v, %v", parts, err)
	}
	m.Proposer = "tp1x"
	tm = readTerms(t, m)
	if _, err := tm.signers(); agreement.CodeOf(err) != agreement.CodeNotAuthorized {
		t.Errorf("a proposer without a part: %v", err)
	}
}

// FuzzTerms wants that no bytes make a check fail otherwise than with an error.
func FuzzTerms(f *testing.F) {
	good := sampleTerms()
	raw, err := proto.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		tm, err := parseTerms(raw)
		if err != nil {
			if code := agreement.CodeOf(err); code != agreement.CodeBadMessage && code != agreement.CodeTooLarge {
				t.Fatalf("code %s", code)
			}
			return
		}
		_ = tm.checkTime(time.Now(), time.Hour)
		_ = tm.checkContract(sampleManifest())
		_ = tm.checkScope(nil, sampleManifest())
		_ = tm.checkScope(&chainclient.Scope{}, sampleManifest())
		if _, err := tm.write(nil); err == nil {
			if _, err := tm.opening("tp1a", time.Minute); err != nil {
				t.Fatalf("terms that can be written can't be opened: %v", err)
			}
		}
	})
}
