package exectest

import "slices"

// statements writes code that leaves the stack as it was.
func (b *body) statements() {
	if b.depth >= maxNesting {
		return
	}
	b.depth++
	for range b.n(maxStatements) {
		b.statement()
	}
	b.depth--
}

func (b *body) statement() {
	b.budget--
	if b.budget <= 0 {
		return
	}
	switch b.n(24) {
	case 0, 1, 2, 3, 4:
		b.store()
	case 5, 6, 7:
		b.setLocal()
	case 8, 9:
		b.setGlobal()
	case 10, 11:
		b.callAny()
	case 12:
		b.indirectAny()
	case 13, 14:
		b.ifOf("")
	case 15:
		b.loopOf("")
	case 16:
		b.branchIf()
	case 17:
		b.switchOf()
	case 18:
		b.leaveIf()
	case 19:
		b.bulk()
	case 20:
		b.recurse()
	case 21:
		b.blockOf("")
	case 22:
		b.value(b.anyType())
		b.emit(opDrop)
	default:
		b.odd()
	}
}

func (b *body) store() {
	all := stores()
	a := all[b.n(len(all))]
	if !b.floats && (a.kind == 'f' || a.kind == 'F') {
		a = all[0]
	}
	b.address()
	b.value(a.kind)
	if a.kind == 'f' || a.kind == 'F' {
		b.canonicalise(a.kind)
	}
	b.access(a)
}

func (b *body) setLocal() {
	if b.visible == 0 {
		b.store()
		return
	}
	l := b.n(b.visible)
	b.value(b.locals[l])
	b.with(opLocalSet, l)
}

func (b *body) setGlobal() {
	kind := b.anyType()
	g, ok := b.global(kind, true)
	if !ok {
		b.setLocal()
		return
	}
	b.value(kind)
	b.with(opGlobalSet, g)
}

func (b *body) callAny() {
	f, ok := b.callee(func(Import) bool { return true })
	if !ok {
		b.store()
		return
	}
	b.call(f)
	b.discard(b.functions[f].Results)
}

func (b *body) indirectAny() {
	f, ok := b.callee(func(f Import) bool { return f.Module == "" })
	if !ok || b.table == nil {
		b.store()
		return
	}
	b.indirect(f)
	b.discard(b.functions[f].Results)
}

// branchIf may leave to any label.
func (b *body) branchIf() {
	to := b.someLabel()
	types := b.labels[to].types
	b.values(types)
	b.value('i')
	b.branch(opBrIf, to)
	b.discard(types)
}

// someLabel picks any, a loop's rarely.
func (b *body) someLabel() int {
	to, ok := pick(b.source, len(b.labels), func(i int) bool { return !b.labels[i].loop || b.rarely(8) })
	if !ok {
		return 0
	}
	return to
}

// switchOf picks one of several parts, which may go on with the next.
func (b *body) switchOf() {
	parts := 1 + b.n(4)
	for range parts + 1 {
		b.opened(opBlock, "", "")
	}
	b.value('i')
	if b.n(4) != 0 {
		b.i32(7)
		b.emit(opI32And)
	}
	targets := make([]byte, b.n(7))
	for i := range targets {
		targets[i] = byte(b.n(parts + 1)) //nolint:gosec // small
	}
	b.emit(opBrTable)
	b.operand(sized(targets)...)
	b.operand(byte(b.n(parts + 1))) //nolint:gosec // small
	b.closed()
	for outside := parts - 1; outside >= 0; outside-- {
		b.statements()
		if b.n(2) == 1 {
			b.with(opBr, outside)
		}
		b.closed()
	}
}

// leaveIf leaves the block early.
func (b *body) leaveIf() {
	b.value('i')
	b.opened(opIf, "", "")
	b.statements()
	b.leave()
	if b.n(2) == 1 {
		b.emit(opElse)
		b.statements()
		if b.rarely(4) {
			b.leave()
		}
	}
	b.closed()
}

// leave writes what never comes back; what follows is dead.
func (b *body) leave() {
	switch b.n(8) {
	case 7:
		b.emit(opUnreachable)
	case 5, 6:
		b.values(b.own.Results)
		b.emit(opReturn)
	case 4:
		b.leaveByTable()
	default:
		to := b.someLabel()
		b.values(b.labels[to].types)
		b.branch(opBr, to)
	}
}

// leaveByTable branches to one of the labels that take the same values, the
// function's own among them.
func (b *body) leaveByTable() {
	types := b.labels[b.someLabel()].types
	var same []int
	for i, l := range b.labels {
		if l.types == types && (!l.loop || b.rarely(4)) {
			same = append(same, len(b.labels)-1-i)
		}
	}
	if same == nil {
		b.emit(opUnreachable)
		return
	}
	b.values(types)
	b.value('i')
	targets := make([]int, b.n(5))
	b.with(opBrTable, len(targets))
	for range targets {
		b.operand(uleb(same[b.n(len(same))])...)
	}
	b.operand(uleb(same[b.n(len(same))])...)
}

// bulk copies or fills memory.
func (b *body) bulk() {
	way := b.n(4)
	b.address()
	if way != 0 && b.passive {
		b.i32(b.n(4))
		b.i32(b.n(8))
		b.initialise()
		return
	}
	if way == 0 {
		b.value('i')
	} else {
		b.address()
	}
	if b.value('i'); !b.rarely(16) {
		b.i32(0x3f)
		b.emit(opI32And)
	}
	if way == 0 {
		b.emit(0xfc, 11, 0)
	} else {
		b.emit(0xfc, 10, 0, 0)
	}
}

// initialise copies from a data segment. An active one counts as dropped since
// the start; wazero forgets that, so Canonical drops it.
func (b *body) initialise() {
	i := b.segment()
	if b.canonical && !b.data[i].passive {
		b.code = append(b.code, 0xfc, 9, byte(i)) //nolint:gosec // small
	}
	b.emit(0xfc, 8, byte(i), 0) //nolint:gosec // small
}

// segment picks one of data, most often a passive one.
func (b *body) segment() int {
	i, ok := pick(b.source, len(b.data), func(i int) bool { return b.data[i].passive || b.rarely(3) })
	if !ok {
		return 0
	}
	return i
}

// recurse calls the function itself with a first parameter that goes down to
// zero, where there is one.
func (b *body) recurse() {
	if b.own.Params == "" || b.own.Params[0] != 'i' {
		b.callAny()
		return
	}
	down := func() {
		b.with(opLocalGet, 0)
		b.i32(7)
		b.emit(opI32And)
	}
	down()
	b.opened(opIf, "", "")
	down()
	b.i32(-1)
	b.emit(opI32Add)
	b.values(b.own.Params[1:])
	b.with(opCall, b.index)
	b.discard(b.own.Results)
	b.closed()
}

// odd writes what programs seldom have.
func (b *body) odd() {
	switch b.n(6) {
	case 0, 1:
		b.emit(opNop)
	case 2:
		if b.rarely(4) {
			b.leave()
		}
	case 3: // a passive data segment is forgotten
		if b.passive {
			b.emit(0xfc, 9, byte(b.segment())) //nolint:gosec // small
		}
	case 4: // an empty if
		b.value('i')
		b.opened(opIf, "", "")
		b.closed()
	default: // values of many types at once, kept for a while
		types := slices.Repeat([]byte{b.anyType()}, 1+b.n(6))
		b.values(string(types))
		b.statements()
		b.discard(string(types))
	}
}
