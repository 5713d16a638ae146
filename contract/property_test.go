package contract_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/contract"
)

// sound holds an accepted manifest to what the host relies on, said anew and
// not as Validate says it.
func sound(m contract.Manifest) error {
	reads, names := map[string]bool{}, map[string]int{}
	records := map[string]bool{}
	for _, f := range m.Functions {
		names[f.Name]++
		records[f.Record.Name] = true
		for _, n := range slices.Concat(f.Inputs, f.Existing) {
			reads[n] = true
		}
	}
	for _, c := range m.Conditions {
		names[c.Name]++
		for _, n := range slices.Concat(c.Inputs, c.Existing) {
			if !reads[n] {
				return fmt.Errorf("the condition %q reads %q alone", c.Name, n)
			}
		}
	}
	if len(names) != len(m.Functions)+len(m.Conditions) || len(records) != len(m.Functions) {
		return fmt.Errorf("a name means two things")
	}
	for _, f := range m.Functions {
		always := map[string]bool{}
		for _, v := range slices.Concat(m.Inputs, m.Existing) {
			always[v.Name] = !v.Optional
		}
		for _, n := range []string{f.SkipIf, f.SkipWithout} {
			if required, known := always[n]; n != "" && (required || !known) {
				return fmt.Errorf("%q is skipped on %q", f.Name, n)
			}
		}
		if f.Skipped(func(n string) bool { return n != f.SkipIf }) {
			return fmt.Errorf("%q never runs", f.Name)
		}
	}
	if n := m.MemoryLimit(); n < 64<<10 || n > 4<<30 || n%(64<<10) != 0 {
		return fmt.Errorf("a memory of %d", n)
	}
	if n := m.FuelLimit(); n < 1 || n > 1e12 {
		return fmt.Errorf("a fuel of %d", n)
	}
	if n := m.OutputLimit(); n < 1 || n > 64<<20 {
		return fmt.Errorf("an output of %d", n)
	}
	return soundRoles(m)
}

func soundRoles(m contract.Manifest) error {
	there := map[string]bool{}
	for _, r := range m.Roles {
		least, most := r.Range()
		if least < 0 || most < 1 || least > most || most > contract.MaxParties {
			return fmt.Errorf("%d to %d in role %s", least, most, r.Role)
		}
		there[r.Role] = least > 0
	}
	for _, f := range m.Functions {
		if !there[f.Role] {
			return fmt.Errorf("nobody may be there to answer for %q", f.Record.Name)
		}
	}
	return nil
}

// same wants that an accepted manifest survives being written and read.
func same(m contract.Manifest) error {
	doc, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(doc) > contract.MaxManifest {
		return nil // writing < as \u003c makes it longer
	}
	again, err := contract.Parse(doc)
	if err != nil {
		return err
	}
	if twice, err := json.Marshal(again); err != nil || string(twice) != string(doc) {
		return fmt.Errorf("%s became %s, %w", doc, twice, err)
	}
	return nil
}

// Manifests drawn from few names, so that about as many are accepted as refused
// for each rule; the accepted ones are sound.
func TestAcceptedManifestsAreSound(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		m := draw(t)
		doc, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := contract.Parse(doc)
		if valid := m.Validate(); (err == nil) != (valid == nil) {
			t.Fatalf("Parse says %v, Validate %v", err, valid)
		}
		if err != nil {
			return
		}
		accepted++
		if err := sound(parsed); err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		if err := same(parsed); err != nil {
			t.Fatal(err)
		}
	})
	if accepted == 0 {
		t.Error("no manifest was accepted: the property says nothing")
	}
}

// draw changes a few things of a good manifest.
func draw(t *rapid.T) contract.Manifest {
	name := rapid.SampledFrom([]string{"", "a", "b", "terms", "old", "f", "g", "c", "x", "r"})
	some := rapid.SliceOfN(name, 0, 2)
	m := manifest()
	changes := []func(){
		func() {
			m.Conditions[0] = contract.Condition{Name: name.Draw(t, "name"), Inputs: some.Draw(t, "inputs")}
		},
		func() { m.Conditions[1].Existing = some.Draw(t, "existing") },
		func() { m.Functions[0].SkipIf = name.Draw(t, "skip_if") },
		func() { m.Functions[0].SkipWithout = name.Draw(t, "skip_without") },
		func() { m.Functions[1].SkipWithout = name.Draw(t, "skip_without") },
		func() { m.Functions[1].Inputs = some.Draw(t, "inputs") },
		func() { m.Functions[1].Name = name.Draw(t, "name") },
		func() { m.Existing[0].Optional = true },
		func() { m.Inputs[0].Optional = true },
		func() { m.Inputs[1].Name = name.Draw(t, "input") },
		func() { m.Roles[0].Optional = rapid.Bool().Draw(t, "optional") },
		func() {
			m.Roles[1].Min, m.Roles[1].Max = rapid.IntRange(-1, 34).Draw(t, "min"), rapid.IntRange(-1, 34).Draw(t, "max")
		},
		func() { m.Limits.Memory = rapid.Int64Range(-1, 1<<17).Draw(t, "pages") * 64 << 10 },
		func() { m.Limits.Memory = rapid.Int64().Draw(t, "memory") },
		func() { m.Limits.Fuel = rapid.Int64().Draw(t, "fuel") },
		func() { m.Limits.Output = rapid.Int64Range(-1, 1<<27).Draw(t, "output") },
	}
	for range rapid.IntRange(0, 3).Draw(t, "changes") {
		rapid.SampledFrom(changes).Draw(t, "change")()
	}
	return m
}

func FuzzParse(f *testing.F) {
	doc, err := json.Marshal(manifest())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	for _, hostile := range []string{
		`{"abi":1,"roles":[{"role":null}]}`,
		`{"abi":1,"limits":{"memory":-9223372036854775808,"fuel":1e999}}`,
		`{"abi":1,"conditions":[{"name":"` + strings.Repeat("x", 1<<10) + `"}]}`,
		`{"abi":1,"inputs":[{"name":"a","schema":` + strings.Repeat(`{"a":`, 1<<10) + `{}` + strings.Repeat("}", 1<<10) + `}]}`,
		`{"abi":1,"inputs":[{"name":"a","schema":{"a":` + strings.Repeat("[", 20000) + `}}]}`,
		strings.Replace(string(doc), `"schema":{`, `"schema":{"ABI":null,"<":[1e999,{}],`, 1),
		strings.Replace(string(doc), `"conditions":[`, `"conditions":[`+strings.Repeat(`{"name":"x"},`, 100), 1),
		strings.Replace(string(doc), `"skip_without":"b"`, `"skip_without":"b","skip_if":"b"`, 1),
	} {
		f.Add([]byte(hostile))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		m, err := contract.Parse(doc)
		if err != nil {
			return
		}
		if err := m.Validate(); err != nil {
			t.Errorf("%q was parsed, but: %v", doc, err)
		}
		if err := sound(m); err != nil {
			t.Errorf("%q was parsed, but: %v", doc, err)
		}
		for _, v := range slices.Concat(m.Inputs, m.Existing) {
			if len(v.Schema) > contract.MaxSchema {
				t.Errorf("a schema of %d bytes", len(v.Schema))
			}
		}
		for _, fn := range m.Functions {
			contract.IndexFields(fn.Record, doc)
		}
		if err := same(m); err != nil && !strings.Contains(err.Error(), "schema has") { // \u003c again
			t.Error(err)
		}
	})
}
