package exectest

// values writes code that leaves values of these types.
func (b *body) values(types string) {
	if len(types) > 1 && b.budget > 0 && b.n(2) == 1 {
		fits := func(f Import) bool { return f.Results == types }
		if f, ok := b.callee(fits); ok && b.n(2) == 1 {
			b.call(f)
		} else {
			b.blockOf(types)
		}
		return
	}
	for i := range len(types) {
		b.value(types[i])
	}
}

// value writes code that leaves one value.
func (b *body) value(kind byte) {
	b.budget--
	if b.budget <= 0 || b.depth >= maxNesting {
		b.leaf(kind)
		return
	}
	b.depth++
	defer func() { b.depth-- }()
	switch b.n(24) {
	case 0, 1, 2:
		b.leaf(kind)
	case 3, 4, 5:
		b.load(kind)
	case 6, 7:
		b.callValue(kind)
	case 8, 9:
		b.blockOf(string(kind))
	case 10:
		b.ifOf(string(kind))
	case 11:
		b.loopOf(string(kind))
	case 12:
		b.value(kind)
		b.value(kind)
		b.value('i')
		b.emit(opSelect)
	case 13:
		b.branchIfWith(kind)
	case 14:
		b.tee(kind)
	case 15:
		b.indirectValue(kind)
	case 16:
		b.memoryValue(kind)
	case 17:
		b.aboutNaN(kind)
	default:
		if b.rarely(48) {
			b.dead(kind)
			return
		}
		b.numeric(kind)
	}
}

func (b *body) leaf(kind byte) {
	way := b.n(4)
	if l, ok := b.local(kind); ok && way >= 2 {
		b.with(opLocalGet, l)
	} else if g, ok := b.global(kind, false); ok && way == 1 {
		b.with(opGlobalGet, g)
	} else {
		b.emit(b.constant(kind)...)
	}
}

func (b *body) numeric(kind byte) {
	all := b.ops[kind]
	op := all[b.n(len(all))]
	if op.traps && !b.rarely(4) { // otherwise most runs would end here
		op = all[b.n(len(all))]
	}
	for i := range len(op.params) {
		b.value(op.params[i])
	}
	if op.traps && len(op.params) == 2 && !b.rarely(8) { // rarely divide by zero
		b.emit(literal(kind, 1)...)
		b.emit(map[byte]byte{'i': opI32Or, 'I': opI64Or}[kind])
	}
	if op.showsNaN() {
		b.canonicalise(op.params[len(op.params)-1])
	}
	b.emit(op.code...)
}

// aboutNaN makes a NaN, or what shows one.
func (b *body) aboutNaN(kind byte) {
	way := b.n(2)
	switch {
	case !b.floats:
		b.numeric(kind)
	case kind == 'i' || kind == 'I':
		b.shown(map[byte]byte{'i': 0xbc, 'I': 0xbd}[kind], map[byte]byte{'i': 'f', 'I': 'F'}[kind])
	case way == 0:
		b.value(kind)
		b.shown(map[byte]byte{'f': 0x98, 'F': 0xa6}[kind], kind)
	default:
		b.makeNaN(kind)
	}
}

// shown applies an instruction that shows the bits of a NaN.
func (b *body) shown(op, kind byte) {
	b.value(kind)
	b.canonicalise(kind)
	b.emit(op)
}

// makeNaN makes one by arithmetic, with bits that machines differ in.
func (b *body) makeNaN(kind byte) {
	edges, negate, root, sub, mul, div := edges32, byte(0x8c), byte(0x91), byte(0x93), byte(0x94), byte(0x95)
	if kind == 'F' {
		edges, negate, root, sub, mul, div = edges64, 0x9a, 0x9f, 0xa1, 0xa2, 0xa3
	}
	const zero, minus, infinite, nan = 0, 3, 4, 8 // places among the edges
	way := b.n(5)
	for _, i := range [][]int{{zero, zero}, {infinite, infinite}, {infinite, zero}, {minus}, {nan}}[way] {
		b.emit(literal(kind, edges[i])...)
	}
	b.emit([]byte{div, sub, mul, root, negate}[way])
}

// address writes an address, mostly within the first pages.
func (b *body) address() {
	b.value('i')
	switch b.n(64) {
	case 63:
	case 56, 57, 58, 59, 60, 61, 62:
		b.i32(0x7fff)
		b.emit(opI32And)
	default:
		b.i32(0x1f8)
		b.emit(opI32And)
	}
}

func (b *body) access(a access) {
	b.emit(a.code)
	b.operand(uleb(b.n(a.width + 1))...)
	switch b.n(128) {
	case 127:
		b.operand(uleb(0xfffe + b.n(4)*0xffff)...)
	case 126:
		b.operand(uleb(1<<32 - 1 - b.n(4))...)
	default:
		b.operand(uleb(b.n(64))...)
	}
}

