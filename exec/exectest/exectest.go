// Package exectest owns generated WebAssembly modules, for tests that compare
// one engine, or one form of a module, with another. No program imports it,
// and it never runs what it makes.
package exectest

import "fmt"

// Function is an exported function of a generated module.
type Function struct {
	Name    string
	Params  string // value types: i, I, f and F for i32, i64, f32 and f64
	Results string // likewise
}

// Global is an exported mutable global of a generated module.
type Global struct {
	Name string
	Type byte // as in Function
}

// Module is one generated module in two forms. Code is the program. Canonical
// is the same program, but it makes a NaN canonical by itself wherever its bits
// become visible: where a float is stored or reinterpreted, and where the sign
// of a NaN would be copied, but not where the float comes straight from a
// constant, from memory or from an integer. So an engine that does this for Code must find
// what any engine finds for Canonical. Both always validate, and end only by
// luck: whoever runs them needs fuel.
type Module struct {
	Code      []byte
	Canonical []byte
	Functions []Function // all that can be called, ABI 1's included
	Globals   []Global
	Floats    bool // whether there are floats in it
}

// Features that not every host has.
type Features struct {
	// Imports are the functions that a module may import, by module and name.
	Imports []Import
	// PassiveData allows data segments that the module copies by itself.
	PassiveData bool
	// Meter, if there is one, makes Canonical count what it runs.
	Meter *Meter
}

// Import is a function of the host.
type Import struct {
	Module, Name, Params, Results string
	// Ends says that the function never returns, so that it is called rarely.
	Ends bool
}

// Imports are functions of ABI 1 and of WASI preview 1.
func Imports() []Import {
	return []Import{
		{Module: "affiliate", Name: "size", Params: "iii", Results: "I"},
		{Module: "affiliate", Name: "read", Params: "iiiiii", Results: "i"},
		{Module: "affiliate", Name: "output", Params: "ii"},
		{Module: "affiliate", Name: "fail", Params: "iiii", Ends: true},
		{Module: "affiliate", Name: "log", Params: "iii"},
		{Module: "wasi_snapshot_preview1", Name: "clock_time_get", Params: "iIi", Results: "i"},
		{Module: "wasi_snapshot_preview1", Name: "fd_write", Params: "iiii", Results: "i"},
		{Module: "wasi_snapshot_preview1", Name: "random_get", Params: "ii", Results: "i"},
		{Module: "wasi_snapshot_preview1", Name: "proc_exit", Params: "i", Ends: true},
		{Module: "wasi_snapshot_preview1", Name: "sched_yield", Results: "i"},
	}
}

// Generate makes a module of the decisions in seed, one byte or more each;
// where they end, everything takes its simplest form. The same seed makes the
// same module for ever: a change of this package is a change of the corpus.
func Generate(seed []byte, features Features) Module {
	m := generate(seed, features, false)
	m.Canonical = generate(seed, features, true).Code
	return m
}

// Names that ABI 1 gives exports.
const (
	exportMemory     = "memory"
	exportDescribe   = "describe"
	exportInvoke     = "invoke"
	exportInitialize = "_initialize"
)

// module is what is known of a module while its functions are written.
type module struct {
	*source
	canonical bool
	floats    bool
	features  Features
	types     []string // params ':' results
	functions []function
	imported  int
	globals   []global
	table     []int     // function by element; -1: none
	offset    int       // of the first element
	pages     int       // of memory at the start
	most      int       // pages; 0: no limit of its own
	data      []segment // they may overlap
	passive   bool      // whether instructions name segments
}

type segment struct {
	passive bool
	at      int // if it is active
	content []byte
}

// function is a function that bodies may call.
type function struct {
	Import
	code []byte
}

type global struct {
	kind    byte
	mutable bool
	initial []byte
}

func generate(seed []byte, features Features, canonical bool) Module {
	m := &module{source: &source{rest: seed}, canonical: canonical, features: features}
	m.build()
	return m.finish()
}

func (m *module) build() {
	m.floats = m.n(4) != 3
	m.memory()
	m.imports()
	m.declare()
	m.makeGlobals()
	m.makeTable()
	m.makeData()
	for i := m.imported; i < len(m.functions); i++ {
		m.functions[i].code = m.body(i)
	}
}

func (m *module) memory() {
	m.pages = 1 + m.n(2)
	if m.n(2) == 1 {
		m.most = m.pages + m.n(4)
	}
}

// imports takes some of the host's functions.
func (m *module) imports() {
	for _, i := range m.features.Imports {
		if m.n(3) != 0 {
			m.functions = append(m.functions, function{Import: i})
		}
	}
	m.imported = len(m.functions)
}

// declare decides which functions there are, but not what is in them.
func (m *module) declare() {
	abi := []Import{{Name: exportDescribe}, {Name: exportInvoke, Params: "i"}}
	if m.n(2) == 1 {
		abi = append(abi, Import{Name: exportInitialize})
	}
	for _, i := range abi {
		m.functions = append(m.functions, function{Import: i})
	}
	for i := range 1 + m.n(7) {
		f := Import{Name: fmt.Sprint("f", i), Params: m.someTypes(4), Results: m.someTypes(3)}
		m.functions = append(m.functions, function{Import: f})
	}
}

// someTypes gives up to most value types, often one.
func (m *module) someTypes(most int) string {
	n := 1
	if m.n(2) == 1 {
		n = m.n(most + 1)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = m.anyType()
	}
	return string(b)
}

func (m *module) anyType() byte {
	if !m.floats {
		return "iI"[m.n(2)]
	}
	return "iIfF"[m.n(4)]
}

func (m *module) makeGlobals() {
	for range m.n(8) {
		g := global{kind: m.anyType(), mutable: m.n(4) != 3}
		g.initial = m.constant(g.kind)
		m.globals = append(m.globals, g)
	}
}

// makeTable fills a table, with elements left out at either end.
func (m *module) makeTable() {
	if m.n(4) == 0 {
		return
	}
	m.table = make([]int, 4+m.n(9))
	m.offset = m.n(3)
	for i := range m.table {
		m.table[i] = -1
		if i >= m.offset && i < len(m.table)-1 {
			m.table[i] = m.n(len(m.functions))
		}
	}
}

// makeData makes data segments, passive ones between active ones.
func (m *module) makeData() {
	m.passive = m.features.PassiveData && m.n(4) == 3
	for range m.n(6) {
		s := segment{passive: m.passive && m.n(2) == 1, at: m.n(256) * (1 + m.n(4))}
		s.content = m.take(m.n(48))
		m.data = append(m.data, s)
	}
	m.passive = m.passive && m.data != nil
}
