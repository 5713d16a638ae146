package schema

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// pattern is a regular expression as ECMA-262 has them with the flag u, as far
// as RE2 can match it. Nothing in it depends on tables of Unicode.
type pattern struct {
	*regexp.Regexp
	text string
	size int64 // characters after unfolding
}

func (c *compiler) pattern(text string) (*pattern, error) {
	if len(text) > MaxPattern {
		return nil, c.fail("a pattern of %d bytes; at most %d are allowed", len(text), MaxPattern)
	}
	t := translator{in: text}
	if strings.IndexByte(text, 0) >= 0 {
		t.refuse(`write \x00`)
	}
	size := t.alternatives(0)
	if t.why == "" && t.at < len(text) {
		t.refuse("a closing bracket too many")
	}
	if t.why != "" {
		return nil, c.fail("the pattern, byte %d: %s", t.at, t.why)
	}
	if c.unfolded += size; size > MaxPattern || c.unfolded > MaxPatterns {
		return nil, c.fail("the pattern unfolds to %d characters; at most %d are allowed, %d in all", size, MaxPattern, MaxPatterns)
	}
	re, err := regexp.Compile(t.out.String())
	if err != nil {
		return nil, c.fail("the pattern isn't known to be linear; write a simpler one") // none is left, see FuzzPattern
	}
	return &pattern{re, text, int64(size)}, nil
}

// translator checks a pattern of ECMA-262 and writes it for package regexp.
// Its methods read on from at and return how many characters the part unfolds to.
type translator struct {
	in  string
	at  int
	out strings.Builder
	why string // it is refused
}

// What ECMA-262's classes hold, for brackets.
const (
	spaces    = `\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}`
	notSpaces = `\x{0}-\x{8}\x{e}-\x{1f}!-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{fefe}\x{ff00}-\x{10ffff}`
	notBreak  = `[^\n\r\x{2028}\x{2029}]`
)

const maxGroups = 20 // inside one another

func (t *translator) refuse(why string) int {
	if t.why == "" {
		t.why = why
	}
	return 0
}

// next is the next byte, 0 at the end or if the pattern is refused already.
func (t *translator) next() byte {
	if t.why != "" || t.at >= len(t.in) {
		return 0
	}
	return t.in[t.at]
}

func (t *translator) alternatives(depth int) int {
	size := 0
	for {
		for t.next() != 0 && t.next() != '|' && t.next() != ')' {
			size = min(size+t.term(depth), MaxPatterns+1)
		}
		if t.next() != '|' {
			return size + 1
		}
		t.at++
		size++
		t.out.WriteByte('|')
	}
}

// term reads something and how often it is repeated.
func (t *translator) term(depth int) int {
	size := 1
	switch b := t.next(); b {
	case '^', '$':
		t.at++
		t.out.WriteByte(b)
		return size
	case '(':
		size = t.group(depth)
	case '[':
		t.class()
	case '.':
		t.at++
		t.out.WriteString(notBreak)
	case '\\':
		if rest := t.in[t.at+1:]; strings.HasPrefix(rest, "b") || strings.HasPrefix(rest, "B") {
			t.out.WriteString(t.in[t.at : t.at+2])
			t.at += 2
			return size
		}
		if set, single := t.escape(false); single >= 0 {
			t.char(single)
		} else {
			t.out.WriteString("[" + set + "]")
		}
	case '*', '+', '?', '{':
		return t.refuse("nothing to repeat")
	case ']', '}':
		return t.refuse(`write \ before a bracket that stands for itself`)
	default:
		t.char(t.rune())
	}
	return size * t.repetition()
}

func (t *translator) group(depth int) int {
	rest := t.in[t.at:]
	switch {
	case depth == maxGroups:
		return t.refuse("too many brackets inside one another")
	case strings.HasPrefix(rest, "(?:"):
		t.at += 3
	case strings.HasPrefix(rest, "(?"):
		return t.refuse("lookaround, named groups and flags aren't supported; write it without")
	default:
		t.at++
	}
	t.out.WriteString("(?:")
	size := t.alternatives(depth + 1)
	if t.next() != ')' {
		return t.refuse("a bracket isn't closed")
	}
	t.at++
	t.out.WriteByte(')')
	return size
}

