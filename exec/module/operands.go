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
	w.height = max(w.height-pops, w.frames[len(w.frames)-1].base) + pushes
	w.highest = max(w.highest, w.height)
	w.slots += int64(pushes)
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
