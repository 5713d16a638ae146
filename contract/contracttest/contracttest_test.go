package contracttest_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/contract/contracttest"
)

// twice is JSON that has no canonical form.
var twice = json.RawMessage(`{"n":1,"n":2}`)

type input struct {
	N int `json:"n"`
}

func sample(handler contract.Handler) contract.Contract {
	return contract.Contract{
		Manifest: contract.Manifest{
			ABI: contract.ABI, Name: "sample", Version: "1",
			Roles:               []contract.RoleSpec{{Role: "OWNER"}},
			ScopeSpecifications: []contract.ScopeSpecification{{ID: "6c6f616e-0000-4000-8000-000000000001", Name: "s", Roles: []string{"OWNER"}}},
			Inputs:              []contract.ValueSpec{{Name: "in", Type: "In"}, {Name: "raw", Type: "Raw", MediaType: "text/plain", Optional: true}},
			Existing:            []contract.ValueSpec{{Name: "old", Type: "Old", Optional: true}},
			Functions: []contract.Function{
				{Name: "f", Role: "OWNER", Inputs: []string{"in"}, Existing: []string{"old"}, Record: contract.RecordSpec{Name: "r", Type: "R"}},
				{Name: "g", Role: "OWNER", Inputs: []string{"raw"}, SkipIf: "old", Record: contract.RecordSpec{Name: "s", Type: "S", MediaType: "text/plain"}},
			},
		},
		Functions: map[string]contract.Handler{"f": handler, "g": func(c *contract.Call) (any, error) {
			if c.Input("in").Exists() {
				return nil, errors.New("g sees what it doesn't list")
			}
			return []byte("bytes"), nil
		}},
	}
}

func run(t *testing.T, handler contract.Handler, k contracttest.Case) []contracttest.Result {
	t.Helper()
	if k.Inputs == nil {
		k.Inputs = map[string]any{"in": input{1}}
	}
	results, err := contracttest.Run(sample(handler), k)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func TestRunShowsAHandlerWhatTheHostWould(t *testing.T) {
	results := run(t, func(c *contract.Call) (any, error) {
		var in input
		if err := c.Input("in").JSON(&in); err != nil {
			return nil, err
		}
		parties, err := c.Parties()
		if err != nil {
			return nil, err
		}
		c.Logf("n is %d", in.N)
		return map[string]any{
			"n": in.N, "raw": c.Input("raw").Exists(), "invoker": c.Invoker(), "parties": parties,
			"time": c.Time().Unix(), "scope": c.ScopeID(), "session": c.SessionID(),
		}, nil
	}, contracttest.Case{})
	want := `{"invoker":"tp1OWNER","n":1,"parties":[{"address":"tp1OWNER","role":"OWNER"}],"raw":false,"scope":"11111111-1111-4111-8111-111111111111","session":"22222222-2222-4222-8222-222222222222","time":1767323045}`
	if got := results[0]; string(got.Content) != want || len(got.Log) != 1 || got.Log[0] != "n is 1" {
		t.Errorf("%s, %q; want %s", got.Content, got.Log, want)
	}
	if got := results[1]; got.Outcome != agreement.Pass || string(got.Content) != "bytes" {
		t.Errorf("%+v", got)
	}
}

func TestRunFails(t *testing.T) {
	for want, handler := range map[string]contract.Handler{
		"MINE":                    func(*contract.Call) (any, error) { return nil, contract.Fail("MINE", "for %d reasons", 2) },
		contract.CodeError:        func(*contract.Call) (any, error) { return nil, errors.New("plain") },
		contract.CodeInputMissing: func(c *contract.Call) (any, error) { return nil, c.Input("raw").JSON(new(input)) },
		contract.CodeInputInvalid: func(c *contract.Call) (any, error) { return nil, c.Input("in").JSON(new([]int)) },
		"BAD_OUTPUT":              func(*contract.Call) (any, error) { return twice, nil },
	} {
		results := run(t, handler, contracttest.Case{})
		if len(results) != 1 || results[0].Outcome != agreement.Fail || results[0].Failure.Code != want {
			t.Errorf("%+v; want %s and nothing after it", results, want)
		}
		if err := results[0].JSON(new(any)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// An input must be read whole; an existing record may have more fields.
func TestStrictInputs(t *testing.T) {
	k := contracttest.Case{Inputs: map[string]any{"in": map[string]any{"n": 1, "m": 2}}, Existing: map[string]any{"old": map[string]any{"n": 1, "m": 2}}}
	handler := func(v func(*contract.Call) contract.Value) contract.Handler {
		return func(c *contract.Call) (any, error) { return "ok", v(c).JSON(new(input)) }
	}
	if r := run(t, handler(func(c *contract.Call) contract.Value { return c.Input("in") }), k); r[0].Failure == nil || r[0].Failure.Code != contract.CodeInputInvalid {
		t.Errorf("an input with an unknown field: %+v", r[0])
	}
	results := run(t, handler(func(c *contract.Call) contract.Value { return c.Existing("old") }), k)
	if results[0].Outcome != agreement.Pass || results[1].Outcome != agreement.Skip {
		t.Errorf("%+v; want PASS, then SKIP", results)
	}
}

func TestRunRefusesTheCase(t *testing.T) {
	ok := func(*contract.Call) (any, error) { return 1, nil }
	for want, k := range map[string]contracttest.Case{
		"needs the input":   {Inputs: map[string]any{}},
		"has no input":      {Inputs: map[string]any{"in": 1, "im": 2}},
		"the input \"in\":": {Inputs: map[string]any{"in": twice}},
		"has no existing":   {Inputs: map[string]any{"in": 1}, Existing: map[string]any{"x": 1}},
		"writing the recor": {Inputs: map[string]any{"in": func() {}}},
	} {
		if _, err := contracttest.Run(sample(ok), k); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	c := sample(ok)
	delete(c.Functions, "g")
	if _, err := contracttest.Run(c, contracttest.Case{Inputs: map[string]any{"in": 1}}); err == nil || !strings.Contains(err.Error(), "no handler for g") {
		t.Errorf("%v", err)
	}
	c.Manifest.Name = ""
	if _, err := contracttest.Run(c, contracttest.Case{}); err == nil {
		t.Error("a bad manifest was run")
	}
}
