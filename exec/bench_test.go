package exec

import (
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/affiliate-node/affiliate/contract"
)

// report gives a figure beside its limit, and the goal: the part of the limit
// that is enough.
func report(b *testing.B, unit string, value, limit, goal float64) {
	b.Helper()
	b.ReportMetric(value, unit)
	b.ReportMetric(limit, "limit-"+unit)
	b.ReportMetric(goal, "goal-"+unit)
}

// BenchmarkLoadCold compiles the loan contract each time.
func BenchmarkLoadCold(b *testing.B) {
	wasm := example(b, "loan")
	dir := b.TempDir()
	b.SetBytes(int64(len(wasm)))
	for i := 0; b.Loop(); i++ {
		e := engine(b, Config{CacheDir: filepath.Join(dir, string(rune('a'+i%26)), string(rune('a'+i/26)))})
		if _, err := e.Load(b.Context(), wasm); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoadCached loads the loan contract as a restarted node does.
func BenchmarkLoadCached(b *testing.B) {
	wasm := example(b, "loan")
	dir := b.TempDir()
	load(b, engine(b, Config{CacheDir: dir}), "loan")
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		e := engine(b, Config{CacheDir: dir})
		if _, err := e.Load(b.Context(), wasm); err != nil {
			b.Fatal(err)
		}
		if err := e.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// loadedExample loads an example contract and keeps it from being dropped.
func loadedExample(b *testing.B, e *Engine, name string) (*Contract, *loadedModule) {
	b.Helper()
	c := load(b, e, name)
	m := e.find(c.ModuleHash)
	b.Cleanup(func() { e.release(m) })
	return c, m
}

// BenchmarkStart measures how long it takes until a stock-Go contract can be
// called, beside making an instance of the module as it is.
func BenchmarkStart(b *testing.B) {
	e := engine(b, Config{})
	_, m := loadedExample(b, e, "loan")
	spare, err := m.start.instantiate(b.Context(), e.machine, m.compiled, m.mutable, contract.DefaultMemory)
	if err != nil {
		b.Fatal(err)
	}
	plain := newBare(b, example(b, "loan"), spare)
	for _, how := range []struct {
		name  string
		start func() *instance
	}{
		{"new", func() *instance {
			i, err := m.start.instantiate(b.Context(), e.machine, m.compiled, m.mutable, contract.DefaultMemory)
			if err != nil {
				b.Fatal(err)
			}
			return i
		}},
		{"again", func() *instance {
			if !spare.reset(m.start) {
				b.Fatal("an instance can't be used again")
			}
			return spare
		}},
	} {
		b.Run(how.name, func(b *testing.B) {
			var took, cold time.Duration
			n := 0
			for b.Loop() {
				begin := time.Now()
				i := how.start()
				took += time.Since(begin)
				use(b, i, m)
				if i != spare {
					i.close(b.Context())
				}
				if n++; n%10 == 1 {
					cold += plain.cold(b, m)
				}
			}
			report(b, "ns/op", float64(took)/float64(n), float64(cold)/float64((n+9)/10), 4)
		})
	}
}

// use has an instance do some work, so that the next start finds it used.
func use(b *testing.B, i *instance, m *loadedModule) {
	b.Helper()
	c := newCall(m.start, contract.MaxManifest, DefaultLogLimit)
	if stopped, err := i.call(b.Context(), c, contract.DefaultFuel, exportDescribe); err != nil || stopped {
		b.Fatal(err)
	}
}

// cold is how long the module takes to be ready without a snapshot.
func (p *bare) cold(b *testing.B, m *loadedModule) time.Duration {
	b.Helper()
	c := newCall(m.start, contract.MaxManifest, DefaultLogLimit)
	begin := time.Now()
	i, ctx := p.ready(b, c)
	took := time.Since(begin)
	_ = i.Close(ctx)
	p.memory.release()
	return took
}

// BenchmarkExecute runs the loan contract: two functions, a PDF of 300 KB.
func BenchmarkExecute(b *testing.B) {
	e := engine(b, Config{})
	c, r := load(b, e, "loan"), loanRun(b)
	for b.Loop() {
		execute(b, e, c, r)
	}
}

// BenchmarkJSON runs one function on a JSON record of 1 KiB, all that the host
// does included, beside the same calls on the module as it is, in one instance
// that gives up that runs can't see one another.
func BenchmarkJSON(b *testing.B) {
	for _, guest := range []string{"bench-go", "bench-c"} {
		e := engine(b, Config{})
		wasm := guestModule(b, guest)
		c, err := e.Load(b.Context(), wasm)
		if err != nil {
			b.Fatal(err)
		}
		one := *c
		one.Manifest.Functions = c.Manifest.Functions[:1]
		m := e.find(c.ModuleHash)
		charged, err := m.start.instantiate(b.Context(), e.machine, m.compiled, m.mutable, contract.DefaultMemory)
		if err != nil {
			b.Fatal(err)
		}
		plain := newBare(b, wasm, charged)
		inputs := map[string][]byte{"record": workloads(b)[0].inputs["record"]}
		newRun := func() *call {
			call := newCall(m.start, contract.DefaultOutput, DefaultLogLimit)
			call.values = [3]map[string][]byte{contract.KindProposed: inputs, contract.KindContext: {}}
			return call
		}
		shared, ctx := plain.ready(b, newRun())
		defer shared.Close(ctx)
		b.Run(guest, func(b *testing.B) {
			var ours, theirs []time.Duration
			for b.Loop() {
				begin := time.Now()
				execute(b, e, &one, Run{Proposed: inputs, Time: at})
				ours, theirs = append(ours, time.Since(begin)), append(theirs, plain.call(b, shared, newRun(), 0))
			}
			report(b, "ns/op", float64(median(ours)), float64(median(theirs)), 1/1.3)
		})
		e.release(m)
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkParallel has 100 runs in flight on all processors, beside what one
// worker gets done.
func BenchmarkParallel(b *testing.B) {
	rate := func(workers int) float64 {
		e := engine(b, Config{Workers: workers})
		c := load(b, e, "appraisal")
		r := Run{Proposed: map[string][]byte{"valuation": sample(b, "appraisal/testdata/valuation.json")}, Time: at}
		const runs, each = 100, 20
		begin := time.Now()
		var wg sync.WaitGroup
		for range runs {
			wg.Go(func() {
				for range each {
					execute(b, e, c, r)
				}
			})
		}
		wg.Wait()
		return runs * each / time.Since(begin).Seconds()
	}
	var one, all float64
	for b.Loop() {
		one, all = max(one, rate(1)), max(all, rate(runtime.GOMAXPROCS(0)))
	}
	report(b, "runs/s", all, one*float64(runtime.GOMAXPROCS(0)), 0.9)
}

// BenchmarkPrepare checks and rewrites the loan contract, beside compiling it.
func BenchmarkPrepare(b *testing.B) {
	wasm := example(b, "loan")
	var compiling time.Duration
	r := wazero.NewRuntimeWithConfig(b.Context(), wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features))
	defer r.Close(b.Context())
	begin := time.Now()
	if _, err := r.CompileModule(b.Context(), wasm); err != nil {
		b.Fatal(err)
	}
	compiling = time.Since(begin)
	for b.Loop() {
		if _, err := admit(wasm); err != nil {
			b.Fatal(err)
		}
	}
	report(b, "s/op", b.Elapsed().Seconds()/float64(b.N), compiling.Seconds(), 10)
}
