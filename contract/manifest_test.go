package contract_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/contract"
)

// object is a schema with names and values that a manifest may not have.
var object = json.RawMessage(`{"type":"object","properties":{"Name":{"const":null},"abi":{}},"required":["Name"]}`)

// manifest uses everything that there is.
func manifest() contract.Manifest {
	return contract.Manifest{
		ABI: contract.ABI, Name: "loan", Version: "1.0.0",
		Roles: []contract.RoleSpec{{Role: "OWNER"}, {Role: "GENERIC_6", Min: 1, Max: 3}, {Role: "CUSTODIAN", Optional: true}},
		ScopeSpecifications: []contract.ScopeSpecification{
			{ID: "6c6f616e-0000-4000-8000-000000000001", Name: "loan", Description: "A loan.", Roles: []string{"OWNER"}},
		},
		Inputs: []contract.ValueSpec{{Name: "a", Type: "A", Schema: object}, {Name: "b", Type: "B", MediaType: "application/pdf", Optional: true}},
		Existing: []contract.ValueSpec{
			{Name: "terms", Type: "T", Schema: object}, {Name: "old", Type: "T", Optional: true},
		},
		Conditions: []contract.Condition{{Name: "c", Inputs: []string{"a", "b"}, Existing: []string{"terms"}}, {Name: "d"}},
		Limits:     contract.Limits{Memory: 64 << 20, Fuel: 5, Output: 1 << 20},
		Functions: []contract.Function{
			{Name: "f", Role: "OWNER", Inputs: []string{"a", "b"}, Existing: []string{"terms"}, SkipIf: "old",
				Record: contract.RecordSpec{Name: "r", Type: "R", Schema: object, Index: []contract.Index{{Field: "x"}, {Field: "y", Path: "p/q"}}}},
			{Name: "g", Role: "GENERIC_6", Inputs: []string{"b"}, SkipWithout: "b", Record: contract.RecordSpec{Name: "s", Type: "S", MediaType: "image/svg+xml"}},
		},
	}
}

func TestParseTakesWhatIsValid(t *testing.T) {
	doc, err := json.Marshal(manifest())
	if err != nil {
		t.Fatal(err)
	}
	m, err := contract.Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(m)
	if err != nil || string(again) != string(doc) {
		t.Errorf("%s became %s, %v", doc, again, err)
	}
}

func TestParseIsStrict(t *testing.T) {
	doc, err := json.Marshal(manifest())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]string{
		{`"abi":1`, `"abi":1,"extra":2`, "extra"},
		{`"abi":1`, `"ABI":1`, "ABI"},
		{`"skip_if"`, `"Skip_If"`, "Skip_If"},
		{`"role":"OWNER"`, `"role":"OWNER","roel":"OWNER"`, "roel"},
		{`"optional":true`, `"optional":null`, "null"},
		{`"optional":true`, `"optional":"yes"`, "optional"},
		{`"abi":1`, `"abi":1.5`, "abi"},
		{`{"abi"`, `[{"abi"`, "manifest"},
		{`"version":"1.0.0"`, `"version":"1.0.0"}{"x":1`, "manifest"},
		{`"limits":{`, `"limits":{"Memory":65536,`, "Memory"},
		{`"limits":{`, `"limits":{"time":1,`, "time"},
		{`"fuel":5`, `"fuel":1e3`, "fuel"},
		{`"fuel":5`, `"fuel":null`, "null"},
		{`"fuel":5`, `"fuel":9223372036854775808`, "fuel"},
		{`{"name":"d"}`, `"d"`, "conditions"},
		{`{"name":"d"}`, `{"name":"d","role":"OWNER"}`, "role"},
		{`{"name":"d"}`, `null`, "null"},
		{`"schema":{`, `"Schema":{`, "Schema"},
		{`"schema":{`, `"schema":true,"schema2":{`, "schema2"},
		{`"schema":` + string(object), `"schema":true`, "JSON object"},
		{`"schema":` + string(object), `"schema":null`, "null"},
		{`"schema":` + string(object), `"schema":[{}]`, "JSON object"},
		{`"schema":` + string(object), `"schema":"{}"`, "JSON object"},
	} {
		bad := strings.Replace(string(doc), c[0], c[1], 1)
		if bad == string(doc) {
			t.Fatalf("%s isn't in the manifest", c[0])
		}
		if _, err := contract.Parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s: %v; want it to mention %q", c[1], err, c[2])
		}
	}
	if _, err := contract.Parse([]byte(strings.Repeat(" ", contract.MaxManifest) + "{}")); err == nil {
		t.Error("a manifest over the limit was read")
	}
}

