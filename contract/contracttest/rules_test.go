package contracttest_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/contract/contracttest"
)

// conditional is the sample with two conditions, the second as given, and a
// handler that notes its run.
func conditional(check contract.Check, ran *[]string) contract.Contract {
	c := sample(func(*contract.Call) (any, error) {
		*ran = append(*ran, "f")
		return "ok", nil
	})
	c.Manifest.Conditions = []contract.Condition{{Name: "first", Inputs: []string{"in"}}, {Name: "second", Inputs: []string{"in"}, Existing: []string{"old"}}}
	c.Conditions = map[string]contract.Check{"second": check, "first": func(c *contract.Call) error {
		*ran = append(*ran, "first")
		if c.Existing("old").Exists() {
			return errors.New("first sees what it doesn't list")
		}
		return nil
	}}
	return c
}

func TestConditionsComeFirst(t *testing.T) {
	k := contracttest.Case{Inputs: map[string]any{"in": input{1}}, Existing: map[string]any{"old": input{2}}}
	for _, c := range []struct {
		check contract.Check
		code  string // empty: passes
	}{
		{func(c *contract.Call) error {
			var in, old input
			return errors.Join(c.Input("in").JSON(&in), c.Existing("old").JSON(&old))
		}, ""},
		{func(*contract.Call) error { return contract.Fail("NOT_YET", "wait") }, "NOT_YET"},
		{func(*contract.Call) error { return errors.New("plain") }, contract.CodeError},
		{func(c *contract.Call) error { _, err := c.Input("raw").Bytes(); return err }, contract.CodeInputMissing},
	} {
		var ran []string
		results, err := contracttest.Run(conditional(c.check, &ran), k)
		if err != nil {
			t.Fatal(err)
		}
		if c.code == "" {
			if len(results) != 2 || results[0].Function != "f" || !slices.Equal(ran, []string{"first", "f"}) {
				t.Errorf("%+v after %v", results, ran)
			}
			continue
		}
		failed := len(results) == 1 && results[0].Function == "second" && results[0].Record == "" && results[0].Outcome == agreement.Fail
		if !failed || results[0].Failure.Code != c.code || !slices.Equal(ran, []string{"first"}) {
			t.Errorf("%+v after %v; want %s of second alone", results, ran, c.code)
		}
	}
}

func TestSkipWithout(t *testing.T) {
	c := sample(func(*contract.Call) (any, error) { return "ok", nil })
	c.Manifest.Functions[1].SkipWithout = "raw" // besides skip_if "old"
	c.Manifest.Functions[0].SkipWithout = "old"
	for _, k := range []struct {
		given string
		want  []agreement.Outcome
	}{
		{"", []agreement.Outcome{agreement.Skip, agreement.Skip}},
		{"raw", []agreement.Outcome{agreement.Skip, agreement.Pass}},
		{"old", []agreement.Outcome{agreement.Pass, agreement.Skip}},
		{"raw old", []agreement.Outcome{agreement.Pass, agreement.Skip}},
	} {
		run := contracttest.Case{Inputs: map[string]any{"in": input{1}}, Existing: map[string]any{}}
		if strings.Contains(k.given, "raw") {
			run.Inputs["raw"] = []byte("raw")
		}
		if strings.Contains(k.given, "old") {
			run.Existing["old"] = input{1}
		}
		results, err := contracttest.Run(c, run)
		if err != nil {
			t.Fatal(err)
		}
		if got := []agreement.Outcome{results[0].Outcome, results[1].Outcome}; !slices.Equal(got, k.want) {
			t.Errorf("with %q: %v; want %v", k.given, got, k.want)
		}
	}
}

func TestOutputLimit(t *testing.T) {
	for size, want := range map[int]string{7: "", 8: "", 9: "OUTPUT_LIMIT"} {
		c := sample(func(*contract.Call) (any, error) { return strings.Repeat("x", size-2), nil }) // and its quotes
		c.Manifest.Limits.Output = 8
		results, err := contracttest.Run(c, contracttest.Case{Inputs: map[string]any{"in": input{1}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := results[0].Failure; (got == nil) != (want == "") || got != nil && got.Code != want {
			t.Errorf("%d bytes: %v; want %q", size, got, want)
		}
	}
}

// By default nobody is in an optional role.
func TestOptionalRole(t *testing.T) {
	var roles []string
	c := sample(func(c *contract.Call) (any, error) {
		parties, err := c.Parties()
		for _, p := range parties {
			roles = append(roles, p.Role)
		}
		return "ok", err
	})
	c.Manifest.Roles = append(c.Manifest.Roles, contract.RoleSpec{Role: "SERVICER", Optional: true}, contract.RoleSpec{Role: "INVESTOR"})
	if _, err := contracttest.Run(c, contracttest.Case{Inputs: map[string]any{"in": input{1}}}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(roles, []string{"OWNER", "INVESTOR"}) {
		t.Errorf("the parties have the roles %v", roles)
	}
}

func TestSchemas(t *testing.T) {
	short := json.RawMessage(`{"type":"string","maxLength":4}`)
	c := sample(func(c *contract.Call) (any, error) { return "longer", nil })
	k := contracttest.Case{Inputs: map[string]any{"in": "text"}, Existing: map[string]any{}}
	run := func() contracttest.Result {
		results, err := contracttest.Run(c, k)
		if err != nil {
			t.Fatal(err)
		}
		return results[0]
	}
	c.Manifest.Inputs[0].Schema, c.Manifest.Existing[0].Schema = short, short
	if r := run(); r.Outcome != agreement.Pass {
		t.Errorf("%+v", r)
	}
	c.Manifest.Functions[0].Record.Schema = short
	if r := run(); r.Failure == nil || r.Failure.Code != "SCHEMA" {
		t.Errorf("a record that is too long: %+v", r)
	}
	refuses := func(want string) {
		if _, err := contracttest.Run(c, k); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	k.Existing["old"] = "longer"
	refuses(`the existing record "old"`)
	k.Inputs["in"] = 1
	refuses(`the input "in"`)
	c.Manifest.Functions[0].Record.Schema = json.RawMessage(`{"typo":1}`)
	refuses(`the schema of the record "r"`)
}
