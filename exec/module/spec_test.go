//go:build !race

// Nothing here runs at once with anything else, and the race detector makes it
// ten times as slow.

package module_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/affiliate-node/affiliate/exec/module"
)

// world is where a script runs: one engine, with modules rewritten or as they
// are.
type world struct {
	name       string
	runtime    wazero.Runtime
	rewritten  bool
	named      map[string]api.Module
	registered map[string]api.Module
	last       api.Module
	all        []api.Module
}

// worlds are the four; those without rewriting come first.
func worlds(t *testing.T, spectest []byte) []*world {
	t.Helper()
	var all []*world
	configs := []wazero.RuntimeConfig{wazero.NewRuntimeConfigCompiler(), wazero.NewRuntimeConfigInterpreter()}
	for _, rewritten := range []bool{false, true} {
		for i, config := range configs {
			r := wazero.NewRuntimeWithConfig(t.Context(), config.WithCoreFeatures(api.CoreFeaturesV2))
			t.Cleanup(func() { _ = r.Close(context.Background()) })
			host, err := r.Instantiate(t.Context(), spectest)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, &world{
				name: fmt.Sprintf("%s, rewritten: %t", []string{"compiler", "interpreter"}[i], rewritten), runtime: r, rewritten: rewritten,
				named: map[string]api.Module{}, registered: map[string]api.Module{"spectest": host},
			})
		}
	}
	return all
}

// instantiate makes a module that scripts can use from then on.
func (w *world) instantiate(ctx context.Context, name string, code []byte, p *module.Prepared) error {
	if w.rewritten {
		code = p.Code
	}
	ctx = experimental.WithImportResolver(ctx, func(name string) api.Module { return w.registered[name] })
	m, err := w.runtime.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	if w.rewritten {
		for _, s := range p.Data {
			if !m.Memory().Write(s.Offset, s.Bytes) {
				return errors.New("data outside of the memory")
			}
		}
		w.all = append(w.all, m)
	}
	w.use(name, m)
	return nil
}

// use makes a module the last one; nil: none can be used.
func (w *world) use(name string, m api.Module) {
	w.last = m
	if name != "" {
		w.named[name] = m
	}
}

// lose forgets all modules, if some are registered: one that was refused might
// have changed a table, a memory or a global of theirs.
func (w *world) lose() {
	if len(w.registered) == 1 { // the host's
		return
	}
	w.registered = map[string]api.Module{"spectest": w.registered["spectest"]}
	clear(w.named)
	w.last = nil
}

func (w *world) module(name string) api.Module {
	if name == "" {
		return w.last
	}
	return w.named[name]
}

// do calls a function or reads a global.
func (w *world) do(ctx context.Context, t *testing.T, a action) (results []uint64, how string) {
	t.Helper()
	m := w.module(a.Module)
	if a.Type == "get" {
		return []uint64{m.ExportedGlobal(a.Field).Get()}, "returned"
	}
	for _, m := range w.all {
		m.ExportedGlobal(module.ExportFuel).(api.MutableGlobal).Set(1 << 40)
		m.ExportedGlobal(module.ExportDepth).(api.MutableGlobal).Set(module.MaxDepth)
	}
	var args []uint64
	for _, v := range a.Args {
		args = append(args, v.bits(t))
	}
	results, err := m.ExportedFunction(a.Field).Call(ctx, args...)
	for _, m := range w.all {
		if int32(uint32(m.ExportedGlobal(module.ExportDepth).Get())) < 0 { //nolint:gosec // bits
			return nil, endDepth
		}
	}
	if err != nil && strings.Contains(err.Error(), "stack overflow") {
		return nil, endDepth
	}
	how, err = end(err)
	if err != nil {
		t.Errorf("%s: %s: %v", w.name, a.Field, err)
	}
	return results, how
}

// counts are what a suite came to.
type counts map[string]int

var refusal = regexp.MustCompile(`^.*the module is refused: (.*) \(section ([a-z ]+), offset \d+\)$`)

// run runs a script in all worlds.
func (s script) run(t *testing.T, all []*world, count counts) {
	t.Helper()
	for _, c := range s.Commands {
		switch c.Type {
		case "module":
			s.module(t, all, c, count)
		case "register":
			for _, w := range all {
				w.registered[c.As] = w.module(c.Name)
			}
		case "action", "assert_return", "assert_trap", "assert_exhaustion":
			s.action(t, all, c, count)
		default:
			if c.ModuleType != "text" {
				s.bad(t, all, c, count)
			}
		}
	}
}

// prepare rewrites a module for the worlds; the functions of what is
// registered may be imported.
func prepare(all []*world, code []byte) (*module.Prepared, error) {
	return module.Prepare(code, module.Rules{MemoryLimit: 256 << 20, Imports: func(mod, name string) (module.Signature, bool) {
		from := all[len(all)-1].registered[mod]
		if from == nil || from.ExportedFunction(name) == nil {
			return "", false
		}
		d := from.ExportedFunction(name).Definition()
		return module.Signature(d.ParamTypes()) + ":" + module.Signature(d.ResultTypes()), true
	}})
}

