package agreement

import (
	"errors"
	"math"
	"slices"
	"unicode/utf8"
)

// MaxCanonicalDepth is how deep arrays and objects may nest in a canonical
// document.
const MaxCanonicalDepth = 128

// MaxCanonicalInteger is the largest magnitude of a number in a canonical
// document, 2^53: up to it every JSON reader keeps integers exactly.
const MaxCanonicalInteger = 1 << 53

// Canonical gives the one form of a JSON document that parties hash: RFC 8785
// (no white space, members in UTF-16 order of their names, shortest strings),
// with numbers restricted to integers within ±2^53. It refuses, as CodeBadJSON
// with the offset: fractions and exponents (write decimals as strings), member
// names used twice, lone surrogates, invalid UTF-8, nesting deeper than
// MaxCanonicalDepth, and anything that RFC 8259 doesn't allow. The caller
// bounds the size; work and memory are in proportion to it.
func Canonical(doc []byte) ([]byte, error) {
	if uint64(len(doc)) > math.MaxInt32 {
		return nil, Errorf(CodeTooLarge, "a JSON document of %d bytes is too large", len(doc))
	}
	c := canonicaliser{in: doc, out: make([]byte, 0, len(doc))}
	err := c.value(0)
	if err == nil {
		c.space()
		if c.at < len(c.in) {
			err = c.fail("more text after the document")
		}
	}
	if err != nil {
		return nil, err
	}
	return c.out, nil
}

// canonicaliser reads in from at and appends the canonical form to out.
type canonicaliser struct {
	in, out []byte
	at      int
	members []member // of all open objects, innermost last
	scratch []byte   // for reordering members
}

// member is where one member of an object stands in out: the name with its
// quotes is out[start:name], the whole member out[start:end].
type member struct{ start, name, end int32 }

func (c *canonicaliser) fail(what string) error {
	return Errorf(CodeBadJSON, "JSON, byte %d: %s", c.at, what)
}

func (c *canonicaliser) space() {
	for c.at < len(c.in) {
		switch c.in[c.at] {
		case ' ', '\t', '\n', '\r':
			c.at++
		default:
			return
		}
	}
}

// peek returns the next byte that isn't white space, 0 at the end.
func (c *canonicaliser) peek() byte {
	c.space()
	if c.at == len(c.in) {
		return 0
	}
	return c.in[c.at]
}

func (c *canonicaliser) value(depth int) error {
	switch b := c.peek(); {
	case b == '{' || b == '[':
		if depth == MaxCanonicalDepth {
			return c.fail("nested too deep")
		}
		if b == '{' {
			return c.object(depth + 1)
		}
		return c.array(depth + 1)
	case b == '"':
		return c.text()
	case b == '-' || '0' <= b && b <= '9':
		return c.integer()
	case b == 't':
		return c.literal("true")
	case b == 'f':
		return c.literal("false")
	case b == 'n':
		return c.literal("null")
	case c.at == len(c.in):
		return c.fail("the document ends too early")
	}
	return c.fail("a value was expected here")
}

func (c *canonicaliser) literal(word string) error {
	if len(c.in)-c.at < len(word) || string(c.in[c.at:c.at+len(word)]) != word {
		return c.fail("a value was expected here")
	}
	c.at += len(word)
	c.out = append(c.out, word...)
	return nil
}

func (c *canonicaliser) integer() error {
	start := c.at
	if c.in[c.at] == '-' {
		c.at++
	}
	first, n := c.at, uint64(0)
	for c.at < len(c.in) && '0' <= c.in[c.at] && c.in[c.at] <= '9' {
		n = n*10 + uint64(c.in[c.at]-'0')
		if n > MaxCanonicalInteger {
			c.at = start
			return c.fail("an integer beyond 2^53; write it as a string")
		}
		c.at++
	}
	if c.at == first {
		return c.fail("a digit was expected here")
	}
	if c.at < len(c.in) {
		switch c.in[c.at] {
		case '.', 'e', 'E':
			return c.fail("a number with a fraction or an exponent; write it as a string")
		}
	}
	if c.in[first] == '0' && c.at > first+1 {
		c.at = first
		return c.fail("a number starts with a needless 0")
	}
	if n == 0 { // -0 too
		start = first
	}
	c.out = append(c.out, c.in[start:c.at]...)
	return nil
}

