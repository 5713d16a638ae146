package module_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/affiliate-node/affiliate/exec/exectest"
	"github.com/affiliate-node/affiliate/exec/module"
)

var (
	executions = flag.Int("executions", 3000, "calls that TestDifferential compares; a million take five to ten minutes")
	firstSeed  = flag.Uint64("seed", 0, "of TestDifferential's first module; the next ones follow")
)

// Shape of the comparison of one module.
const (
	rounds = 6  // with new instances
	calls  = 24 // of a round, one after the other in the same instances
)

// subject is one generated module, compiled in every way: rewritten and as it
// is, by the compiler and by the interpreter.
type subject struct {
	module   exectest.Module
	prepared *module.Prepared
	ways     []way
}

// way is compiled code; the rewritten ones come first.
type way struct {
	engine   engine
	code     wazero.CompiledModule
	prepared *module.Prepared // nil: as it is
}

// compile prepares a module and compiles it in every way. What is compiled as
// it is makes NaNs canonical by itself.
func compile(ctx context.Context, all []engine, m exectest.Module) (*subject, error) {
	p, err := module.Prepare(m.Code, rules())
	if err != nil {
		return nil, fmt.Errorf("preparing: %w", err)
	}
	s := &subject{module: m, prepared: p}
	for _, form := range []*module.Prepared{p, nil} {
		code := m.Canonical
		if form != nil {
			code = p.Code
		}
		for _, e := range all {
			c, err := e.runtime.CompileModule(ctx, code)
			if err != nil {
				return nil, fmt.Errorf("%s: compiling: %w", e.name, err)
			}
			s.ways = append(s.ways, way{engine: e, code: c, prepared: form})
		}
	}
	return s, nil
}

func (s *subject) close(ctx context.Context) {
	for _, w := range s.ways {
		_ = w.code.Close(ctx)
	}
}

// start makes an instance each way.
func (s *subject) start(ctx context.Context) ([]*machine, error) {
	var all []*machine
	for _, w := range s.ways {
		m, err := w.engine.instantiate(ctx, w.code, s.module, w.prepared)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// ask decides on a call: which function, with what, and how much it may use.
func ask(r *rand.Rand, m exectest.Module) (exectest.Function, []uint64, limits) {
	f := m.Functions[r.IntN(len(m.Functions))]
	var seed []byte
	for range 4 * len(f.Params) {
		seed = append(seed, number(r.Uint64())...)
	}
	l := limits{fuel: 20_000, depth: module.MaxDepth}
	if r.IntN(4) == 0 {
		l.fuel = r.Int64N(2_000)
	}
	if r.IntN(4) == 0 {
		l.depth = r.Int32N(12)
	}
	return f, exectest.Arguments(seed, f.Params), l
}

// tally counts how runs ended.
type tally map[string]int

// compare runs a module's functions every way. Rewritten code must end alike
// on both engines, fuel, depth and memory included; where it ends by itself,
// so must the code as it is. Afterwards all instances are in the same state
// and go on together.
func (s *subject) compare(ctx context.Context, r *rand.Rand, count tally) error {
	all, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer func() {
		for _, m := range all {
			_ = m.instance.Close(ctx)
		}
	}()
	for range calls {
		f, args, l := ask(r, s.module)
		what := fmt.Sprintf("%s%x with %+v", f.Name, args, l)
		first, err := all[0].run(ctx, f, args, l)
		if err != nil {
			return err
		}
		count[first.End]++
		if first.End == "returned" && first.Depth != l.depth {
			return fmt.Errorf("%s: it returned with a depth of %d", what, first.Depth)
		}
		for _, other := range all[1:] {
			if other.prepared == nil && (first.End == endFuel || first.End == endDepth) {
				return nil // it might not end at all
			}
			got, err := other.run(ctx, f, args, l)
			if err != nil {
				return err
			}
			want := first
			if other.prepared == nil {
				want = first.plain()
				if err := meters(first.End, l.fuel-first.Fuel, int64(other.global(exectest.Count))); err != nil { //nolint:gosec // bits
					return fmt.Errorf("%s: %w", what, err)
				}
			}
			if !reflect.DeepEqual(got, want) {
				return fmt.Errorf("%s:\n%+v rewritten, compiled;\n%+v %s, rewritten: %t", what, want, got, other.name, other.prepared != nil)
			}
			if at := difference(all[0].memory(), other.memory()); at >= 0 {
				return fmt.Errorf("%s: memory differs at %#x (%s, rewritten: %t)", what, at, other.name, other.prepared != nil)
			}
		}
	}
	return nil
}

// meters checks the fuel used against what the instructions that ran cost by
// the table. Fuel is charged ahead; and after a trap what was used within the
// functions that didn't return isn't known.
func meters(end string, used, counted int64) error {
	var good bool
	switch end {
	case "returned":
		good = used == counted
	case errFail.Error(), errExit.Error(), errArea.Error():
		good = used >= counted
	default:
		good = true
	}
	if !good {
		return fmt.Errorf("it used %d units of fuel (%s); the instructions that ran cost %d", used, end, counted)
	}
	return nil
}

// difference is where two memories first differ, or −1.
func difference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// check compares a module made of a seed.
func check(ctx context.Context, all []engine, seed []byte, r *rand.Rand, n int, count tally) error {
	m := exectest.Generate(seed, features())
	s, err := compile(ctx, all, m)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	for range n {
		if err := s.compare(ctx, r, count); err != nil {
			return err
		}
	}
	return nil
}

// Generated modules do the same on every engine, rewritten or not.
func TestDifferential(t *testing.T) {
	t.Parallel()
	both := engines(t)
	count, total := tally{}, 0
	seed := *firstSeed
	for ; total < *executions; seed++ {
		if err := check(t.Context(), both[:], exectest.Seed(seed), rand.New(rand.NewPCG(seed, 0)), rounds, count); err != nil { //nolint:gosec // no secret
			t.Fatalf("seed %d: %v", seed, err)
		}
		total = 0
		for _, n := range count {
			total += n
		}
	}
	t.Logf("%d executions of %d modules: %v", total, seed-*firstSeed, count)
}

func FuzzDifferential(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(exectest.Seed(seed)[:1<<10], seed)
	}
	both := engines(f)
	f.Fuzz(func(t *testing.T, seed []byte, calls uint64) {
		if err := check(t.Context(), both[:], seed, rand.New(rand.NewPCG(calls, 1)), 1, tally{}); err != nil { //nolint:gosec // no secret
			t.Fatal(err)
		}
	})
}
