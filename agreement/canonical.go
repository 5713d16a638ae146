package agreement

import (
	"math"
	"slices"
)

// MaxCanonicalDepth is how deep arrays and objects may nest in a canonical
// document.
const MaxCanonicalDepth = 128

// MaxCanonicalInteger is the largest magnitude of a number in a canonical
// document, 2^53: up to it every JSON reader keeps integers exactly.
const MaxCanonicalInteger = 1 << 53

// MaxCanonicalGrowth is how many times as long as the document its canonical
// form may be: 1e15 becomes 1000000000000000.
const MaxCanonicalGrowth = 4

// maxDocument, in bytes, lets offsets into the form fit 32 bits.
const maxDocument = math.MaxInt32 / MaxCanonicalGrowth

// Canonical gives the one form of a JSON document that parties hash: RFC 8785
// (no white space, members in UTF-16 order of their names, shortest strings,
// numbers as ECMAScript writes them). A number is accepted only if its form
// means the same decimal as what was written, so that nothing changes a value
// silently: 1.10 becomes 1.1, 1e2 becomes 100 and -0 becomes 0, but not
// 0.1000000000000000055511, which a double can't keep, 1e-400, which it can't
// tell from 0, nor anything beyond ±2^53 in any notation (I-JSON); such
// numbers belong in strings. Also refused, as CodeBadJSON with the offset:
// member names used twice, lone surrogates, invalid UTF-8, nesting deeper than
// MaxCanonicalDepth, and anything that RFC 8259 doesn't allow. The caller
// bounds the size; work and memory are in proportion to it.
func Canonical(doc []byte) ([]byte, error) {
	if len(doc) > maxDocument {
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
		return c.number()
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

// here is the length of out, at most MaxCanonicalGrowth times that of in.
func (c *canonicaliser) here() int32 {
	return int32(len(c.out)) //nolint:gosec // bounded by Canonical
}

// arrange brings the members of one object into order and refuses a name that
// is there twice.
func (c *canonicaliser) arrange(members []member) error {
	order := func(a, b member) int {
		return compareNames(c.out[a.start+1:a.name-1], c.out[b.start+1:b.name-1])
	}
	if ascend(members, order) {
		return nil
	}
	begin := members[0].start
	slices.SortFunc(members, order)
	if !ascend(members, order) {
		return c.fail("the object that ends here names a member twice")
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

func ascend(members []member, order func(a, b member) int) bool {
	for i := 1; i < len(members); i++ {
		if order(members[i-1], members[i]) >= 0 {
			return false
		}
	}
	return true
}
