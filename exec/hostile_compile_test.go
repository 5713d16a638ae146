package exec

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// bombs are functions that take long to compile, and what admission says to
// more of the same. Before they were counted, each of these took minutes.
func bombs() map[string]struct{ locals, some, more, words string } {
	wide := strings.Repeat("I", 16)
	kinds := strings.Repeat("I", 126)
	many := func(n int, text string) string { return strings.Repeat(text+" ", n) }
	give, use := locals("i64.const 1 local.set %d ", 1, 127), "local.get 1 "+locals("local.get %d i64.add ", 2, 127)+"global.set g "
	table := "block:" + wide + ">" + wide + " local.get 0 br_table 0,0,0,0,0,0,0,0,0 end"
	return map[string]struct{ locals, some, more, words string }{
		"locals in nested loops": {
			kinds, many(40, "loop") + use + give + many(40, "local.get 0 br_if 0 end"), many(600, "loop") + use + give + many(600, "local.get 0 br_if 0 end"), "values live",
		},
		"tables with values below them": {
			"", many(100, "call make "+table) + many(100, "call take"), many(700, "call make "+table) + many(700, "call take"), "values live",
		},
		"tables above values": {
			"", many(100, "call make") + many(100, "block local.get 0 br_table 0,0,0,0 end") + many(100, "call take"),
			many(600, "call make") + many(600, "block local.get 0 br_table 0,0,0,0,0 end") + many(600, "call take"), "values live",
		},
		"fills":             {"", many(100, "local.get 0 local.get 0 local.get 0 memory.fill"), many(1500, "local.get 0 local.get 0 local.get 0 memory.fill"), "6000 blocks"},
		"copies":            {"", many(100, "local.get 0 local.get 0 local.get 0 memory.copy"), many(1500, "local.get 0 local.get 0 local.get 0 memory.copy"), "6000 blocks"},
		"growth":            {"", many(100, "local.get 0 memory.grow drop"), many(1500, "local.get 0 memory.grow drop"), "6000 blocks"},
		"stores of floats":  {"F", many(400, "local.get 0 local.get 1 f64.store"), many(3500, "local.get 0 local.get 1 f64.store"), "6000 blocks"},
		"choices of floats": {"FF", many(400, "local.get 1 local.get 2 local.get 0 select local.set 1"), many(3500, "local.get 1 local.get 2 local.get 0 select local.set 1"), "6000 blocks"},
		"values":            {"", many(1000, "call make") + many(1000, "call take"), many(16000, "call make") + many(16000, "call take"), "too many values"},
	}
}

// What would compile for minutes is refused before the compiler sees it; less
// of the same compiles in a moment.
func TestCompileBombs(t *testing.T) {
	wide := strings.Repeat("I", 16)
	e := engine(t, Config{CacheDir: t.TempDir()})
	for name, b := range bombs() {
		p := invoke("", "").with(fn{"f", "i>", b.locals, b.some}, fn{"make", ">" + wide, "", strings.Repeat("i64.const 3 ", 16)}, fn{"take", wide + ">", "", ""})
		p.globals = []glob{{"g", 'I', 0}}
		begin := time.Now()
		if _, err := e.Load(t.Context(), p.module()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %s", name, time.Since(begin).Round(time.Millisecond))
		p.funcs[1].text = b.more
		if _, err := e.Load(t.Context(), p.module()); agreement.CodeOf(err) != agreement.CodeBadModule || !strings.Contains(err.Error(), b.words) {
			t.Errorf("%s, more: %v; want it to say %q", name, err, b.words)
		}
	}
}

// Native code that would take much of the node's memory isn't kept.
func TestNativeCodeIsBounded(t *testing.T) {
	dir := t.TempDir()
	e := engine(t, Config{CacheDir: dir, Compiler: []string{os.Args[0], compilerArg}})
	c, err := e.Load(t.Context(), handmade{}.module())
	if err != nil {
		t.Fatal(err)
	}
	files, err := e.modules.nativeFiles()
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	size, err := e.modules.newNative(nil, maxNative)
	if err != nil || size < 100 {
		t.Fatalf("%d bytes, %v", size, err)
	}
	m := e.find(c.ModuleHash)
	defer e.release(m)
	if want := loadedSize(int(c.Size), size, m.start.image.size); m.size != want {
		t.Errorf("a module counts as %d bytes; want %d", m.size, want)
	}
	mark, err := os.ReadFile(filepath.Join(e.modules.native, "done", c.ModuleHash.String()))
	if err != nil || string(mark) != fmt.Sprint(size) {
		t.Errorf("the mark says %q, %v; want %d", mark, err, size)
	}
	_, err = e.modules.newNative(nil, size-1)
	wantCode(t, err, agreement.CodeBadModule, "native code")
	if files, err := e.modules.nativeFiles(); err != nil || len(files) != 0 {
		t.Errorf("%v stay, %v", files, err)
	}
}
