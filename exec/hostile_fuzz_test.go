package exec

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// decisions are bytes that a fuzzer chose; where they end, everything is 0.
type decisions struct{ b []byte }

func (d *decisions) n(limit int) int {
	v := 0
	for m := limit - 1; m > 0; m >>= 8 {
		v <<= 8
		if len(d.b) > 0 {
			v |= int(d.b[0])
			d.b = d.b[1:]
		}
	}
	return v % limit
}

func (d *decisions) pick(of ...int) int { return of[d.n(len(of))] }

// mutate changes a valid module by its sections, whose lengths then are right
// again, so that what is wrong lies deep within.
func (d *decisions) mutate(wasm, other []byte) []byte {
	all, donor := split(wasm), split(other)
	for range 1 + d.n(6) {
		i := d.n(len(all))
		s := &all[i]
		switch d.n(12) {
		case 0: // of another module
			for _, o := range donor {
				if o.id == s.id {
					s.content = o.content
				}
			}
		case 1: // one more element than there is, or one less
			if len(s.content) > 0 {
				s.content[0] += byte(d.pick(1, 255))
			}
		case 2:
			all = slices.Insert(all, i, *s)
		case 3:
			all = slices.Delete(all, i, i+1)
			if len(all) == 0 {
				return []byte(header)
			}
		case 4, 5, 6, 7:
			if s.id == 10 {
				s.content = d.bodies(s.content)
			} else {
				s.content = d.bytes(s.content)
			}
		default:
			s.content = d.bytes(s.content)
		}
	}
	out := []byte(header)
	for _, s := range all {
		out = append(out, section(s.id, s.content)...)
	}
	return out
}

type piece struct {
	id      byte
	content []byte
}

// split takes a valid module apart.
func split(wasm []byte) []piece {
	var all []piece
	for b := wasm[8:]; len(b) > 0; {
		n, size := varint(b[1:])
		all = append(all, piece{b[0], bytes.Clone(b[1+size : 1+size+n])})
		b = b[1+size+n:]
	}
	return all
}

func varint(b []byte) (n, size int) {
	for ; ; size++ {
		n |= int(b[size]&0x7f) << (7 * size)
		if b[size] < 0x80 {
			return n, size + 1
		}
	}
}

// bodies changes one function of a code section.
func (d *decisions) bodies(content []byte) (changed []byte) {
	defer func() {
		if recover() != nil { // it was changed before, and isn't valid any more
			changed = d.bytes(content)
		}
	}()
	count, at := varint(content)
	out := bytes.Clone(content[:at])
	which := d.n(max(count, 1))
	for i := range count {
		n, size := varint(content[at:])
		b := bytes.Clone(content[at+size : at+size+n])
		if i == which {
			b = d.bytes(b)
		}
		out = append(append(out, uleb(len(b))...), b...)
		at += size + n
	}
	return out
}

// bytes changes some bytes.
func (d *decisions) bytes(b []byte) []byte {
	if len(b) == 0 {
		return []byte{byte(d.n(256))}
	}
	at := d.n(len(b))
	switch d.n(6) {
	case 0:
		b[at] = byte(d.n(256))
	case 1:
		b[at] = byte(d.pick(0, 1, 0x40, 0x7f, 0x80, 0xff, 0x0b, 0x0c, 0x10, 0x11, 0x41, 0xfc))
	case 2:
		return slices.Insert(b, at, byte(d.n(256)))
	case 3:
		return slices.Delete(b, at, at+1)
	case 4: // a part once more
		to := at + d.n(len(b)-at)
		return slices.Insert(b, d.n(len(b)), bytes.Clone(b[at:to])...)
	case 5: // a large number
		return slices.Insert(b, at, []byte{0xff, 0xff, 0xff, 0xff, byte(d.pick(0x0f, 0x07, 0x7f))}...)
	}
	return b
}

// seeds are modules that have something of everything.
func seeds() [][]byte {
	full := diary()
	full.table, full.tableSize, full.maxPages = []string{"deep", "describe"}, 9, 100
	passive := diary()
	passive.passive = []string{"passive", ""}
	passive.funcs[1].text = "i32.const 7 i32.const 0 i32.const 3 memory.init 0 data.drop 1"
	return [][]byte{full.module(), passive.module(), frames()["tables with values"].module(), endless()[4].p.module(), handmade{body: outputText()}.module()}
}

func fuzzEngines(f *testing.F) pair {
	f.Helper()
	var on pair
	for i, interpreted := range []bool{false, true} {
		e, err := newEngine(Config{Timeout: time.Second}, slog.New(slog.DiscardHandler), interpreted)
		if err != nil {
			f.Fatal(err)
		}
		on[i] = e
	}
	return on
}

// FuzzSections changes valid modules by their sections. Admission ends, both
// engines agree whether the module loads, and on what it does then.
func FuzzSections(f *testing.F) {
	on, bases := fuzzEngines(f), seeds()
	r := rand.New(rand.NewPCG(5, 6))
	for range 150 {
		b := make([]byte, 4+r.IntN(40))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { on.sections(t, bases, b) })
}

