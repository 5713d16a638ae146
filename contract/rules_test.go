package contract_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/contract"
)

func TestConditionsAreRefused(t *testing.T) {
	type m = contract.Manifest
	condition := func(c contract.Condition) func(*m) {
		return func(m *m) { m.Conditions = []contract.Condition{c} }
	}
	for want, change := range map[string]func(*m){
		"conditions: 33 of them":      func(m *m) { m.Conditions = make([]contract.Condition, contract.MaxConditions+1) },
		"conditions[0]: name has 0":   condition(contract.Condition{}),
		"want a letter":               condition(contract.Condition{Name: "1"}),
		`"f" is the name of a functi`: condition(contract.Condition{Name: "f"}),
		`conditions: "x" is there tw`: func(m *m) { m.Conditions = []contract.Condition{{Name: "x"}, {Name: "x"}} },
		`no input "z"`:                condition(contract.Condition{Name: "x", Inputs: []string{"z"}}),
		`no input "terms"`:            condition(contract.Condition{Name: "x", Inputs: []string{"terms"}}),
		`no existing record "a"`:      condition(contract.Condition{Name: "x", Existing: []string{"a"}}),
		`inputs: "a" is there twice`:  condition(contract.Condition{Name: "x", Inputs: []string{"a", "a"}}),
		`existing: "terms" is there`:  condition(contract.Condition{Name: "x", Existing: []string{"terms", "terms"}}),
		`no function reads "old"`:     condition(contract.Condition{Name: "x", Existing: []string{"old"}}), // but one skips on it
	} {
		refused(t, want, change)
	}
}

func TestSkipRulesAreRefused(t *testing.T) {
	type m = contract.Manifest
	for want, change := range map[string]func(*m){
		`skip_without: "a"`:       func(m *m) { m.Functions[0].SkipWithout = "a" },
		`skip_without: "terms"`:   func(m *m) { m.Functions[0].SkipWithout = "terms" },
		`skip_without: "nothing"`: func(m *m) { m.Functions[0].SkipWithout = "nothing" },
		`skip_if: "b"`:            func(m *m) { m.Functions[0].SkipIf = "b" },
		"would never run":         func(m *m) { m.Functions[0].SkipWithout = "old" },
		`no function reads "b"`:   func(m *m) { m.Functions[0].Inputs, m.Functions[1].Inputs, m.Conditions = []string{"a"}, nil, nil },
	} {
		refused(t, want, change)
	}
}

func TestSchemasAreRefused(t *testing.T) {
	type m = contract.Manifest
	size := func(n int) json.RawMessage {
		return json.RawMessage(`{"description":"` + strings.Repeat("x", n-18) + `"}`)
	}
	for want, change := range map[string]func(*m){
		"inputs[1]: schema: only":    func(m *m) { m.Inputs[1].Schema = object },
		"record: schema: only":       func(m *m) { m.Functions[1].Record.Schema = object },
		"schema: want a JSON object": func(m *m) { m.Existing[0].Schema = json.RawMessage("[]") },
		"existing[0]: schema: want":  func(m *m) { m.Existing[0].Schema = json.RawMessage("true") },
		"record: schema: want":       func(m *m) { m.Functions[0].Record.Schema = json.RawMessage(`{"a"`) },
		"inputs[0]: schema: want":    func(m *m) { m.Inputs[0].Schema = json.RawMessage(` `) },
		"inputs[0]: schema: want a":  func(m *m) { m.Inputs[0].Schema = json.RawMessage(`{}{}`) },
		"schema has 65537 bytes":     func(m *m) { m.Inputs[0].Schema = size(contract.MaxSchema + 1) },
	} {
		refused(t, want, change)
	}
	ok := manifest()
	ok.Inputs[0].Schema = size(contract.MaxSchema)
	ok.Existing[0].Schema = json.RawMessage(" \t\r\n{}")
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
}

func refused(t *testing.T, want string, change func(*contract.Manifest)) {
	t.Helper()
	m := manifest()
	change(&m)
	if err := m.Validate(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q", err, want)
	}
}

