package exectest

import "strings"

// Bounds of one body.
const (
	maxNesting    = 7  // of what is generated inside of one another
	maxStatements = 5  // in a row
	leastBudget   = 16 // expressions and statements of a body
	budgetSpread  = 160
)

// body is a function while it is written.
type body struct {
	*module
	index   int
	own     Import
	code    []byte
	last    byte    // opcode of the last instruction
	locals  string  // types of all, parameters first
	visible int     // locals that the program itself uses; the others steer it
	labels  []label // outermost first
	budget  int
	depth   int
	nan     map[byte]int // locals for making a NaN canonical, by type
	size    int          // locals for counting
	old     int
	ops     map[byte][]instruction
}

// label is where a branch goes, with the values it takes along.
type label struct {
	types string
	loop  bool
}

// body writes a function.
func (m *module) body(index int) []byte {
	f := m.functions[index].Import
	b := &body{module: m, index: index, own: f, locals: f.Params, nan: map[byte]int{}, ops: map[byte][]instruction{}}
	for range m.n(7) {
		b.locals += string(m.anyType())
	}
	if m.rarely(12) { // a large frame
		b.locals += strings.Repeat(string(m.anyType()), 60+m.n(40))
	}
	b.visible = len(b.locals)
	if m.floats {
		b.nan['f'], b.nan['F'] = b.reserve('f'), b.reserve('F')
	}
	if m.features.Meter != nil {
		b.size, b.old = b.reserve('i'), b.reserve('i')
	}
	for _, i := range numeric() {
		if m.floats || !strings.ContainsAny(i.params+string(i.result), "fF") {
			b.ops[i.result] = append(b.ops[i.result], i)
		}
	}
	b.budget = leastBudget + m.n(budgetSpread)
	b.labels = []label{{types: f.Results}}
	if b.rarely(16) {
		b.heavy()
	}
	for range b.n(12) {
		b.statement()
	}
	b.values(f.Results)
	b.emit(opEnd)
	var groups [][]byte
	for _, kind := range []byte(b.locals[len(f.Params):]) {
		groups = append(groups, []byte{1, valueType(kind)})
	}
	return cat(vec(groups...), b.code)
}

// heavy writes many instructions that do nothing: an engine may need a large
// stack frame for them.
func (b *body) heavy() {
	for range 2200 {
		b.i32(1)
		b.emit(opDrop)
	}
}

// emit writes one instruction.
func (b *body) emit(code ...byte) {
	b.count(code)
	b.code = append(b.code, code...)
	b.last = code[0]
}

// operand adds to the last instruction.
func (b *body) operand(code ...byte) { b.code = append(b.code, code...) }

// with writes an instruction that has a number.
func (b *body) with(code byte, n int) {
	b.emit(code)
	b.operand(uleb(n)...)
}

// reserve adds a local that the program itself doesn't use.
func (b *body) reserve(kind byte) int {
	b.locals += string(kind)
	return len(b.locals) - 1
}

func (b *body) i32(v int) { b.emit(literal('i', uint64(v))...) } //nolint:gosec // bits

// opened writes the start of a block, loop or if; its parameters are on the
// stack, and inside of it they are first of all taken away, or kept if they
// are its results.
func (b *body) opened(op byte, params, results string) (kept bool) {
	b.emit(op)
	switch {
	case params == "" && results == "":
		b.operand(0x40)
	case params == "" && len(results) == 1 && !b.rarely(8):
		b.operand(valueType(results[0]))
	default:
		b.operand(sleb(int64(b.typeIndex(params, results)))...)
	}
	b.counted(op)
	b.labels = append(b.labels, label{types: results})
	if op == opLoop {
		b.labels[len(b.labels)-1] = label{types: params, loop: true}
	}
	return b.consume(params, results)
}

func (b *body) consume(params, results string) (kept bool) {
	if params != "" && params == results && b.n(2) == 1 {
		return true
	}
	b.discard(params)
	return false
}

func (b *body) closed() {
	b.emit(opEnd)
	b.labels = b.labels[:len(b.labels)-1]
}

// discard takes values off the stack, some of them into locals.
func (b *body) discard(types string) {
	for i := len(types) - 1; i >= 0; i-- {
		if l, ok := b.local(types[i]); ok && b.n(2) == 1 {
			b.with(opLocalSet, l)
		} else {
			b.emit(opDrop)
		}
	}
}

// local picks one of a type.
func (b *body) local(kind byte) (int, bool) {
	return pick(b.source, b.visible, func(i int) bool { return b.locals[i] == kind })
}

func (b *body) global(kind byte, mutable bool) (int, bool) {
	return pick(b.source, len(b.globals), func(i int) bool {
		return b.globals[i].kind == kind && (b.globals[i].mutable || !mutable)
	})
}

// label picks one that takes the types along, a loop's rarely: that makes it
// run again.
func (b *body) label(types string) (int, bool) {
	return pick(b.source, len(b.labels), func(i int) bool {
		return b.labels[i].types == types && (!b.labels[i].loop || b.rarely(8))
	})
}

// callee picks a function that comes later, or seldom any, so that most calls
// end.
func (b *body) callee(fits func(Import) bool) (int, bool) {
	anyone := b.rarely(24)
	return pick(b.source, len(b.functions), func(i int) bool {
		f := b.functions[i]
		return (anyone || i < b.imported || i > b.index) && fits(f.Import) && (!f.Ends || b.rarely(8))
	})
}

// pick decides between those of n that fit.
func pick(s *source, n int, fits func(int) bool) (int, bool) {
	if n == 0 {
		return 0, false
	}
	from := s.n(n)
	for i := range n {
		if i = (from + i) % n; fits(i) {
			return i, true
		}
	}
	return 0, false
}

// branch writes a branch to a label by its number from outside.
func (b *body) branch(op byte, to int) { b.with(op, len(b.labels)-1-to) }

// canonicalise makes the float on top of the stack canonical if it is a NaN
// and doesn't come straight from a constant, from memory or from an integer:
// those bits are the same everywhere.
func (b *body) canonicalise(kind byte) {
	switch b.last {
	case 0x43, 0x44, 0x2a, 0x2b, 0xbe, 0xbf:
		return
	}
	if !b.canonical {
		return
	}
	equal, nan := byte(opF32Eq), edges32[6]
	if kind == 'F' {
		equal, nan = opF64Eq, edges64[6]
	}
	b.raw(opLocalTee, b.nan[kind])
	b.code = append(b.code, literal(kind, nan)...)
	b.raw(opLocalGet, b.nan[kind])
	b.raw(opLocalGet, b.nan[kind])
	b.code = append(b.code, equal, opSelect)
}
