package exec

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/exec/module"
)

const header = "\x00asm\x01\x00\x00\x00"

// with replaces sections of a handmade contract.
func with(id byte, content []byte) []byte {
	return handmade{sections: map[byte][]byte{id: content}}.module()
}

// hostile are modules that admission must refuse, with words that the error
// must have. The short ones end the process when the engine gets them.
func hostile() map[string]struct {
	module []byte
	words  []string
} {
	type m = struct {
		module []byte
		words  []string
	}
	most := []byte{0xff, 0xff, 0xff, 0xff, 0x0f} // 2^32 - 1
	raw := func(id byte, content []byte) []byte { return append([]byte(header), section(id, content)...) }
	code := func(b []byte) []byte { return handmade{body: b}.module() }
	locals := func(groups ...[]byte) []byte { return handmade{locals: vec(groups...)}.module() }
	repeat := func(b []byte, n int) []byte { return bytes.Repeat(b, n) }
	block, end, drop := []byte{0x02, 0x40}, []byte{0x0b}, []byte{0x1a}
	return map[string]m{
		"nothing":                {nil, []string{"header", "offset 0"}},
		"text":                   {[]byte("#!/bin/sh\necho"), []string{"not a WebAssembly module", "offset 0"}},
		"version 2":              {[]byte("\x00asm\x02\x00\x00\x00"), []string{"version 1"}},
		"a header":               {[]byte(header), []string{"memory"}},
		"half a section":         {append([]byte(header), 1), []string{"too early", "offset 9"}},
		"a long section":         {append([]byte(header), 1, 9, 0), []string{"longer than the module", "offset 10"}},
		"types without end":      {raw(1, most), []string{"4294967295 types", "section type", "offset 15"}},
		"imports without end":    {raw(2, most), []string{"4294967295 imports", "section import"}},
		"functions without end":  {raw(3, most), []string{"4294967295 functions", "section function"}},
		"tables without end":     {raw(4, most), []string{"4294967295 tables", "section table"}},
		"memories without end":   {raw(5, most), []string{"4294967295 memories"}},
		"globals without end":    {raw(6, most), []string{"4294967295 globals"}},
		"exports without end":    {raw(7, most), []string{"4294967295 exports"}},
		"elements without end":   {raw(9, most), []string{"4294967295 element segments"}},
		"bodies without end":     {raw(10, most), []string{"4294967295 bodies"}},
		"data without end":       {raw(11, most), []string{"4294967295 data segments"}},
		"announced data":         {with(12, most), []string{"announced"}},
		"no room":                {raw(1, []byte{100, 0x60, 0, 0}), []string{"100 types have no room"}},
		"a number too long":      {raw(1, []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0}), []string{"number is too large"}},
		"a number too large":     {raw(1, []byte{0xff, 0xff, 0xff, 0xff, 0x1f}), []string{"number is too large"}},
		"many parameters":        {raw(1, vec(cat([]byte{0x60, 17}, repeat([]byte{typeI32}, 17), []byte{0}))), []string{"17 parameters"}},
		"vector type":            {raw(1, vec([]byte{0x60, 1, 0x7b, 0})), []string{"SIMD"}},
		"reference type":         {raw(1, vec([]byte{0x60, 1, 0x6f, 0})), []string{"reference types"}},
		"no function type":       {raw(1, vec([]byte{0x5f, 0, 0})), []string{"isn't a function's"}},
		"unknown import":         {with(2, vec(imported("output", 2), imported("fail", 3), imported("size", 4), imported("read", 5), imported("clock", 6))), []string{"affiliate.clock", "section import"}},
		"import of elsewhere":    {with(2, vec(cat(name("env"), name("abort"), []byte{0, 0}))), []string{"env.abort"}},
		"import of wrong type":   {with(2, vec(imported("output", 3))), []string{"affiliate.output", "wrong type"}},
		"WASI of wrong type":     {with(2, vec(cat(name(moduleWASI), name("fd_write"), []byte{0, 0}))), []string{"fd_write", "wrong type"}},
		"imported memory":        {with(2, vec(cat(name(moduleAffiliate), name("memory"), []byte{2, 0, 1}))), []string{"only functions"}},
		"import of no type":      {with(2, vec(imported("output", 99))), []string{"no such type"}},
		"name not UTF-8":         {with(2, vec(imported("\xff", 2))), []string{"UTF-8"}},
		"long name":              {with(2, vec(imported(strings.Repeat("x", 300), 2))), []string{"bytes of a name"}},
		"two tables":             {with(4, vec([]byte{0x70, 0, 1}, []byte{0x70, 0, 1})), []string{"2 tables"}},
		"a huge table":           {with(4, vec(cat([]byte{0x70, 0}, most))), []string{"elements of a table"}},
		"two memories":           {with(5, vec([]byte{0, 1}, []byte{0, 1})), []string{"2 memories"}},
		"no memory":              {with(5, vec()), []string{"isn't there"}},
		"a huge memory":          {handmade{memory: []byte{0, 0x80, 0x80, 4}}.module(), []string{"65536 pages"}},
		"a memory over 4 GiB":    {handmade{memory: []byte{1, 1, 0x81, 0x80, 4}}.module(), []string{"65537 pages"}},
		"a shrinking memory":     {handmade{memory: []byte{1, 2, 1}}.module(), []string{"between 2 and 1 pages"}},
		"a shared memory":        {handmade{memory: []byte{3, 1, 1}}.module(), []string{"shared"}},
		"a 64-bit memory":        {handmade{memory: []byte{4, 1}}.module(), []string{"64-bit"}},
		"mutable globals":        {with(6, vec(bytesTimes([]byte{typeI32, 1, 0x41, 0, 0x0b}, 33)...)), []string{"33", "mutable"}[1:]},
		"a global of code":       {with(6, vec([]byte{typeI32, 0, 0x10, 0, 0x0b})), []string{"isn't constant"}},
		"a global of itself":     {with(6, vec([]byte{typeI32, 0, 0x23, 0, 0x0b})), []string{"isn't constant"}},
		"no describe":            {with(7, vec(exported(exportMemory, 2, 0), exported(exportInvoke, 0, fnInvoke))), []string{"exports describe"}},
		"describe is invoke":     {with(7, vec(exported(exportMemory, 2, 0), exported(exportDescribe, 0, fnInvoke), exported(exportInvoke, 0, fnInvoke))), []string{"describe has the wrong type"}},
		"invoke is memory":       {with(7, vec(exported(exportMemory, 2, 0), exported(exportDescribe, 0, fnDescribe), exported(exportInvoke, 2, 0))), []string{"invoke has the wrong type"}},
		"initialize takes more":  {with(7, vec(exported(exportMemory, 2, 0), exported(exportDescribe, 0, fnDescribe), exported(exportInvoke, 0, fnInvoke), exported(exportInitialize, 0, fnInvoke))), []string{"_initialize"}},
		"an export twice":        {with(7, vec(exported(exportMemory, 2, 0), exported(exportMemory, 2, 0))), []string{"twice"}},
		"an export of nothing":   {with(7, vec(exported(exportMemory, 0, 99))), []string{"isn't there"}},
		"a start function":       {with(8, []byte{fnDescribe}), []string{"start", "section start"}},
		"elements, no table":     {with(9, vec(cat([]byte{0}, i32(0), []byte{0x0b, 1, 0}))), []string{"no such table"}},
		"passive elements":       {handmade{sections: map[byte][]byte{4: vec([]byte{0x70, 0, 1}), 9: vec([]byte{1, 0, 1, 0})}}.module(), []string{"aren't active"}},
		"elements of nothing":    {handmade{sections: map[byte][]byte{4: vec([]byte{0x70, 0, 1}), 9: vec(cat([]byte{0}, i32(0), []byte{0x0b, 1, 99}))}}.module(), []string{"no such function"}},
		"a body missing":         {with(10, vec(body(nil, nil))), []string{"as many bodies"}},
		"a body too long":        {with(10, vec(body(nil, nil), append(uleb(maxBody+1), make([]byte, maxBody+1)...))), []string{"bytes of a body"}},
		"a body with a tail":     {with(10, vec(body(nil, nil), []byte{4, 0, 0x0b, 0x01, 0x0b})), []string{"longer than its instructions"}},
		"a body without end":     {with(10, vec(body(nil, nil), []byte{2, 0, 0x01})), []string{"too early", "section code"}},
		"many locals":            {locals(cat(most, []byte{typeI32})), []string{"128 locals"}},
		"a few locals too many":  {locals([]byte{100, typeI32}, []byte{28, typeI64}), []string{"128 locals"}},
		"a local that isn't":     {code([]byte{0x20, 1, 0x1a}), []string{"no such local"}},
		"a call to nothing":      {code([]byte{0x10, 99}), []string{"no such function"}},
		"a wide br_table":        {code(cat(i32(0), []byte{0x0e}, uleb(maxBranchTargets+1), make([]byte, maxBranchTargets+2))), []string{"br_table"}},
		"br_table without end":   {code(cat(i32(0), []byte{0x0e}, most)), []string{"4294967295 targets"}},
		"deep blocks":            {code(cat(repeat(block, maxNesting), repeat(end, maxNesting))), []string{"2048 deep"}},
		"many blocks":            {code(repeat(cat(block, end), maxBlocks)), []string{"6000 blocks"}},
		"vector instruction":     {code(cat([]byte{0xfd, 12}, make([]byte, 16), drop)), []string{"SIMD"}},
		"atomic instruction":     {code([]byte{0xfe, 3, 0}), []string{"atomics"}},
		"table.grow":             {code([]byte{0xfc, 15, 0}), []string{"change tables"}},
		"ref.null":               {code([]byte{0xd0, 0x70, 0x1a}), []string{"reference types"}},
		"an unknown instruction": {code([]byte{0xf0}), []string{"0xf0 is unknown"}},
		"data.drop of nothing":   {code([]byte{0xfc, 9, 0}), []string{"no such data segment"}},
		"sections out of order":  {cat([]byte(header), section(3, []byte{0}), section(1, []byte{0})), []string{"out of order"}},
		"a section twice":        {cat([]byte(header), section(1, []byte{0}), section(1, []byte{0})), []string{"twice"}},
		"an unknown section":     {raw(13, nil), []string{"section 13"}},
		"a section with a tail":  {raw(1, []byte{0, 0}), []string{"longer than what is in it"}},
		"a byte after the end":   {append(handmade{}.module(), 1), []string{"too early"}},
	}
}

