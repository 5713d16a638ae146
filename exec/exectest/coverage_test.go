package exectest

import (
	"encoding/binary"
	"testing"
)

// Every instruction that a module may have is in some generated module.
func TestGeneratedModulesHaveEveryInstruction(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for number := range uint64(300) {
		m := &module{source: &source{rest: Seed(number)}, features: all()}
		m.build()
		for _, f := range m.functions[m.imported:] {
			walk(t, f.code, func(code []byte) { seen[string(code)] = true })
		}
	}
	missing := func(code ...byte) {
		if !seen[string(code)] {
			t.Errorf("never generated: %x", code)
		}
	}
	for op := range 0xc5 {
		undefined := op >= 0x06 && op <= 0x0a || op >= 0x12 && op <= 0x19 || op >= 0x1c && op <= 0x1f || op >= 0x25 && op <= 0x27
		if !undefined {
			missing(byte(op))
		}
	}
	for op := range 12 {
		missing(0xfc, byte(op))
	}
}

// walk gives the number of each instruction of a body.
func walk(t *testing.T, b []byte, each func([]byte)) {
	t.Helper()
	skip := func(n int) { b = b[n:] }
	number := func() uint64 { // unsigned; a signed one has the same length
		v, n := binary.Uvarint(b)
		if n <= 0 {
			for n = 1; b[n-1]&0x80 != 0; n++ { // a negative number's last byte
			}
		}
		skip(n)
		return v
	}
	for range number() {
		number()
		skip(1)
	}
	for len(b) > 0 {
		op := b[:1]
		skip(1)
		switch c := op[0]; {
		case c == 0xfc:
			op = append([]byte{c}, b[0])
			skip(1)
			skip([]int{0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 1}[op[1]])
		case c == opBlock || c == opLoop || c == opIf || c == opBr || c == opBrIf || c == opCall || c >= 0x20 && c <= 0x24 || c == 0x41 || c == 0x42:
			number()
		case c == opBrTable:
			for range number() {
				number()
			}
			number()
		case c == opCallIndirect || c >= 0x28 && c <= 0x3e:
			number()
			number()
		case c == opMemorySize || c == opMemoryGrow:
			skip(1)
		case c == 0x43:
			skip(4)
		case c == 0x44:
			skip(8)
		}
		each(op)
	}
}
