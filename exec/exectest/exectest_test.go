package exectest

import (
	"bytes"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

func validator(t testing.TB) func(code []byte) error {
	t.Helper()
	ctx := t.Context()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	t.Cleanup(func() { _ = r.Close(ctx) })
	return func(code []byte) error {
		compiled, err := r.CompileModule(ctx, code)
		if err != nil {
			return err
		}
		return compiled.Close(ctx)
	}
}

func all() Features { return Features{Imports: Imports(), PassiveData: true} }

// Both forms of every module validate, whatever the seed, and a seed makes one
// module.
func TestGeneratedModulesValidate(t *testing.T) {
	t.Parallel()
	validate := validator(t)
	seen := map[int]int{} // modules by whether there are floats
	for number := range uint64(400) {
		seed := Seed(number)
		seed = seed[:len(seed)>>(number%8)] // some end early
		m := Generate(seed, all())
		for form, code := range map[string][]byte{"plain": m.Code, "canonical": m.Canonical} {
			if err := validate(code); err != nil {
				t.Fatalf("seed %d, %s: %v", number, form, err)
			}
		}
		if again := Generate(seed, all()); !bytes.Equal(again.Code, m.Code) {
			t.Fatalf("seed %d made two modules", number)
		}
		if m.Floats {
			seen[1]++
		} else {
			seen[0]++
		}
	}
	if seen[0] < 50 || seen[1] < 50 {
		t.Fatalf("%d modules without floats and %d with", seen[0], seen[1])
	}
}

func FuzzGenerate(f *testing.F) {
	f.Add([]byte(nil))
	for number := range uint64(8) {
		f.Add(Seed(number)[:64<<(number/2)])
	}
	validate := validator(f)
	f.Fuzz(func(t *testing.T, seed []byte) {
		m := Generate(seed, all())
		for _, code := range [][]byte{m.Code, m.Canonical} {
			if err := validate(code); err != nil {
				t.Fatal(err)
			}
		}
	})
}
