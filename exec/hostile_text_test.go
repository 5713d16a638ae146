package exec

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/affiliate-node/affiliate/contract"
)

// program is a contract written as text that text() assembles. Functions and
// globals have names; describe gives the manifest, which lies in memory from
// manifestAt on, unless the program has a describe of its own.
type program struct {
	imports    []string // "read" of affiliate, "random_get" of WASI; output is always there
	pages      int      // of memory at the start; default 3
	maxPages   int      // 0: not declared
	globals    []glob
	table      []string // functions
	tableSize  int      // default: as many as there are in table
	data       map[int]string
	passive    []string // data segments that instructions read
	funcs      []fn
	fuel       int64 // default ten million
	memory     int64 // default sixteen MiB
	output     int64 // default 64 KiB
	json       bool  // the record is JSON, otherwise bytes
	manifestOf func(*contract.Manifest)

	types []string
}

// fn is a function: its name, its type such as "iI>F", its locals and its
// instructions.
type fn struct{ name, sig, locals, text string }

// glob is a mutable global with its first value.
type glob struct {
	name string
	kind byte
	bits uint64
}

// manifestAt is where a program's manifest lies; it has room until the end of
// that page.
const manifestAt = 1 << 16

// invoke is a program of one function.
func invoke(locals, text string, imports ...string) program {
	return program{imports: imports, funcs: []fn{{"invoke", "i>", locals, text}}}
}

func (p *program) manifest() []byte {
	m := contract.Manifest{
		ABI: contract.ABI, Name: "hostile", Version: "1",
		Roles:               []contract.RoleSpec{{Role: "OWNER"}},
		ScopeSpecifications: []contract.ScopeSpecification{{ID: "61737365-0000-4000-8000-00000000000a", Name: "s", Roles: []string{"OWNER"}}},
		Limits:              contract.Limits{Memory: cmp.Or(p.memory, 16<<20), Output: cmp.Or(p.output, 1<<16), Fuel: cmp.Or(p.fuel, 10_000_000)},
		Inputs:              []contract.ValueSpec{{Name: "in", Type: "In", Optional: true, MediaType: "application/octet-stream"}},
		Functions: []contract.Function{{
			Name: "f", Role: "OWNER", Inputs: []string{"in"}, Record: contract.RecordSpec{Name: "r", Type: "R", MediaType: "application/octet-stream"},
		}},
	}
	if p.json {
		m.Functions[0].Record.MediaType = ""
	}
	if p.manifestOf != nil {
		p.manifestOf(&m)
	}
	doc, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return doc
}

// sig finds a function's type, or adds it.
func (p *program) sig(text string) int {
	if i := slices.Index(p.types, text); i >= 0 {
		return i
	}
	p.types = append(p.types, text)
	return len(p.types) - 1
}

func kinds(text string) []byte {
	b := uleb(len(text))
	for _, k := range []byte(text) {
		b = append(b, 0x7f-byte(strings.IndexByte("iIfF", k)))
	}
	return b
}

// importText is the type of an import as a program has it.
func importText(name string) (module, sig string) {
	module = moduleWASI
	if _, ok := affiliateFunctions()[name]; ok {
		module = moduleAffiliate
	}
	s, ok := importSignature(module, name)
	if !ok {
		panic("there is no import " + name)
	}
	for _, t := range []byte(s) {
		if t == ':' {
			sig += ">"
		} else {
			sig += string("iIfF"[0x7f-t])
		}
	}
	return module, sig
}

