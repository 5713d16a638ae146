package exec

import (
	"reflect"
	"slices"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// A trace shows what a run does, and changes nothing about it.
func TestTraceIsTheRun(t *testing.T) {
	e := engine(t, Config{})
	c, run := load(t, e, "loan"), loanRun(t)
	plain := withoutTimes(execute(t, e, c, run))
	run.Trace = true
	traced := withoutTimes(execute(t, e, c, run))
	for _, other := range []*Engine{e, engine(t, Config{}), interpreter(t, Config{})} {
		if again := withoutTimes(execute(t, other, load(t, other, "loan"), run)); !reflect.DeepEqual(traced, again) {
			t.Error("a second trace is another one")
		}
	}
	if len(traced) != len(c.Manifest.Conditions)+len(plain) || !traced[0].Condition || traced[0].Outcome != agreement.Pass || traced[0].Fuel == 0 {
		t.Fatalf("%d outputs, the first %+v", len(traced), traced[0])
	}
	for i, out := range traced[len(c.Manifest.Conditions):] {
		read := slices.ContainsFunc(out.Calls, func(h HostCall) bool { return h.Function == "affiliate.read" && h.Value != "" && h.Result > 0 })
		last := out.Calls[len(out.Calls)-1]
		if !read || last.Function != "affiliate.output" || last.Fuel == 0 || last.Fuel > out.Fuel || out.CallCount != uint64(len(out.Calls)) {
			t.Errorf("%s: %d calls of %d, the last %+v", out.Function.Name, len(out.Calls), out.CallCount, last)
		}
		out.Calls, out.CallCount = nil, 0
		if !reflect.DeepEqual(out, plain[i]) {
			t.Errorf("traced %+v\nwithout %+v", out, plain[i])
		}
	}
}

// What a trace keeps is bounded, whatever the contract does.
func TestTraceIsBounded(t *testing.T) {
	e := engine(t, Config{})
	storm := cat([]byte{0x03, 0x40}, i32(0), i32(atIn), i32(lenIn), callTo(fnSize), []byte{0x1a, 0x0c, 0, 0x0b})
	c, err := e.Load(t.Context(), handmade{body: storm}.module())
	if err != nil {
		t.Fatal(err)
	}
	out := execute(t, e, c, Run{Time: at, Trace: true})[0]
	if out.Code != CodeOutOfFuel || len(out.Calls) != MaxHostCalls || out.CallCount <= MaxHostCalls {
		t.Errorf("%s, %d calls of %d", out.Code, len(out.Calls), out.CallCount)
	}
}
