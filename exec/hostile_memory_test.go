package exec

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// filler is a contract of the given size in memory that fills all of it while
// it initialises itself, and then gives some bytes from everywhere.
func filler(pages int) program {
	last := pages<<16 - 8
	p := invoke("", fmt.Sprintf(`
		i32.const 0 i32.const %d i64.load i64.store
		i32.const 8 i32.const 131072 i64.load i64.store
		i32.const 16 global.get g i64.store
		i32.const 24 i32.const 32 call random_get drop
		i32.const %d i64.const 0x1122334455667788 i64.store
		i32.const 131072 i64.const 0x1122334455667788 i64.store
		global.get g i64.const 1 i64.add global.set g
		i32.const 0 i32.const 56 call output`, last, last), "random_get")
	p.pages, p.memory, p.globals = pages, 128<<20, []glob{{"g", 'I', 5}}
	p.funcs = append(p.funcs, fn{exportInitialize, ">", "", fmt.Sprintf(`
		i32.const 131072 i32.const 1 i32.const %d memory.fill
		i32.const 0 i32.const 16 call random_get drop
		global.get g i64.const 2 i64.mul global.set g`, pages<<16-131072)})
	return p
}

// A tiny module that fills its memory while it initialises itself doesn't make
// the node keep all of that: beyond some size there is no snapshot, and each
// run initialises its own memory. The result is the same.
func TestSnapshotsAreBounded(t *testing.T) {
	e := engine(t, Config{})
	for _, c := range []struct {
		pages int
		kept  bool
	}{{maxImage >> 16, true}, {maxImage>>16 + 1, false}, {1500, false}} {
		loaded, err := e.Load(t.Context(), filler(c.pages).module())
		if err != nil {
			t.Fatal(err)
		}
		m := e.find(loaded.ModuleHash)
		if m.start.initialised != c.kept || m.start.image.size > maxImage {
			t.Errorf("%d pages: a snapshot %v, an image of %d bytes", c.pages, m.start.initialised, m.start.image.size)
		}
		first := execute(t, e, loaded, Run{Time: at})[0]
		if again := execute(t, e, loaded, Run{Time: at})[0]; !bytes.Equal(again.Content, first.Content) || again.Fuel != first.Fuel {
			t.Errorf("%d pages: a second run gave %s %x, the first %s %x", c.pages, again.Code, again.Content, first.Code, first.Content)
		}
		if want := bytes.Repeat([]byte{1}, 16); !bytes.Equal(first.Content[:16], want) || first.Content[16] != 10 {
			t.Errorf("%d pages: %s %x", c.pages, first.Code, first.Content)
		}
		e.release(m)
	}
}

// Data at both ends of a large memory costs no more than the data.
func TestSparseMemory(t *testing.T) {
	e := engine(t, Config{})
	const far = 1900 << 16
	p := invoke("", fmt.Sprintf("i32.const 8 i32.const %d i64.load i64.store i32.const %d i64.const -1 i64.store i32.const 0 i32.const 16 call output", far, far))
	p.pages, p.memory, p.data = 2000, 128<<20, map[int]string{0: "at first", far: "far away"}
	loaded, err := e.Load(t.Context(), p.module())
	if err != nil {
		t.Fatal(err)
	}
	m := e.find(loaded.ModuleHash)
	defer e.release(m)
	if m.start.image.size > maxImage {
		t.Errorf("an image of %d bytes", m.start.image.size)
	}
	for range 2 {
		if out := execute(t, e, loaded, Run{Time: at})[0]; string(out.Content) != "at firstfar away" {
			t.Errorf("%s %s %q", out.Code, out.Message, out.Content)
		}
	}
}

// Memory beyond an image is as it was, too.
func TestMemoryBeyondTheImage(t *testing.T) {
	e := engine(t, Config{})
	const far = 1900 << 16
	p := invoke("", fmt.Sprintf("i32.const 8 i32.const %d i64.load i64.store i32.const %d i64.const -1 i64.store i32.const 0 i32.const 16 call output", far, far))
	p.pages, p.memory, p.data = 2000, 128<<20, map[int]string{0: "at first"}
	loaded, err := e.Load(t.Context(), p.module())
	if err != nil {
		t.Fatal(err)
	}
	m := e.find(loaded.ModuleHash)
	defer e.release(m)
	for range 3 {
		if out := execute(t, e, loaded, Run{Time: at})[0]; string(out.Content) != "at first"+string(make([]byte, 8)) {
			t.Errorf("%s %s %q", out.Code, out.Message, out.Content)
		}
	}
	if m.start.image.size > maxImage || len(m.idle) != 1 {
		t.Errorf("an image of %d bytes, %d instances to use again", m.start.image.size, len(m.idle))
	}
}

// Many small contracts take no more than one that is large: what they cost
// besides their bytes is counted, and few instances wait for another run.
func TestLoadedModulesAreBounded(t *testing.T) {
	e := engine(t, Config{})
	e.loaded.limit = 5 << 20
	var contracts []*Contract
	for i := range 60 {
		p := invoke("", fmt.Sprintf("i32.const %d i32.const 1 i32.store8 i32.const 0 i32.const 4 call output", i))
		loaded, err := e.Load(t.Context(), p.module())
		if err != nil {
			t.Fatal(err)
		}
		if out := execute(t, e, loaded, Run{Time: at})[0]; out.Outcome != agreement.Pass {
			t.Fatalf("%+v", out)
		}
		contracts = append(contracts, loaded)
	}
	idle, size := 0, int64(0)
	for _, m := range e.loaded.byHash {
		idle += len(m.idle)
		size += m.size
	}
	if len(e.loaded.byHash) > 20 || size > e.loaded.limit || size != e.loaded.size || idle > e.loaded.maxIdle {
		t.Errorf("%d modules of %d bytes (%d are counted), %d instances", len(e.loaded.byHash), size, e.loaded.size, idle)
	}
	for _, c := range slices.Backward(contracts) {
		if out := execute(t, e, c, Run{Time: at})[0]; out.Outcome != agreement.Pass {
			t.Fatalf("a contract that was dropped: %+v", out)
		}
	}
}

// A memory that can't be shown is given back.
func TestMemoryThatCannotBe(t *testing.T) {
	broken := &image{size: 1 << 16} // of no file
	if _, err := newMemory(1<<20, broken); err == nil && canReset {
		t.Error("a memory shows what isn't there")
	}
	if _, err := newMemory(math.MaxInt64/2, &image{}); err == nil {
		t.Error("a memory of 4 EiB")
	}
}
