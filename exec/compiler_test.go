package exec

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestCompilerProcess compiles in another process, and then runs what that
// left in the cache without compiling again.
func TestCompilerProcess(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{CacheDir: dir, Compiler: []string{os.Args[0], compilerArg}}
	wasm := handmade{}.module()
	c, err := engine(t, cfg).Load(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	native, err := filepath.Glob(filepath.Join(dir, "*", "native", "*", "*"))
	if err != nil || len(native) < 2 { // native code and the mark that it is there
		t.Fatalf("the cache holds %v, %v", native, err)
	}
	cfg.Compiler = []string{"/nonexistent"} // isn't needed any more
	again, err := engine(t, cfg).Load(t.Context(), wasm)
	if err != nil || again.Hash != c.Hash {
		t.Fatalf("from the cache: %v", err)
	}
}

// TestCompilerProcessFails maps what can become of the other process to errors
// of ours.
func TestCompilerProcessFails(t *testing.T) {
	for name, c := range map[string]struct {
		compiler []string
		want     agreement.Code
	}{
		"not there": {[]string{"/nonexistent"}, agreement.CodeExecution},
		"dies":      {[]string{"/bin/sh", "-c", "kill -9 $$"}, agreement.CodeBadModule},
		"refuses":   {[]string{"/bin/sh", "-c", "echo BAD_MODULE: so there >&2; exit 3"}, agreement.CodeBadModule},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine(t, Config{CacheDir: t.TempDir(), Compiler: c.compiler})
			_, err := e.Load(t.Context(), handmade{}.module())
			if agreement.CodeOf(err) != c.want {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if name == "refuses" && !strings.Contains(err.Error(), "so there") {
				t.Fatalf("the reason is lost: %v", err)
			}
		})
	}
	t.Run("takes too long", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		e := engine(t, Config{CacheDir: t.TempDir(), Compiler: []string{"/bin/sh", "-c", "exec sleep 100"}})
		if err := e.runCompiler(ctx, nil); agreement.CodeOf(err) != agreement.CodeExecutionTimeout {
			t.Fatalf("got %v", err)
		}
	})
}

func TestRunCompilerRefuses(t *testing.T) {
	var notes bytes.Buffer
	if status := RunCompiler(t.Context(), t.TempDir(), strings.NewReader("no module"), &notes); status != exitRefused {
		t.Fatalf("status %d: %s", status, notes.String())
	}
}