func TestValidateRefuses(t *testing.T) {
	type m = contract.Manifest
	long := strings.Repeat("x", 300)
	for want, change := range map[string]func(*m){
		"abi is 2":                       func(m *m) { m.ABI = 2 },
		"name has 0 bytes":               func(m *m) { m.Name = "" },
		"name has 300 bytes":             func(m *m) { m.Name = long },
		"name has characters":            func(m *m) { m.Name = "a\nb" },
		"spaces around it":               func(m *m) { m.Version = " 1" },
		"version has 0":                  func(m *m) { m.Version = "" },
		"hash is":                        func(m *m) { m.Hash = "md5" },
		"roles: 0 of them":               func(m *m) { m.Roles = nil },
		"not a role of the chain":        func(m *m) { m.Roles[0].Role = "PARTY_TYPE_OWNER" },
		"impossible":                     func(m *m) { m.Roles[1].Min = 4 },
		"min -1":                         func(m *m) { m.Roles[1].Min = -1 },
		`"OWNER" is there twice`:         func(m *m) { m.Roles[1].Role = "OWNER" },
		"more than 32 parties":           func(m *m) { m.Roles[1].Max = 33 },
		"33 parties":                     func(m *m) { m.Roles[1].Min, m.Roles[1].Max = 32, 32 },
		"scope_specifications: 0":        func(m *m) { m.ScopeSpecifications = nil },
		"not a UUID":                     func(m *m) { m.ScopeSpecifications[0].ID = "6C6F616E-0000-4000-8000-000000000001" },
		"scope_specifications[0]: roles": func(m *m) { m.ScopeSpecifications[0].Roles = nil },
		"scope_specifications[0]: name":  func(m *m) { m.ScopeSpecifications[0].Name = "" },
		"description has":                func(m *m) { m.ScopeSpecifications[0].Description = strings.Repeat("x", 2001) },
		"want a letter":                  func(m *m) { m.Inputs[0].Name = "1a" },
		"inputs[0]: name":                func(m *m) { m.Inputs[0].Name = "" },
		"type has 0":                     func(m *m) { m.Inputs[0].Type = "" },
		"has a space":                    func(m *m) { m.Inputs[0].Type = "a b" },
		"media_type":                     func(m *m) { m.Inputs[0].MediaType = "text/plain; charset=utf-8" },
		`inputs and existing: "a"`:       func(m *m) { m.Existing = append(m.Existing, contract.ValueSpec{Name: "a", Type: "A"}) },
		`no function reads "c"`:          func(m *m) { m.Inputs = append(m.Inputs, contract.ValueSpec{Name: "c", Type: "C"}) },
		"functions: 0":                   func(m *m) { m.Functions = nil },
		"among the contract's roles":     func(m *m) { m.Functions[0].Role = "SERVICER" },
		`no input "terms"`:               func(m *m) { m.Functions[0].Inputs[0] = "terms" },
		`no existing record "a"`:         func(m *m) { m.Functions[0].Existing[0] = "a" },
		`"b" is there twice`:             func(m *m) { m.Functions[0].Inputs[0] = "b" },
		"optional, so it can't have min": func(m *m) { m.Roles[1].Optional = true },
		`"CUSTODIAN" is optional`:        func(m *m) { m.Functions[0].Role = "CUSTODIAN" },
		"all of them are optional":       func(m *m) { m.Roles = []contract.RoleSpec{{Role: "OWNER", Optional: true}} },
		`skip_if: "terms"`:               func(m *m) { m.Functions[0].SkipIf = "terms" },
		`skip_if: "nothing"`:             func(m *m) { m.Functions[0].SkipIf = "nothing" },
		`functions: "f" is there twice`:  func(m *m) { m.Functions[1].Name = "f" },
		`records: "r" is there twice`:    func(m *m) { m.Functions[1].Record.Name = "r" },
		"of JSON records only":           func(m *m) { m.Functions[1].Record.Index = []contract.Index{{Field: "x"}} },
		`index: "x" is there twice`:      func(m *m) { m.Functions[0].Record.Index[1].Field = "x" },
		"index: field":                   func(m *m) { m.Functions[0].Record.Index[1].Field = "" },
	} {
		m := manifest()
		change(&m)
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestIndexFields(t *testing.T) {
	rec := contract.RecordSpec{Name: "r", Index: []contract.Index{
		{Field: "text"}, {Field: "number"}, {Field: "flag"}, {Field: "deep", Path: "a/b~1c~0/d"}, {Field: "none"}, {Field: "null"}, {Field: "list"}, {Field: "object", Path: "a"}, {Field: "into_text", Path: "text/x"}, {Field: "long"},
	}}
	doc := `{"text":"Ada","number":9007199254740991,"flag":true,"a":{"b/c~":{"d":"deep"}},"null":null,"list":[1],"secret":"x","long":"` + strings.Repeat("é", 1000) + `"}`
	got := contract.IndexFields(rec, []byte(doc))
	want := map[string]string{"text": "Ada", "number": "9007199254740991", "flag": "true", "deep": "deep", "long": strings.Repeat("é", 512)}
	if !maps.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
	rec.MediaType = "application/pdf"
	if got := contract.IndexFields(rec, []byte(doc)); len(got) != 0 {
		t.Errorf("a PDF has fields %v", got)
	}
	rec.MediaType = ""
	for _, doc := range []string{"", "{", "[]", `"x"`, "{}{}"} {
		if got := contract.IndexFields(rec, []byte(doc)); len(got) != 0 {
			t.Errorf("%q has fields %v", doc, got)
		}
	}
}
