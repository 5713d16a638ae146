package exec

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	osexec "os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/affiliate-node/affiliate/contract"
)

// guestModule is a guest of testdata/guests: checked in, or built of Go.
func guestModule(t testing.TB, name string) []byte {
	t.Helper()
	if wasm, err := os.ReadFile(filepath.Join("testdata", "guests", name, name[:len(name)-len("-c")]+".wasm")); err == nil {
		return wasm
	}
	wasm, err := goGuest(name)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

var guests sync.Map // of func() ([]byte, error)

// goGuest builds each once.
func goGuest(name string) ([]byte, error) {
	once, _ := guests.LoadOrStore(name, sync.OnceValues(func() ([]byte, error) {
		dir, err := os.MkdirTemp("", "guest")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "guest.wasm")
		cmd := osexec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "./testdata/guests/"+name)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, text)
		}
		return os.ReadFile(path)
	}))
	return once.(func() ([]byte, error))()
}

// workload is one function of the bench guests, with its inputs.
type workload struct {
	function int
	name     string
	inputs   map[string][]byte
}

func workloads(t testing.TB) []workload {
	t.Helper()
	record, err := os.ReadFile("testdata/guests/bench-record.json")
	if err != nil {
		t.Fatal(err)
	}
	return []workload{
		{0, "json", map[string][]byte{"record": record, "rounds": []byte("40")}},
		{1, "sha256", map[string][]byte{"data": bytes.Repeat([]byte("affiliate"), 29_000), "rounds": []byte("2")}},
		{2, "loop", map[string][]byte{"count": []byte("4000000")}},
		{3, "sort", map[string][]byte{"length": []byte("50000")}},
	}
}

// bare is the same engine without rewriting: what a module would cost if
// nothing were counted. Its host functions charge an instance that is there
// for nothing else.
type bare struct {
	machine  wazero.Runtime
	compiled wazero.CompiledModule
	charged  *instance
	memory   *linearMemory // of the instance that was made last
}

func newBare(t testing.TB, wasm []byte, charged *instance) *bare {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features))
	t.Cleanup(func() { _ = r.Close(ctx) })
	for name, functions := range map[string]map[string]hostFunction{moduleAffiliate: affiliateFunctions(), moduleWASI: wasiFunctions()} {
		if err := provide(ctx, r, name, functions); err != nil {
			t.Fatal(err)
		}
	}
	compiled, err := r.CompileModule(ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	return &bare{machine: r, compiled: compiled, charged: charged}
}

// ready makes an instance that can be called.
func (p *bare) ready(t testing.TB, c *call) (api.Module, context.Context) {
	t.Helper()
	ctx := context.WithValue(context.Background(), callKey{}, c)
	c.instance, c.initialising = p.charged, true
	p.charged.fuel.Set(1 << 60)
	memory, err := newMemory(contract.DefaultMemory, &image{}) // not Go's heap, whose collector would be measured too
	if err != nil {
		t.Fatal(err)
	}
	p.memory = memory
	m, err := p.machine.InstantiateModule(experimental.WithMemoryAllocator(ctx, memory.allocator()), p.compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		t.Fatal(err)
	}
	if f := m.ExportedFunction(exportInitialize); f != nil {
		if _, err := f.Call(ctx); err != nil {
			t.Fatal(err)
		}
	}
	c.initialising = false
	return m, ctx
}

// run calls a function in a new instance, and returns what it gave and how
// long that took, without making the instance.
func (p *bare) run(t testing.TB, c *call, function int) ([]byte, time.Duration) {
	t.Helper()
	m, ctx := p.ready(t, c)
	defer p.memory.release()
	defer m.Close(ctx)
	took := p.call(t, m, c, function)
	return c.output, took
}

// call calls a function in an instance that is there.
func (p *bare) call(t testing.TB, m api.Module, c *call, function int) time.Duration {
	t.Helper()
	c.instance = p.charged
	p.charged.fuel.Set(1 << 60)
	ctx := context.WithValue(context.Background(), callKey{}, c)
	invoke := m.ExportedFunction(exportInvoke)
	begin := time.Now()
	if _, err := invoke.Call(ctx, api.EncodeI32(int32(function))); err != nil {
		t.Fatal(err)
	}
	return time.Since(begin)
}

// rewritten calls a function in a new instance of the engine's, and returns
// what it gave and how long that took, likewise.
func rewritten(t testing.TB, e *Engine, m *loadedModule, c *call, function int) ([]byte, time.Duration) {
	t.Helper()
	i, err := m.start.instantiate(t.Context(), e.machine, m.compiled, m.mutable, contract.DefaultMemory)
	if err != nil {
		t.Fatal(err)
	}
	defer i.close(t.Context())
	begin := time.Now()
	if stopped, err := i.call(t.Context(), c, contract.MaxFuel, exportInvoke, api.EncodeI32(int32(function))); err != nil || stopped {
		t.Fatal(err)
	}
	return c.output, time.Since(begin)
}

// BenchmarkMetered measures what metering, counting depth and canonical NaNs
// cost: the geometric mean of four workloads in two languages, beside the same
// modules as they are.
func BenchmarkMetered(b *testing.B) {
	logs, total := 0.0, 0.0
	for _, guest := range []string{"bench-go", "bench-c"} {
		e := engine(b, Config{})
		wasm := guestModule(b, guest)
		loaded, err := e.Load(b.Context(), wasm)
		if err != nil {
			b.Fatal(err)
		}
		m := e.find(loaded.ModuleHash)
		charged, err := m.start.instantiate(b.Context(), e.machine, m.compiled, m.mutable, contract.DefaultMemory)
		if err != nil {
			b.Fatal(err)
		}
		plain := newBare(b, wasm, charged)
		for _, w := range workloads(b) {
			b.Run(guest+"/"+w.name, func(b *testing.B) {
				fastest, limit := compare(b, e, m, plain, w)
				report(b, "ns/op", float64(fastest), float64(limit), 1/1.2)
				logs += math.Log(float64(fastest) / float64(limit))
				total++
			})
		}
	}
	b.Run("mean", func(b *testing.B) {
		for b.Loop() { // the work was done above
		}
		report(b, "x/op", math.Exp(logs/total), 1, 1/1.2)
	})
}

// compare runs a workload both ways by turns and returns the fastest of each.
func compare(b *testing.B, e *Engine, m *loadedModule, plain *bare, w workload) (fastest, limit time.Duration) {
	b.Helper()
	newRun := func() *call {
		c := newCall(m.start, contract.DefaultOutput, DefaultLogLimit)
		c.values = [3]map[string][]byte{contract.KindProposed: w.inputs, contract.KindContext: {}}
		c.now = at.UnixNano()
		return c
	}
	fastest, limit = math.MaxInt64, math.MaxInt64
	for range 25 {
		out, took := rewritten(b, e, m, newRun(), w.function)
		fastest = min(fastest, took)
		c := newRun()
		c.random = newRandomStream(m.hash)
		want, took := plain.run(b, c, w.function)
		limit = min(limit, took)
		if !bytes.Equal(out, want) {
			b.Fatalf("rewritten %s; bare %s", out, want)
		}
	}
	for b.Loop() { // so that the report has a line
	}
	return fastest, limit
}