// module assembles the program.
func (p program) module() []byte {
	manifest := p.manifest()
	if !slices.ContainsFunc(p.funcs, func(f fn) bool { return f.name == exportDescribe }) {
		p.funcs = append(p.funcs, fn{exportDescribe, ">", "", fmt.Sprintf("i32.const %d i32.const %d call output", manifestAt, len(manifest))})
	}
	var imports, functions, globals, bodies, types, parts [][]byte
	exports := [][]byte{exported(exportMemory, 2, 0)}
	p.imports = append([]string{"output"}, p.imports...)
	for _, name_ := range p.imports {
		from, sig := importText(name_)
		imports = append(imports, cat(name(from), name(name_), []byte{0}, uleb(p.sig(sig))))
	}
	for i, f := range p.funcs {
		functions = append(functions, uleb(p.sig(f.sig)))
		if f.name == exportDescribe || f.name == exportInvoke || f.name == exportInitialize {
			exports = append(exports, exported(f.name, 0, len(p.imports)+i))
		}
	}
	for _, f := range p.funcs {
		var groups [][]byte
		for _, k := range []byte(f.locals) {
			groups = append(groups, append([]byte{1}, kinds(string(k))[1:]...))
		}
		bodies = append(bodies, body(vec(groups...), p.text(f.text)))
	}
	for _, g := range p.globals {
		globals = append(globals, cat(kinds(string(g.kind))[1:], []byte{1}, p.constant(g.kind, g.bits), []byte{0x0b}))
	}
	for _, content := range p.passive {
		parts = append(parts, append([]byte{1}, name(content)...))
	}
	parts = append(parts, data(manifestAt, manifest))
	for _, at := range slices.Sorted(maps.Keys(p.data)) {
		parts = append(parts, data(int32(at), []byte(p.data[at])))
	}
	all := map[byte][]byte{2: vec(imports...), 3: vec(functions...), 5: vec(p.memoryType()), 7: vec(exports...), 10: vec(bodies...), 11: vec(parts...)}
	if p.globals != nil {
		all[6] = vec(globals...)
	}
	if p.passive != nil {
		all[12] = uleb(len(parts))
	}
	if p.table != nil || p.tableSize > 0 {
		var elements [][]byte
		for _, f := range p.table {
			elements = append(elements, uleb(p.function(f)))
		}
		all[4] = vec(cat([]byte{0x70, 0}, uleb(max(p.tableSize, len(p.table)))))
		all[9] = vec(cat([]byte{0}, i32(0), []byte{0x0b}, vec(elements...)))
	}
	for _, t := range p.types { // all are known only now
		params, results, _ := strings.Cut(t, ">")
		types = append(types, cat([]byte{0x60}, kinds(params), kinds(results)))
	}
	all[1] = vec(types...)
	return sections(all)
}

func (p *program) memoryType() []byte {
	pages := cmp.Or(p.pages, 3)
	if p.maxPages > 0 {
		return cat([]byte{1}, uleb(pages), uleb(p.maxPages))
	}
	return cat([]byte{0}, uleb(pages))
}

// function is the number of a function or an import.
func (p *program) function(name string) int {
	if i := slices.Index(p.imports, name); i >= 0 {
		return i
	}
	if i := slices.IndexFunc(p.funcs, func(f fn) bool { return f.name == name }); i >= 0 {
		return len(p.imports) + i
	}
	return number(name)
}

func (p *program) constant(kind byte, bits uint64) []byte {
	switch kind {
	case 'i':
		return i32(int32(bits))
	case 'I':
		return append([]byte{0x42}, sleb(int64(bits))...)
	case 'f':
		return binary.LittleEndian.AppendUint32([]byte{0x43}, uint32(bits))
	}
	return binary.LittleEndian.AppendUint64([]byte{0x44}, bits)
}

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

func number(text string) int {
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		panic(err)
	}
	return int(n)
}

// bits reads a number of a kind; 0x… gives the bits of a float.
func bits(kind byte, text string) uint64 {
	if u, err := strconv.ParseUint(text, 0, 64); err == nil && strings.HasPrefix(text, "0x") {
		return u
	}
	if kind == 'i' || kind == 'I' {
		return uint64(number(text))
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(err)
	}
	if kind == 'f' {
		return uint64(math.Float32bits(float32(f)))
	}
	return math.Float64bits(f)
}