func (c *canonicaliser) array(depth int) error {
	c.at++
	c.out = append(c.out, '[')
	for first := true; ; first = false {
		if c.peek() == ']' && first {
			break
		}
		if err := c.value(depth); err != nil {
			return err
		}
		if more, err := c.more(']'); err != nil {
			return err
		} else if !more {
			break
		}
		c.out = append(c.out, ',')
	}
	c.at++
	c.out = append(c.out, ']')
	return nil
}

// more reads a comma, or stops before the closing bracket.
func (c *canonicaliser) more(closing byte) (bool, error) {
	switch c.peek() {
	case ',':
		c.at++
		return true, nil
	case closing:
		return false, nil
	}
	return false, c.fail("a comma or a closing bracket was expected here")
}

func (c *canonicaliser) object(depth int) error {
	c.at++
	c.out = append(c.out, '{')
	base := len(c.members)
	for first := true; ; first = false {
		if c.peek() == '}' && first {
			break
		}
		m, err := c.member(depth)
		if err != nil {
			return err
		}
		c.members = append(c.members, m)
		if more, err := c.more('}'); err != nil {
			return err
		} else if !more {
			break
		}
		c.out = append(c.out, ',')
	}
	if err := c.arrange(c.members[base:]); err != nil {
		return err
	}
	c.members = c.members[:base]
	c.at++
	c.out = append(c.out, '}')
	return nil
}

func (c *canonicaliser) member(depth int) (member, error) {
	m := member{start: c.here()}
	if c.peek() != '"' {
		return m, c.fail("a member's name was expected here")
	}
	if err := c.text(); err != nil {
		return m, err
	}
	m.name = c.here()
	if c.peek() != ':' {
		return m, c.fail("a colon was expected here")
	}
	c.at++
	c.out = append(c.out, ':')
	err := c.value(depth)
	m.end = c.here()
	return m, err
}

// here is the length of out, which is at most a few times that of in. Every
// escape is at least as long in the input, so it is no longer than in.
func (c *canonicaliser) here() int32 {
	return int32(len(c.out)) //nolint:gosec // bounded by Canonical
}

// arrange brings the members of one object into order and refuses a name that
// is there twice.
func (c *canonicaliser) arrange(members []member) error {
	order := func(a, b member) int {
		return compareNames(c.out[a.start+1:a.name-1], c.out[b.start+1:b.name-1])
	}
	sorted, begin := slices.IsSortedFunc(members, order), len(c.out)
	if !sorted {
		begin = int(members[0].start)
		slices.SortFunc(members, order)
	}
	for i := 1; i < len(members); i++ {
		if order(members[i-1], members[i]) == 0 {
			return c.fail("the object that ends here names a member twice")
		}
	}
	if sorted {
		return nil
	}
	c.scratch = c.scratch[:0]
	for i, m := range members {
		if i > 0 {
			c.scratch = append(c.scratch, ',')
		}
		c.scratch = append(c.scratch, c.out[m.start:m.end]...)
	}
	copy(c.out[begin:], c.scratch)
	return nil
}

// compareNames orders two strings in canonical escaped form by UTF-16 code
// units, as RFC 8785 wants.
func compareNames(a, b []byte) int {
	for len(a) > 0 && len(b) > 0 {
		x, n := nextRune(a)
		y, m := nextRune(b)
		if x != y {
			return utf16Order(x) - utf16Order(y)
		}
		a, b = a[n:], b[m:]
	}
	return len(a) - len(b)
}

