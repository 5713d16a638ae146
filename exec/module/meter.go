package module

import "math"

// rewriting is what is known of one body: where control may go, and what has
// to be put where. Fuel is charged by segments: a segment is code that runs
// whole or not at all, which need not stand in one piece. What follows a block
// that nothing jumps out of belongs to the segment before it.
type rewriting struct {
	begun, groupsAt, groups, code int // offsets: the body, its groups of locals, their end, the first instruction
	groupCount, locals            int

	frames   []frame
	segments []segment
	current  int // segment; 0: code that can't be reached
	inserts  []insert
	previous byte // opcode of the last instruction

	blocks, work        int64  // of the body, to compile
	slots               int64  // places that a frame of the compiled function may have
	height, highest     int    // operands
	stack               []byte // types of the operands, as far as they are known
	localTypes          []byte
	around              int // loops that are open
	loops, calls, bulks bool
	real32, real64      bool // a scratch local is needed
	select32, select64  bool // two are, and one for the condition

	// What emitting uses.
	out                           []byte
	cached                        bool // fuel is in a local within the function
	wrapped                       bool // there is a way out for code that has run dry
	fuel, depth, size, old        int  // scratch locals
	scratch32, scratch64          int
	other32, other64, condition   int
	fuelGlobal, floor, depthLevel int // globals
	weight                        int64
}

// frame is an open block.
type frame struct {
	op       byte // opBlock, opLoop, opIf or opElse
	entry    int  // the segment that was current before it
	reach    int  // the outermost frame that a branch within it goes to, by index; −1: out of the function
	branched bool // a branch goes to its end
	alive    bool // of opElse: control can reach the end of the first branch

	sig             Signature // its type
	params, results int       // of that
	base            int       // operands below it
	assigned        [2]uint64 // locals that have new values within it
}

type segment struct{ cost int }

// insert is something to put at an offset.
type insert struct {
	at      int
	what    byte
	segment int
	frames  int // open there
}

// Kinds of inserts.
const (
	insertCharge = iota
	insertCheck  // charge, and end the function if that was too much
	insertBeforeCall
	insertAfterCall
	insertLeave
	insertReal32
	insertReal64
	insertSelect32
	insertSelect64
	insertBulk
	insertBeforeGrow
	insertAfterGrow
)

func (w *rewriting) begin(at int) {
	*w = rewriting{
		begun: at, current: 1, previous: opUnreachable,
		frames:   append(w.frames[:0], frame{op: opBlock, entry: 1, reach: math.MaxInt}),
		segments: append(w.segments[:0], segment{}, segment{}),
		inserts:  w.inserts[:0], out: w.out[:0], stack: w.stack[:0], localTypes: w.localTypes[:0],
	}
}

// step notes an instruction.
func (w *rewriting) step(cost int) {
	w.segments[w.current].cost += cost
}

func (w *rewriting) insert(at int, what byte) {
	if w.current != 0 {
		w.inserts = append(w.inserts, insert{at: at, what: what, segment: w.current, frames: len(w.frames)})
	}
}

// segment begins a new segment.
func (w *rewriting) segment(at int, what byte) {
	w.current = len(w.segments)
	w.segments = append(w.segments, segment{})
	w.insert(at, what)
}

func (w *rewriting) open(op byte, sig Signature, after int) {
	params, results := signature(sig)
	w.frames = append(w.frames, frame{
		op: op, entry: w.current, reach: math.MaxInt, sig: sig, params: params, results: results, base: max(w.height-params, 0),
	})
	if op == opLoop {
		w.around++
	}
	w.block()
	switch {
	case w.current == 0:
	case op == opLoop:
		w.loops = true
		w.segment(after, insertCheck)
		w.segments[w.current].cost += costStep // going round
	case op == opIf:
		w.segment(after, insertCharge)
	}
}

func (w *rewriting) otherwise(after int) {
	f := &w.frames[len(w.frames)-1]
	w.height = f.base
	w.push(string(f.sig[:f.params]))
	w.block()
	f.op, f.alive = opElse, w.current != 0
	if f.entry != 0 {
		w.segment(after, insertCharge)
	}
}

