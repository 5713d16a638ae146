package module

// Instructions that rewriting uses.
const (
	opLocalGet  = 0x20
	opLocalSet  = 0x21
	opLocalTee  = 0x22
	opGlobalGet = 0x23
	opGlobalSet = 0x24
	opI32Const  = 0x41
	opI64Const  = 0x42
	opI32Ne     = 0x47
	opI32LtS    = 0x48
	opI64LtS    = 0x53
	opF32Ne     = 0x5c
	opF64Ne     = 0x62
	opI32Add    = 0x6a
	opI32Sub    = 0x6b
	opI64Sub    = 0x7d
	opI64Mul    = 0x7e
	opI64Shl    = 0x86
	opI64ShrU   = 0x88
	opExtendU   = 0xad // i64.extend_i32_u
	opSelect    = 0x1b
	typeVoid    = 0x40
)

// emit writes the rewritten body:
//
//	block                 ;; for whoever runs dry
//	  block (its results) ;; the body, whose labels keep their numbers
//	    enter, then the body
//	  end
//	  leave
//	  return
//	end
//	keep the fuel, trap
//
// A function that can't use up much is spared the blocks.
func (a *admission) emit(sig Signature) {
	w := &a.rewriting
	w.fuelGlobal, w.floor, w.depthLevel = a.globals+globalFuel, a.globals+globalFloor, a.globals+globalDepth
	w.cached, w.wrapped, w.weight = w.loops, w.checked(), w.frameWeight()
	w.scratchLocals(a.b)
	if w.wrapped {
		w.out = append(w.out, opBlock, typeVoid, opBlock)
		w.out = append(w.out, a.blockType(results(sig))...)
	}
	w.enter()
	from := w.code
	for _, i := range w.inserts {
		w.out = append(w.out, a.b[from:i.at]...)
		from = i.at
		w.put(i)
		if i.what == insertSelect32 || i.what == insertSelect64 {
			from++ // in its place
		}
	}
	w.out = append(w.out, a.b[from:a.at]...)
	if w.wrapped {
		w.leaving()
		w.out = append(w.out, opReturn, opEnd)
		if w.cached {
			w.op(opLocalGet, w.fuel)
			w.op(opGlobalSet, w.fuelGlobal)
		}
		w.out = append(w.out, opUnreachable, opEnd)
	}
	a.bodies = appendUint(a.bodies, uint64(len(w.out)))
	a.bodies = append(a.bodies, w.out...)
}

func results(sig Signature) string {
	for i := range len(sig) {
		if sig[i] == ':' {
			return string(sig[i+1:])
		}
	}
	return ""
}

// scratchLocals writes the groups of locals, with those that rewriting needs.
func (w *rewriting) scratchLocals(b []byte) {
	next, groups := w.locals, 0
	var more []byte
	add := func(needed bool, t byte, places ...*int) {
		if !needed {
			return
		}
		groups++
		more = append(more, byte(len(places)), t)
		for _, p := range places {
			*p = next
			next++
		}
	}
	add(w.wrapped, typeI64, &w.fuel)
	add(w.wrapped, typeI32, &w.depth, &w.size, &w.old)
	add(w.real32 || w.select32, typeF32, &w.scratch32, &w.other32)
	add(w.real64 || w.select64, typeF64, &w.scratch64, &w.other64)
	add(w.select32 || w.select64, typeI32, &w.condition)
	w.out = appendUint(w.out, uint64(w.groupCount+groups)) //nolint:gosec // a count
	w.out = append(w.out, b[w.groupsAt:w.groups]...)
	w.out = append(w.out, more...)
}

func (w *rewriting) op(op byte, operand int) {
	w.out = appendUint(append(w.out, op), uint64(operand)) //nolint:gosec // an index
}

func (w *rewriting) constant(op byte, v int64) { w.out = appendInt(append(w.out, op), v) }

// enter charges the first segment and takes the function's share of the depth.
func (w *rewriting) enter() {
	w.op(opGlobalGet, w.fuelGlobal)
	w.constant(opI64Const, int64(w.segments[1].cost))
	w.out = append(w.out, opI64Sub)
	w.charged(w.wrapped, 1)
	if !w.calls {
		return
	}
	w.op(opGlobalGet, w.depthLevel)
	w.constant(opI32Const, w.weight)
	w.out = append(w.out, opI32Sub)
	w.op(opLocalTee, w.depth)
	w.op(opGlobalSet, w.depthLevel)
	w.op(opLocalGet, w.depth)
	w.out = append(w.out, opI32Const, 0, opI32LtS)
	w.op(opBrIf, 1)
}

