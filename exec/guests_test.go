package exec_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/exec"
)

// guest loads a contract of testdata/guests: one whose module is checked in
// (build.sh there makes it), or one in Go, which is built here.
func guest(t *testing.T, e *exec.Engine, name string) *exec.Contract {
	t.Helper()
	dir := filepath.Join("testdata", "guests", name)
	modules, err := filepath.Glob(filepath.Join(dir, "*.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if len(modules) == 0 {
		modules = []string{filepath.Join(t.TempDir(), "guest.wasm")}
		cmd := osexec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", modules[0], "./"+dir)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", name, err, text)
		}
	}
	wasm, err := os.ReadFile(modules[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Load(t.Context(), wasm)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

// guestEngine has no cache on disk, and no limit but the defaults.
func guestEngine(t *testing.T) *exec.Engine {
	t.Helper()
	e, err := exec.New(exec.Config{}, slog.New(slog.DiscardHandler))
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

// results are what a run gave, without what differs between languages: the
// time taken, and whatever it counted.
func results(t *testing.T, e *exec.Engine, c *exec.Contract, r exec.Run) []string {
	t.Helper()
	r.Time = time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)
	outputs, err := e.Execute(t.Context(), c, r)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, out := range outputs {
		text := string(out.Content)
		if out.Outcome == agreement.Fail {
			text = out.Code + " " + out.Message
		}
		list = append(list, fmt.Sprintf("%s %s %q", out.Outcome, text, out.Log))
	}
	return list
}

// One contract, written in each language: manifest, records, failures and log
// don't tell which.
func TestLanguagesAgree(t *testing.T) {
	e := guestEngine(t)
	var manifest []byte
	for _, name := range []string{"quote-go", "quote-c", "quote-as", "quote-wat"} {
		c := guest(t, e, name)
		if manifest == nil {
			manifest = c.ManifestJSON
		}
		if !bytes.Equal(c.ManifestJSON, manifest) {
			t.Errorf("%s says %s\nothers say %s", name, c.ManifestJSON, manifest)
		}
		for _, q := range quotes() {
			if got := results(t, e, c, q.run); len(got) != 1 || got[0] != q.want {
				t.Errorf("%s gave %s\nwant %s", name, got, q.want)
			}
		}
	}
}

type quoteCase struct {
	run  exec.Run
	want string
}

func quotes() []quoteCase {
	const (
		record  = `PASS {"price":%s,"quantity":%s,"time":"2026-02-03T04:05:06.000007Z","total":%s} ["quantity %s"]`
		invalid = "FAIL QUOTE_NUMBER_INVALID want a whole number from 1 to 9999999 [%q]"
	)
	var list []quoteCase
	for _, c := range [][3]string{
		{"12", "", fmt.Sprintf(record, "100", "12", "1200", "12")},
		{"12", "7", fmt.Sprintf(record, "7", "12", "84", "12")},
		{"9999999", "9999999", fmt.Sprintf(record, "9999999", "9999999", "99999980000001", "9999999")},
		{"0", "", fmt.Sprintf(invalid, "quantity 0")},
		{"-1", "", fmt.Sprintf(invalid, "quantity -1")},
		{"10000000", "", fmt.Sprintf(invalid, "quantity 10000000")},
		{"9007199254740991", "", fmt.Sprintf(invalid, "quantity 90071992")},
		{`"12"`, "", fmt.Sprintf(invalid, `quantity "12"`)},
		{`{"quantity" : 12}`, "", fmt.Sprintf(invalid, `quantity {"quanti`)},
		{"12", "[]", fmt.Sprintf(invalid, "quantity 12")},
	} {
		r := exec.Run{Proposed: map[string][]byte{"quantity": []byte(c[0])}}
		if c[1] != "" {
			r.Existing = map[string][]byte{"price": []byte(c[1])}
		}
		list = append(list, quoteCase{r, c[2]})
	}
	return list
}

// The benchmark's guests do the same work, so that its figures compare
// engines and not programs.
func TestBenchGuestsAgree(t *testing.T) {
	record, err := os.ReadFile("testdata/guests/bench-record.json")
	if err != nil {
		t.Fatal(err)
	}
	e := guestEngine(t)
	inC, inGo := guest(t, e, "bench-c"), guest(t, e, "bench-go")
	if !bytes.Equal(inC.ManifestJSON, inGo.ManifestJSON) {
		t.Errorf("the manifests differ:\n%s\n%s", inC.ManifestJSON, inGo.ManifestJSON)
	}
	for what, proposed := range map[string]map[string][]byte{
		"everything": {
			"record": record, "data": bytes.Repeat([]byte("affiliate"), 5000), "rounds": []byte("2"),
			"count": []byte("1000"), "length": []byte("1000"),
		},
		"short data":     {"data": []byte("abc")},
		"no payments":    {"record": []byte(`{"borrower":{"country":"Ö","name":"\"\\ \n"},"currency":"","loan_id":"","payments":[],"principal":-1}`)},
		"nothing":        nil,
		"another record": {"record": []byte(`[1]`)},
		"no count":       {"count": []byte(`0`)},
	} {
		a, b := results(t, e, inC, exec.Run{Proposed: proposed}), results(t, e, inGo, exec.Run{Proposed: proposed})
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%s:\nC  %s\nGo %s", what, a, b)
		}
		if what == "everything" && (len(a) != 4 || strings.Contains(fmt.Sprint(a), "FAIL")) {
			t.Errorf("%s: %s", what, a)
		}
	}
}
