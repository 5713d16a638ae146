package exec

import (
	"fmt"
	"testing"
)

// hostCalls are calls of the host that take longest for what they ask, with
// the fuel that the host itself takes. Measured on one processor, a unit is
// never more than a few nanoseconds.
var hostCalls = []struct {
	name, text string
	fuel       uint64
}{
	{"sched_yield", "call sched_yield drop", costHostCall},
	{"fd_sync", "i32.const 1 call fd_sync drop", costHostCall},
	{"args_sizes_get", "i32.const 8 i32.const 16 call args_sizes_get drop", costHostCall},
	{"clock_time_get", "i32.const 1 i64.const 1 i32.const 8 call clock_time_get drop", costHostCall},
	{"size", "i32.const 0 i32.const 0 i32.const 256 call size drop", costHostCall},
	{"read", "i32.const 0 i32.const 131072 i32.const 2 i32.const 0 i32.const 0 i32.const -1 call read drop", costHostCall + 800>>copyShift},
	{"output", "i32.const 0 i32.const 65536 call output", costHostCall + 65536*costByte},
	{"log", "i32.const 0 i32.const 0 i32.const 0 call log", costHostCall},
	{"log", "i32.const 0 i32.const 0 i32.const 65536 call log", costHostCall + maxLogLine*costByte},
	{"fd_write", "i32.const 1 i32.const 16384 i32.const 1024 i32.const 8 call fd_write drop", costHostCall + 1024*costVector},
	{"fd_write", "i32.const 1 i32.const 131080 i32.const 2 i32.const 8 call fd_write drop", costHostCall + 2*costVector + 100_000*costByte},
	{"fd_write", "i32.const 1 i32.const 16384 i32.const 1025 i32.const 8 call fd_write drop", costHostCall},
	{"poll_oneoff", "i32.const 0 i32.const 65536 i32.const 1024 i32.const 8 call poll_oneoff drop", costHostCall + 1024*subscriptionSize*costByte},
	{"random_get", "i32.const 0 i32.const 0 call random_get drop", costHostCall},
	{"random_get", "i32.const 0 i32.const 65536 call random_get drop", costHostCall + 65536*costByte},
}

// storm is a program that does a thing without end.
func storm(text string, imports ...string) program {
	p := invoke("i", "loop "+text+" br 0 end", imports...)
	p.data = map[int]string{
		131072: "in",                                                                    // the name of a value
		131080: "\x00\x00\x00\x00\x50\xc3\x00\x00" + "\x00\x00\x00\x00\x50\xc3\x00\x00", // two times 50,000 bytes
	}
	p.pages = 4
	return p
}

// Every call of the host takes fuel for what it does: what a storm of them
// takes of a node's time is bounded by its fuel.
func TestHostCallsTakeFuel(t *testing.T) {
	e := engine(t, Config{})
	run := Run{Time: at, Proposed: map[string][]byte{"in": make([]byte, 800)}}
	for _, h := range hostCalls {
		p := storm("", h.name)
		p.funcs[0].text = h.text
		c, err := e.Load(t.Context(), p.module())
		if err != nil {
			t.Fatal(err)
		}
		if out := execute(t, e, c, run)[0]; out.Code != CodeNoOutput && h.name != "output" || out.Fuel < h.fuel || out.Fuel > h.fuel+20 {
			t.Errorf("%s: %s %s, %d units; want %d and a few for the code", h.text, out.Code, out.Message, out.Fuel, h.fuel)
		}
	}
}

// A storm of any import ends when the fuel does, at the same unit on compiler
// and interpreter.
func TestHostCallStormsEnd(t *testing.T) {
	on := both(t, Config{})
	run := Run{Time: at, Proposed: map[string][]byte{"in": make([]byte, 800)}}
	for name, sig := range eachWASI() {
		args := ""
		for i := 0; sig[i] != ':'; i++ {
			args += map[byte]string{typeI32: fmt.Sprintf("i32.const %d ", 8*i), typeI64: "i64.const 3 "}[sig[i]]
		}
		if sig[len(sig)-1] != ':' {
			name += " drop"
		}
		p := storm(args+"call "+name, firstWord(name))
		p.fuel = 50_000
		want := CodeOutOfFuel
		if name == "proc_exit" {
			want = CodeNoOutput
		}
		if out := on.run(t, p, run); out.Code != want {
			t.Errorf("%s: %s %s", name, out.Code, out.Message)
		}
	}
	for _, h := range hostCalls {
		p := storm(h.text, h.name)
		p.fuel = 1_000_000
		if h.name == "output" {
			continue // not twice
		}
		if out := on.run(t, p, run); out.Code != CodeOutOfFuel || out.Fuel != 1_000_000 {
			t.Errorf("%s: %s %s, %d units", h.text, out.Code, out.Message, out.Fuel)
		}
	}
}
