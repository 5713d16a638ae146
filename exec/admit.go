package exec

import (
	"bytes"
	"fmt"
)

// What admission allows. The engine trusts the numbers in a binary: without
// these limits a module of 15 bytes can make it allocate hundreds of gigabytes,
// and others compile for minutes. Modules that stock Go builds, of 3.5 and of
// 14 MB, stay under half of each.
const (
	maxTypes         = 10_000
	maxParameters    = 16 // of a function, and likewise results
	maxImports       = 128
	maxFunctions     = 65_536
	maxGlobals       = 1_024
	maxMutable       = 32 // mutable globals
	maxExports       = 1_024
	maxExportName    = 256     // bytes
	maxTableSize     = 131_072 // elements of the one table
	maxElements      = 131_072 // in all element segments together
	maxElementParts  = 10_000  // element segments
	maxDataParts     = 500_000 // data segments
	maxBody          = 256 << 10
	maxLocals        = 128
	maxNesting       = 1_024
	maxBlocks        = 2_000 // of a function
	maxBranchTargets = 4_096 // of a br_table
	maxAllTargets    = 512_000
	maxBlockSquares  = 64_000_000 // sum over functions of blocks²
	maxBlockLocals   = 8_000_000  // sum over functions of blocks × locals
	pageSize         = 64 << 10   // bytes of a page of WebAssembly memory
)

// Value types as the binary format numbers them.
const (
	typeI32 = 0x7f
	typeI64 = 0x7e
	typeF32 = 0x7d
	typeF64 = 0x7c
)

// admit checks a module against the binary format and the limits, in time and
// memory in proportion to its size, and returns it without custom sections. It
// doesn't check types within bodies: the engine does that, and can be trusted
// to once counts and sizes are sane. A module that isn't admitted gets a
// CodeBadModule that names the rule, the section and the offset.
func admit(module []byte, memoryLimit int64) ([]byte, error) {
	a := admission{reader: reader{b: module, end: len(module), section: "header"}, memoryPages: uint64(memoryLimit / pageSize)}
	kept := a.module()
	if a.err != nil {
		return nil, a.err
	}
	return kept, nil
}

// admission is the state of one check.
type admission struct {
	reader
	memoryPages uint64 // that a memory may ask for at the start

	types     []signature
	functions []uint32 // type of every function, imported ones first
	imported  int
	globals   int
	mutable   int
	tables    int
	memories  int
	exports   map[string]export
	codes     int
	dataCount int // as announced; -1: not announced
	data      int // data segments that there are

	targets, squares, products int // sums over all bodies
}

type export struct {
	kind  byte
	index uint32
}

// Sections by number, in the order in which they must come.
var sectionOrder = []struct {
	id   byte
	name string
	read func(*admission)
}{
	{1, "type", (*admission).typeSection},
	{2, "import", (*admission).importSection},
	{3, "function", (*admission).functionSection},
	{4, "table", (*admission).tableSection},
	{5, "memory", (*admission).memorySection},
	{6, "global", (*admission).globalSection},
	{7, "export", (*admission).exportSection},
	{8, "start", (*admission).startSection},
	{9, "element", (*admission).elementSection},
	{12, "data count", (*admission).dataCountSection},
	{10, "code", (*admission).codeSection},
	{11, "data", (*admission).dataSection},
}

// module reads all sections and returns the module without custom ones.
func (a *admission) module() []byte {
	if !bytes.Equal(a.bytes(8), []byte("\x00asm\x01\x00\x00\x00")) {
		a.at = 0
		a.fail("not a WebAssembly module, version 1")
		return nil
	}
	a.exports, a.dataCount = make(map[string]export), -1
	kept, from, next := []byte(nil), 0, 0
	for a.err == nil && a.at < len(a.b) {
		begin := a.at
		id := a.byte()
		size := int(a.u32())
		if size > len(a.b)-a.at {
			a.fail("a section is longer than the module")
			return nil
		}
		a.end = a.at + size
		if id == 0 {
			kept = append(kept, a.b[from:begin]...)
			from = a.end
			a.at = a.end
		} else {
			next = a.known(id, next)
		}
		a.end = len(a.b)
	}
	a.whole()
	if from == 0 {
		return a.b
	}
	return append(kept, a.b[from:]...)
}

