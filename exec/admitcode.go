package exec

import "fmt"

func (a *admission) codeSection() {
	n := a.count(maxFunctions, 3, "bodies")
	if n != len(a.functions)-a.imported {
		a.fail("there are not as many bodies as functions")
	}
	a.codes = n
	section := a.end
	for i := 0; i < n && a.err == nil; i++ {
		size := a.count(maxBody, 1, "bytes of a body")
		a.end = a.at + size
		a.body(a.types[a.functions[a.imported+i]])
		if a.err == nil && a.at != a.end {
			a.fail("a body is longer than its instructions")
		}
		a.end = section
	}
}

// body checks one function. Its cost to compile grows faster than its size, in
// blocks and in locals that live across them, so those are limited for each
// function and for all together.
func (a *admission) body(sig signature) {
	locals := a.locals(sig)
	depth, blocks := 1, 1
	for depth > 0 && a.err == nil {
		switch a.instruction(locals) {
		case opens:
			depth++
			blocks++
		case closes:
			depth--
		case branches:
			blocks++
		}
		if depth > maxNesting {
			a.fail(fmt.Sprintf("blocks nested more than %d deep", maxNesting))
		}
		if blocks > maxBlocks {
			a.fail(fmt.Sprintf("more than %d blocks in a function", maxBlocks))
		}
	}
	a.squares += blocks * blocks
	a.products += blocks * locals
	if a.squares > maxBlockSquares || a.products > maxBlockLocals {
		a.fail("the functions have too many blocks together")
	}
}

// locals reads a body's variables and returns how many there are, parameters
// included.
func (a *admission) locals(sig signature) int {
	total := 0
	for sig[total] != ':' {
		total++
	}
	groups := a.count(maxLocals, 2, "groups of locals")
	for range groups {
		n := int(a.u32())
		if n > maxLocals-total {
			a.fail(fmt.Sprintf("a function has more than %d locals", maxLocals))
			return 0
		}
		total += n
		a.valueType(a.byte())
	}
	return total
}

// What an instruction means for the shape of a body.
type shape int

const (
	straight shape = iota
	opens          // block, loop, if
	closes         // end
	branches       // else, br, br_if, br_table, return: a basic block ends
)

// instruction reads one instruction with its operands.
func (a *admission) instruction(locals int) shape {
	op := a.byte()
	switch {
	case op == 0x02 || op == 0x03 || op == 0x04: // block, loop, if
		a.signed(33) // its type
		return opens
	case op == 0x0b:
		return closes
	case op == 0x05: // else
		return branches
	case op == 0x0c || op == 0x0d: // br, br_if
		a.u32()
		return branches
	case op == 0x0e:
		a.branchTable()
		return branches
	case op == 0x00 || op == 0x01 || op == 0x0f || op == 0x1a || op == 0x1b: // unreachable, nop, return, drop, select
	case op == 0x10:
		a.functionIndex()
	case op == 0x11: // call_indirect
		a.typeIndex()
		if a.u32() != 0 || a.tables == 0 {
			a.fail("there is no such table")
		}
	case op >= 0x20 && op <= 0x22: // local.get, .set, .tee
		if int(a.u32()) >= locals {
			a.fail("there is no such local")
		}
	case op == 0x23 || op == 0x24: // global.get, .set
		if int(a.u32()) >= a.globals {
			a.fail("there is no such global")
		}
	case op >= 0x28 && op <= 0x3e: // loads and stores: alignment, offset
		a.u32()
		a.u32()
	case op == 0x3f || op == 0x40: // memory.size, .grow
		a.zero()
	case op >= 0x41 && op <= 0x44:
		a.at--
		a.number()
	case op >= 0x45 && op <= 0xc4: // arithmetic
	case op == 0xfc:
		a.prefixed()
	default:
		a.unsupported(op)
	}
	return straight
}

// number reads a constant instruction.
func (a *admission) number() {
	switch a.byte() {
	case 0x41:
		a.signed(32)
	case 0x42:
		a.signed(64)
	case 0x43:
		a.bytes(4)
	case 0x44:
		a.bytes(8)
	}
}

func (a *admission) branchTable() {
	n := a.count(maxBranchTargets, 1, "targets of a br_table")
	if a.targets += n; a.targets > maxAllTargets {
		a.fail("too many targets of all br_tables together")
	}
	for range n + 1 {
		a.u32()
	}
}

// zero reads the number of the one memory there is.
func (a *admission) zero() {
	if a.byte() != 0 {
		a.fail("there is no such memory")
	}
}

// prefixed reads what follows 0xfc: conversions and bulk memory.
func (a *admission) prefixed() {
	switch op := a.u32(); {
	case op <= 7: // saturating conversions
	case op == 8: // memory.init
		a.dataIndex()
		a.zero()
	case op == 9: // data.drop
		a.dataIndex()
	case op == 10: // memory.copy
		a.zero()
		a.zero()
	case op == 11: // memory.fill
		a.zero()
	default:
		a.fail("instructions that change tables aren't supported")
	}
}

func (a *admission) dataIndex() {
	if i := a.u32(); a.err == nil && int(i) >= a.dataCount {
		a.fail("there is no such data segment")
	}
}

func (a *admission) unsupported(op byte) {
	a.at--
	switch {
	case a.err != nil:
	case op == 0xfd:
		a.fail("vector instructions (SIMD) aren't supported")
	case op == 0xfe:
		a.fail("threads and atomics aren't supported")
	case op == 0x1c || op == 0x25 || op == 0x26 || op >= 0xd0 && op <= 0xd2:
		a.fail("reference types aren't supported")
	default:
		a.fail(fmt.Sprintf("instruction %#02x is unknown", op))
	}
}
