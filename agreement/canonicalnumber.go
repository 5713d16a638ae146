package agreement

import "strconv"

// decimal is a number as it was written: 0.d₁d₂… × 10^point with a digit that
// isn't 0 at either end. The number 0 has no digits.
type decimal struct {
	negative bool
	point    int64
	digits   [17]byte // of which n are there: no double needs more
	n        int
	more     bool // it has more digits than that
	lead     int64
	zeros    int64 // not among the digits until one follows that isn't 0
}

// largest is MaxCanonicalInteger as text.
const largest = "9007199254740992"

// number reads a number and appends the form that ECMAScript gives it, which
// is RFC 8785's, if that form means exactly what was written.
func (c *canonicaliser) number() error {
	if n := plainInteger(c.in[c.at:]); n > 0 {
		c.out = append(c.out, c.in[c.at:c.at+n]...)
		c.at += n
		return nil
	}
	start := c.at
	d, err := c.decimal()
	if err != nil {
		return err
	}
	end := c.at
	c.at = start // of what is to blame
	if what := d.lost(); what != "" {
		return c.fail(what + "; write it as a string")
	}
	c.at, c.out = end, d.append(c.out)
	return nil
}

// plainInteger is the length of the number that text begins with if it is an
// integer in its one form, and so short that nothing more need be asked: most
// are. Otherwise it is 0.
func plainInteger(text []byte) int {
	n := 0
	if text[0] == '-' {
		n = 1
	}
	first := n
	for n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	switch digits := n - first; {
	case digits == 0, digits >= len(largest), text[first] == '0':
		return 0
	case n < len(text) && (text[n] == '.' || text[n] == 'e' || text[n] == 'E'):
		return 0
	}
	return n
}

func (c *canonicaliser) decimal() (decimal, error) {
	d := decimal{negative: c.in[c.at] == '-'}
	if d.negative {
		c.at++
	}
	first := c.at
	whole, err := c.digits(&d)
	if err != nil {
		return d, err
	}
	if whole > 1 && c.in[first] == '0' {
		c.at = first
		return d, c.fail("a number starts with a needless 0")
	}
	if c.skip('.') {
		if _, err = c.digits(&d); err != nil {
			return d, err
		}
	}
	var exponent int64
	if c.skip('e') || c.skip('E') {
		if exponent, err = c.exponent(); err != nil {
			return d, err
		}
	}
	d.point = whole - d.lead + exponent
	return d, nil
}

// exponent stops counting where no document has the digits to make up for it.
func (c *canonicaliser) exponent() (int64, error) {
	negative := c.skip('-')
	if !negative {
		c.skip('+')
	}
	first, n := c.at, int64(0)
	if _, err := c.digits(nil); err != nil {
		return 0, err
	}
	for _, b := range c.in[first:c.at] {
		n = min(n*10+int64(b-'0'), 1<<40)
	}
	if negative {
		n = -n
	}
	return n, nil
}

// digits reads one or more, adds them to d if there is one, and returns how
// many there were.
func (c *canonicaliser) digits(d *decimal) (int64, error) {
	first := c.at
	for c.at < len(c.in) && '0' <= c.in[c.at] && c.in[c.at] <= '9' {
		if d != nil {
			d.add(c.in[c.at])
		}
		c.at++
	}
	if c.at == first {
		return 0, c.fail("a digit was expected here")
	}
	return int64(c.at - first), nil
}

func (c *canonicaliser) skip(b byte) bool {
	if c.at < len(c.in) && c.in[c.at] == b {
		c.at++
		return true
	}
	return false
}

func (d *decimal) add(b byte) {
	switch {
	case b == '0' && d.n == 0:
		d.lead++
	case b == '0':
		d.zeros++
	case d.more || int64(d.n)+d.zeros >= int64(len(d.digits)):
		d.more = true
	default:
		for ; d.zeros > 0; d.zeros-- {
			d.digits[d.n] = '0'
			d.n++
		}
		d.digits[d.n] = b
		d.n++
	}
}

// lost says why a reader of JSON wouldn't keep the number as it was written;
// it is empty for those that every reader keeps.
func (d *decimal) lost() string {
	written := d.digits[:d.n]
	switch {
	case d.n == 0:
		return ""
	case d.point > int64(len(largest)), d.point == int64(len(largest)) && string(written) > largest:
		return "a number beyond 2^53"
	case d.point < -400: // before it is counted out in ten digits
		return "a number too close to 0"
	case d.more:
		return "a number with more digits than can be kept"
	case int64(d.n) <= d.point, d.n <= 15 && d.point > -300:
		return "" // an integer, or what IEEE 754 promises to keep
	}
	text := appendExponent(appendPoint(nil, written), d.point-1, 2)
	near, err := strconv.ParseFloat(string(text), 64)
	switch {
	case err != nil || near == 0:
		return "a number too close to 0"
	case string(strconv.AppendFloat(nil, near, 'e', -1, 64)) != string(text):
		return "a number with more digits than can be kept" // the shortest that mean the nearest double are others
	}
	return ""
}

// append writes a number that isn't lost. None is large enough for the form
// with a positive exponent.
func (d *decimal) append(out []byte) []byte {
	written := d.digits[:d.n]
	if d.n == 0 {
		return append(out, '0') // -0 too
	}
	if d.negative {
		out = append(out, '-')
	}
	switch point := int(d.point); {
	case point >= d.n:
		out = append(out, written...)
		return append(out, "000000000000000"[:point-d.n]...)
	case point > 0:
		out = append(append(out, written[:point]...), '.')
		return append(out, written[point:]...)
	case point > -6:
		out = append(out, "0.00000"[:2-point]...)
		return append(out, written...)
	}
	return appendExponent(appendPoint(out, written), d.point-1, 1)
}

// appendPoint writes digits with the point after the first.
func appendPoint(out, digits []byte) []byte {
	out = append(out, digits[0])
	if len(digits) > 1 {
		out = append(append(out, '.'), digits[1:]...)
	}
	return out
}

// appendExponent writes e, the sign and at least so many digits.
func appendExponent(out []byte, e int64, least int) []byte {
	sign := byte('+')
	if e < 0 {
		sign, e = '-', -e
	}
	out = append(out, 'e', sign)
	if least > 1 && e < 10 {
		out = append(out, '0')
	}
	return strconv.AppendInt(out, e, 10)
}