// text assembles instructions: those of WebAssembly's text format in a row,
// without parentheses. Blocks have their type behind a colon (block:i,
// loop:ii>i), loads and stores their offset (i32.load:8), br_table its targets
// with commas.
func (p *program) text(text string) []byte {
	var out []byte
	words := strings.Fields(text)
	next := func() string {
		w := words[0]
		words = words[1:]
		return w
	}
	for len(words) > 0 {
		op, suffix, _ := strings.Cut(next(), ":")
		code, ok := opcodes[op]
		if !ok {
			panic("no instruction " + op)
		}
		out = append(out, code...)
		switch {
		case op == "block" || op == "loop" || op == "if":
			out = append(out, p.blockType(suffix)...)
		case op == "br_table":
			targets := strings.Split(next(), ",")
			out = append(out, uleb(len(targets)-1)...)
			for _, t := range targets {
				out = append(out, uleb(number(t))...)
			}
		case op == "call":
			out = append(out, uleb(p.function(next()))...)
		case op == "call_indirect":
			out = append(append(out, uleb(p.sig(next()))...), 0)
		case strings.HasPrefix(op, "global."):
			n := next()
			out = append(out, uleb(slices.IndexFunc(p.globals, func(g glob) bool { return g.name == n }))...)
		case op == "br" || op == "br_if" || strings.HasPrefix(op, "local.") || op == "data.drop":
			out = append(out, uleb(number(next()))...)
		case op == "memory.init":
			out = append(append(out, uleb(number(next()))...), 0)
		case strings.HasSuffix(op, ".const"):
			kind := "iIfF"[slices.Index([]string{"i32", "i64", "f32", "f64"}, op[:3])]
			out = append(out, p.constant(kind, bits(kind, next()))[1:]...)
		case strings.Contains(op, ".load") || strings.Contains(op, ".store"):
			out = append(append(out, 0), uleb(number(cmp.Or(suffix, "0")))...)
		}
	}
	return out
}

func (p *program) blockType(text string) []byte {
	switch {
	case text == "":
		return []byte{0x40}
	case len(text) == 1:
		return kinds(text)[1:]
	}
	return sleb(int64(p.sig(text)))
}

// opcodes are the instructions that admission allows, with what of their
// operands never varies.
var opcodes = func() map[string][]byte {
	all := map[string][]byte{
		"select": {0x1b}, "drop": {0x1a}, "return": {0x0f}, "call": {0x10}, "call_indirect": {0x11},
		"memory.size": {0x3f, 0}, "memory.grow": {0x40, 0}, "memory.init": {0xfc, 8}, "data.drop": {0xfc, 9},
		"memory.copy": {0xfc, 10, 0, 0}, "memory.fill": {0xfc, 11, 0},
	}
	for from, list := range map[int]string{
		0x00: "unreachable nop block loop if else",
		0x0b: "end br br_if br_table",
		0x20: "local.get local.set local.tee global.get global.set",
		0x28: `i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u
			i64.load8_s i64.load8_u i64.load16_s i64.load16_u i64.load32_s i64.load32_u
			i32.store i64.store f32.store f64.store i32.store8 i32.store16 i64.store8 i64.store16 i64.store32`,
		0x41: `i32.const i64.const f32.const f64.const
			i32.eqz i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u
			i64.eqz i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u i64.ge_s i64.ge_u
			f32.eq f32.ne f32.lt f32.gt f32.le f32.ge f64.eq f64.ne f64.lt f64.gt f64.le f64.ge
			i32.clz i32.ctz i32.popcnt i32.add i32.sub i32.mul i32.div_s i32.div_u i32.rem_s i32.rem_u
			i32.and i32.or i32.xor i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr
			i64.clz i64.ctz i64.popcnt i64.add i64.sub i64.mul i64.div_s i64.div_u i64.rem_s i64.rem_u
			i64.and i64.or i64.xor i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr
			f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign
			f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt f64.add f64.sub f64.mul f64.div f64.min f64.max f64.copysign
			i32.wrap_i64 i32.trunc_f32_s i32.trunc_f32_u i32.trunc_f64_s i32.trunc_f64_u i64.extend_i32_s i64.extend_i32_u
			i64.trunc_f32_s i64.trunc_f32_u i64.trunc_f64_s i64.trunc_f64_u
			f32.convert_i32_s f32.convert_i32_u f32.convert_i64_s f32.convert_i64_u f32.demote_f64
			f64.convert_i32_s f64.convert_i32_u f64.convert_i64_s f64.convert_i64_u f64.promote_f32
			i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64
			i32.extend8_s i32.extend16_s i64.extend8_s i64.extend16_s i64.extend32_s`,
	} {
		for i, name := range strings.Fields(list) {
			all[name] = []byte{byte(from + i)}
		}
	}
	for i, name := range strings.Fields("i32.trunc_sat_f32_s i32.trunc_sat_f32_u i32.trunc_sat_f64_s i32.trunc_sat_f64_u i64.trunc_sat_f32_s i64.trunc_sat_f32_u i64.trunc_sat_f64_s i64.trunc_sat_f64_u") {
		all[name] = []byte{0xfc, byte(i)}
	}
	return all
}()
