package schema

import (
	"bytes"
	"iter"
	"unicode/utf8"
)

// document is canonical JSON. Its values are known by where they stand; equal
// ones have equal bytes. In anything else the walks below find nonsense, but
// they end.
type document []byte

// span is where a value stands in a document.
type span struct{ at, end int }

func (d document) of(v span) []byte { return d[v.at:v.end] }

func (d document) byte(at int) byte {
	if at < len(d) {
		return d[at]
	}
	return 0
}

// skip returns the end of the value at an offset, which is beyond it unless the
// document ends there.
func (d document) skip(at int) int {
	for depth := 0; at < len(d); {
		switch d[at] {
		case '"':
			at = d.skipText(at)
		case '[', '{':
			depth++
			at++
		case ']', '}':
			depth--
			at++
		case ',', ':':
			at++
			continue
		default:
			at = d.skipWord(at)
		}
		if depth <= 0 {
			return at
		}
	}
	return len(d)
}

func (d document) skipText(at int) int {
	for at++; at < len(d); at++ {
		switch d[at] {
		case '"':
			return at + 1
		case '\\':
			at++
		}
	}
	return len(d)
}

func (d document) skipWord(at int) int {
	for at < len(d) {
		switch d[at] {
		case ',', ':', ']', '}', '[', '{', '"':
			return at
		}
		at++
	}
	return at
}

// items gives the elements of the array at v, with their numbers.
func (d document) items(v span) iter.Seq2[int, span] {
	return func(yield func(int, span) bool) {
		for i, at := 0, v.at+1; at < v.end-1; i++ {
			end := d.skip(at)
			if !yield(i, span{at, end}) {
				return
			}
			at = end + 1 // a comma, or the bracket
		}
	}
}

// members gives the names, as strings with their quotes, and values of the object
// at v.
func (d document) members(v span) iter.Seq2[span, span] {
	return func(yield func(span, span) bool) {
		for at := v.at + 1; at < v.end-1; {
			name := span{at, d.skip(at)}
			value := span{min(name.end+1, len(d)), d.skip(name.end + 1)}
			if !yield(name, value) {
				return
			}
			at = value.end + 1
		}
	}
}

// inner is a string without its quotes, its escapes as they are. No two
// strings have the same.
func (d document) inner(v span) []byte {
	if v.end-v.at < 2 {
		return nil
	}
	return d[v.at+1 : v.end-1]
}

// text is a string as it is meant; it may use buf.
func (d document) text(v span, buf []byte) []byte {
	s := d.inner(v)
	i := bytes.IndexByte(s, '\\')
	if i < 0 {
		return s
	}
	out := append(buf[:0], s[:i]...)
	for i < len(s) {
		n, b := escaped(s[i:])
		out = append(out, b)
		i += n
	}
	return out
}

// escaped reads one byte of a string or one escape sequence; canonical ones
// stand for one byte.
func escaped(s []byte) (int, byte) {
	if s[0] != '\\' || len(s) < 2 {
		return 1, s[0]
	}
	switch s[1] {
	case 'b':
		return 2, '\b'
	case 't':
		return 2, '\t'
	case 'n':
		return 2, '\n'
	case 'f':
		return 2, '\f'
	case 'r':
		return 2, '\r'
	case 'u':
		if len(s) >= 6 {
			return 6, (s[4]-'0')<<4 | digit(s[5]) // \u00 and 00 to 1f
		}
	}
	return 2, s[1]
}

func digit(b byte) byte {
	if b >= 'a' {
		return b - 'a' + 10
	}
	return b - '0'
}

// length is how many code points a string has.
func (d document) length(v span) int64 {
	s, n := d.inner(v), int64(0)
	for i := 0; i < len(s); n++ {
		step := 1
		if s[i] == '\\' {
			step, _ = escaped(s[i:])
		} else if s[i] >= utf8.RuneSelf {
			_, step = utf8.DecodeRune(s[i:])
		}
		i += step
	}
	return n
}

// kind is a set of the types that JSON Schema knows.
type kind uint8

const (
	kindNull kind = 1 << iota
	kindBoolean
	kindObject
	kindArray
	kindNumber
	kindInteger
	kindText
)

// kindOf returns the types of a value: one, or for an integer two.
func (d document) kindOf(v span) kind {
	switch d.byte(v.at) {
	case 'n':
		return kindNull
	case 't', 'f':
		return kindBoolean
	case '{':
		return kindObject
	case '[':
		return kindArray
	case '"':
		return kindText
	}
	for _, b := range d.of(v) {
		if b == '.' || b == 'e' {
			return kindNumber
		}
	}
	return kindNumber | kindInteger
}