// close ends a block and finds the segment that goes on after it.
func (w *rewriting) close(after int) {
	last := len(w.frames) - 1
	f := w.frames[last]
	w.frames = w.frames[:last]
	w.join(&f)
	if f.op == opLoop {
		w.around--
	}
	if last == 0 {
		return
	}
	parent := &w.frames[last-1]
	parent.assigned[0] |= f.assigned[0]
	parent.assigned[1] |= f.assigned[1]
	w.height = f.base
	w.push(results(f.sig))
	parent.reach = min(parent.reach, f.reach)
	reached := w.current != 0 || f.branched || f.op == opIf || f.alive
	joins := f.branched || f.op == opIf || f.op == opElse // several ways lead here
	switch {
	case f.entry == 0 || !reached:
		w.current = 0
	case f.reach >= last && (joins || f.op == opLoop): // whoever went in comes out here
		w.current = f.entry
	case joins:
		w.segment(after, insertCharge)
	}
}

// branch notes a branch to the label-th block from inside.
func (w *rewriting) branch(label int) {
	top := len(w.frames) - 1
	to := &w.frames[top-label]
	to.branched = to.branched || to.op != opLoop
	w.frames[top].reach = min(w.frames[top].reach, top-label)
}

// fork goes on after a branch that may be taken.
func (w *rewriting) fork(after int) {
	w.block()
	if w.current != 0 {
		w.segment(after, insertCharge)
	}
}

// dead notes that control doesn't get further.
func (w *rewriting) dead() {
	w.block()
	w.height = w.frames[len(w.frames)-1].base
	w.current = 0
}

// leave notes a return.
func (w *rewriting) leave(at int) {
	w.insert(at, insertLeave)
	w.frames[len(w.frames)-1].reach = -1
	w.dead()
}

func (w *rewriting) call(at, after int) {
	w.calls = true
	w.insert(at, insertBeforeCall)
	w.insert(after, insertAfterCall)
}

// choose notes a select. One of floats is replaced: the compiler of wazero
// v1.12.0 for amd64 may lose one of the two values while it moves others.
func (w *rewriting) choose(at int) {
	switch t := w.typeAt(w.height - 2); t {
	case typeF32:
		w.select32 = true
		w.insert(at, insertSelect32)
	case typeF64:
		w.select64 = true
		w.insert(at, insertSelect64)
	default:
		return
	}
	w.branches()
}

// visible notes that the bits of a float at the top of the stack become
// visible. Those of a constant, of memory and of an integer are the same
// everywhere; only arithmetic makes bits that differ.
func (w *rewriting) visible(at int, wide bool) {
	switch p := w.previous; {
	case wide && (p == 0x44 || p == 0x2b || p == 0xbf): // f64.const, .load, .reinterpret_i64
		return
	case !wide && (p == 0x43 || p == 0x2a || p == 0xbe): // f32.const, .load, .reinterpret_i32
		return
	case wide:
		w.real64 = true
		w.insert(at, insertReal64)
	default:
		w.real32 = true
		w.insert(at, insertReal32)
	}
	w.branches()
}

// bulk notes an instruction whose last operand is a number of bytes.
func (w *rewriting) bulk(at int) {
	w.step(costBulk)
	w.expands()
	w.insert(at, insertBulk)
}

func (w *rewriting) grow(at, after int) {
	w.expands()
	w.insert(at, insertBeforeGrow)
	w.insert(after, insertAfterGrow)
}

// smallLeaf is the most fuel that a function may take without looking whether
// there is any left, if it calls nothing and has no loop: its caller will look.
const smallLeaf = 512

// checked tells whether the function looks at its fuel when it is entered.
func (w *rewriting) checked() bool {
	if w.loops || w.calls || w.bulks {
		return true
	}
	total := 0
	for _, s := range w.segments[1:] {
		total += s.cost
	}
	return total > smallLeaf
}

// frameUnit is what a stack frame of ordinary size may take, in bytes.
// MaxDepth of them are 31 MB; wazero's compiler has at least 50 MB.
const frameUnit = 16 << 10

// What compiled code may keep that isn't an operand of the module, in places
// of 8 bytes.
const (
	joinSlots   = 4 // where ways meet: the fuel and the depth, the memory's place and size
	bulkSlots   = 4
	bulkBlocks  = 4
	branchSlots = 2
)

// frameWeight is how many ordinary frames a function's counts as, at least
// one. A compiler may keep every operand that is ever made in a place of its
// own, and every local that has another value where ways meet; an interpreter
// keeps the operands that there are at once, and all locals.
func (w *rewriting) frameWeight() int64 {
	return 1 + 8*(w.slots+int64(w.highest+w.locals))/frameUnit
}
