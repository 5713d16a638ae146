//go:build !race

// The race detector multiplies memory, so these limits say nothing about it.

package exec

import (
	"bytes"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// rssModule names the module that a child process loads and runs.
const rssModule = "AFFILIATE_TEST_RSS_MODULE"

// TestResidentMemory holds a process that compiles a contract of stock Go, and
// runs it, to what a daemon of 200 MB can spare.
func TestResidentMemory(t *testing.T) {
	if path := os.Getenv(rssModule); path != "" {
		rssChild(t, path)
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "loan.wasm")
	if err := os.WriteFile(path, example(t, "loan"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what        string
		peak, after int // MB
	}{{"compiled now", 130, 70}, {"from the cache", 75, 70}} {
		cmd := osexec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestResidentMemory$", "-test.v")
		cmd.Env = append(os.Environ(), rssModule+"="+path)
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		peak, after := kilobytes(t, text, "VmHWM"), kilobytes(t, text, "VmRSS")
		t.Logf("%s: peak %d MB, after the runs %d MB", c.what, peak>>10, after>>10)
		if peak>>10 > c.peak || after>>10 > c.after {
			t.Errorf("%s: want at most %d and %d MB", c.what, c.peak, c.after)
		}
	}
}

func rssChild(t *testing.T, path string) {
	wasm, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e := engine(t, Config{CacheDir: filepath.Join(filepath.Dir(path), "cache")})
	c, err := e.Load(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		execute(t, e, c, loanRun(t))
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s\n", bytes.ReplaceAll(status, []byte("\t"), nil))
}

func kilobytes(t *testing.T, status []byte, field string) int {
	t.Helper()
	m := regexp.MustCompile(field + `: *(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no %s in\n%s", field, status)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
