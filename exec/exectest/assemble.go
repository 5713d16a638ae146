package exectest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
)

func float32bits(i uint64) uint32 { return math.Float32bits(float32(i)) }
func float64bits(i uint64) uint64 { return math.Float64bits(float64(i)) }

func uleb(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) } //nolint:gosec // never negative

// sleb writes a signed number.
func sleb(n int64) []byte {
	var out []byte
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func vec(parts ...[]byte) []byte { return append(uleb(len(parts)), cat(parts...)...) }

func sized(b []byte) []byte { return append(uleb(len(b)), b...) }

func name(s string) []byte { return sized([]byte(s)) }

// section is one of a number of parts, or none.
func section(id byte, parts ...[]byte) []byte {
	if len(parts) == 0 {
		return nil
	}
	return sectionOf(id, vec(parts...))
}

func sectionOf(id byte, content []byte) []byte { return append([]byte{id}, sized(content)...) }

// valueType is the number of a type in the binary format.
func valueType(kind byte) byte { return 0x7f - byte(strings.IndexByte("iIfF", kind)) } //nolint:gosec // 0 to 3

func valueTypes(kinds string) []byte {
	b := make([]byte, len(kinds))
	for i := range b {
		b[i] = valueType(kinds[i])
	}
	return sized(b)
}

// literal is a constant instruction.
func literal(kind byte, bits uint64) []byte {
	switch kind {
	case 'i':
		return append([]byte{0x41}, sleb(int64(int32(bits)))...) //nolint:gosec // bits
	case 'I':
		return append([]byte{0x42}, sleb(int64(bits))...) //nolint:gosec // bits
	case 'f':
		return binary.LittleEndian.AppendUint32([]byte{0x43}, uint32(bits)) //nolint:gosec // bits
	default:
		return binary.LittleEndian.AppendUint64([]byte{0x44}, bits)
	}
}

func (m *module) constant(kind byte) []byte { return literal(kind, m.value(kind)) }

// typeIndex finds a function type, or adds it.
func (m *module) typeIndex(params, results string) int {
	t := params + ":" + results
	if i := slices.Index(m.types, t); i >= 0 {
		return i
	}
	m.types = append(m.types, t)
	return len(m.types) - 1
}

// finish writes the module.
func (m *module) finish() Module {
	out := Module{Floats: m.floats}
	var types, imports, functions, globals, exports, bodies [][]byte
	exports = append(exports, cat(name(exportMemory), []byte{2, 0}))
	for i, f := range m.functions {
		index := uleb(m.typeIndex(f.Params, f.Results))
		if i < m.imported {
			imports = append(imports, cat(name(f.Module), name(f.Name), []byte{0}, index))
			continue
		}
		functions, bodies = append(functions, index), append(bodies, sized(f.code))
		exports = append(exports, cat(name(f.Name), []byte{0}, uleb(i)))
		out.Functions = append(out.Functions, Function{f.Name, f.Params, f.Results})
	}
	for i, g := range m.globals {
		mutable := byte(0)
		if g.mutable {
			mutable = 1
			n := fmt.Sprint("g", i)
			exports = append(exports, cat(name(n), []byte{3}, uleb(i)))
			out.Globals = append(out.Globals, Global{n, g.kind})
		}
		globals = append(globals, cat([]byte{valueType(g.kind), mutable}, g.initial, []byte{0x0b}))
	}
	if m.counting() {
		exports = append(exports, cat(name(Count), []byte{3}, uleb(len(m.globals))))
		globals = append(globals, cat([]byte{valueType('I'), 1}, literal('I', 0), []byte{0x0b}))
	}
	for _, t := range m.types {
		params, results, _ := strings.Cut(t, ":")
		types = append(types, cat([]byte{0x60}, valueTypes(params), valueTypes(results)))
	}
	table, elements := m.tableSections()
	count, data := m.dataSections()
	out.Code = cat([]byte("\x00asm\x01\x00\x00\x00"), section(1, types...), section(2, imports...), section(3, functions...), table,
		section(5, limits(m.pages, m.most)), section(6, globals...), section(7, exports...), elements, count, section(10, bodies...), data,
		sectionOf(0, cat(name("note"), m.take(1+m.n(20)))))
	return out
}

func limits(low, high int) []byte {
	if high == 0 {
		return append([]byte{0}, uleb(low)...)
	}
	return cat([]byte{1}, uleb(low), uleb(high))
}

// tableSections are the table and its elements, in two segments.
func (m *module) tableSections() (table, elements []byte) {
	if m.table == nil {
		return nil, nil
	}
	var parts [][]byte
	end := len(m.table) - 1
	middle := (m.offset + end) / 2
	for _, r := range [][2]int{{m.offset, middle}, {middle, end}} {
		var all [][]byte
		for _, f := range m.table[r[0]:r[1]] {
			all = append(all, uleb(f))
		}
		parts = append(parts, cat([]byte{0}, literal('i', uint64(r[0])), []byte{0x0b}, vec(all...))) //nolint:gosec // small
	}
	return section(4, append([]byte{0x70}, limits(len(m.table), m.n(2)*(len(m.table)+2))...)), section(9, parts...)
}

// dataSections are the count of the data segments, where instructions name
// them, and the segments.
func (m *module) dataSections() (count, data []byte) {
	var parts [][]byte
	for _, s := range m.data {
		if s.passive {
			parts = append(parts, cat([]byte{1}, sized(s.content)))
		} else {
			parts = append(parts, cat([]byte{0}, literal('i', uint64(s.at)), []byte{0x0b}, sized(s.content))) //nolint:gosec // small
		}
	}
	if m.passive {
		count = sectionOf(12, uleb(len(parts)))
	}
	return count, section(11, parts...)
}
