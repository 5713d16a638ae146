package exec

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"

	"github.com/tetratelabs/wazero/api"

	"github.com/affiliate-node/affiliate/contract"
)

// handmade is a contract written by hand: describe gives the manifest, which
// lies at the start of the memory, and invoke has the body that a test wants.
type handmade struct {
	body       []byte // of invoke(function i32), without locals and end
	locals     []byte // groups of locals; nil: none
	describe   []byte // body of describe instead of giving the manifest
	memory     []byte // the memory's type; nil: one page, no maximum
	sections   map[byte][]byte
	record     string // media type of the record; default JSON
	fuel       int64  // 0: ten million units
	manifestOf func(*contract.Manifest)
	extra      [][]byte
}

// Functions that a handmade contract imports, and its own.
const (
	fnOutput = iota
	fnFail
	fnSize
	fnRead
	fnLog
	fnDescribe
	fnInvoke
	fnExtra
)

// Value types.
const (
	typeI32 = api.ValueTypeI32
	typeI64 = api.ValueTypeI64
)

const scratch = 4096 // where a body may put its text

func (h handmade) manifest() []byte {
	m := contract.Manifest{
		ABI: contract.ABI, Name: "handmade", Version: "1",
		Roles:               []contract.RoleSpec{{Role: "OWNER"}},
		ScopeSpecifications: []contract.ScopeSpecification{{ID: "61737365-0000-4000-8000-00000000000a", Name: "s", Roles: []string{"OWNER"}}},
		Limits:              contract.Limits{Memory: 1 << 20, Output: 1 << 16, Fuel: cmp.Or(h.fuel, 10_000_000)},
		Inputs:              []contract.ValueSpec{{Name: "in", Type: "In", Optional: true}},
		Existing:            []contract.ValueSpec{{Name: "old", Type: "Old", Optional: true}},
		Functions: []contract.Function{{
			Name: "f", Role: "OWNER", Inputs: []string{"in"}, SkipIf: "old", Record: contract.RecordSpec{Name: "r", Type: "R", MediaType: h.record},
		}},
	}
	if h.manifestOf != nil {
		h.manifestOf(&m)
	}
	doc, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return doc
}

// module assembles it.
func (h handmade) module() []byte {
	const i = typeI32
	manifest := h.manifest()
	describe := h.describe
	if describe == nil {
		describe = cat(i32(0), i32(int32(len(manifest))), callTo(fnOutput))
	}
	bodies := [][]byte{body(nil, describe), body(h.locals, h.body)}
	functions := []byte{0, 1}
	for _, b := range h.extra {
		bodies, functions = append(bodies, body(nil, b)), append(functions, 0)
	}
	memory := h.memory
	if memory == nil {
		memory = []byte{0, 1}
	}
	all := map[byte][]byte{
		1: vec([]byte{0x60, 0, 0}, []byte{0x60, 1, i, 0}, []byte{0x60, 2, i, i, 0}, []byte{0x60, 4, i, i, i, i, 0},
			[]byte{0x60, 3, i, i, i, 1, typeI64}, []byte{0x60, 6, i, i, i, i, i, i, 1, i}, []byte{0x60, 3, i, i, i, 0}),
		2:  vec(imported("output", 2), imported("fail", 3), imported("size", 4), imported("read", 5), imported("log", 6)),
		3:  append(uleb(len(functions)), functions...),
		5:  append([]byte{1}, memory...),
		7:  vec(exported(exportMemory, 2, 0), exported(exportDescribe, 0, fnDescribe), exported(exportInvoke, 0, fnInvoke)),
		10: vec(bodies...),
		11: vec(data(0, manifest), data(scratch, []byte(`"text"CODEin{"a":1.5}`))),
	}
	for id, s := range h.sections {
		all[id] = s
	}
	return sections(all)
}

// Where the texts in the scratch memory lie.
const (
	atText, lenText   = scratch, 6
	atCode, lenCode   = scratch + 6, 4
	atIn, lenIn       = scratch + 10, 2
	atFloat, lenFloat = scratch + 12, 9
)

func sections(all map[byte][]byte) []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, id := range []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11} {
		if content := all[id]; content != nil {
			out = append(out, section(id, content)...)
		}
	}
	return out
}

func section(id byte, content []byte) []byte { return cat([]byte{id}, uleb(len(content)), content) }

func uleb(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

func i32(n int32) []byte {
	out := []byte{0x41}
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func callTo(function int) []byte { return append([]byte{0x10}, uleb(function)...) }

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func vec(parts ...[]byte) []byte { return append(uleb(len(parts)), cat(parts...)...) }

func body(locals, code []byte) []byte {
	if locals == nil {
		locals = []byte{0}
	}
	b := cat(locals, code, []byte{0x0b})
	return append(uleb(len(b)), b...)
}

func name(s string) []byte { return append(uleb(len(s)), s...) }

func imported(fn string, sig byte) []byte {
	return cat(name(moduleAffiliate), name(fn), []byte{0, sig})
}

func exported(n string, kind byte, index int) []byte { return cat(name(n), []byte{kind}, uleb(index)) }

func data(at int32, content []byte) []byte {
	return cat([]byte{0}, i32(at), []byte{0x0b}, uleb(len(content)), content)
}

// outputText is a body that gives the record "text".
func outputText() []byte { return cat(i32(atText), i32(lenText), callTo(fnOutput)) }
