package exectest

import "strings"

// instruction is one that takes values and gives one, without operands of its
// own.
type instruction struct {
	code   []byte
	params string
	result byte
	traps  bool
}

// numeric are all numeric instructions. Each line is the first number of
// several in a row that have the same type.
func numeric() []instruction {
	var all []instruction
	row := func(first, count int, params string, result byte) {
		for code := first; code < first+count; code++ {
			all = append(all, instruction{code: []byte{byte(code)}, params: params, result: result, traps: traps(byte(code))}) //nolint:gosec // a byte
		}
	}
	row(0x45, 1, "i", 'i')   // eqz
	row(0x46, 10, "ii", 'i') // comparisons
	row(0x50, 1, "I", 'i')
	row(0x51, 10, "II", 'i')
	row(0x5b, 6, "ff", 'i')
	row(0x61, 6, "FF", 'i')
	row(0x67, 3, "i", 'i') // clz, ctz, popcnt
	row(0x6a, 15, "ii", 'i')
	row(0x79, 3, "I", 'I')
	row(0x7c, 15, "II", 'I')
	row(0x8b, 7, "f", 'f')  // abs to sqrt
	row(0x92, 7, "ff", 'f') // add to copysign
	row(0x99, 7, "F", 'F')
	row(0xa0, 7, "FF", 'F')
	for i, t := range strings.Fields("Ii fi fi Fi Fi iI iI fI fI FI FI if if If If Ff iF iF IF IF fF fi FI if IF ii ii II II II") {
		row(0xa7+i, 1, t[:1], t[1])
	}
	for i, t := range strings.Fields("fi fi Fi Fi fI fI FI FI") { // saturating conversions
		all = append(all, instruction{code: []byte{0xfc, byte(i)}, params: t[:1], result: t[1]}) //nolint:gosec // small
	}
	return all
}

// traps tells divisions, remainders and conversions that don't saturate.
func traps(code byte) bool {
	return code >= 0x6d && code <= 0x70 || code >= 0x7f && code <= 0x82 ||
		code >= 0xa8 && code <= 0xab || code >= 0xae && code <= 0xb1
}

// showsNaN tells the instructions whose last operand's bits become visible if
// it is a NaN: copysign and the reinterpretations of floats.
func (i instruction) showsNaN() bool {
	switch i.code[0] {
	case 0x98, 0xa6, 0xbc, 0xbd:
		return true
	}
	return false
}

// access is a load or a store.
type access struct {
	code  byte
	kind  byte
	width int // log2 of bytes
}

func loads() []access {
	return []access{
		{0x28, 'i', 2}, {0x29, 'I', 3}, {0x2a, 'f', 2}, {0x2b, 'F', 3},
		{0x2c, 'i', 0}, {0x2d, 'i', 0}, {0x2e, 'i', 1}, {0x2f, 'i', 1},
		{0x30, 'I', 0}, {0x31, 'I', 0}, {0x32, 'I', 1}, {0x33, 'I', 1}, {0x34, 'I', 2}, {0x35, 'I', 2},
	}
}

func stores() []access {
	return []access{
		{0x36, 'i', 2}, {0x37, 'I', 3}, {0x38, 'f', 2}, {0x39, 'F', 3},
		{0x3a, 'i', 0}, {0x3b, 'i', 1}, {0x3c, 'I', 0}, {0x3d, 'I', 1}, {0x3e, 'I', 2},
	}
}

// Instructions with a meaning for the flow of control, and others that are
// written by hand.
const (
	opUnreachable  = 0x00
	opNop          = 0x01
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelect       = 0x1b
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Add       = 0x6a
	opI32And       = 0x71
	opI32Or        = 0x72
	opI64Or        = 0x84
	opF32Eq        = 0x5b
	opF64Eq        = 0x61
)
