package module

import (
	"fmt"
	"unicode/utf8"

	"github.com/affiliate-node/affiliate/agreement"
)

// reader reads the binary format. The first error stays; after it everything
// reads as zero.
type reader struct {
	b       []byte
	at, end int // the next byte, and where the section ends
	section string
	err     error
}

func (r *reader) fail(rule string) {
	if r.err == nil {
		r.err = agreement.Errorf(agreement.CodeBadModule, "the module is refused: %s (section %s, offset %d)", rule, r.section, r.at).
			WithHint("a contract is built as docs/contracts.md shows; if this one was, the file is damaged")
	}
	r.at = r.end
}

func (r *reader) byte() byte {
	if r.at >= r.end {
		r.fail("it ends too early")
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

// bytes returns the next n bytes, none if there aren't as many.
func (r *reader) bytes(n int) []byte {
	if n > r.end-r.at {
		r.fail("it ends too early")
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) u32() uint32 {
	var n uint64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if n > 1<<32-1 {
				break
			}
			return uint32(n)
		}
	}
	r.fail("a number is too large")
	return 0
}

// signed reads a signed LEB128 number of at most the given bits.
func (r *reader) signed(bits int) int64 {
	var n int64
	for left := bits; left > 0; left -= 7 {
		b := r.byte()
		n |= int64(b&0x7f) << (bits - left)
		if b >= 0x80 {
			continue
		}
		if left < 7 { // the last byte has bits that must all equal the sign
			if high := int8(b<<1) >> left; high != 0 && high != -1 {
				break
			}
		}
		if unused := 64 - (bits - left) - 7; unused > 0 {
			n = n << unused >> unused
		}
		return n
	}
	r.fail("a number is too large")
	return 0
}

// count reads the length of a vector, and checks it against a limit and
// against what its elements, of at least size bytes each, have room in.
func (r *reader) count(limit, size int, what string) int {
	n := int(r.u32())
	switch {
	case r.err != nil:
		return 0
	case n > limit:
		r.fail(fmt.Sprintf("%d %s; at most %d are allowed", n, what, limit))
		return 0
	case n > (r.end-r.at)/size:
		r.fail(fmt.Sprintf("%d %s have no room in the section", n, what))
		return 0
	}
	return n
}

func (r *reader) name() string {
	b := r.bytes(r.count(maxExportName, 1, "bytes of a name"))
	if !utf8.Valid(b) {
		r.fail("a name isn't UTF-8")
	}
	return string(b)
}