// known reads a section that isn't custom; next is the place in sectionOrder
// from which on sections may come.
func (a *admission) known(id byte, next int) int {
	for i := next; i < len(sectionOrder); i++ {
		if s := sectionOrder[i]; s.id == id {
			a.section = s.name
			s.read(a)
			if a.err == nil && a.at != a.end {
				a.fail("a section is longer than what is in it")
			}
			return i + 1
		}
	}
	a.fail(fmt.Sprintf("section %d is unknown, there twice or out of order", id))
	return next
}

// whole checks what takes more than one section to know.
func (a *admission) whole() {
	a.section = "end"
	if a.err == nil && a.codes != len(a.functions)-a.imported {
		a.fail("there are not as many bodies as functions")
	}
	if a.err == nil && a.dataCount >= 0 && a.dataCount != a.data {
		a.fail("there are not as many data segments as announced")
	}
	if a.err == nil && a.memories != 1 {
		a.fail("a contract has one memory")
	}
	a.exported(exportMemory, 2, "")
	a.exported(exportDescribe, 0, ":")
	a.exported(exportInvoke, 0, signature([]byte{typeI32, ':'}))
	if _, ok := a.exports[exportInitialize]; ok {
		a.exported(exportInitialize, 0, ":")
	}
}

func (a *admission) exported(name string, kind byte, sig signature) {
	if a.err != nil {
		return
	}
	x, ok := a.exports[name]
	switch {
	case !ok:
		a.fail("a contract exports " + name)
	case x.kind != kind || (kind == 0 && a.types[a.functions[x.index]] != sig):
		a.fail("the export " + name + " has the wrong type")
	}
}

func (a *admission) typeSection() {
	n := a.count(maxTypes, 3, "types")
	for range n {
		if a.byte() != 0x60 {
			a.fail("a type isn't a function's")
		}
		sig := append(append(a.valueTypes(), ':'), a.valueTypes()...)
		if a.err != nil {
			return
		}
		a.types = append(a.types, signature(sig))
	}
}

func (a *admission) valueTypes() []byte {
	n := a.count(maxParameters, 1, "parameters or results")
	types := bytes.Clone(a.bytes(n))
	for _, t := range types {
		a.valueType(t)
	}
	return types
}

func (a *admission) valueType(t byte) {
	switch t {
	case typeI32, typeI64, typeF32, typeF64:
	case 0x7b:
		a.fail("vector instructions (SIMD) aren't supported")
	case 0x70, 0x6f:
		a.fail("reference types aren't supported")
	default:
		a.fail(fmt.Sprintf("%#02x isn't a value type", t))
	}
}

func (a *admission) importSection() {
	n := a.count(maxImports, 4, "imports")
	for range n {
		module, name := a.name(), a.name()
		if kind := a.byte(); kind != 0 {
			a.fail("only functions can be imported")
		}
		sig := a.typeIndex()
		if a.err != nil {
			return
		}
		if want, ok := importSignature(module, name); !ok {
			a.fail(fmt.Sprintf("the import %s.%s isn't one that this host has", module, name))
		} else if want != a.types[sig] {
			a.fail(fmt.Sprintf("the import %s.%s has the wrong type", module, name))
		}
		a.functions = append(a.functions, sig)
	}
	a.imported = n
}

func (a *admission) typeIndex() uint32 {
	i := a.u32()
	if a.err == nil && int(i) >= len(a.types) {
		a.fail("there is no such type")
		return 0
	}
	return i
}

func (a *admission) functionSection() {
	n := a.count(maxFunctions-a.imported, 1, "functions")
	for range n {
		a.functions = append(a.functions, a.typeIndex())
	}
}

