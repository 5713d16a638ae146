//go:build !race

package exec

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

var flatRuns = flag.Int("runs", 10_000, "of TestMemoryIsFlat; 100,000 take some ten seconds")

// These name the module of stock Go that a child process runs, and its cache.
const (
	flatModule = "AFFILIATE_TEST_FLAT_MODULE"
	flatCache  = "AFFILIATE_TEST_FLAT_CACHE"
)

// What a process has: resident memory in kB, open files, mappings.
type has struct{ resident, files, mappings int }

func (h has) String() string {
	return fmt.Sprintf("%.1f MB resident, %d files, %d mappings", float64(h.resident)/1024, h.files, h.mappings)
}

func holding(t *testing.T) has {
	t.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return has{kilobytes(t, bytes.ReplaceAll(status, []byte("\t"), nil), "VmRSS"), len(files), bytes.Count(maps, []byte("\n"))}
}

// However often contracts run, the process stays as it is: small ones that use
// an instance again, ones that need a new one each time, ones that trap, ones
// that are dropped and loaded again. It also prints what a contract of stock
// Go takes.
func TestMemoryIsFlat(t *testing.T) {
	if path := os.Getenv(flatModule); path != "" {
		flatChild(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "loan.wasm")
	if err := os.WriteFile(path, example(t, "loan"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := osexec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryIsFlat$", "-test.v", fmt.Sprintf("-runs=%d", *flatRuns))
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), flatModule+"="+path, flatCache+"="+cache)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for line := range strings.Lines(string(text)) {
		if _, what, ok := strings.Cut(line, "flat: "); ok {
			t.Log(strings.TrimSpace(what))
		}
	}
}

func flatChild(t *testing.T, path string) {
	e := engine(t, Config{CacheDir: os.Getenv(flatCache)})
	goMemory(t, e, path)
	quote, err := os.ReadFile("testdata/guests/quote-c/quote.wasm")
	if err != nil {
		t.Fatal(err)
	}
	quoting := Run{Proposed: map[string][]byte{"quantity": []byte("12")}, Time: at}
	grows := invoke("", "i32.const 1 memory.grow i32.const 16 i32.shl i32.const 77 i32.store i32.const 0 i32.const 4 call output")
	traps := invoke("", "i32.const 0 i64.const 7 i64.store unreachable")
	for _, c := range []struct {
		name string
		wasm []byte
		run  Run
		part int // of the runs
	}{{"quotes", quote, quoting, 1}, {"runs that grow their memory", grows.module(), Run{Time: at}, 10}, {"runs that trap", traps.module(), Run{Time: at}, 10}} {
		loaded, err := e.Load(t.Context(), c.wasm)
		if err != nil {
			t.Fatal(err)
		}
		flat(t, c.name, *flatRuns/c.part, func() {
			if _, err := e.Execute(t.Context(), loaded, c.run); err != nil {
				t.Fatal(err)
			}
		})
	}
	var hostile []*Contract
	for _, list := range [][]hostileCase{endless(), recursive(), greedy(), flooding()} {
		for _, c := range list {
			c.p.fuel = 50_000
			loaded, err := e.Load(t.Context(), c.p.module())
			if err != nil {
				t.Fatal(err)
			}
			hostile = append(hostile, loaded)
		}
	}
	flat(t, "rounds of all hostile contracts", 10, func() {
		for _, c := range hostile {
			if out := execute(t, e, c, Run{Time: at})[0]; len(out.Code) == 0 && len(out.Content) == 0 {
				t.Fatalf("%+v", out)
			}
		}
	})
	flat(t, "modules loaded again", *flatRuns/100, func() {
		e.makeRoom(t.Context(), e.loaded.limit)
		if _, err := e.Load(t.Context(), quote); err != nil {
			t.Fatal(err)
		}
	})
}

// flat does something many times, and finds the process after it as it was
// after the first tenth.
func flat(t *testing.T, what string, times int, do func()) {
	t.Helper()
	for range times / 10 {
		do()
	}
	before := holding(t)
	for range times {
		do()
	}
	after := holding(t)
	fmt.Printf("flat: %d %s: %s before, %s after\n", times, what, before, after)
	if after.resident > before.resident+6<<10 || after.files > before.files+2 || after.mappings > before.mappings+16 {
		t.Errorf("%d %s: %s before, %s after", times, what, before, after)
	}
}

// goMemory prints what a contract of stock Go takes while it is loaded, and
// while it runs.
func goMemory(t *testing.T, e *Engine, path string) {
	t.Helper()
	wasm, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before := holding(t)
	loaded, err := e.Load(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	if out := execute(t, e, loaded, loanRun(t))[0]; out.Outcome != agreement.Pass {
		t.Fatalf("%+v", out)
	}
	after := holding(t)
	m := e.find(loaded.ModuleHash)
	defer e.release(m)
	i := e.idle(m)
	if i == nil {
		if i, err = m.start.instantiate(t.Context(), e.machine, m.compiled, m.mutable, loaded.Manifest.MemoryLimit()); err != nil {
			t.Fatal(err)
		}
	}
	defer i.close(t.Context())
	if stopped, err := i.call(t.Context(), newCall(m.start, 1<<20, DefaultLogLimit), 1e9, exportDescribe); err != nil || stopped {
		t.Fatal(err)
	}
	pages, err := m.start.image.eachWritten(i.memory.space, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("flat: a contract of stock Go, idle: %.1f MB more resident (%s), %.1f MB of them first memory that its instances share; each instance that runs: %d kB of its own\n",
		float64(after.resident-before.resident)/1024, after, float64(m.start.image.size)/(1<<20), pages*systemPage>>10)
}