func (b *body) load(kind byte) {
	all := loads()
	i, _ := pick(b.source, len(all), func(i int) bool { return all[i].kind == kind })
	b.address()
	b.access(all[i])
}

// callValue calls a function and keeps the first of its results.
func (b *body) callValue(kind byte) {
	f, ok := b.callee(func(f Import) bool { return f.Results != "" && f.Results[0] == kind })
	if !ok {
		b.numeric(kind)
		return
	}
	b.call(f)
	b.discard(b.functions[f].Results[1:])
}

func (b *body) call(f int) {
	if own := b.functions[f].Import; f < b.imported {
		b.hostArguments(own.Params)
	} else {
		b.values(own.Params)
	}
	b.with(opCall, f)
}

// hostArguments are mostly small, so that addresses fit.
func (b *body) hostArguments(params string) {
	for _, kind := range []byte(params) {
		if kind == 'i' && !b.rarely(16) {
			b.value('i')
			b.i32(0x3f)
			b.emit(opI32And)
			continue
		}
		b.value(kind)
	}
}

// indirectValue calls through the table a function of some type that gives
// the kind; the table says whether it has that type.
func (b *body) indirectValue(kind byte) {
	f, ok := b.callee(func(f Import) bool { return f.Results == string(kind) && f.Module == "" })
	if !ok || b.table == nil {
		b.numeric(kind)
		return
	}
	b.indirect(f)
}

func (b *body) indirect(f int) {
	own := b.functions[f].Import
	b.values(own.Params)
	at, there := pick(b.source, len(b.table), func(i int) bool { return b.table[i] == f })
	if there && !b.rarely(8) {
		b.i32(at)
	} else {
		b.value('i')
		b.i32(7)
		b.emit(opI32And)
	}
	b.with(opCallIndirect, b.typeIndex(own.Params, own.Results))
	b.operand(0)
}

// blockOf is a block of some results; it may take values from outside.
func (b *body) blockOf(results string) {
	params := b.parameters()
	b.values(params)
	kept := b.opened(opBlock, params, results)
	b.statements()
	if !kept {
		b.values(results)
	}
	b.closed()
}

func (b *body) parameters() string {
	if b.n(4) == 3 {
		return b.someTypes(3)
	}
	return ""
}

func (b *body) ifOf(results string) {
	params := b.parameters()
	b.values(params)
	b.value('i')
	kept := b.opened(opIf, params, results)
	b.statements()
	if !kept {
		b.values(results)
	}
	if params != results || b.n(2) == 1 {
		b.emit(opElse)
		kept := b.consume(params, results)
		b.statements()
		if !kept {
			b.values(results)
		}
	}
	b.closed()
}

// loopOf runs a number of times, unless something in it branches elsewhere.
func (b *body) loopOf(results string) {
	count := b.reserve('i')
	b.i32(1 + b.n(10))
	b.with(opLocalSet, count)
	params := b.parameters()
	b.values(params)
	if kept := b.opened(opLoop, params, results); kept {
		b.discard(params)
	}
	b.statements()
	b.values(params)
	b.with(opLocalGet, count)
	b.i32(-1)
	b.emit(opI32Add)
	b.with(opLocalTee, count)
	b.with(opBrIf, 0)
	b.discard(params)
	b.values(results)
	b.closed()
}

// branchIfWith leaves to a label of one value, or goes on with the value.
func (b *body) branchIfWith(kind byte) {
	b.value(kind)
	to, ok := b.label(string(kind))
	if !ok {
		return
	}
	b.value('i')
	b.branch(opBrIf, to)
}

func (b *body) tee(kind byte) {
	b.value(kind)
	if l, ok := b.local(kind); ok {
		b.with(opLocalTee, l)
	}
}

// memoryValue asks for the size of the memory, or for more of it.
func (b *body) memoryValue(kind byte) {
	switch {
	case kind != 'i':
		b.numeric(kind)
	case b.n(2) == 0:
		b.emit(opMemorySize, 0)
	default:
		if b.rarely(4) {
			b.value('i')
		} else {
			b.i32(b.n(2))
		}
		b.emit(opMemoryGrow, 0)
		b.counted(opMemoryGrow)
	}
}

// dead leaves the block and then writes what never runs: nothing at all, a
// value, or an instruction without its operands.
func (b *body) dead(kind byte) {
	b.leave()
	switch b.n(3) {
	case 1:
		b.value(kind)
	case 2:
		all := b.ops[kind]
		b.emit(all[b.n(len(all))].code...)
	}
}