func (s script) module(t *testing.T, all []*world, c command, count counts) {
	t.Helper()
	code := s.read(t, c)
	p, err := prepare(all, code)
	if err != nil {
		why := refusal.FindStringSubmatch(err.Error())
		if why == nil {
			t.Fatalf("%s: refused with %v", c.Filename, err)
		}
		count["module refused: "+why[1]+" ("+why[2]+")"]++
		for _, w := range all {
			w.use(c.Name, nil)
			w.lose()
		}
		return
	}
	count["module"]++
	for _, w := range all {
		if err := w.instantiate(t.Context(), c.Name, code, p); err != nil {
			t.Errorf("%s: %v", c.Filename, err)
		}
	}
}

// action compares what an action does in all worlds, and with what the suite
// expects.
func (s script) action(t *testing.T, all []*world, c command, count counts) {
	t.Helper()
	if all[0].module(c.Action.Module) == nil {
		count[c.Type+" of a refused module"]++
		return
	}
	count[c.Type]++
	var plain []uint64
	var first string
	changed := false
	for i, w := range all {
		got, how := w.do(t.Context(), t, c.Action)
		if i == 0 {
			plain, first = got, how
		}
		if how != first || how == "" || how != c.end() && c.end() != "a trap" || c.end() == "a trap" && (how == "returned" || how == endDepth) {
			t.Errorf("line %d: %s: %s: %s; %s is expected", c.Line, w.name, c.Action.Field, how, c.end())
			return
		}
		for i, v := range c.Expected[:min(len(got), len(c.Expected))] {
			g, p := bits(v.kind(), got[i]), bits(v.kind(), plain[i])
			switch {
			case v.expects(t, g) && (g == p || isNaN(v.kind(), g) && isNaN(v.kind(), p)):
			case w.rewritten && canonical(t, c.Action, v.kind(), p, g):
				changed = true
			default:
				t.Errorf("line %d: %s: %s gave %#x, without rewriting %#x; %s is expected", c.Line, w.name, c.Action.Field, g, p, v.Value)
			}
		}
	}
	if changed {
		count[c.Type+" whose NaN is canonical"]++
	}
}

// end is how an action ends.
func (c command) end() string {
	switch c.Type {
	case "assert_trap":
		return "a trap"
	case "assert_exhaustion":
		return endDepth
	}
	return "returned"
}

// bits leaves out the upper half of what holds 32 bits.
func bits(kind byte, v uint64) uint64 {
	if kind == 'i' || kind == 'f' {
		v &= 1<<32 - 1
	}
	return v
}

// canonical is the one difference that there may be: a NaN whose bits became
// visible, as an integer, in memory or by its sign, is the canonical one.
func canonical(t *testing.T, a action, kind byte, plain, rewritten uint64) bool {
	t.Helper()
	float, sign, nan := byte('f'), uint64(1<<31), uint64(0x7fc00000)
	if kind == 'I' || kind == 'F' {
		float, sign, nan = 'F', 1<<63, 0x7ff8000000000000
	}
	copies := strings.HasSuffix(a.Field, "copysign")
	if kind != float && !copies {
		return isNaN(float, plain) && rewritten == nan
	}
	last := a.Args[len(a.Args)-1].bits(t)
	return copies && isNaN(float, last) && last&sign != 0 && plain == rewritten|sign && rewritten&sign == 0
}

// bad demands that what the engine refuses is refused with rewriting too.
func (s script) bad(t *testing.T, all []*world, c command, count counts) {
	t.Helper()
	code := s.read(t, c)
	p, refused := prepare(all, code)
	admitted := false
	for _, w := range all {
		if w.rewritten && refused != nil {
			continue
		}
		saved := *w
		err := w.instantiate(t.Context(), "", code, p)
		if !w.rewritten && err == nil { // the engine allows more than the suite
			count[c.Type+" that the engine allows"]++
			*w = saved
			return
		}
		admitted = admitted || err == nil
		*w = saved
	}
	if c.Type == "assert_uninstantiable" {
		for _, w := range all {
			w.lose()
		}
	}
	switch {
	case refused != nil:
		count[c.Type+": refused at admission"]++
	case admitted:
		count[c.Type+": admitted"]++
	default:
		count[c.Type+": refused by the engine"]++
	}
}

// The specification's test suite gives the same results with rewriting as
// without, on both engines, but for NaNs, and for modules that admission
// refuses. How many those are, and by which rule, is in a golden file.
func TestSpecification(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			scripts := suite(t, version)
			count := counts{}
			var spectest []byte
			for _, name := range slices.Sorted(maps.Keys(scripts)) {
				s := scripts[name]
				if spectest == nil {
					var err error
					if spectest, err = os.ReadFile(filepath.Join(s.dir, "../../testdata/spectest.wasm")); err != nil {
						t.Fatal(err)
					}
				}
				t.Run(name, func(t *testing.T) { s.run(t, worlds(t, spectest), count) })
			}
			golden(t, "testdata/spec."+version+".golden", count.lines())
		})
	}
}

func (c counts) lines() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "%6d %s\n", c[k], k)
	}
	return b.String()
}