func bytesTimes(b []byte, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = b
	}
	return all
}

func TestHostileModulesAreRefused(t *testing.T) {
	e := engine(t, Config{})
	for what, m := range hostile() {
		_, err := e.Load(t.Context(), m.module)
		if agreement.CodeOf(err) != agreement.CodeBadModule || !strings.Contains(err.Error(), "(section ") {
			t.Errorf("%s: %v; want BAD_MODULE by admission", what, err)
			continue
		}
		for _, w := range m.words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v; want it to say %q", what, err, w)
			}
		}
	}
}

// Modules that only the engine's type checker refuses, and that are too large.
func TestModulesThatDoNotCompile(t *testing.T) {
	e := engine(t, Config{ModuleLimit: 10_000})
	_, err := e.Load(t.Context(), handmade{body: []byte{0x1a}}.module())
	wantCode(t, err, agreement.CodeBadModule, "refused")
	_, err = e.Load(t.Context(), handmade{body: []byte{0x0c, 0x7f}}.module())
	wantCode(t, err, agreement.CodeBadModule, "refused")
	_, err = e.Load(t.Context(), make([]byte, 10_001))
	wantCode(t, err, agreement.CodeTooLarge, "10001")
}

// The engine would believe what the custom section "name" counts, so it never
// sees one.
func TestCustomSectionsAreDropped(t *testing.T) {
	bomb := section(0, cat(name("name"), []byte{1, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}))
	plain := handmade{}.module()
	marked := cat(plain[:8], bomb, plain[8:], bomb, bomb)
	admitted, err := admit(marked)
	if err != nil {
		t.Fatal(err)
	}
	if bare, err := admit(plain); err != nil || !bytes.Equal(admitted.Code, bare.Code) {
		t.Fatalf("%x, %v; want %x", admitted.Code, err, bare.Code)
	}
	e := engine(t, Config{})
	c, err := e.Load(t.Context(), marked)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := e.Load(t.Context(), plain); err != nil || same.Hash == c.Hash {
		t.Errorf("modules of different bytes have one hash %s, %v", c.Hash, err)
	}
}

