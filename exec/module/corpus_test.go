package module_test

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/exec/exectest"
	"github.com/affiliate-node/affiliate/exec/module"
)

var writeGolden = flag.Bool("golden", false, "write this package's golden files anew")

// Size of the corpus.
const (
	corpusModules = 160
	corpusCalls   = 24
)

// A fixed corpus of modules and calls does the same everywhere: the golden
// file says what, and holds for both engines, on every architecture.
// `./scripts/suite.sh arm64` runs this test on another one.
func TestCorpus(t *testing.T) {
	t.Parallel()
	for _, e := range engines(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			for seed := range uint64(corpusModules) {
				line, err := e.corpus(t.Context(), seed)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				b.WriteString(line)
			}
			t.Logf("corpus %x on %s, %s", sha256.Sum256([]byte(b.String())), runtime.GOARCH, e.name)
			golden(t, "testdata/corpus.golden", b.String())
		})
	}
}

// corpus gives a line about one module: the number, a digest of its code once
// it is rewritten, a digest of what it did, and what is in the latter in
// short. The digest covers how each call ended, results, what the host was
// asked and with how much fuel left, globals, fuel, depth, and finally all of
// the memory.
func (e engine) corpus(ctx context.Context, seed uint64) (string, error) {
	m := exectest.Generate(exectest.Seed(seed), features())
	p, err := module.Prepare(m.Code, rules())
	if err != nil {
		return "", err
	}
	code, err := e.runtime.CompileModule(ctx, p.Code)
	if err != nil {
		return "", err
	}
	defer func() { _ = code.Close(ctx) }()
	machine, err := e.instantiate(ctx, code, m, p)
	if err != nil {
		return "", err
	}
	defer func() { _ = machine.instance.Close(ctx) }()
	r := rand.New(rand.NewPCG(seed, 3)) //nolint:gosec // no secret
	digest, used, returned := sha256.New(), int64(0), 0
	for range corpusCalls {
		f, args, l := ask(r, m)
		o, err := machine.run(ctx, f, args, l)
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintf(digest, "%s%x: %+v\n", f.Name, args, o) // never fails
		used += l.fuel - o.Fuel
		if o.End == "returned" {
			returned++
		}
	}
	_, _ = digest.Write(machine.memory()) // never fails
	return fmt.Sprintf("%3d code %x run %x: %d of %d calls returned, %d units of fuel\n",
		seed, first(sha256.Sum256(p.Code)), digest.Sum(nil)[:8], returned, corpusCalls, used), nil
}

func first(sum [sha256.Size]byte) []byte { return sum[:8] }

// golden compares a text with a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *writeGolden {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s says\n%s\nthis run\n%s\n(-golden writes it anew)", file, want, got)
	}
}
