package module

import "math/bits"

// effects says what simple instructions do with operands, by opcode: how many
// they take in the upper half, how many they make in the lower one.
var effects = effectTable()

func effectTable() (t [256]uint8) {
	set := func(from, to int, pops, pushes uint8) {
		for op := from; op <= to; op++ {
			t[op] = pops<<4 | pushes
		}
	}
	set(opIf, opIf, 1, 0)
	set(opBrIf, opBrTable, 1, 0)
	set(opIndirect, opIndirect, 1, 0)
	set(0x1a, 0x1a, 1, 0) // drop
	set(0x1b, 0x1b, 3, 1) // select
	set(opLocalGet, opLocalGet, 0, 1)
	set(opLocalSet, opLocalSet, 1, 0)
	set(opLocalTee, opLocalTee, 1, 1)
	set(opGlobalGet, opGlobalGet, 0, 1)
	set(opGlobalSet, opGlobalSet, 1, 0)
	set(0x28, 0x35, 1, 1) // loads
	set(0x36, 0x3e, 2, 0) // stores
	set(0x3f, 0x3f, 0, 1) // memory.size
	set(opGrow, opGrow, 1, 1)
	set(0x41, 0x44, 0, 1) // constants
	set(0x45, 0xc4, 1, 1) // arithmetic of one operand
	for _, two := range [][2]int{
		{0x46, 0x4f}, {0x51, 0x66}, {0x6a, 0x78}, {0x7c, 0x8a}, {0x92, 0x98}, {0xa0, 0xa6}, // of two
	} {
		set(two[0], two[1], 2, 1)
	}
	return t
}

// operands notes that an instruction takes operands and makes new ones. What
// can't be reached may take more than there are.
func (w *rewriting) operands(pops, pushes int) {
	w.height = max(w.height-pops, w.frames[len(w.frames)-1].base)
	for range pushes {
		w.set(0)
	}
	w.highest = max(w.highest, w.height)
	w.slots += int64(pushes)
}

// set puts an operand of a type onto the stack; 0 is one that isn't known.
func (w *rewriting) set(t byte) {
	for len(w.stack) <= w.height {
		w.stack = append(w.stack, 0)
	}
	w.stack[w.height] = t
	w.height++
}

// push puts operands of these types onto the stack.
func (w *rewriting) push(types string) {
	for i := range len(types) {
		w.set(types[i])
	}
	w.highest = max(w.highest, w.height)
}

// makes says what the operand is that was made last; 0 leaves that open.
func (w *rewriting) makes(t byte) {
	if t != 0 && w.height > 0 && w.height <= len(w.stack) {
		w.stack[w.height-1] = t
	}
}

// typeAt is the type of an operand, 0 if it isn't known.
func (w *rewriting) typeAt(i int) byte {
	if i < w.frames[len(w.frames)-1].base || i >= min(w.height, len(w.stack)) {
		return 0
	}
	return w.stack[i]
}

// invoke takes a call's arguments and makes its results.
func (w *rewriting) invoke(sig Signature) {
	params, n := signature(sig)
	w.operands(params, 0)
	w.push(results(sig))
	w.slots += int64(n)
}

// resultTypes says of what type the result of an instruction is that always
// makes the same, by opcode.
var resultTypes = resultTable()

func resultTable() (t [256]byte) {
	set := func(from, to int, kind byte) {
		for op := from; op <= to; op++ {
			t[op] = kind
		}
	}
	set(0x28, 0x28, typeI32) // loads
	set(0x29, 0x29, typeI64)
	set(0x2a, 0x2a, typeF32)
	set(0x2b, 0x2b, typeF64)
	set(0x2c, 0x2f, typeI32)
	set(0x30, 0x35, typeI64)
	set(0x3f, opGrow, typeI32)
	set(0x41, 0x41, typeI32) // constants
	set(0x42, 0x42, typeI64)
	set(0x43, 0x43, typeF32)
	set(0x44, 0x44, typeF64)
	set(0x45, 0x78, typeI32) // comparisons, arithmetic
	set(0x79, 0x8a, typeI64)
	set(0x8b, 0x98, typeF32)
	set(0x99, 0xa6, typeF64)
	set(0xa7, 0xab, typeI32) // conversions
	set(0xac, 0xb1, typeI64)
	set(0xb2, 0xb6, typeF32)
	set(0xb7, 0xbb, typeF64)
	set(0xbc, 0xbc, typeI32)
	set(0xbd, 0xbd, typeI64)
	set(0xbe, 0xbe, typeF32)
	set(0xbf, 0xbf, typeF64)
	set(0xc0, 0xc1, typeI32)
	set(0xc2, 0xc4, typeI64)
	return t
}

// signature are the numbers of a type's parameters and results.
func signature(sig Signature) (params, results int) {
	for sig[params] != ':' {
		params++
	}
	return params, len(sig) - params - 1
}

// assign notes that a local has a new value.
func (w *rewriting) assign(local int) {
	w.frames[len(w.frames)-1].assigned[local>>6&1] |= 1 << (local & 63)
}

// join notes that ways may meet at the end of a block, or at the start of a
// loop: an engine may keep what they assigned in places of its own.
func (w *rewriting) join(f *frame) {
	assigned := bits.OnesCount64(f.assigned[0]) + bits.OnesCount64(f.assigned[1])
	w.slots += int64(joinSlots + f.params + f.results + assigned)
}

// block notes a piece of straight code.
func (w *rewriting) block() {
	w.blocks++
	w.piece()
}

// branches notes an instruction that becomes a branch and what comes after it.
func (w *rewriting) branches() {
	w.slots += branchSlots
	w.block()
	w.block()
}

// expands notes an instruction that becomes a loop, or a call of the engine.
func (w *rewriting) expands() {
	w.bulks = true
	w.slots += bulkSlots
	for range bulkBlocks {
		w.block()
	}
}

// piece notes what a piece of straight code takes to compile: it grows with
// the values that may live at its start and, as an engine looks at loops again
// and again until nothing changes, with the loops around it.
func (w *rewriting) piece() { w.work += int64(1+w.locals+w.height) * int64(1+w.around) }