func TestEveryPrefixIsRefused(t *testing.T) {
	m := handmade{body: outputText(), sections: map[byte][]byte{12: {2}}}.module()
	for n := range len(m) {
		if _, err := admit(m[:n]); agreement.CodeOf(err) != agreement.CodeBadModule {
			t.Fatalf("the first %d bytes of a module: %v", n, err)
		}
	}
}

// What compiles slowest of what admission lets through must not take the node
// away from its work.
func TestWorstCompileTimes(t *testing.T) {
	groups := vec([]byte{100, typeI64}, []byte{27, typeI32})
	var code []byte
	for i := range (maxBlocks - 1) / 2 {
		code = cat(code, []byte{0x20, byte(1 + i%100), 0x50, 0x04, 0x40, 0x20, byte(1 + (i*7)%100), 0x21, byte(1 + (i*3)%100), 0x05, 0x0b})
	}
	straight := bytes.Repeat([]byte{0x20, 1, 0x20, 2, 0x7c, 0x21, 3, 0x20, 3, 0x20, 4, 0x7e, 0x21, 1}, maxBody/14-10)
	for what, h := range map[string]handmade{
		"many blocks with many locals": {locals: groups, body: code},
		"the longest body":             {locals: groups, body: straight},
	} {
		begin := time.Now()
		if _, err := engine(t, Config{CacheDir: t.TempDir()}).Load(t.Context(), h.module()); err != nil && agreement.CodeOf(err) != agreement.CodeBadManifest {
			t.Errorf("%s: %v", what, err)
		}
		t.Logf("%s: %s", what, time.Since(begin))
	}
}

