// Package module owns what happens to a contract's WebAssembly before an
// engine sees it: a strict parse with limits on everything that is counted,
// and a rewriting after which the module counts its own fuel and call depth
// and shows no bits of a NaN that machines could differ in. It knows nothing
// of engines, hosts and agreements' flow.
package module

import (
	"strconv"
)

// Version numbers the rules of rewriting and the cost table. It changes with
// whatever may change a result or the fuel that it takes.
const Version = 1

// Names of what a rewritten module exports beside its own: mutable globals
// that the host sets before it calls.
const (
	// ExportFuel (i64) is the fuel that is left. Below zero the module has run
	// out of it, even if it returned before it noticed.
	ExportFuel = reserved + "fuel"
	// ExportFloor (i64) ends the module once its fuel is below it. It is 0; a
	// host that wants to stop a module from elsewhere sets it to the largest
	// number.
	ExportFloor = reserved + "floor"
	// ExportDepth (i32) is the call depth that is left, in frames of ordinary size. Below
	// zero a call was one too many.
	ExportDepth = reserved + "depth"
	// reserved begins these names, and "affiliate:0" and so on, the mutable
	// globals of the module itself; no module may use it for its own exports.
	reserved = "affiliate:"
)

// MaxDepth is the call depth that a function may use, in frames of ordinary
// size: below the 2,000 at which wazero's interpreter ends, while its compiler
// would end at 50 MB of stack.
const MaxDepth = 1_900

// Signature is a function's type: the value types of its parameters, ':', and
// those of its results, in WebAssembly's binary numbers.
type Signature string

// Sig writes a signature: i and I for 32 and 64 bit integers, f and F for
// floats.
func Sig(text string) Signature {
	b := []byte(text)
	for i, c := range b {
		switch c {
		case 'i':
			b[i] = typeI32
		case 'I':
			b[i] = typeI64
		case 'f':
			b[i] = typeF32
		case 'F':
			b[i] = typeF64
		}
	}
	return Signature(b)
}

// Rules are what a host demands of a module, beside the limits that hold for
// all.
type Rules struct {
	// MemoryLimit bounds the memory that a module starts with, in bytes.
	MemoryLimit int64
	// Imports tells the type of a function that may be imported.
	Imports func(module, name string) (Signature, bool)
	// Contract demands one memory and the exports of ABI 1.
	Contract bool
}

// Segment is a piece of a memory's first content.
type Segment struct {
	Offset uint32
	Bytes  []byte // part of the module
}

// Prepared is a module that was admitted and rewritten.
type Prepared struct {
	// Code is the rewritten module. It has no custom sections, and no active
	// data segments: the host puts Data into a new memory.
	Code []byte
	Data []Segment
	// MemoryPages is the size of a new memory, in pages of PageSize bytes.
	MemoryPages uint32
	// Mutable are the exports of the module's own mutable globals. With the
	// memory they are all of a module's state, unless Passive.
	Mutable []string
	// Passive tells that the module has data segments of its own to read from
	// and drop, so that its state is more than a host can see.
	Passive bool
}

// Prepare checks a module against the binary format, the limits and the
// rules, and rewrites it. Time and memory are in proportion to its size. A
// module that is refused gets a CodeBadModule that names the rule, the section
// and the offset. What it doesn't check is the types of operands: an engine
// does that, and can be trusted to once counts and sizes are sane.
func Prepare(b []byte, r Rules) (*Prepared, error) {
	a := admission{
		reader: reader{b: b, end: len(b), section: "header"}, rules: r,
		exports: make(map[string]export), announced: -1,
	}
	a.module()
	if a.err != nil {
		return nil, a.err
	}
	return a.prepared(), nil
}

// prepared assembles the rewritten module.
func (a *admission) prepared() *Prepared {
	p := &Prepared{Data: a.active, MemoryPages: a.pages, Passive: a.passive}
	for i := range a.mutable {
		p.Mutable = append(p.Mutable, reserved+strconv.Itoa(i))
	}
	out := make([]byte, 0, len(a.b)+len(a.bodies)-len(a.content[idCode])+4096)
	out = append(out, header...)
	for _, s := range sectionOrder {
		content, there := a.content[s.id], a.present[s.id]
		switch s.id {
		case idType:
			content, there = vector(len(a.types)+a.extraTypes, content, a.moreTypes), true
		case idGlobal:
			content, there = vector(a.globals+3, content, a.moreGlobals()), true
		case idExport:
			content, there = vector(len(a.exports)+3+len(p.Mutable), content, a.moreExports(p.Mutable)), true
		case idCode:
			content = a.bodies
		case idData:
			content, there = a.passiveData, a.passive
		case idDataCount:
			there = a.passive
		}
		if there {
			out = append(out, s.id)
			out = appendUint(out, uint64(len(content)))
			out = append(out, content...)
		}
	}
	p.Code = out
	return p
}

// vector makes the content of a section from the elements that there were and
// new ones.
func vector(n int, old, more []byte) []byte {
	out := appendUint(make([]byte, 0, 5+len(old)+len(more)), uint64(n)) //nolint:gosec // a count
	return append(append(out, old...), more...)
}

// The globals that rewriting adds, numbered from the module's own on.
const (
	globalFuel = iota
	globalFloor
	globalDepth
)

func (a *admission) moreGlobals() []byte {
	return []byte{
		typeI64, 1, 0x42, 0, opEnd,
		typeI64, 1, 0x42, 0, opEnd,
		typeI32, 1, 0x41, 0, opEnd,
	}
}

func (a *admission) moreExports(mutable []string) []byte {
	var out []byte
	add := func(name string, global int) {
		out = appendUint(out, uint64(len(name)))
		out = append(append(out, name...), 3)
		out = appendUint(out, uint64(global)) //nolint:gosec // an index
	}
	add(ExportFuel, a.globals+globalFuel)
	add(ExportFloor, a.globals+globalFloor)
	add(ExportDepth, a.globals+globalDepth)
	for i, name := range mutable {
		add(name, a.mutable[i])
	}
	return out
}

// blockType gives the type of a block that leaves what a function returns,
// adding one to the module if there is none.
func (a *admission) blockType(results string) []byte {
	switch len(results) {
	case 0:
		return []byte{0x40}
	case 1:
		return []byte(results)
	}
	index, ok := a.resultTypes[results]
	if !ok {
		index = len(a.types) + a.extraTypes
		a.extraTypes++
		a.moreTypes = append(a.moreTypes, 0x60, 0)
		a.moreTypes = appendUint(a.moreTypes, uint64(len(results)))
		a.moreTypes = append(a.moreTypes, results...)
		if a.resultTypes == nil {
			a.resultTypes = make(map[string]int)
		}
		a.resultTypes[results] = index
	}
	return appendInt(nil, int64(index))
}

// appendUint writes unsigned LEB128.
func appendUint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// appendInt writes signed LEB128.
func appendInt(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