// repetition reads what says how often, and returns how often at most, one
// more if there is no end.
func (t *translator) repetition() int {
	times := 1
	switch b := t.next(); b {
	case '*', '+':
		times = 2
		t.at++
		t.out.WriteByte(b)
	case '?':
		t.at++
		t.out.WriteByte(b)
	case '{':
		times = t.counts()
	default:
		return 1
	}
	if t.next() == '?' { // lazy matches the same strings
		t.at++
	}
	return times
}

func (t *translator) counts() int {
	inner, _, closed := strings.Cut(t.in[t.at+1:], "}")
	low, high, two := strings.Cut(inner, ",")
	least, ok := count(low)
	times := max(least, 1)
	if two && high == "" {
		times = least + 1
	} else if two {
		most, known := count(high)
		ok, times = ok && known && least <= most, max(most, 1)
	}
	if !closed || !ok {
		return t.refuse("a repetition is {n}, {n,} or {n,m}, of at most 1000")
	}
	t.out.WriteString(t.in[t.at : t.at+len(inner)+2])
	t.at += len(inner) + 2
	return times
}

// count reads one to four digits, of at most 1000.
func count(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil && n <= 1000 && len(s) <= 4
}

// rune reads one character that stands for itself.
func (t *translator) rune() rune {
	r, n := utf8.DecodeRuneInString(t.in[t.at:])
	t.at += n
	return r
}

// char writes one character.
func (t *translator) char(r rune) {
	t.out.WriteString(`\x{` + strconv.FormatInt(int64(r), 16) + `}`)
}

// escape reads a backslash and what it means: one character, or a set of them
// for brackets and -1.
func (t *translator) escape(inClass bool) (set string, single rune) {
	rest := t.in[t.at+1:]
	if rest == "" {
		return "", rune(t.refuse(`a \ at the end`))
	}
	t.at += 2
	switch b := rest[0]; b {
	case 'd':
		return "0-9", -1
	case 'D':
		return `\x{0}-/:-\x{10ffff}`, -1
	case 'w':
		return "0-9A-Za-z_", -1
	case 'W':
		return "\\x{0}-/:-@\\[-\\^`{-\\x{10ffff}", -1
	case 's':
		return spaces, -1
	case 'S':
		return notSpaces, -1
	case 't', 'n', 'v', 'f', 'r':
		return "", rune("\t\n\v\f\r"[strings.IndexByte("tnvfr", b)])
	case 'x':
		return "", t.hexadecimal(2)
	case 'u':
		return "", t.hexadecimal(4)
	default:
		if strings.IndexByte(`^$\.*+?()[]{}|/`, b) >= 0 || inClass && b == '-' {
			return "", rune(b)
		}
	}
	t.at -= 2
	return "", rune(t.refuse("an unknown escape sequence; characters of Unicode can stand for themselves"))
}

func (t *translator) hexadecimal(digits int) rune {
	end := min(t.at+digits, len(t.in))
	n, err := strconv.ParseUint(t.in[t.at:end], 16, 32)
	if err != nil || end-t.at < digits || !utf8.ValidRune(rune(n)) {
		return rune(t.refuse("hexadecimal digits of a character; others than \\u0000 to \\uffff can stand for themselves"))
	}
	t.at = end
	return rune(n)
}

// class reads brackets. What is in them is written as characters, sets and
// ranges, so that nothing there has another meaning.
func (t *translator) class() {
	t.at++
	t.out.WriteByte('[')
	if t.next() == '^' {
		t.at++
		t.out.WriteByte('^')
	}
	if t.next() == ']' {
		t.refuse("brackets without a character")
	}
	for t.next() != ']' {
		if t.next() == 0 {
			t.refuse("a bracket isn't closed")
			return
		}
		low := t.member()
		if t.next() != '-' || strings.HasPrefix(t.in[t.at:], "-]") {
			continue
		}
		t.at++
		t.out.WriteByte('-')
		if high := t.member(); low < 0 || high < low {
			t.refuse("a range goes backwards, or isn't between two characters")
			return
		}
	}
	t.at++
	t.out.WriteByte(']')
}

// member reads one element of a class and returns it, -1 for a set.
func (t *translator) member() rune {
	r := rune(-1)
	switch t.next() {
	case 0:
	case '[':
		t.refuse(`write \ before a bracket that stands for itself`)
	case '\\':
		var set string
		if set, r = t.escape(true); r < 0 {
			t.out.WriteString(set)
			return r
		}
		t.char(r)
	default:
		r = t.rune()
		t.char(r)
	}
	return r
}