// leaving gives back what enter took, and the fuel that is left.
func (w *rewriting) leaving() {
	if w.cached {
		w.op(opLocalGet, w.fuel)
		w.op(opGlobalSet, w.fuelGlobal)
	}
	if w.calls {
		w.op(opGlobalGet, w.depthLevel)
		w.constant(opI32Const, w.weight)
		w.out = append(w.out, opI32Add)
		w.op(opGlobalSet, w.depthLevel)
	}
}

func (w *rewriting) put(i insert) {
	switch i.what {
	case insertCharge, insertCheck:
		if cost := w.segments[i.segment].cost; cost > 0 {
			w.left()
			w.constant(opI64Const, int64(cost))
			w.out = append(w.out, opI64Sub)
			w.charged(i.what == insertCheck, i.frames)
		}
	case insertBeforeCall:
		if w.cached {
			w.op(opLocalGet, w.fuel)
			w.op(opGlobalSet, w.fuelGlobal)
		}
	case insertAfterCall:
		if w.cached {
			w.op(opGlobalGet, w.fuelGlobal)
			w.op(opLocalSet, w.fuel)
		}
	case insertLeave:
		w.leaving()
	case insertReal32:
		w.canonical(w.scratch32, opF32Ne, 0x43, 0, 0, 0xc0, 0x7f)
	case insertReal64:
		w.canonical(w.scratch64, opF64Ne, 0x44, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f)
	case insertSelect32:
		w.choice(typeF32, w.scratch32, w.other32)
	case insertSelect64:
		w.choice(typeF64, w.scratch64, w.other64)
	case insertBulk:
		w.op(opLocalTee, w.size)
		w.left()
		w.op(opLocalGet, w.size)
		w.out = append(w.out, opExtendU, opI64Const, bulkShift, opI64ShrU, opI64Sub)
		w.charged(true, i.frames)
	case insertBeforeGrow:
		w.op(opLocalTee, w.size)
	case insertAfterGrow:
		w.grown(i.frames)
	}
}

// left pushes the fuel that is left.
func (w *rewriting) left() {
	if w.cached {
		w.op(opLocalGet, w.fuel)
	} else {
		w.op(opGlobalGet, w.fuelGlobal)
	}
}

// charged keeps the fuel that is left, and jumps to the way out if that is
// too little.
func (w *rewriting) charged(check bool, frames int) {
	switch {
	case !check && w.cached:
		w.op(opLocalSet, w.fuel)
		return
	case !check:
		w.op(opGlobalSet, w.fuelGlobal)
		return
	}
	w.op(opLocalTee, w.fuel)
	if !w.cached {
		w.op(opGlobalSet, w.fuelGlobal)
		w.op(opLocalGet, w.fuel)
	}
	w.op(opGlobalGet, w.floor)
	w.out = append(w.out, opI64LtS)
	w.op(opBrIf, frames)
}

// canonical replaces a NaN at the top of the stack by the canonical one.
func (w *rewriting) canonical(scratch int, notEqual byte, nan ...byte) {
	w.op(opLocalTee, scratch)
	w.op(opLocalGet, scratch)
	w.out = append(w.out, notEqual, opIf, typeVoid)
	w.out = append(w.out, nan...)
	w.op(opLocalSet, scratch)
	w.out = append(w.out, opEnd)
	w.op(opLocalGet, scratch)
}

// choice is a select of floats.
func (w *rewriting) choice(t byte, first, second int) {
	w.op(opLocalSet, w.condition)
	w.op(opLocalSet, second)
	w.op(opLocalSet, first)
	w.op(opLocalGet, w.condition)
	w.out = append(w.out, opIf, t)
	w.op(opLocalGet, first)
	w.out = append(w.out, opElse)
	w.op(opLocalGet, second)
	w.out = append(w.out, opEnd)
}

// grown charges for the pages that memory.grow gave, if it did.
func (w *rewriting) grown(frames int) {
	w.op(opLocalTee, w.old)
	w.left()
	w.op(opLocalGet, w.size)
	w.out = append(w.out, opExtendU, opI64Const, pageShift, opI64Shl)
	w.op(opLocalGet, w.old)
	w.out = append(w.out, opI32Const, 0x7f, opI32Ne, opExtendU, opI64Mul, opI64Sub)
	w.charged(true, frames)
}
