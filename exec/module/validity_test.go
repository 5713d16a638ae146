package module_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/affiliate-node/affiliate/exec/exectest"
	"github.com/affiliate-node/affiliate/exec/module"
)

// keepsValidity checks that rewriting makes neither an invalid module valid
// nor a valid one invalid. What is refused never gets to the engine.
func keepsValidity(ctx context.Context, e engine, b []byte) (admitted bool, err error) {
	r := rules()
	r.Contract = false
	p, err := module.Prepare(b, r)
	if err != nil {
		return false, nil //nolint:nilerr // refused is fine
	}
	before, after := e.compiles(ctx, b), e.compiles(ctx, p.Code)
	if before != nil && strings.Contains(before.Error(), "custom") {
		return true, nil // the engine reads those sections, and rewriting drops them
	}
	if (before == nil) != (after == nil) {
		return true, fmt.Errorf("the engine says %v; after rewriting %v", before, after) //nolint:errorlint // not a cause
	}
	return true, nil
}

func (e engine) compiles(ctx context.Context, b []byte) error {
	code, err := e.runtime.CompileModule(ctx, b)
	if err != nil {
		return err
	}
	return code.Close(ctx)
}

// Modules with some bytes changed are refused, or as valid as before.
func TestDamagedModulesStayInvalid(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "interpreter", wazero.NewRuntimeConfigInterpreter())
	admitted, total := 0, 0
	for seed := range uint64(60) {
		whole := exectest.Generate(exectest.Seed(seed)[:2<<10], exectest.Features{Imports: exectest.Imports(), PassiveData: true}).Code
		r := rand.New(rand.NewPCG(seed, 4)) //nolint:gosec // no secret
		for range 100 {
			b := damaged(r, whole)
			ok, err := keepsValidity(t.Context(), e, b)
			if err != nil {
				t.Fatalf("seed %d: %v\n%x", seed, err, b)
			}
			total++
			if ok {
				admitted++
			}
		}
	}
	if t.Logf("%d of %d damaged modules are admitted", admitted, total); admitted < total/20 {
		t.Error("too few to say much")
	}
}

// damaged changes a few bytes, takes some away or repeats some.
func damaged(r *rand.Rand, whole []byte) []byte {
	b := append([]byte(nil), whole...)
	for range 1 + r.IntN(3) {
		at := 8 + r.IntN(len(b)-8)
		switch r.IntN(4) {
		case 0:
			b[at]++
		case 1:
			b[at] = byte(r.Uint32()) //nolint:gosec // any
		case 2:
			b[at] ^= 1 << r.IntN(8)
		default: // the same length, shifted
			end := min(at+1+r.IntN(6), len(b)-1)
			copy(b[at:end], b[at+1:end+1])
		}
	}
	return b
}

func FuzzPrepare(f *testing.F) {
	for seed := range uint64(6) {
		f.Add(exectest.Generate(exectest.Seed(seed)[:256], features()).Code)
	}
	e := newEngine(f, "interpreter", wazero.NewRuntimeConfigInterpreter())
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := keepsValidity(t.Context(), e, b); err != nil {
			t.Fatal(err)
		}
	})
}
