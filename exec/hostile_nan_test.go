package exec

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// nanSources leave NaN as an f64, in ways that give other bits on other
// processors and engines.
var nanSources = []string{
	"i32.const 0 f64.load i32.const 0 f64.load f64.div",   // 0/0
	"i32.const 8 f64.load i32.const 8 f64.load f64.sub",   // ∞−∞
	"i32.const 0 f64.load i32.const 8 f64.load f64.mul",   // 0·∞
	"f64.const -1 f64.sqrt",                               // √−1
	"i32.const 16 f64.load i32.const 24 f64.load f64.add", // two NaNs with payloads
	"i32.const 24 f64.load i32.const 16 f64.load f64.mul", // the other way round
	"i32.const 16 f64.load f64.const 1 f64.min",
	"f64.const 1 i32.const 24 f64.load f64.max",
	"i32.const 16 f64.load f64.neg", // sign
	"i32.const 24 f64.load f64.abs",
	"i32.const 16 f64.load f64.ceil", // signalling
	"i32.const 16 f64.load f64.nearest",
	"i32.const 24 f64.load f64.floor f64.trunc",
	"i32.const 16 f64.load f32.demote_f64 f64.promote_f32",
	"i32.const 32 f32.load f64.promote_f32", // a signalling f32
	"i32.const 32 f32.load f32.neg f32.sqrt f64.promote_f32",
	"f32.const 0 f32.const 0 f32.div f64.promote_f32",
	"i32.const 16 f64.load f64.const 1 f64.copysign", // a magnitude that is NaN
	"i32.const 24 f64.load f64.neg i32.const 16 f64.load f64.copysign",
	"f64.const 0 f64.const 0 f64.div f64.const 2 local.get 0 select", // either
	"f64.const 2 f64.const 0 f64.const 0 f64.div i32.const 0 select",
	"f64.const 0 f64.const 0 f64.div f64.neg global.set d global.get d", // a global
	"i32.const 16 f64.load f64.const 0 f64.add local.tee 1",             // a local
	"i32.const 16 f64.load f64.neg i32.const 0 call_indirect F>F",       // arguments and results
	"i32.const 24 f64.load f64.neg call same",
	"i32.const 16 f64.load f64.neg block:F>F i32.const 0 br_if 0 end", // a block's results
	"i32.const 16 f64.load f64.neg loop:F>F i32.const 0 br_if 0 end",
	"local.get 0 if:F i32.const 16 f64.load f64.neg else f64.const 0 f64.const 0 f64.div end",
	"global.get n", // what _initialize left in a global
}

// nanSinks make the bits of an f64 visible: at the address on the stack below
// it, as eight bytes.
var nanSinks = []string{
	"f64.store",
	"i64.reinterpret_f64 i64.store",
	"f32.demote_f64 f32.store",
	"f32.demote_f64 i32.reinterpret_f32 i32.store",
	"local.set 1 f64.const 1 local.get 1 f64.copysign f64.store",
	"local.set 1 f32.const 1 local.get 1 f32.demote_f64 f32.copysign f32.store",
	"local.set 1 local.get 1 local.get 1 f64.copysign f64.store",
	"f64.neg f64.store",
	"f64.const 1 f64.copysign f64.abs i64.reinterpret_f64 i64.store",
	"global.set d global.get d f64.store",
	"call same f64.store",
	"block:F>F end f64.store",
	"i64.trunc_sat_f64_s i64.store",
	"local.set 1 local.get 1 f64.const 0 f64.lt i32.store",
	"i64.reinterpret_f64 f64.reinterpret_i64 f64.store",
	"local.set 1 i32.const 1016 local.get 1 f64.store i32.const 1016 f64.load f64.store",
	"local.set 1 i32.const 1016 local.get 1 f64.store i32.const 1016 i32.const 8 memory.copy",
}

// Whatever a contract does with a NaN, the bits that it sees are the canonical
// one's, on the compiler and on the interpreter.
func TestNaNGames(t *testing.T) {
	on := both(t, Config{})
	var memory []byte
	for _, bits := range []uint64{0, 0x7ff0000000000000, 0x7ff0000000001234, 0xfff8000000005678, 0xffa12345} {
		memory = binary.LittleEndian.AppendUint64(memory, bits)
	}
	const base = 2048
	var text strings.Builder
	cell := 0
	for _, source := range nanSources {
		for _, sink := range nanSinks {
			fmt.Fprintf(&text, "i32.const %d %s %s ", base+8*cell, source, sink)
			cell++
		}
	}
	p := invoke("F", text.String()+fmt.Sprintf("i32.const %d i32.const %d call output", base, 8*cell)).with(
		fn{"same", "F>F", "", "local.get 0"},
		fn{exportInitialize, ">", "", "i32.const 0 f64.load i32.const 0 f64.load f64.div f64.neg global.set n"})
	p.globals, p.table, p.data = []glob{{"d", 'F', 0}, {"n", 'F', 0}}, []string{"same"}, map[int]string{0: string(memory)}
	out := on.run(t, p, Run{Time: at})
	if out.Outcome != agreement.Pass {
		t.Fatalf("%s %s", out.Code, out.Message)
	}
	for i := range cell {
		bits := binary.LittleEndian.Uint64(out.Content[8*i:])
		switch bits {
		case 0, 0x7ff8000000000000, 0x7fc00000, math.Float64bits(1), uint64(math.Float32bits(1)): // a comparison or a conversion, canonical NaNs, and ones
		case math.Float64bits(2), uint64(math.Float32bits(2)), 2, math.Float64bits(-2): // what isn't NaN
		default:
			t.Errorf("%s, seen by %s: %#x", nanSources[i/len(nanSinks)], nanSinks[i%len(nanSinks)], bits)
		}
	}
}

// What a contract stores without computing stays as it is: payloads are its
// own business.
func TestNaNPayloadsStay(t *testing.T) {
	on := both(t, Config{})
	p := invoke("", `i32.const 0 f64.const 0x7ff0000000001234 f64.store
		i32.const 8 i32.const 0 f64.load f64.store
		i32.const 16 i64.const 0xfff0000000000001 f64.reinterpret_i64 f64.store
		i32.const 24 f32.const 0xffa12345 f32.store
		i32.const 28 i32.const 24 f32.load f32.store
		i32.const 0 i32.const 32 call output`)
	out := on.run(t, p, Run{Time: at})
	want := []uint64{0x7ff0000000001234, 0x7ff0000000001234, 0xfff0000000000001, 0xffa12345ffa12345}
	for i, w := range want {
		if got := binary.LittleEndian.Uint64(append(out.Content[:len(out.Content):len(out.Content)], make([]byte, 32)...)[8*i:]); got != w {
			t.Errorf("%d: %#x; want %#x", i, got, w)
		}
	}
}