func (a *admission) tableSection() {
	a.tables = a.count(1, 3, "tables")
	for range a.tables {
		if a.byte() != 0x70 {
			a.fail("a table holds something else than functions")
		}
		a.limits(maxTableSize, maxTableSize, "elements of a table")
	}
}

func (a *admission) memorySection() {
	a.memories = a.count(1, 2, "memories")
	for range a.memories {
		a.limits(a.memoryPages, 65_536, "pages of memory")
	}
}

// limits reads a least and a greatest size.
func (a *admission) limits(least, most uint64, what string) {
	flags := a.byte()
	if flags > 1 {
		a.fail("shared or 64-bit memory isn't supported")
	}
	low := uint64(a.u32())
	high := most
	if flags == 1 {
		high = uint64(a.u32())
	}
	if a.err == nil && (low > least || high > most || low > high) {
		a.fail(fmt.Sprintf("between %d and %d %s; at most %d at the start and %d later are allowed", low, high, what, least, most))
	}
}

func (a *admission) globalSection() {
	n := a.count(maxGlobals, 4, "globals")
	for range n {
		a.valueType(a.byte())
		if m := a.byte(); m == 1 {
			a.mutable++
		} else if m != 0 {
			a.fail("a global is neither mutable nor constant")
		}
		a.constant()
		a.globals++
	}
	if a.mutable > maxMutable {
		a.fail(fmt.Sprintf("more than %d mutable globals", maxMutable))
	}
}

// constant reads a constant expression: one instruction and its end.
func (a *admission) constant() {
	switch op := a.byte(); op {
	case 0x41:
		a.signed(32)
	case 0x42:
		a.signed(64)
	case 0x43:
		a.bytes(4)
	case 0x44:
		a.bytes(8)
	case 0x23:
		if int(a.u32()) >= a.globals {
			a.fail("there is no such global")
		}
	default:
		a.fail(fmt.Sprintf("instruction %#02x isn't constant", op))
	}
	if a.byte() != 0x0b {
		a.fail("a constant expression is one instruction")
	}
}

func (a *admission) exportSection() {
	n := a.count(maxExports, 3, "exports")
	spaces := [...]int{len(a.functions), a.tables, a.memories, a.globals}
	for range n {
		name := a.name()
		x := export{kind: a.byte(), index: a.u32()}
		if a.err != nil {
			return
		}
		if _, ok := a.exports[name]; ok {
			a.fail("an export is there twice")
		} else if int(x.kind) >= len(spaces) || int(x.index) >= spaces[x.kind] {
			a.fail("an export names something that isn't there")
		}
		a.exports[name] = x
	}
}

func (a *admission) startSection() {
	a.fail("a start function would run before any limit can be set")
}

func (a *admission) elementSection() {
	n, total := a.count(maxElementParts, 4, "element segments"), 0
	for range n {
		flags := a.u32()
		if flags == 2 && a.u32() != 0 || a.tables == 0 {
			a.fail("there is no such table")
		}
		if flags != 0 && flags != 2 {
			a.fail("element segments that aren't active, or aren't function indexes, aren't supported")
		}
		a.constant()
		if flags == 2 && a.byte() != 0 {
			a.fail("a table holds something else than functions")
		}
		m := a.count(maxElements-total, 1, "elements")
		total += m
		for range m {
			a.functionIndex()
		}
	}
}

func (a *admission) functionIndex() {
	if i := a.u32(); a.err == nil && int(i) >= len(a.functions) {
		a.fail("there is no such function")
	}
}

func (a *admission) dataCountSection() { a.dataCount = int(a.u32()) }

func (a *admission) dataSection() {
	n := a.count(maxDataParts, 2, "data segments")
	a.data = n
	for range n {
		switch flags := a.u32(); {
		case flags == 2 && a.u32() != 0 || a.memories == 0:
			a.fail("there is no such memory")
		case flags == 0 || flags == 2:
			a.constant()
		case flags != 1:
			a.fail("an unknown kind of data segment")
		}
		a.bytes(a.count(len(a.b), 1, "bytes of data"))
	}
}
