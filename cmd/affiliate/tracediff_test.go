package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// Of several differences the first is shown, in the order in which things
// happen; who made the trace, and what others said, is none.
func TestCompareTraces(t *testing.T) {
	type trace = *affiliatev1.Trace
	changes := []struct {
		change func(trace)
		want   string // function, place
	}{
		{func(t trace) { t.AgreementId = "x" }, "agreement"},
		{func(t trace) { t.TermsDigest = "x" }, "terms"},
		{func(t trace) { t.ContractHash = "x" }, "contract"},
		{func(t trace) { t.ModuleHash = "x" }, "module"},
		{func(t trace) { t.Values[0].Content, t.Values[0].ContentHash = []byte(`{"amount":"250000.01"}`), "x" }, "input terms"},
		{func(t trace) { t.Values[1].Name = "other" }, "existing other"},
		{func(t trace) { t.Values[2].Content, t.Values[2].Size, t.Values[2].ContentHash = []byte("tp1v"), 4, "x" }, "context invoker, byte 3"},
		{func(t trace) { t.Functions[0].Name = "x" }, "x what runs"},
		{func(t trace) { t.Functions[0].Calls = nil }, "within_limits host call 1"},
		{func(t trace) { t.Functions[0].Outcome = 3 }, "within_limits outcome"},
		{func(t trace) { t.Functions[0].Fuel++ }, "within_limits fuel"},
		{func(t trace) { t.Functions[1].Calls[0].Args[3]++ }, "originate host call 1"},
		{func(t trace) { t.Functions[1].Calls[1].Fuel++ }, "originate host call 2"},
		{func(t trace) { t.Functions[1].CallCount++ }, "originate number of host calls"},
		{func(t trace) { t.Functions[1].Log[1] = "x" }, "originate log line 2"},
		{func(t trace) { t.Functions[1].Log = append(t.Functions[1].Log, "x") }, "originate log line 3"},
		{func(t trace) { t.Functions[1].Output.ContentHash = "x" }, "originate record"},
		{func(t trace) { t.Functions[1].Output.ChainHash = "x" }, "originate record, hash on chain"},
		{func(t trace) { t.Functions[2].Code = "X" }, "audit outcome"},
		{func(t trace) { t.Functions[2].Message = "x" }, "audit message"},
		{func(t trace) { t.Functions = append(t.Functions, &affiliatev1.TracedFunction{Name: "more"}) }, "more what runs"},
		{func(t trace) { t.ResultsDigest = "x" }, "result"},
	}
	later := fakeTrace(completes)
	for i := len(changes) - 1; i >= 0; i-- {
		c := changes[i]
		one := fakeTrace(completes)
		c.change(one)
		c.change(later)
		for what, changed := range map[string]trace{"alone": one, "with all that come later": later} {
			d := compareTraces(fakeTrace(completes), changed)
			if got := strings.TrimSpace(d.Function + " " + d.Place); d.Same || !strings.HasPrefix(got, c.want) || d.A == d.B {
				t.Errorf("%q %s: %q, %q and %q", c.want, what, got, d.A, d.B)
			}
			if d := compareTraces(changed, fakeTrace(completes)); d.Same {
				t.Errorf("%q the other way round: no difference", c.want)
			}
		}
	}
	other := proto.CloneOf(fakeTrace(completes))
	other.Affiliate, other.Statements, other.Engine = investor, nil, "wazero v2, rules 1"
	if d := compareTraces(fakeTrace(completes), other); !d.Same || len(d.Notes) != 1 || !strings.Contains(d.Notes[0], "wazero v2") {
		t.Errorf("another node's: %+v", d)
	}
}

// Where both traces have the contents, the first byte that differs is shown.
func TestCompareContents(t *testing.T) {
	x, y := fakeTrace(completes), fakeTrace(completes)
	x.Functions[1].Output.Size, y.Functions[1].Output.Size = 14, 14
	y.Functions[1].Output.Content, y.Functions[1].Output.ContentHash = []byte(`{"months":361}`), "x"
	d := compareTraces(x, y)
	if d.Place != "record, byte 12" || !strings.HasSuffix(d.A, `"{\"months\":360}"`) || !strings.HasSuffix(d.B, `"{\"months\":361}"`) {
		t.Errorf("%+v", d)
	}
}
