package agreement

import (
	"errors"
	"unicode/utf8"
)

// compareNames orders two strings in canonical escaped form by UTF-16 code
// units, as RFC 8785 wants.
func compareNames(a, b []byte) int {
	for len(a) > 0 && len(b) > 0 && plainText[a[0]] && plainText[b[0]] {
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
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
		if n := plainLength(c.in[c.at:]); n > 0 {
			c.out = append(c.out, c.in[c.at:c.at+n]...)
			c.at += n
			continue
		}
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

// plainText are the bytes that stand for themselves in a string.
var plainText = func() (plain [256]bool) {
	for b := 0x20; b < utf8.RuneSelf; b++ {
		plain[b] = b != '"' && b != '\\'
	}
	return plain
}()

// plainLength is how many bytes of s, from its start, are plain text.
func plainLength(s []byte) int {
	n := 0
	for n < len(s) && plainText[s[n]] {
		n++
	}
	return n
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