func TestLimits(t *testing.T) {
	var m contract.Manifest
	if m.MemoryLimit() != 128<<20 || m.FuelLimit() != 1e9 || m.OutputLimit() != 16<<20 {
		t.Errorf("the defaults of ABI 1 are %d, %d, %d", m.MemoryLimit(), m.FuelLimit(), m.OutputLimit())
	}
	m = manifest()
	if m.MemoryLimit() != 64<<20 || m.FuelLimit() != 5 || m.OutputLimit() != 1<<20 {
		t.Errorf("what the manifest says became %d, %d, %d", m.MemoryLimit(), m.FuelLimit(), m.OutputLimit())
	}
	for _, c := range []struct {
		limits contract.Limits
		want   string // empty: fine
	}{
		{contract.Limits{}, ""},
		{contract.Limits{Memory: 64 << 10, Fuel: 1, Output: 1}, ""},
		{contract.Limits{Memory: contract.MaxMemory, Fuel: contract.MaxFuel, Output: contract.MaxOutput}, ""},
		{contract.Limits{Memory: contract.MaxMemory + 64<<10}, "memory"},
		{contract.Limits{Memory: 64<<10 + 1}, "whole pages"},
		{contract.Limits{Memory: 1}, "whole pages"},
		{contract.Limits{Memory: -64 << 10}, "memory"},
		{contract.Limits{Memory: math.MinInt64}, "memory"},
		{contract.Limits{Fuel: contract.MaxFuel + 1}, "fuel"},
		{contract.Limits{Fuel: -1}, "fuel"},
		{contract.Limits{Output: contract.MaxOutput + 1}, "output"},
		{contract.Limits{Output: math.MaxInt64}, "output"},
	} {
		m.Limits = c.limits
		err := m.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v; want %q", c.limits, err, c.want)
		}
	}
}

func TestRange(t *testing.T) {
	for _, c := range []struct {
		role        contract.RoleSpec
		least, most int
	}{
		{contract.RoleSpec{}, 1, 1},
		{contract.RoleSpec{Max: 3}, 1, 3},
		{contract.RoleSpec{Min: 2}, 2, 2},
		{contract.RoleSpec{Optional: true}, 0, 1},
		{contract.RoleSpec{Optional: true, Max: 3}, 0, 3},
	} {
		if least, most := c.role.Range(); least != c.least || most != c.most {
			t.Errorf("%+v: %d to %d, want %d to %d", c.role, least, most, c.least, c.most)
		}
	}
}

// Every combination of rules and of what is there.
func TestSkipped(t *testing.T) {
	for _, c := range []struct{ skipIf, skipWithout, there, want string }{
		{"", "", "", "runs"},
		{"", "", "a b", "runs"},
		{"a", "", "", "runs"},
		{"a", "", "a", "skipped"},
		{"a", "", "b", "runs"},
		{"", "b", "", "skipped"},
		{"", "b", "b", "runs"},
		{"", "b", "a", "skipped"},
		{"a", "b", "", "skipped"},
		{"a", "b", "a", "skipped"},
		{"a", "b", "b", "runs"},
		{"a", "b", "a b", "skipped"},
	} {
		has := func(name string) bool { return slices.Contains(strings.Fields(c.there), name) }
		f := contract.Function{SkipIf: c.skipIf, SkipWithout: c.skipWithout}
		if got := f.Skipped(has); got != (c.want == "skipped") {
			t.Errorf("%+v: %v", c, got)
		}
		one := contract.Manifest{Functions: []contract.Function{f}}
		two := contract.Manifest{Functions: []contract.Function{f, {}}}
		if one.AllSkipped(has) != f.Skipped(has) || two.AllSkipped(has) || (contract.Manifest{}).AllSkipped(has) {
			t.Errorf("%+v: AllSkipped isn't of all functions", c)
		}
	}
}

// Each handler and check has its place in the manifest, and the other way round.
func TestContractIsComplete(t *testing.T) {
	handler := func(*contract.Call) (any, error) { return nil, nil }
	check := func(*contract.Call) error { return nil }
	for want, change := range map[string]func(*contract.Contract){
		"":                               func(*contract.Contract) {},
		"name has 0":                     func(c *contract.Contract) { c.Manifest.Name = "" },
		"no handler for g":               func(c *contract.Contract) { delete(c.Functions, "g") },
		"no handler for f":               func(c *contract.Contract) { c.Functions["f"] = nil },
		"no check for the condition d":   func(c *contract.Contract) { delete(c.Conditions, "d") },
		"no check for the condition c":   func(c *contract.Contract) { c.Conditions = nil },
		"the manifest has no function h": func(c *contract.Contract) { c.Functions["h"], c.Functions["i"] = handler, handler },
		"the manifest has no condition ": func(c *contract.Contract) { c.Conditions["f"] = check },
	} {
		c := contract.Contract{
			Manifest:   manifest(),
			Functions:  map[string]contract.Handler{"f": handler, "g": handler},
			Conditions: map[string]contract.Check{"c": check, "d": check},
		}
		change(&c)
		err := c.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}
