package exectest

// Meter is a table of costs. Canonical code counts by it what it runs, one
// instruction at a time, in its global Count: a slow and simple reference for
// an engine that meters in a better way. A function that doesn't return, or
// calls one that doesn't, has counted less than was ahead of it.
type Meter struct {
	// Instruction is the cost of one, by its opcode; those that begin with
	// 0xfc have a second byte.
	Instruction func(code []byte) int
	// Round is the cost of each time round a loop, the first one included.
	Round int
	// Bytes is the cost of copying or filling memory, as a power of two of the
	// bytes that a unit pays for; a remainder is free.
	Bytes int
	// Page is the cost of a page of new memory, as a power of two.
	Page int
}

// Count is the global (i64) that Canonical code counts in, if there is a
// Meter. Whoever runs it may set it.
const Count = "count"

// Instructions that counting uses.
const (
	opI32Ne   = 0x47
	opI64Add  = 0x7c
	opI64Mul  = 0x7e
	opI64Shl  = 0x86
	opI64ShrU = 0x88
	opExtendU = 0xad // i64.extend_i32_u
)

// counting tells whether this form counts.
func (m *module) counting() bool { return m.canonical && m.features.Meter != nil }

// raw writes an instruction that isn't part of the program.
func (b *body) raw(op byte, operand int) {
	b.code = append(append(b.code, op), uleb(operand)...)
}

// add counts what more pushes.
func (b *body) add(more ...byte) {
	b.raw(opGlobalGet, len(b.globals))
	b.code = append(append(b.code, more...), opI64Add)
	b.raw(opGlobalSet, len(b.globals))
}

// count counts an instruction that comes next.
func (b *body) count(code []byte) {
	if !b.counting() {
		return
	}
	if cost := b.features.Meter.Instruction(code); cost > 0 {
		b.add(literal('I', uint64(cost))...)
	}
	switch {
	case code[0] == 0xfc && (code[1] == 8 || code[1] == 10 || code[1] == 11):
		b.raw(opLocalTee, b.size)
		b.add(cat([]byte{opLocalGet}, uleb(b.size), []byte{opExtendU}, literal('I', uint64(b.features.Meter.Bytes)), []byte{opI64ShrU})...) //nolint:gosec // small
	case code[0] == opMemoryGrow:
		b.raw(opLocalTee, b.size)
	}
}

// counted counts what is known of an instruction only afterwards.
func (b *body) counted(op byte) {
	if !b.counting() {
		return
	}
	switch op {
	case opLoop:
		b.add(literal('I', uint64(b.features.Meter.Round))...) //nolint:gosec // small
	case opMemoryGrow:
		b.raw(opLocalTee, b.old)
		b.add(cat([]byte{opLocalGet}, uleb(b.size), []byte{opExtendU}, literal('I', uint64(b.features.Meter.Page)), []byte{opI64Shl}, //nolint:gosec // small
			[]byte{opLocalGet}, uleb(b.old), literal('i', 1<<32-1), []byte{opI32Ne, opExtendU, opI64Mul})...)
	}
}
