package exec

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// Host calls whose areas of memory overlap do what they would do one after the
// other: what is read is read before anything is written.
func TestOverlappingAreas(t *testing.T) {
	on := both(t, Config{})
	word := func(v ...uint32) string {
		var b []byte
		for _, w := range v {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
		return string(b)
	}
	// one subscription of a clock: user data, kind, clock, timeout, precision, flags
	clock := func(user string) string {
		return user + word(0, 0, 0, 0, 1000, 0, 0, 0, 0, 0)
	}
	file := func(user string) string { return user + word(1, 0, 0, 0, 0, 0, 0, 0, 0, 0) }
	for _, c := range []struct {
		name, text, memory, want string
		imports                  []string
	}{
		{"a value over its own name", "i32.const 0 i32.const 65 i32.const 2 i32.const 64 i32.const 0 i32.const 6 call read drop", "xinxxx", "value!", []string{"read"}},
		{"a value over the end of its name", "i32.const 0 i32.const 64 i32.const 2 i32.const 65 i32.const 0 i32.const 3 call read drop", "inxxx", "ivalx", []string{"read"}},
		{"the number of bytes over the vectors", "i32.const 1 i32.const 64 i32.const 2 i32.const 68 call fd_write drop", word(64, 4, 64, 3), word(64, 7, 64, 3), []string{"fd_write"}},
		{"the vectors within what is written", "i32.const 2 i32.const 64 i32.const 2 i32.const 64 call fd_write drop", word(64, 16, 64, 16), word(32, 16, 64, 16), []string{"fd_write"}},
		{"events over subscriptions", "i32.const 64 i32.const 64 i32.const 3 i32.const 200 call poll_oneoff drop",
			file("one.....") + file("two.....") + clock("three..."),
			"one....." + word(errnoNoSys|1<<16, 0, 0, 0, 0, 0) + "two....." + word(errnoNoSys|1<<16, 0, 0, 0, 0, 0), []string{"poll_oneoff"}},
		{"the number of events over the first", "i32.const 64 i32.const 64 i32.const 1 i32.const 64 call poll_oneoff drop", clock("timer..."), word(1) + "r..." + word(0, 0, 0, 0, 0, 0), []string{"poll_oneoff"}},
		{"two sizes in one place", "i32.const 64 i32.const 66 call args_sizes_get drop", "abcdefgh", "\x00\x00\x00\x00\x00\x00gh", []string{"args_sizes_get"}},
	} {
		p := invoke("", fmt.Sprintf("%s i32.const 64 i32.const %d call output", c.text, len(c.want)), c.imports...)
		p.data = map[int]string{64: c.memory}
		out := on.run(t, p, Run{Time: at, Proposed: map[string][]byte{"in": []byte("value!")}})
		if out.Outcome != agreement.Pass || string(out.Content) != c.want {
			t.Errorf("%s: %s %s\n%q; want\n%q", c.name, out.Code, out.Message, out.Content, c.want)
		}
	}
}

// manifestFrom is a program whose manifest has, as its name, what a piece of
// code leaves in the 16 bytes from address 0 on, in letters.
func manifestFrom(text string, imports ...string) program {
	p := invoke("", "", imports...)
	name := strings.Repeat("n", 16)
	manifest := strings.Replace(string((&p).manifest()), "hostile", name, 1)
	at := strings.Index(manifest, name)
	p = p.with(fn{exportDescribe, ">", "i", fmt.Sprintf(`%s
		loop
			local.get 0
			local.get 0 i32.load8_u:0 i32.const 15 i32.and i32.const 97 i32.add
			i32.store8:%d
			local.get 0 i32.const 1 i32.add local.tee 0 i32.const 16 i32.lt_u br_if 0
		end
		i32.const %d i32.const %d call output`, text, 2*manifestAt+at, 2*manifestAt, len(manifest))})
	p.data = map[int]string{2 * manifestAt: manifest}
	return p
}

// A module can't describe itself otherwise the next time: nothing that it can
// ask or keep is other then. It tries randomness, clocks, memory, globals and
// waiting, on two engines, and after it was dropped and loaded again.
func TestDescriptionsStayTheSame(t *testing.T) {
	on := both(t, Config{})
	for name, p := range map[string]program{
		"randomness": manifestFrom("i32.const 0 i32.const 16 call random_get drop", "random_get"),
		"the time":   manifestFrom("i32.const 0 i64.const 1 i32.const 0 call clock_time_get drop i32.const 1 i64.const 1 i32.const 8 call clock_time_get drop", "clock_time_get"),
		"waiting":    manifestFrom("i32.const 32 i32.const 64 i32.const 1 i32.const 128 call poll_oneoff drop i32.const 1 i64.const 1 i32.const 0 call clock_time_get drop", "clock_time_get", "poll_oneoff"),
		"its memory": manifestFrom("i32.const 0 i32.const 0 i64.load i64.const 0x0101010101010101 i64.add i64.store i32.const 8 i32.const 1000 i64.load i64.store i32.const 1000 i64.const -1 i64.store"),
		"values":     manifestFrom("i32.const 0 i32.const 2 i32.const 131072 i32.const 4 call size i64.store", "size"),
		"its globals": func() program {
			p := manifestFrom("global.get g i64.const 1 i64.add global.set g i32.const 0 global.get g i64.store")
			p.globals = []glob{{"g", 'I', 3}}
			return p
		}(),
	} {
		wasm := p.module()
		var first *Contract
		for round := range 3 {
			for i, e := range on {
				c, err := e.Load(t.Context(), wasm)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if first == nil {
					first = c
				}
				if c.Hash != first.Hash || string(c.ManifestJSON) != string(first.ManifestJSON) {
					t.Errorf("%s, engine %d, round %d: %s; at first %s", name, i, round, c.ManifestJSON, first.ManifestJSON)
				}
				execute(t, e, c, Run{Time: at})
				m := e.find(c.ModuleHash)
				again, err := e.describe(t.Context(), m) // in an instance that was used
				if err != nil || string(again.ManifestJSON) != string(first.ManifestJSON) {
					t.Errorf("%s, engine %d, round %d: %v, %v", name, i, round, again, err)
				}
				e.release(m)
				e.makeRoom(t.Context(), e.loaded.limit)
			}
		}
	}
}

// A module with data segments of its own, for which there is no snapshot,
// gives what the same module gives whose data is in memory from the start.
func TestPassiveDataIsNoDifference(t *testing.T) {
	on := both(t, Config{})
	text := `
		i32.const 0 call init
		global.get g i64.const 3 i64.mul global.set g
		i32.const 100 global.get g i64.store
		i32.const 108 memory.size i32.store
		i32.const 64 i32.const 48 call output`
	initialise := "i64.const 14 global.set g i32.const 1 memory.grow drop i32.const 70 i32.const 7 i32.store8 "
	active := program{globals: []glob{{"g", 'I', 1}}, data: map[int]string{64: "segment"}, funcs: []fn{
		{"invoke", "i>", "", text}, {"init", "i>", "", ""}, {exportInitialize, ">", "", initialise}}}
	passive := active
	passive.data, passive.passive = nil, []string{"unused", "segment"}
	passive.funcs = []fn{
		{"invoke", "i>", "", text},
		{"init", "i>", "", ""},
		{exportInitialize, ">", "", "i32.const 64 i32.const 0 i32.const 7 memory.init 1 data.drop 1 " + initialise},
	}
	if p, err := admit(passive.module()); err != nil || !p.Passive {
		t.Fatalf("%v, %v", p, err)
	}
	want := on.run(t, active, Run{Time: at})
	for range 2 {
		got := on.run(t, passive, Run{Time: at})
		if string(got.Content) != string(want.Content) || got.Outcome != agreement.Pass || got.Fuel != want.Fuel {
			t.Errorf("%s %q, %d units; want %q, %d", got.Code, got.Content, got.Fuel, want.Content, want.Fuel)
		}
	}
	// what was dropped is gone within a run, and there again in the next
	passive.funcs[0].text = "i32.const 0 i32.const 0 i32.const 6 memory.init 0 data.drop 0 i32.const 0 i32.const 6 call output local.get 0 if i32.const 0 i32.const 0 i32.const 6 memory.init 0 end"
	for range 2 {
		if out := on.run(t, passive, Run{Time: at}); string(out.Content) != "unused" {
			t.Errorf("%s %s %q", out.Code, out.Message, out.Content)
		}
	}
	passive.funcs[0].text = "data.drop 0 i32.const 0 i32.const 0 i32.const 1 memory.init 0"
	if out := on.run(t, passive, Run{Time: at}); out.Code != CodeTrap || !strings.Contains(out.Message, "out of bounds") {
		t.Errorf("%s %s", out.Code, out.Message)
	}
}
