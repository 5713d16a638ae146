package module_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/affiliate-node/affiliate/exec/exectest"
)

// What a function used is what it needs: with exactly that much fuel it does
// the same, with one unit less it runs out. A floor other than zero shifts the
// fuel and changes nothing else, and the same run twice is the same run.
func TestFuelIsExact(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "compiler", wazero.NewRuntimeConfigCompiler())
	tried := 0
	for seed := uint64(1 << 32); tried < 300; seed++ {
		r := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // no secret
		s, err := compile(t.Context(), []engine{e}, exectest.Generate(exectest.Seed(seed), features()))
		if err != nil {
			t.Fatal(err)
		}
		for range 12 {
			f, args, l := ask(r, s.module)
			run := func(fuel, floor int64) outcome {
				m, err := e.instantiate(t.Context(), s.ways[0].code, s.module, s.prepared)
				if err != nil {
					t.Fatal(err)
				}
				defer m.instance.Close(t.Context())
				o, err := m.run(t.Context(), f, args, limits{fuel: fuel, floor: floor, depth: l.depth})
				if err != nil {
					t.Fatal(err)
				}
				o.Fuel -= floor
				return o
			}
			free := run(l.fuel, 0)
			if again := run(l.fuel, 0); !reflect.DeepEqual(free, again) {
				t.Fatalf("seed %d, %s%x: %+v; again: %+v", seed, f.Name, args, free, again)
			}
			used := l.fuel - free.Fuel
			if free.End != "returned" || used == 0 {
				continue
			}
			tried++
			exact := run(used, 0)
			if want := at(free, 0, exact.Fuels); !reflect.DeepEqual(exact, want) {
				t.Fatalf("seed %d, %s%x with the %d units it needs: %+v; want %+v", seed, f.Name, args, used, exact, want)
			}
			for _, floor := range []int64{1, -1 << 40, 1 << 62} {
				if got := run(floor+used, floor); !reflect.DeepEqual(got, exact) {
					t.Fatalf("seed %d, %s%x above a floor of %d: %+v; want %+v", seed, f.Name, args, floor, got, exact)
				}
				if got := run(floor+used-1, floor); got.End != endFuel {
					t.Fatalf("seed %d, %s%x with %d units of %d above a floor of %d: %+v", seed, f.Name, args, used-1, used, floor, got)
				}
			}
		}
		s.close(t.Context())
	}
}

// at is an outcome with another fuel left.
func at(o outcome, fuel int64, fuels uint64) outcome {
	o.Fuel, o.Fuels = fuel, fuels
	return o
}