func (on pair) sections(t *testing.T, bases [][]byte, b []byte) {
	d := decisions{b}
	wasm := d.mutate(bases[d.n(len(bases))], bases[d.n(len(bases))])
	if _, err := admit(wasm); err != nil {
		if agreement.CodeOf(err) != agreement.CodeBadModule {
			t.Fatal(err)
		}
		return
	}
	on.agree(t, wasm, Run{Time: at, Trace: true, Proposed: map[string][]byte{"in": {diaryPass, 0, 0, 0, 0, 0, 0, 0}}})
}

// agree loads and runs a module on both engines. A time-out on one of them is
// nobody's fault.
func (on pair) agree(t *testing.T, wasm []byte, r Run) {
	t.Helper()
	var errs [2]error
	var outputs [2][]Output
	for i, e := range on {
		var c *Contract
		if c, errs[i] = e.Load(t.Context(), wasm); errs[i] == nil {
			outputs[i], errs[i] = e.Execute(t.Context(), c, r)
			withoutTimes(outputs[i])
		}
		switch agreement.CodeOf(errs[i]) {
		case agreement.CodeExecutionTimeout:
			return
		case agreement.CodeExecution, agreement.CodeInternal:
			if errs[i] != nil {
				t.Fatalf("engine %d: %v\n%s", i, errs[i], hex.Dump(wasm))
			}
		}
	}
	if agreement.CodeOf(errs[0]) != agreement.CodeOf(errs[1]) || !reflect.DeepEqual(outputs[0], outputs[1]) {
		t.Fatalf("compiled %+v, %v\ninterpreted %+v, %v\n%s", outputs[0], errs[0], outputs[1], errs[1], hex.Dump(wasm))
	}
}

// hostCall writes a call of any import with any arguments.
func (d *decisions) hostCall(names []string) string {
	name := names[d.n(len(names))]
	_, sig := importText(name)
	params, results, _ := strings.Cut(sig, ">")
	var text strings.Builder
	for _, k := range params {
		v := d.pick(0, 1, 2, 3, 8, 64, 1000, 1024, 1025, 65530, 131072, 131073, 196600, 196608, 1<<31-1, -1, -8, 4+d.n(1<<18), d.n(64))
		if k == 'I' {
			fmt.Fprintf(&text, "i64.const %d ", v)
		} else {
			fmt.Fprintf(&text, "i32.const %d ", v)
		}
	}
	text.WriteString("call " + name)
	if results != "" {
		text.WriteString(" drop")
	}
	return text.String()
}

// FuzzHostCalls calls the host with whatever arguments. No call gets out of
// the module's memory or harms the host, and both engines agree on what it
// did to memory, log, fuel and trace.
func FuzzHostCalls(f *testing.F) {
	on, names := fuzzEngines(f), hostNames()
	r := rand.New(rand.NewPCG(7, 8))
	for range 40 {
		b := make([]byte, 10+r.IntN(100))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { on.hostCalls(t, names, b) })
}

func (on pair) hostCalls(t *testing.T, names []string, b []byte) {
	d := decisions{b}
	p := program{data: map[int]string{0: "in", 64: "\x40\x00\x00\x00\x10\x00\x00\x00\xf0\xff\x02\x00\x20\x00\x00\x00", 1000: string(b[:min(len(b), 2000)])}}
	p.imports = append(p.imports, names[:len(names)-24]...)
	var text strings.Builder
	for range 1 + d.n(12) {
		switch d.n(4) {
		case 0:
			fmt.Fprintf(&text, "i32.const %d i32.const %d i32.store ", d.n(196600), d.pick(0, 1, 8, -1, 131072, d.n(1<<20)))
		default:
			text.WriteString(d.hostCall(names) + " ")
		}
	}
	// what all of the memory is now
	text.WriteString(`i64.const -3750763034362895579 local.set 2
			loop
				local.get 2 local.get 1 i64.load i64.xor i64.const 1099511628211 i64.mul local.set 2
				local.get 1 i32.const 8 i32.add local.tee 1 i32.const 196608 i32.lt_u br_if 0
			end
			i32.const 0 local.get 2 i64.store i32.const 0 i32.const 8 call output`)
	p.funcs = []fn{{"invoke", "i>", "iI", text.String()}}
	p.fuel = 3_000_000
	on.agree(t, p.module(), Run{Time: at, Trace: true, Proposed: map[string][]byte{"in": b}})
}

// hostNames are all imports, and those that do most a few times.
func hostNames() []string {
	names := []string{"size", "read", "fail", "log"}
	for name := range eachWASI() {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, more := range []string{"read", "log", "fd_write", "poll_oneoff", "random_get", "clock_time_get"} {
		names = append(names, more, more, more, more)
	}
	return names
}
