package module

import (
	"bytes"
	"fmt"
	"strings"
)

// What admission allows. The engine trusts the numbers in a binary: without
// these limits a module of 15 bytes can make it allocate hundreds of gigabytes,
// and others compile for hours. Modules that stock Go builds, of 3.5 and of
// 14 MB, stay at about half of each at most.
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
	maxNesting       = 2_048
	maxBlocks        = 6_000 // of a function
	maxBranchTargets = 4_096 // of a br_table
	maxAllTargets    = 512_000

	// Compiling takes time that grows faster than a function. These are sums
	// over all functions; each alone allows about ten seconds.
	maxBlockSquares = 256_000_000    // of blocks²
	maxSlotSquares  = 48_000_000_000 // of (values that are made, or differ where ways meet)²
	maxWork         = 26_000_000     // over pieces of straight code, of values that may live × loops around
)

// PageSize is the size of a page of WebAssembly memory, in bytes.
const PageSize = 64 << 10

// Value types as the binary format numbers them.
const (
	typeI32 = 0x7f
	typeI64 = 0x7e
	typeF32 = 0x7d
	typeF64 = 0x7c
)

// admission is the state of one check, and what rewriting keeps of it.
type admission struct {
	reader
	rules Rules

	types       []Signature
	functions   []uint32 // type of every function, imported ones first
	imported    int
	globals     int
	globalTypes []byte
	mutable     []int // the mutable globals
	tables      int
	tableSize   uint64 // at the start
	memories    int
	pages       uint32 // of memory at the start
	exports     map[string]export
	codes       int
	announced   int // data segments; -1: not announced
	data        int // data segments that there are

	targets                    int   // of br_tables, over all bodies
	squares, slotSquares, work int64 // sums over all bodies

	content [13][]byte // of the sections, without the count where elements are added
	present [13]bool

	extraTypes  int // that rewriting adds
	moreTypes   []byte
	resultTypes map[string]int
	bodies      []byte // the rewritten code section
	rewriting   rewriting
	active      []Segment
	passive     bool   // data segments are read by instructions
	passiveData []byte // the data section without active segments
}

type export struct {
	kind  byte
	index uint32
}

// Numbers of sections.
const (
	idType      = 1
	idGlobal    = 6
	idExport    = 7
	idDataCount = 12
	idCode      = 10
	idData      = 11
)

// Sections by number, in the order in which they must come.
var sectionOrder = []struct {
	id   byte
	name string
	read func(*admission)
}{
	{idType, "type", (*admission).typeSection},
	{2, "import", (*admission).importSection},
	{3, "function", (*admission).functionSection},
	{4, "table", (*admission).tableSection},
	{5, "memory", (*admission).memorySection},
	{idGlobal, "global", (*admission).globalSection},
	{idExport, "export", (*admission).exportSection},
	{8, "start", (*admission).startSection},
	{9, "element", (*admission).elementSection},
	{idDataCount, "data count", (*admission).dataCountSection},
	{idCode, "code", (*admission).codeSection},
	{idData, "data", (*admission).dataSection},
}

const header = "\x00asm\x01\x00\x00\x00"

// module reads all sections.
func (a *admission) module() {
	if string(a.bytes(8)) != header {
		a.at = 0
		a.fail("not a WebAssembly module, version 1")
		return
	}
	next := 0
	for a.err == nil && a.at < len(a.b) {
		id := a.byte()
		size := int(a.u32())
		if size > len(a.b)-a.at {
			a.fail("a section is longer than the module")
			return
		}
		a.end = a.at + size
		if id == 0 { // a custom section: nothing that a contract does may depend on it
			a.section = "custom"
			_ = a.name()
			a.at = a.end
		} else {
			next = a.known(id, next)
		}
		a.end = len(a.b)
	}
	a.whole()
}

// known reads a section that isn't custom; next is the place in sectionOrder
// from which on sections may come.
func (a *admission) known(id byte, next int) int {
	for i := next; i < len(sectionOrder); i++ {
		if s := sectionOrder[i]; s.id == id {
			a.section, a.present[id] = s.name, true
			a.content[id] = a.b[a.at:a.end]
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

// elements notes that the elements of a section begin here: rewriting adds to
// them.
func (a *admission) elements(id byte) { a.content[id] = a.b[a.at:a.end] }

// whole checks what takes more than one section to know.
func (a *admission) whole() {
	a.section = "end"
	if a.err == nil && a.codes != len(a.functions)-a.imported {
		a.fail("there are not as many bodies as functions")
	}
	if a.err == nil && a.announced >= 0 && a.announced != a.data {
		a.fail("there are not as many data segments as announced")
	}
	if !a.rules.Contract {
		return
	}
	if a.err == nil && a.memories != 1 {
		a.fail("a contract has one memory")
	}
	a.exported("memory", 2, "")
	a.exported("describe", 0, ":")
	a.exported("invoke", 0, Sig("i:"))
	if _, ok := a.exports["_initialize"]; ok {
		a.exported("_initialize", 0, ":")
	}
}

func (a *admission) exported(name string, kind byte, sig Signature) {
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
	a.elements(idType)
	for range n {
		if a.byte() != 0x60 {
			a.fail("a type isn't a function's")
		}
		sig := append(append(a.valueTypes(), ':'), a.valueTypes()...)
		if a.err != nil {
			return
		}
		a.types = append(a.types, Signature(sig))
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
		if want, ok := a.rules.Imports(module, name); !ok {
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

func (a *admission) globalSection() {
	n := a.count(maxGlobals, 4, "globals")
	a.elements(idGlobal)
	for range n {
		t := a.byte()
		a.valueType(t)
		a.globalTypes = append(a.globalTypes, t)
		if m := a.byte(); m == 1 {
			a.mutable = append(a.mutable, a.globals)
		} else if m != 0 {
			a.fail("a global is neither mutable nor constant")
		}
		a.constant()
		a.globals++
	}
	if len(a.mutable) > maxMutable {
		a.fail(fmt.Sprintf("more than %d mutable globals", maxMutable))
	}
}

func (a *admission) exportSection() {
	n := a.count(maxExports, 3, "exports")
	a.elements(idExport)
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
		} else if strings.HasPrefix(name, reserved) {
			a.fail("an export's name begins with " + reserved)
		}
		a.exports[name] = x
	}
}

func (a *admission) startSection() {
	a.fail("a start function would run before any limit can be set")
}
