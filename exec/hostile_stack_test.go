package exec

import (
	"context"
	"flag"
	"math"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/affiliate-node/affiliate/exec/module"
)

var allFrames = flag.Bool("frames", false, "let TestFramesFitTheStack try all frames that it knows, and measure them")

// engineStack is how much stack wazero's compiler gives for certain, in bytes.
// A module that needs more ends in a way that is no result.
const engineStack = 50_000_000

// frames are recursive functions whose frames are as large as can be for what
// their code counts as. AGAIN stands for the call of the function itself.
func frames() map[string]program {
	wide := strings.Repeat("I", 16)
	many := func(n int, text string) string { return strings.Repeat(text+" ", n) }
	sixteen := []fn{{"make", ">" + wide, "", many(16, "i64.const 3")}, {"take", wide + ">", "", ""}, {"one", ">I", "", "i64.const 5"}}
	all := make(map[string]program)
	add := func(name, localKinds, text string) {
		text = strings.ReplaceAll(text, "AGAIN", "i32.const 0 i32.const 0 call output local.get 0 call f")
		p := invoke("", "local.get 0 call f").with(fn{"f", "i>", localKinds, text}).with(sixteen...)
		p.globals, p.table = []glob{{"g", 'I', 0}, {"h", 'i', 0}}, []string{"make"}
		all[name] = p
	}
	const most = 127 // locals, beside the parameter
	give, sum := locals("i64.const 1 local.set %d ", 1, most), locals("local.get %d i64.add ", 2, most)
	add("results of calls", "", many(1000, "call make")+"AGAIN "+many(1000, "call take"))
	add("results of indirect calls", "", many(1000, "local.get 0 call_indirect >"+wide)+"AGAIN "+many(1000, "call take"))
	add("results that are used at once", "", "AGAIN "+many(1000, "call make call take"))
	add("branches with values", "", many(150, "local.get 0 if:>"+wide+" call make else call make end")+"AGAIN "+many(150, "call take"))
	add("loops with values", "", "call make "+many(300, "loop:"+wide+">"+wide+" call take call make local.get 0 br_if 0 end")+"AGAIN call take")
	add("tables with values", "", many(50, "call make block:"+wide+">"+wide+" local.get 0 br_table 0,0,0,0,0 end")+"AGAIN "+many(50, "call take"))
	add("locals that differ in nested blocks", strings.Repeat("I", most), many(300, "block local.get 0 br_if 0")+give+many(300, "end")+"AGAIN local.get 1 "+sum+"global.set g")
	add("fills", "", "AGAIN "+many(500, "local.get 0 local.get 0 local.get 0 memory.fill"))
	if !*allFrames {
		return all
	}
	add("single results", "", many(2000, "call one")+"AGAIN "+many(1999, "i64.add")+"global.set g")
	add("loads", "", locals("local.get 0 i64.load:%d ", 0, 2000)+"AGAIN "+many(1999, "i64.add")+"global.set g")
	add("remainders", "", many(500, "i64.const 7 local.get 0 i64.extend_i32_u i64.const 3 i64.add i64.rem_s")+"AGAIN "+many(499, "i64.add")+"global.set g")
	add("locals that differ in nested loops", strings.Repeat("I", most), many(20, "loop")+"AGAIN "+"local.get 1 "+sum+"global.set g "+give+many(20, "local.get 0 br_if 0 end"))
	add("locals that differ in branches", strings.Repeat("I", most), many(20, "local.get 0 if "+give+"end")+"AGAIN local.get 1 "+sum+"global.set g")
	add("copies", "", "AGAIN "+many(500, "local.get 0 local.get 0 local.get 0 memory.copy"))
	add("growing", "", many(500, "i32.const 0 memory.grow")+"AGAIN "+many(499, "i32.add")+"global.set h")
	return all
}

// Recursion ends by the module's own count before wazero's stack does, whatever
// the frames look like, and at the same call on both engines.
func TestFramesFitTheStack(t *testing.T) {
	on := both(t, Config{})
	worst := 0.0
	for name, p := range frames() {
		if *allFrames || strings.HasSuffix(name, "in nested blocks") {
			weight, bytes := measureFrame(t, p)
			per := bytes / weight
			t.Logf("%s: a frame of %.0f bytes counts as %.0f, %.0f bytes each", name, bytes, weight, per)
			worst = max(worst, per)
		}
		p.fuel = 100_000_000
		for i, f := range p.funcs { // without what was measured by
			p.funcs[i].text = strings.ReplaceAll(f.text, "i32.const 0 i32.const 0 call output ", "")
		}
		if out := on.run(t, p, Run{Time: at}); out.Code != CodeCallDepth {
			t.Errorf("%s: %s %s; want %s", name, out.Code, out.Message, CodeCallDepth)
		}
	}
	if worst*module.MaxDepth > engineStack*3/4 {
		t.Errorf("%d units of %.0f bytes come close to %d", module.MaxDepth, worst, engineStack)
	}
}

// measureFrame finds how much depth and how many bytes a call of f takes, by
// letting it call itself until wazero's stack ends.
func measureFrame(t *testing.T, p program) (weight, bytes float64) {
	t.Helper()
	admitted, err := admit(p.module())
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	r := wazero.NewRuntimeWithConfig(ctx, runtimeConfig(wazero.NewRuntimeConfigCompiler(), nil))
	defer r.Close(ctx)
	var depths []int32
	output := api.GoModuleFunc(func(_ context.Context, m api.Module, _ []uint64) {
		depths = append(depths, int32(m.ExportedGlobal(module.ExportDepth).Get()))
	})
	if _, err := r.NewHostModuleBuilder(moduleAffiliate).NewFunctionBuilder().
		WithGoModuleFunction(output, []api.ValueType{typeI32, typeI32}, nil).Export("output").Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	m, err := r.InstantiateWithConfig(ctx, admitted.Code, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]uint64{module.ExportFuel: math.MaxInt64, module.ExportDepth: math.MaxInt32} {
		m.ExportedGlobal(name).(api.MutableGlobal).Set(v)
	}
	if _, err := m.ExportedFunction(exportInvoke).Call(ctx, 0); err == nil || !strings.Contains(err.Error(), "stack overflow") {
		t.Fatalf("%v; want wazero's stack overflow", err)
	}
	return float64(depths[0] - depths[1]), frameSize(len(depths))
}

// frameSize is how large frames are of which so many fit, as wazero doubles a
// stack until it is larger than its limit.
func frameSize(count int) float64 {
	low, high := 8.0, 1e8
	for range 60 {
		size, stack := (low+high)/2, 10_240.0
		for stack <= engineStack {
			stack = 2*stack + size + 16
		}
		if stack/size > float64(count) {
			low = size
		} else {
			high = size
		}
	}
	return low
}
