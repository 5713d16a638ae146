package exec

import (
	"path/filepath"
	"testing"
)

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

// BenchmarkPrepare checks and rewrites the loan contract.
func BenchmarkPrepare(b *testing.B) {
	wasm := example(b, "loan")
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		if _, err := admit(wasm); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExecute runs the loan contract: two functions, a PDF of 300 KB.
func BenchmarkExecute(b *testing.B) {
	e := engine(b, Config{})
	c, r := load(b, e, "loan"), loanRun(b)
	for b.Loop() {
		execute(b, e, c, r)
	}
}

// BenchmarkExecuteFunction runs one function on a JSON record of 200 bytes.
func BenchmarkExecuteFunction(b *testing.B) {
	e := engine(b, Config{})
	c := load(b, e, "appraisal")
	r := Run{Proposed: map[string][]byte{"valuation": sample(b, "appraisal/testdata/valuation.json")}, Time: at}
	for b.Loop() {
		execute(b, e, c, r)
	}
}
