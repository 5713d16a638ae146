package module_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/affiliate-node/affiliate/exec/exectest"
	"github.com/affiliate-node/affiliate/exec/module"
)

// memoryPages is what a generated module may have of memory.
const memoryPages = 6

// engine is one of wazero's, with a host that notes what it is asked.
type engine struct {
	name    string
	runtime wazero.Runtime
}

// engines are the two: a compiler and an interpreter.
func engines(t testing.TB) [2]engine {
	t.Helper()
	return [2]engine{
		newEngine(t, "compiler", wazero.NewRuntimeConfigCompiler()),
		newEngine(t, "interpreter", wazero.NewRuntimeConfigInterpreter()),
	}
}

func newEngine(t testing.TB, name string, config wazero.RuntimeConfig) engine {
	t.Helper()
	ctx := context.Background() // a test's own ends before its cleanup
	r := wazero.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(memoryPages))
	t.Cleanup(func() { _ = r.Close(ctx) })
	builders := map[string]wazero.HostModuleBuilder{}
	for _, i := range exectest.Imports() {
		b, ok := builders[i.Module]
		if !ok {
			b = r.NewHostModuleBuilder(i.Module)
			builders[i.Module] = b
		}
		run := api.GoModuleFunc(func(ctx context.Context, m api.Module, stack []uint64) {
			ctx.Value(machineKey{}).(*machine).host(m, i, stack)
		})
		b.NewFunctionBuilder().WithGoModuleFunction(run, types(i.Params), types(i.Results)).Export(i.Name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return engine{name: name, runtime: r}
}

// types are value types in wazero's numbers, which are the binary format's.
func types(kinds string) []api.ValueType {
	return []api.ValueType(strings.TrimSuffix(string(module.Sig(kinds)), ":"))
}

// machine is one instance of a module.
type machine struct {
	engine
	source   exectest.Module
	instance api.Module
	prepared *module.Prepared // nil: the module as it is
	calls    uint64           // what the host was asked, hashed
	fuels    uint64           // the fuel that was left whenever it was asked, hashed
}

type machineKey struct{}

// Why the host ends a run.
var (
	errFail = errors.New("fail was called")
	errExit = errors.New("proc_exit was called")
	errFuel = errors.New("out of fuel at a host call")
	errArea = errors.New("a host call outside of the memory")
)

// instantiate makes a machine of compiled code.
func (e engine) instantiate(ctx context.Context, code wazero.CompiledModule, source exectest.Module, p *module.Prepared) (*machine, error) {
	instance, err := e.runtime.InstantiateModule(ctx, code, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fmt.Errorf("%s: instantiating: %w", e.name, err)
	}
	m := &machine{engine: e, source: source, instance: instance, prepared: p}
	if p != nil {
		for _, s := range p.Data {
			if !instance.Memory().Write(s.Offset, s.Bytes) {
				return nil, errors.New("data outside of the memory")
			}
		}
	}
	return m, nil
}

// host answers a call of the module by what it was asked: it notes the
// arguments and what they point to, and writes something of that into memory.
func (m *machine) host(mod api.Module, i exectest.Import, stack []uint64) {
	args := slices.Clone(stack[:len(i.Params)])
	for at := range args {
		args[at] = comparable(i.Params[at], args[at])
	}
	m.calls = mixed(m.calls, uint64(len(i.Name)), args...)
	if m.prepared != nil {
		fuel, floor := m.global(module.ExportFuel), m.global(module.ExportFloor)
		m.fuels = mixed(m.fuels, fuel-floor)
		if int64(fuel) < int64(floor) { //nolint:gosec // bits
			panic(errFuel)
		}
	}
	switch i.Name {
	case "fail":
		panic(errFail)
	case "proc_exit":
		panic(errExit)
	}
	if n := len(args); n >= 2 && i.Params[n-1] == 'i' {
		area, ok := mod.Memory().Read(uint32(args[n-2]), uint32(args[n-1])&0xff) //nolint:gosec // i32 arguments
		if !ok {
			panic(errArea)
		}
		for at, b := range area {
			m.calls = mixed(m.calls, uint64(b))
			if i.Name == "read" || i.Name == "random_get" {
				area[at] = byte(m.calls >> 32) //nolint:gosec // bits
			}
		}
	}
	switch i.Results {
	case "i":
		stack[0] = m.calls & 0xff
	case "I":
		stack[0] = m.calls
	}
}

// mixed adds numbers to a hash (FNV-1a's, by words).
func mixed(h, first uint64, more ...uint64) uint64 {
	h = (h ^ first) * 1099511628211
	for _, v := range more {
		h = (h ^ v) * 1099511628211
	}
	return h ^ h>>29
}

func (m *machine) global(name string) uint64 { return m.instance.ExportedGlobal(name).Get() }

func (m *machine) set(name string, v uint64) {
	m.instance.ExportedGlobal(name).(api.MutableGlobal).Set(v)
}

// limits are what a run of a rewritten module may use.
type limits struct {
	fuel, floor int64
	depth       int32
}

// outcome is what a run did, as far as it may not differ anywhere. The bits of
// a NaN may where they haven't become visible, so those are left out here.
type outcome struct {
	End     string
	Results []uint64
	Globals []uint64
	Calls   uint64
	Pages   uint32
	// What only a rewritten module has.
	Fuel  int64
	Depth int32
	Fuels uint64
}

// plain is what a module that isn't rewritten has of it.
func (o outcome) plain() outcome {
	o.Fuel, o.Depth, o.Fuels = 0, 0, 0
	return o
}

// Ends of a run that no module without rewriting has.
const (
	endFuel  = "out of fuel"
	endDepth = "too deep"
)

// run calls a function.
func (m *machine) run(ctx context.Context, f exectest.Function, args []uint64, l limits) (outcome, error) {
	if m.prepared != nil {
		m.set(module.ExportFuel, uint64(l.fuel))           //nolint:gosec // bits
		m.set(module.ExportFloor, uint64(l.floor))         //nolint:gosec // bits
		m.set(module.ExportDepth, uint64(uint32(l.depth))) //nolint:gosec // bits
	}
	if m.prepared == nil {
		m.set(exectest.Count, 0)
	}
	results, err := m.instance.ExportedFunction(f.Name).Call(context.WithValue(ctx, machineKey{}, m), args...)
	o := outcome{Calls: m.calls, Fuels: m.fuels, Pages: m.pages()}
	if o.End, err = end(err); err != nil {
		return o, fmt.Errorf("%s: %s%x: %w", m.name, f.Name, args, err)
	}
	for i, v := range results {
		o.Results = append(o.Results, comparable(f.Results[i], v))
	}
	for _, g := range m.source.Globals {
		o.Globals = append(o.Globals, comparable(g.Type, m.global(g.Name)))
	}
	if m.prepared == nil {
		return o, nil
	}
	o.Fuel, o.Depth = int64(m.global(module.ExportFuel)), int32(uint32(m.global(module.ExportDepth))) //nolint:gosec // bits
	switch {
	case o.Fuel < l.floor:
		o.End = endFuel
	case o.Depth < 0:
		o.End = endDepth
	}
	return o, nil
}

func (m *machine) pages() uint32 { return m.instance.Memory().Size() / module.PageSize }

// memory is all of it, valid until the next run.
func (m *machine) memory() []byte {
	b, _ := m.instance.Memory().Read(0, m.instance.Memory().Size())
	return b
}

// end names the end of a call; an error is one that no module may cause.
func end(err error) (string, error) {
	if err == nil {
		return "returned", nil
	}
	for _, own := range []error{errFail, errExit, errFuel, errArea} {
		if errors.Is(err, own) {
			return own.Error(), nil
		}
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	text, ok := strings.CutPrefix(line, "wasm error: ")
	if !ok {
		return "", err
	}
	switch text {
	case "unreachable", "out of bounds memory access", "integer divide by zero", "integer overflow",
		"invalid conversion to integer", "invalid table access", "indirect call type mismatch":
		return text, nil
	}
	return "", err
}

// comparable leaves out what engines may choose: the bits of a NaN, and the
// upper half of what holds 32 bits.
func comparable(kind byte, v uint64) uint64 {
	if kind == 'i' || kind == 'f' {
		v &= 1<<32 - 1
	}
	switch {
	case kind == 'f' && math.IsNaN(float64(math.Float32frombits(uint32(v)))): //nolint:gosec // bits
		return 0x7fc00000
	case kind == 'F' && math.IsNaN(math.Float64frombits(v)):
		return 0x7ff8000000000000
	}
	return v
}

// features are what generated modules have here: all, and a reference of the
// fuel.
func features() exectest.Features {
	return exectest.Features{Imports: exectest.Imports(), PassiveData: true, Meter: &exectest.Meter{
		Instruction: module.CostOf, Round: module.CostRound, Bytes: module.BulkShift, Page: module.PageShift,
	}}
}

// rules are those of the tests' host.
func rules() module.Rules {
	return module.Rules{MemoryLimit: memoryPages * module.PageSize, Contract: true, Imports: func(mod, name string) (module.Signature, bool) {
		for _, i := range exectest.Imports() {
			if i.Module == mod && i.Name == name {
				return module.Sig(i.Params + ":" + i.Results), true
			}
		}
		return "", false
	}}
}

// number makes eight bytes of a number, for seeds.
func number(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