// utf16Order maps a rune to a number that sorts as its first code unit does:
// surrogate pairs (from D800) sort before E000 to FFFF.
func utf16Order(r rune) int {
	if r >= 0xe000 && r <= 0xffff {
		return int(r) + 0x200000
	}
	return int(r)
}

func nextRune(s []byte) (rune, int) {
	if s[0] != '\\' {
		return utf8.DecodeRune(s)
	}
	if s[1] == 'u' {
		r, _ := hex4(s[2:])
		return r, 6
	}
	r, _ := unescape(s[1])
	return rune(r), 2
}

var errSurrogate = errors.New("half of a surrogate pair")

func (c *canonicaliser) text() error {
	c.at++
	c.out = append(c.out, '"')
	for c.at < len(c.in) {
		switch b := c.in[c.at]; {
		case b == '"':
			c.at++
			c.out = append(c.out, '"')
			return nil
		case b == '\\':
			r, n, err := escape(c.in[c.at:])
			if err != nil {
				return c.fail(err.Error())
			}
			c.at += n
			c.out = appendRune(c.out, r)
		case b < 0x20:
			return c.fail("a control character in a string")
		case b < utf8.RuneSelf:
			c.at++
			c.out = append(c.out, b)
		default:
			r, n := utf8.DecodeRune(c.in[c.at:])
			if r == utf8.RuneError && n == 1 {
				return c.fail("invalid UTF-8")
			}
			c.out = append(c.out, c.in[c.at:c.at+n]...)
			c.at += n
		}
	}
	return c.fail("a string doesn't end")
}

// escape reads one escape sequence, or two that make a surrogate pair.
func escape(s []byte) (rune, int, error) {
	if len(s) < 2 {
		return 0, 0, errors.New("a string doesn't end")
	}
	if s[1] != 'u' {
		b, ok := unescape(s[1])
		if !ok {
			return 0, 0, errors.New("an unknown escape sequence")
		}
		return rune(b), 2, nil
	}
	r, ok := hex4(s[2:])
	if !ok {
		return 0, 0, errors.New("\\u takes four hexadecimal digits")
	}
	if r < 0xd800 || r > 0xdfff {
		return r, 6, nil
	}
	if r > 0xdbff || len(s) < 12 || s[6] != '\\' || s[7] != 'u' {
		return 0, 0, errSurrogate
	}
	low, ok := hex4(s[8:])
	if !ok || low < 0xdc00 || low > 0xdfff {
		return 0, 0, errSurrogate
	}
	return (r-0xd800)<<10 + (low - 0xdc00) + 0x10000, 12, nil
}

func hex4(s []byte) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var r rune
	for _, b := range s[:4] {
		switch {
		case '0' <= b && b <= '9':
			b -= '0'
		case 'a' <= b && b <= 'f':
			b -= 'a' - 10
		case 'A' <= b && b <= 'F':
			b -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(b)
	}
	return r, true
}

// unescape gives what the character after a backslash stands for.
func unescape(b byte) (byte, bool) {
	switch b {
	case '"', '\\', '/':
		return b, true
	case 'b':
		return '\b', true
	case 't':
		return '\t', true
	case 'n':
		return '\n', true
	case 'f':
		return '\f', true
	case 'r':
		return '\r', true
	}
	return 0, false
}

// appendRune writes a character as RFC 8785 does, escaped only where it must.
func appendRune(out []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	switch {
	case r == '"' || r == '\\':
		return append(out, '\\', byte(r))
	case r >= 0x20:
		return utf8.AppendRune(out, r)
	}
	switch r {
	case '\b':
		return append(out, '\\', 'b')
	case '\t':
		return append(out, '\\', 't')
	case '\n':
		return append(out, '\\', 'n')
	case '\f':
		return append(out, '\\', 'f')
	case '\r':
		return append(out, '\\', 'r')
	}
	return append(out, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
}
