package module

import "fmt"

// Opcodes that have a name here.
const (
	opUnreachable = 0x00
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opElse        = 0x05
	opEnd         = 0x0b
	opBr          = 0x0c
	opBrIf        = 0x0d
	opBrTable     = 0x0e
	opReturn      = 0x0f
	opCall        = 0x10
	opIndirect    = 0x11
	opF32Store    = 0x38
	opF64Store    = 0x39
	opGrow        = 0x40
	opPrefix      = 0xfc
)

func (a *admission) codeSection() {
	n := a.count(maxFunctions, 3, "bodies")
	if n != len(a.functions)-a.imported {
		a.fail("there are not as many bodies as functions")
	}
	a.codes = n
	a.bodies = appendUint(make([]byte, 0, (a.end-a.at)*5/4+64), uint64(n)) //nolint:gosec // a count
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

// body checks one function and rewrites it. Its cost to compile grows faster
// than its size, in blocks and in locals that live across them, so those are
// limited for each function and for all together.
func (a *admission) body(sig Signature) {
	w := &a.rewriting
	w.begin(a.at)
	w.locals, w.groups = a.locals(sig), a.at
	w.code = a.at
	w.frames[0].sig = ":" + Signature(results(sig))
	_, w.frames[0].results = signature(sig)
	w.block()
	for len(w.frames) > 0 && a.err == nil {
		a.instruction()
		if len(w.frames) > maxNesting {
			a.fail(fmt.Sprintf("blocks nested more than %d deep", maxNesting))
		}
		if w.blocks > maxBlocks {
			a.fail(fmt.Sprintf("more than %d blocks in a function", maxBlocks))
		}
	}
	a.squares += w.blocks * w.blocks
	a.slotSquares += w.slots * w.slots
	a.work += w.work
	switch {
	case a.squares > maxBlockSquares:
		a.fail("the functions have too many blocks together")
	case a.slotSquares > maxSlotSquares:
		a.fail("the functions make too many values together")
	case a.work > maxWork:
		a.fail("too many values live in the blocks and loops of the functions")
	}
	if a.err == nil {
		a.emit(sig)
	}
}

// locals reads a body's variables and returns how many there are, parameters
// included.
func (a *admission) locals(sig Signature) int {
	total, _ := signature(sig)
	w := &a.rewriting
	w.localTypes = append(w.localTypes[:0], sig[:total]...)
	groups := a.count(maxLocals, 2, "groups of locals")
	a.rewriting.groupCount, a.rewriting.groupsAt = groups, a.at
	for range groups {
		n := int(a.u32())
		if n > maxLocals-total {
			a.fail(fmt.Sprintf("a function has more than %d locals", maxLocals))
			return 0
		}
		total += n
		t := a.byte()
		a.valueType(t)
		for range n {
			w.localTypes = append(w.localTypes, t)
		}
	}
	return total
}

// instruction reads one instruction with its operands, and notes what
// rewriting has to know of it.
func (a *admission) instruction() {
	w, at := &a.rewriting, a.at
	op := a.byte()
	w.step(int(costs[op]))
	made := resultTypes[op]
	if op == opSelect {
		made = w.typeAt(w.height - 2)
		w.choose(at)
	}
	w.operands(int(effects[op]>>4), int(effects[op]&15))
	w.makes(made)
	switch op {
	case opBlock, opLoop, opIf:
		w.open(op, a.blockTypeIndex(), a.at)
	case opElse:
		if w.frames[len(w.frames)-1].op != opIf {
			a.fail("an else without an if")
			return
		}
		w.otherwise(a.at)
	case opEnd:
		w.close(a.at)
	case opBr, opBrIf:
		w.branch(a.label())
		if op == opBr {
			w.dead()
		} else {
			w.fork(a.at)
		}
	case opBrTable:
		a.branchTable()
		w.dead()
	case opReturn:
		w.leave(at)
	case opUnreachable:
		w.dead()
	case opCall:
		if i := a.functionIndex(); a.err == nil {
			w.invoke(a.types[a.functions[i]])
		}
		w.call(at, a.at)
	case opIndirect:
		if i := a.typeIndex(); a.err == nil {
			w.invoke(a.types[i])
		}
		if a.u32() != 0 || a.tables == 0 {
			a.fail("there is no such table")
		}
		w.call(at, a.at)
	default:
		a.simple(op, at)
	}
	w.previous = op
}

// simple reads an instruction that control goes straight through.
func (a *admission) simple(op byte, at int) {
	w := &a.rewriting
	switch {
	case op == 0x01 || op == 0x1a || op == 0x1b: // nop, drop, select
	case op >= opLocalGet && op <= opLocalTee:
		switch i := int(a.u32()); {
		case i >= w.locals:
			a.fail("there is no such local")
		case op == opLocalGet:
			w.makes(w.localTypes[i])
		default:
			w.assign(i)
			if op == opLocalTee {
				w.makes(w.localTypes[i])
			}
		}
	case op == 0x23 || op == 0x24: // global.get, .set
		if i := int(a.u32()); i >= a.globals {
			a.fail("there is no such global")
		} else if op == opGlobalGet {
			w.makes(a.globalTypes[i])
		}
	case op >= 0x28 && op <= 0x3e: // loads and stores: alignment, offset
		a.u32()
		a.u32()
		if op == opF32Store || op == opF64Store {
			w.visible(at, op == opF64Store)
		}
	case op == 0x3f: // memory.size
		a.zero()
	case op == opGrow:
		a.zero()
		w.grow(at, a.at)
	case op >= 0x41 && op <= 0x44:
		a.at--
		a.number()
	case op >= 0x45 && op <= 0xc4: // arithmetic
		switch op {
		case 0x98, 0xbc: // f32.copysign, i32.reinterpret_f32
			w.visible(at, false)
		case 0xa6, 0xbd: // f64.copysign, i64.reinterpret_f64
			w.visible(at, true)
		}
	case op == opPrefix:
		a.prefixed(at)
	default:
		a.unsupported(op)
	}
}

// blockTypeIndex reads the type of a block.
func (a *admission) blockTypeIndex() Signature {
	switch t := a.signed(33); {
	case t >= 0 && t < int64(len(a.types)):
		return a.types[t]
	case t == -64: // none
	case t >= -4 && t <= -1:
		return Signature([]byte{':', byte(0x80 + t)})
	default:
		a.fail("there is no such type")
	}
	return ":"
}

// label reads how many blocks out a branch goes.
func (a *admission) label() int {
	l := int(a.u32())
	if a.err == nil && l >= len(a.rewriting.frames) {
		a.fail("there is no such block")
		return 0
	}
	return l
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
		a.rewriting.branch(a.label())
		a.rewriting.piece() // an engine has one for each
		if a.err != nil {
			return
		}
	}
}

// zero reads the number of the one memory there is.
func (a *admission) zero() {
	if a.byte() != 0 {
		a.fail("there is no such memory")
	}
}

// prefixed reads what follows 0xfc: conversions and bulk memory.
func (a *admission) prefixed(at int) {
	w := &a.rewriting
	switch op := a.u32(); {
	case op <= 7: // saturating conversions
		w.operands(1, 1)
		w.makes([8]byte{typeI32, typeI32, typeI32, typeI32, typeI64, typeI64, typeI64, typeI64}[op])
		w.step(costStep)
	case op == 8: // memory.init
		a.passive = true
		a.dataIndex()
		a.zero()
		w.operands(3, 0)
		w.bulk(at)
	case op == 9: // data.drop
		a.passive = true
		a.dataIndex()
		w.step(costStep)
	case op == 10: // memory.copy
		a.zero()
		a.zero()
		w.operands(3, 0)
		w.bulk(at)
	case op == 11: // memory.fill
		a.zero()
		w.operands(3, 0)
		w.bulk(at)
	default:
		a.fail("instructions that change tables aren't supported")
	}
}

func (a *admission) dataIndex() {
	if i := a.u32(); a.err == nil && int(i) >= a.announced {
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
