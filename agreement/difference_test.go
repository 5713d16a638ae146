package agreement

import (
	"testing"

	"pgregory.net/rapid"
)

func passed(output string) RecordResult {
	return RecordResult{Function: "f", Record: "r", Outcome: Pass, Output: output, Fuel: 7, Inputs: []NamedHash{{"in", "h", "T"}}}
}

func TestCompareNamesTheFirstDifference(t *testing.T) {
	condition := RecordResult{Function: "c", Outcome: Fail, Code: "NO", Fuel: 5}
	fuel, code, input := passed("h1"), condition, passed("h1")
	fuel.Fuel, code.Code, input.Inputs = 8, "NEVER", []NamedHash{{"in", "i", "T"}}
	skipped := RecordResult{Function: "g", Record: "s", Outcome: Skip}
	for _, c := range []struct {
		stated, reached []RecordResult
		want            string
	}{
		{[]RecordResult{passed("h1")}, []RecordResult{passed("h1")}, ""},
		{[]RecordResult{passed("h1")}, []RecordResult{passed("h2")}, "function f: output: h1 stated, h2 reached"},
		{[]RecordResult{passed("h1")}, []RecordResult{fuel}, "function f: fuel: 7 stated, 8 reached"},
		{[]RecordResult{passed("h1")}, []RecordResult{input}, "function f: input in: in T h stated, in T i reached"},
		{[]RecordResult{passed("h1")}, []RecordResult{{Function: "f", Record: "r", Outcome: Pass}}, "function f: input : in T h stated, nothing reached"},
		{[]RecordResult{passed("h1"), skipped}, []RecordResult{passed("h1")}, `function g: result: function "g" for record "s" stated, nothing reached`},
		{[]RecordResult{condition}, []RecordResult{passed("h1")}, `function f: result: condition "c" stated, function "f" for record "r" reached`},
		{[]RecordResult{condition}, []RecordResult{code}, "condition c: code: NO stated, NEVER reached"},
		{
			[]RecordResult{skipped},
			[]RecordResult{{Function: "g", Record: "s", Outcome: Fail, Code: "NO"}},
			"function g: outcome: SKIP stated, FAIL NO reached",
		},
	} {
		d, differs := Compare(c.stated, c.reached)
		got := ""
		if differs {
			got = d.String()
		}
		if got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestCompareIsTheAttestation holds Compare to what parties sign: no difference
// is overlooked, and none is found that isn't signed.
func TestCompareIsTheAttestation(t *testing.T) {
	text := rapid.SampledFrom([]string{"", "a", "b", "a b"})
	input := rapid.Custom(func(t *rapid.T) NamedHash {
		return NamedHash{text.Draw(t, "name"), text.Draw(t, "hash"), text.Draw(t, "type")}
	})
	result := rapid.Custom(func(t *rapid.T) RecordResult {
		return RecordResult{
			Function: text.Draw(t, "function"), Record: text.Draw(t, "record"), Outcome: rapid.SampledFrom([]Outcome{Pass, Skip, Fail}).Draw(t, "outcome"),
			Fuel: rapid.Uint64Max(1).Draw(t, "fuel"), Output: text.Draw(t, "output"), Code: text.Draw(t, "code"), Message: text.Draw(t, "message"),
			Inputs: rapid.SliceOfN(input, 0, 2).Draw(t, "inputs"),
		}
	})
	list := rapid.SliceOfN(result, 0, 2)
	rapid.Check(t, func(t *rapid.T) {
		a := list.Draw(t, "a")
		b := list.Draw(t, "b")
		if rapid.Bool().Draw(t, "nearly the same") {
			b = append([]RecordResult(nil), a...)
			for i := range b {
				b[i].Message = text.Draw(t, "message")
			}
			if len(b) > 0 && rapid.Bool().Draw(t, "but for one") {
				b[0] = result.Draw(t, "other")
			}
		}
		_, differs := Compare(a, b)
		signed := AttestationDigest("net", ID{1}, Hash{2}, Hash{3}, a) != AttestationDigest("net", ID{1}, Hash{2}, Hash{3}, b)
		if differs != signed {
			t.Fatalf("compared: %t, signed: %t", differs, signed)
		}
	})
}

// TestAttestationDigest is the example of docs/format/wire.md.
func TestAttestationDigest(t *testing.T) {
	results := []RecordResult{
		{
			Function: "originate", Record: "terms", Outcome: Pass, Fuel: 1_234_567, Output: AbsentHash(),
			Inputs: []NamedHash{{Name: "application", Hash: AbsentHash(), Type: "example.Application"}}, Message: "isn't signed",
		},
		{Function: "schedule", Record: "schedule", Outcome: Skip},
	}
	const want = "81ed623cbef4c8eadeaa623f00e4be601110a64b6188a4b3fe52257eec600c69"
	if got := AttestationDigest("net-1", ID{1}, Hash{2}, Hash{3}, results).String(); got != want {
		t.Errorf("got %s", got)
	}
}
