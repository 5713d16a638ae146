package schema

import (
	"bytes"
	"math/bits"
	"strconv"
)

// Canonical numbers are the shortest decimals of different doubles, in the same
// order. So comparing doubles compares decimals exactly.
func double(text []byte) float64 {
	f, _ := strconv.ParseFloat(string(text), 64)
	return f
}

// decimal is units × 10^exponent, without its sign. Canonical numbers have at
// most 17 digits, the last of which may be zeros.
type decimal struct {
	units    uint64
	exponent int
}

func toDecimal(text []byte) decimal {
	mantissa, exponent, _ := bytes.Cut(bytes.TrimPrefix(text, []byte{'-'}), []byte{'e'})
	var d decimal
	d.exponent, _ = strconv.Atoi(string(exponent))
	d.exponent = min(max(d.exponent, -400), 400) // no canonical one is beyond
	point := false
	for _, b := range mantissa[:min(len(mantissa), 30)] {
		if b == '.' {
			point = true
			continue
		}
		d.units = d.units*10 + uint64(b-'0')
		if point {
			d.exponent--
		}
	}
	return d
}

// multipleOf reports whether d is a whole multiple of m, which isn't 0, exactly.
func (d decimal) multipleOf(m decimal) bool {
	if d.units == 0 {
		return true
	}
	for d.exponent < m.exponent {
		if d.units%10 == 0 {
			d.units, d.exponent = d.units/10, d.exponent+1
			continue
		}
		high, low := bits.Mul64(m.units, 10)
		if high != 0 || low > d.units {
			return false
		}
		m.units, m.exponent = low, m.exponent-1
	}
	rest := d.units % m.units
	for zeros, power := d.exponent-m.exponent, 10%m.units; zeros > 0; zeros /= 2 {
		if zeros%2 == 1 {
			rest = timesModulo(rest, power, m.units)
		}
		power = timesModulo(power, power, m.units)
	}
	return rest == 0
}

func timesModulo(a, b, m uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return bits.Rem64(high, low, m)
}