// The signatures that admission expects are those that others give WASI.
func TestWASISignatures(t *testing.T) {
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	defer r.Close(t.Context())
	m, err := wasi_snapshot_preview1.NewBuilder(r).Compile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := m.ExportedFunctions()
	if len(want) != len(eachWASI()) || len(wasiFunctions()) != len(want) {
		t.Errorf("%d signatures, %d functions; want %d", len(eachWASI()), len(wasiFunctions()), len(want))
	}
	for name, f := range want {
		if got, ok := wasiSignature(name); !ok || string(got) != string(f.ParamTypes())+":"+string(f.ResultTypes()) {
			t.Errorf("%s: %x; want %x:%x", name, string(got), f.ParamTypes(), f.ResultTypes())
		}
	}
}

func TestEngineVersion(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "github.com/tetratelabs/wazero "+engineVersion+"\n") {
		t.Errorf("go.mod has another wazero than %s", engineVersion)
	}
}

// The limits of admission that tests stretch.
const (
	maxBody          = 256 << 10
	maxBlocks        = 6_000
	maxNesting       = 2_048
	maxBranchTargets = 4_096
)

func admit(wasm []byte) (*module.Prepared, error) {
	return module.Prepare(wasm, module.Rules{MemoryLimit: contract.DefaultMemory, Imports: importSignature, Contract: true})
}

// FuzzAdmit holds admission to its promise: it ends, it doesn't panic, and
// what it lets through does not end the process when the engine gets it.
func FuzzAdmit(f *testing.F) {
	for _, m := range hostile() {
		if len(m.module) < 10_000 {
			f.Add(m.module)
		}
	}
	f.Add(handmade{body: outputText()}.module())
	f.Add(handmade{locals: vec([]byte{3, typeI64}), body: cat([]byte{0x03, 0x40}, i32(1), []byte{0x0d, 0, 0x0b}), extra: [][]byte{{0x3f, 0, 0x40, 0, 0x1a}},
		sections: map[byte][]byte{4: vec([]byte{0x70, 1, 1, 5}), 6: vec([]byte{typeI32, 1, 0x41, 0, 0x0b}), 9: vec(cat([]byte{0}, i32(0), []byte{0x0b, 1, 0}))}}.module())
	engines := make([]*Engine, 2)
	for i, interpreted := range []bool{false, true} {
		e, err := newEngine(Config{Timeout: 200 * time.Millisecond}, slog.New(slog.DiscardHandler), interpreted)
		if err != nil {
			f.Fatal(err)
		}
		engines[i] = e
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		admitted, err := admit(wasm)
		if err != nil {
			if agreement.CodeOf(err) != agreement.CodeBadModule {
				t.Fatal(err)
			}
			return
		}
		if again, err := admit(wasm); err != nil || !bytes.Equal(again.Code, admitted.Code) {
			t.Fatalf("what was admitted is rewritten otherwise: %v\n%s", err, hex.Dump(wasm))
		}
		var codes [2]agreement.Code
		for i, e := range engines {
			_, err := e.Load(t.Context(), wasm)
			codes[i] = agreement.CodeOf(err)
			if codes[i] == agreement.CodeInternal && err != nil || codes[i] == agreement.CodeExecution {
				t.Fatalf("%v\n%s", err, hex.Dump(wasm))
			}
		}
		timeout := agreement.CodeExecutionTimeout
		if codes[0] != codes[1] && codes[0] != timeout && codes[1] != timeout {
			t.Fatalf("compiled %s, interpreted %s\n%s", codes[0], codes[1], hex.Dump(wasm))
		}
	})
}
