package exec

import (
	"reflect"
	"strings"
	"testing"
)

// pair are two engines, one that compiles and one that interprets.
type pair [2]*Engine

func both(t testing.TB, cfg Config) pair {
	t.Helper()
	return pair{engine(t, cfg), interpreter(t, cfg)}
}

// run runs a program on both engines, which must agree in all that parties
// compare and in what they log. An engine that fails is a fault of ours.
func (on pair) run(t testing.TB, p program, r Run) Output {
	t.Helper()
	wasm := p.module()
	var outputs [2][]Output
	for i, e := range on {
		c, err := e.Load(t.Context(), wasm)
		if err != nil {
			t.Fatalf("engine %d: %v", i, err)
		}
		out, err := e.Execute(t.Context(), c, r)
		if err != nil {
			t.Fatalf("engine %d: %v", i, err)
		}
		outputs[i] = withoutTimes(out)
	}
	if !reflect.DeepEqual(outputs[0], outputs[1]) {
		t.Errorf("compiled %+v\ninterpreted %+v", outputs[0], outputs[1])
	}
	return outputs[0][0]
}

func firstWord(s string) string { return strings.Fields(s)[0] }
