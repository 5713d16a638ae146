//go:build !race

// The race detector says nothing about other processes, and makes these slow.

package exec_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/exec"
)

var (
	processes = flag.Int("processes", 4, "that TestProcesses starts; ./scripts/suite.sh processes takes 200")
	modules   = flag.String("modules", "", "directory of the examples' modules: TestProcesses runs them in this process only")
	reportTo  = flag.String("report", "", "file that it then writes")
)

// TestProcesses runs every example contract in many processes, each with
// surroundings of its own, and wants the same from all: records, outcomes,
// fuel, messages and logs, to the byte.
func TestProcesses(t *testing.T) {
	t.Parallel()
	if *modules != "" {
		report(t)
		return
	}
	dir := t.TempDir()
	buildExamples(t, dir)
	shared := filepath.Join(dir, "cache")
	reports := make([][]byte, *processes)
	var group errgroup.Group
	group.SetLimit(8)
	run := func(n int) error {
		cache := shared
		if n%32 == 31 { // compiles for itself
			cache = ""
		}
		file := filepath.Join(dir, fmt.Sprint("report", n))
		cmd := osexec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProcesses$", "-modules="+dir, "-report="+file)
		cmd.Env = append(os.Environ(), "AFFILIATE_TEST_CACHE="+cache, fmt.Sprint("GOMAXPROCS=", 1+n%3), fmt.Sprint("GOGC=", 10+n*7%200),
			"TZ="+[]string{"UTC", "Asia/Tokyo", "America/St_Johns"}[n%3], fmt.Sprint("AFFILIATE_TEST_NUMBER=", n))
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("process %d: %w\n%s", n, err, text)
		}
		var err error
		reports[n], err = os.ReadFile(file)
		return err
	}
	if err := run(0); err != nil { // fills the shared cache
		t.Fatal(err)
	}
	for n := 1; n < *processes; n++ {
		group.Go(func() error { return run(n) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for n, r := range reports {
		if !bytes.Equal(r, reports[0]) {
			t.Fatalf("process 0 reports\n%s\nprocess %d\n%s", reports[0], n, r)
		}
	}
	t.Logf("%d processes: %x", len(reports), sha256.Sum256(reports[0]))
}

func buildExamples(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"loan", "payment", "appraisal"} {
		cmd := osexec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
			"-o", filepath.Join(dir, name+".wasm"), "../examples/"+name)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", name, err, text)
		}
	}
}

// report writes what the example contracts in -modules, and the small ones of
// testdata/guests, do with fixed input.
func report(t *testing.T) {
	t.Helper()
	cfg := exec.Config{CacheDir: os.Getenv("AFFILIATE_TEST_CACHE"), Timeout: time.Minute}
	e, err := exec.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	var text strings.Builder
	do := func(path string, r exec.Run) []exec.Output {
		module, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := e.Load(t.Context(), module)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		r.Time = time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)
		outputs, err := e.Execute(t.Context(), c, r)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		note(&text, c, outputs)
		return outputs
	}
	examples(t, do)
	for _, name := range []string{"quote-c", "quote-as", "quote-wat"} {
		for _, q := range quotes() {
			do(filepath.Join("testdata", "guests", name, "quote.wasm"), q.run)
		}
	}
	if err := os.WriteFile(*reportTo, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// examples runs each example contract on what its own tests use: a loan, a
// payment on it, an appraisal, and again what fails and what is skipped.
func examples(t *testing.T, do func(string, exec.Run) []exec.Output) {
	t.Helper()
	sample := func(path string) []byte {
		b, err := os.ReadFile(filepath.Join("../examples", path))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	path := func(name string) string { return filepath.Join(*modules, name+".wasm") }
	application := sample("loan/testdata/application.json")
	loan := exec.Run{
		Proposed: map[string][]byte{"application": application, "document": bytes.Repeat([]byte("%PDF-1.7\n"), 10_000)},
		Context:  map[string][]byte{"scope_id": []byte("s"), "invoker": []byte("tp1x"), "parties": []byte(`[{"address":"tp1x","role":"ORIGINATOR"}]`)},
	}
	terms := do(path("loan"), loan)[0].Content
	loan.Proposed["application"] = bytes.Replace(application, []byte("25000000"), []byte("-1"), 1)
	do(path("loan"), loan)
	do(path("payment"), exec.Run{
		Proposed: map[string][]byte{"payment": sample("payment/testdata/payment.json")}, Existing: map[string][]byte{"terms": terms},
	})
	appraisal := exec.Run{
		Proposed: map[string][]byte{"valuation": sample("appraisal/testdata/valuation.json")}, Context: map[string][]byte{"invoker": []byte("tp1me")},
	}
	appraisal.Existing = map[string][]byte{"appraisal": do(path("appraisal"), appraisal)[0].Content}
	do(path("appraisal"), appraisal)
}

func note(w io.Writer, c *exec.Contract, outputs []exec.Output) {
	fmt.Fprintf(w, "contract %s: %s\n", c.Manifest.Name, c.Hash)
	for _, o := range outputs {
		fmt.Fprintf(w, "%s: %s %s %q, %d units, %d bytes %x, log %q\n",
			o.Function.Name, o.Outcome, o.Code, o.Message, o.Fuel, len(o.Content), sha256.Sum256(o.Content), o.Log)
	}
}
