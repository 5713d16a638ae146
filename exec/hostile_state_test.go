package exec

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// What the first byte of the diary's input has it do, after it wrote what the
// rest says.
const (
	diaryRead = iota // nothing was written: give a hash of all that there is
	diaryPass
	diaryTrap
	diaryOutside
	diaryFail
	diaryExit
	diaryExitBadly
	diaryRecursion
	diaryGrow
	diaryFill
	diaryLoop
	diaryModes
)

// diary is a contract that tries to remember: it writes what it is told all over
// its memory and its globals, ends in some way, and shows all that it finds
// when it is asked to.
func diary() program {
	p := invoke("iiIi", `
		i32.const 0 i32.const 131072 i32.const 2 i32.const 140000 i32.const 0 i32.const 8192 call read local.set 1
		i32.const 140000 i32.load8_u local.tee 4 i32.eqz if
			i64.const -3750763034362895579 local.set 3
			loop
				local.get 3 local.get 2 i64.load i64.xor i64.const 1099511628211 i64.mul local.set 3
				local.get 2 i32.const 8 i32.add local.tee 2 memory.size i32.const 16 i32.shl i32.lt_u br_if 0
			end
			i32.const 0 local.get 3 i64.store
			i32.const 8 memory.size i32.store
			i32.const 12 global.get gi i32.store
			i32.const 16 global.get gI i64.store
			i32.const 24 global.get gf i32.reinterpret_f32 i32.store
			i32.const 32 global.get gF i64.reinterpret_f64 i64.store
			i32.const 40 i32.const 16 call random_get drop
			i32.const 1 i64.const 1 i32.const 56 call clock_time_get drop
			i32.const 0 i32.const 64 call output return
		end
		i32.const 140008 local.set 2
		local.get 2 i32.load global.set gi local.get 2 i64.load global.set gI
		local.get 2 f32.load global.set gf local.get 2 f64.load global.set gF
		loop
			local.get 2 i32.load i32.const 262140 i32.and local.get 2 i32.load:4 i32.store
			local.get 2 i32.const 8 i32.add local.tee 2 local.get 1 i32.const 140000 i32.add i32.lt_u br_if 0
		end
		i32.const 40 i32.const 100 call random_get drop
		i32.const 131200 i32.const 132000 i32.const 1 i32.const 132100 call poll_oneoff drop
		block block block block block block block block block block block
		local.get 4 br_table 0,0,1,2,3,4,5,6,7,8,9
		end i32.const 0 i32.const 8 call output return
		end unreachable
		end i32.const -1 i32.const 1 i32.store return
		end i32.const 0 i32.const 0 i32.const 0 i32.const 0 call fail return
		end i32.const 0 call proc_exit return
		end i32.const 7 call proc_exit return
		end call deep return
		end i32.const 1 memory.grow i32.const 16 i32.shl i32.const 77 i32.store return
		end i32.const 0 i32.const 255 i32.const 262144 memory.fill return
		end loop br 0 end
		end`,
		"read", "fail", "random_get", "clock_time_get", "poll_oneoff", "proc_exit").with(
		fn{"deep", ">", "", "call deep"},
		fn{exportInitialize, ">", "", `i32.const 200 i64.const 81985529216486895 i64.store i32.const 1 memory.grow drop
			i32.const 196700 i32.const 7 i32.store global.get gi i32.const 1 i32.add global.set gi
			f32.const 0 f32.const 0 f32.div f32.neg global.set gf f64.const 0 f64.const 0 f64.div global.set gF`})
	p.data = map[int]string{131072: "in", 131200: "\x01"}
	p.globals = []glob{{"gi", 'i', 1}, {"gI", 'I', 2}, {"gf", 'f', 0}, {"gF", 'F', 0}}
	p.fuel = 10_000_000
	return p
}

// page is a diary's input.
func page(r *rand.Rand, mode byte) Run {
	in := append(make([]byte, 0, 4096), mode, 0, 0, 0, 0, 0, 0, 0)
	for range 1 + r.IntN(400) {
		in = binary.LittleEndian.AppendUint32(in, r.Uint32N(4<<16-4))
		in = binary.LittleEndian.AppendUint32(in, r.Uint32())
	}
	return Run{Time: at, Proposed: map[string][]byte{"in": in}}
}

var diaryCodes = map[byte]string{
	diaryPass: "", diaryTrap: CodeTrap, diaryOutside: CodeTrap, diaryFail: contract.CodeError, diaryExit: CodeNoOutput, diaryExitBadly: CodeTrap,
	diaryRecursion: CodeCallDepth, diaryGrow: CodeNoOutput, diaryFill: CodeNoOutput, diaryLoop: CodeOutOfFuel,
}

// Nothing that a run leaves is there in the next, however it ended: not in
// memory, within what there was at the start or beyond, not in globals, nor in
// the random stream or the clock.
func TestRunsLeaveNothing(t *testing.T) {
	for i, e := range both(t, Config{}) {
		c, err := e.Load(t.Context(), diary().module())
		if err != nil {
			t.Fatal(err)
		}
		read := Run{Time: at, Proposed: map[string][]byte{"in": {diaryRead}}}
		first := execute(t, e, c, read)[0]
		if first.Outcome != agreement.Pass {
			t.Fatalf("%+v", first)
		}
		rounds := 60
		if i == 1 { // the interpreter
			rounds = 4
		}
		r := rand.New(rand.NewPCG(1, 2))
		for n := range rounds {
			mode := byte(1 + n%(diaryModes-1))
			if out := execute(t, e, c, page(r, mode))[0]; out.Code != diaryCodes[mode] {
				t.Fatalf("mode %d: %s %s; want %s", mode, out.Code, out.Message, diaryCodes[mode])
			}
			again := execute(t, e, c, read)[0]
			if string(again.Content) != string(first.Content) || again.Fuel != first.Fuel {
				t.Fatalf("engine %d, after a run of mode %d: %x, %d units; at first %x, %d", i, mode, again.Content, again.Fuel, first.Content, first.Fuel)
			}
		}
	}
}

// Nor what a run leaves that is stopped from outside.
func TestStoppedRunsLeaveNothing(t *testing.T) {
	e := engine(t, Config{})
	p := diary()
	p.fuel = DefaultFuelLimit
	c, err := e.Load(t.Context(), p.module())
	if err != nil {
		t.Fatal(err)
	}
	read := Run{Time: at, Proposed: map[string][]byte{"in": {diaryRead}}}
	first := execute(t, e, c, read)[0]
	r := rand.New(rand.NewPCG(3, 4))
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		out, err := e.Execute(ctx, c, page(r, diaryLoop))
		cancel()
		if err == nil || out != nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Fatalf("%v, %v", out, err)
		}
		if m := e.find(c.ModuleHash); len(m.idle) > 0 {
			t.Error("an instance that was stopped waits to be used again")
		} else {
			e.release(m)
		}
		if again := execute(t, e, c, read)[0]; string(again.Content) != string(first.Content) || again.Fuel != first.Fuel {
			t.Fatalf("%x; at first %x", again.Content, first.Content)
		}
	}
}
