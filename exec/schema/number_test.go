package schema

import (
	"fmt"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

// Numbers are multiples of one another as exact decimals are.
func TestMultiplesAreExact(t *testing.T) {
	t.Parallel()
	number := rapid.Custom(func(t *rapid.T) string {
		n := rapid.Uint64Range(1, 1<<53).Draw(t, "n") / rapid.SampledFrom([]uint64{1, 1 << 20, 1 << 40, 1 << 50}).Draw(t, "smaller")
		return fmt.Sprintf("%de-%d", max(n, 1), rapid.IntRange(0, 300).Draw(t, "exponent")/rapid.SampledFrom([]int{1, 20, 100}).Draw(t, "nearer"))
	}).Filter(func(s string) bool { _, err := agreement.Canonical([]byte(s)); return err == nil })
	rapid.Check(t, func(t *rapid.T) {
		a, _ := new(big.Rat).SetString(number.Draw(t, "a"))
		b, _ := new(big.Rat).SetString(number.Draw(t, "b"))
		if rapid.Bool().Draw(t, "multiple") {
			a.Mul(b, big.NewRat(rapid.Int64Range(0, 1000).Draw(t, "times"), 1))
		}
		x, y := formOf(a), formOf(b)
		if x == nil || y == nil {
			return
		}
		got, want := toDecimal(x).multipleOf(toDecimal(y)), new(big.Rat).Quo(a, b).IsInt()
		if got != want {
			t.Fatalf("%s of %s: %v; want %v", x, y, got, want)
		}
		if want := a.Cmp(b); (double(x) < double(y)) != (want < 0) || (double(x) > double(y)) != (want > 0) {
			t.Fatalf("%s and %s compare as doubles otherwise than as decimals", x, y)
		}
	})
}

// formOf is a decimal in its canonical form, nil if it has none.
func formOf(r *big.Rat) []byte {
	form, err := agreement.Canonical([]byte(r.FloatString(340)))
	if err != nil {
		return nil
	}
	return form
}
