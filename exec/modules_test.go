package exec

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// at is the time of the tests' proposals.
var at = time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)

// build compiles a contract with stock Go, as docs/contracts.md shows, once
// per test binary.
var build = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "contracts")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	modules := make(map[string][]byte)
	for name, path := range map[string]string{
		"loan": "../examples/loan", "payment": "../examples/payment", "appraisal": "../examples/appraisal", "probe": "./testdata/probe",
	} {
		out := filepath.Join(dir, name+".wasm")
		cmd := osexec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out, path)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, &buildError{name, string(text), err}
		}
		if modules[name], err = os.ReadFile(out); err != nil {
			return nil, err
		}
	}
	return modules, nil
})

type buildError struct {
	name, text string
	err        error
}

func (e *buildError) Error() string {
	return "building " + e.name + ": " + e.err.Error() + "\n" + e.text
}

func example(t testing.TB, name string) []byte {
	t.Helper()
	modules, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return modules[name]
}

// engine makes an engine that compiles; its cache is the shared one unless cfg
// has another.
func engine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	return engineOn(t, cfg, false)
}

// interpreter makes an engine that interprets.
func interpreter(t testing.TB, cfg Config) *Engine {
	t.Helper()
	return engineOn(t, cfg, true)
}

func engineOn(t testing.TB, cfg Config, interpreted bool) *Engine {
	t.Helper()
	if cfg.CacheDir == "" {
		dir, err := cacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cfg.CacheDir = dir
	}
	e, err := newEngine(cfg, slog.New(slog.DiscardHandler), interpreted)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// cacheDir is shared by the tests that don't test the cache: compiling a
// module of stock Go takes more than a second.
var cacheDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "exec-cache") })

// compilerArg makes the test program the compiler of Config.Compiler.
const compilerArg = "test-compiler"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == compilerArg {
		os.Exit(RunCompiler(context.Background(), os.Args[2], os.Stdin, os.Stderr))
	}
	code := m.Run()
	if dir, err := cacheDir(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func load(t testing.TB, e *Engine, name string) *Contract {
	t.Helper()
	c, err := e.Load(t.Context(), example(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sample(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../examples", path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pdf is a document of the given size that starts as a PDF does.
func pdf(size int) []byte {
	return append([]byte("%PDF-1.7\n"), bytes.Repeat([]byte{0xfe, 0x00, '\n'}, size/3)...)
}

func loanRun(t testing.TB) Run {
	return Run{
		Proposed: map[string][]byte{"application": sample(t, "loan/testdata/application.json"), "document": pdf(300_000)},
		Context:  map[string][]byte{"scope_id": []byte("s"), "invoker": []byte("tp1x"), "parties": []byte(`[{"address":"tp1x","role":"ORIGINATOR"}]`)},
		Time:     at,
	}
}

func execute(t testing.TB, e *Engine, c *Contract, r Run) []Output {
	t.Helper()
	out, err := e.Execute(t.Context(), c, r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantCode(t testing.TB, err error, code agreement.Code, words ...string) {
	t.Helper()
	if agreement.CodeOf(err) != code {
		t.Fatalf("%v; want %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v; want it to say %q", err, w)
		}
	}
}
