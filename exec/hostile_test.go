package exec

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// pair are two engines, one that compiles and one that interprets.
type pair [2]*Engine

func both(t testing.TB, cfg Config) pair {
	t.Helper()
	return pair{engine(t, cfg), interpreter(t, cfg)}
}

// run runs a program on both engines, which must agree in all that parties
// compare and in what they log. An engine that fails is a fault of ours.
func (on pair) run(t testing.TB, p program, r Run) Output {
	t.Helper()
	wasm := p.module()
	var outputs [2][]Output
	for i, e := range on {
		c, err := e.Load(t.Context(), wasm)
		if err != nil {
			t.Fatalf("engine %d: %v", i, err)
		}
		out, err := e.Execute(t.Context(), c, r)
		if err != nil {
			t.Fatalf("engine %d: %v", i, err)
		}
		outputs[i] = withoutTimes(out)
	}
	if !reflect.DeepEqual(outputs[0], outputs[1]) {
		t.Errorf("compiled %+v\ninterpreted %+v", outputs[0], outputs[1])
	}
	return outputs[0][0]
}

// unharmed checks that engines still do honest work.
func (on pair) unharmed(t testing.TB) {
	t.Helper()
	p := invoke("", "i32.const 64 i32.const 4 call output")
	p.data = map[int]string{64: "good"}
	if out := on.run(t, p, Run{Time: at}); string(out.Content) != "good" {
		t.Fatalf("a good contract fails after this: %+v", out)
	}
}

func firstWord(s string) string { return strings.Fields(s)[0] }

// hostileCase is a contract by an enemy, with the property that holds: what it
// ends as.
type hostileCase struct {
	name     string
	p        program
	property string // outcome, code, the beginning of the message; or the content
}

// with adds functions to a program.
func (p program) with(more ...fn) program {
	p.funcs = append(p.funcs, more...)
	return p
}

// endless are contracts that never end by themselves.
func endless() []hostileCase {
	const ends = "FAIL OUT_OF_FUEL"
	tabled := invoke("", "loop i32.const 0 call_indirect > br 0 end").with(fn{"nothing", ">", "", ""})
	tabled.table = []string{"nothing"}
	inside := invoke("", "i32.const 1 call_indirect >").with(fn{"nothing", ">", "", ""}, fn{"loops", ">", "", "loop br 0 end"})
	inside.table = []string{"nothing", "loops"}
	return []hostileCase{
		{"a loop", invoke("", "loop br 0 end"), ends},
		{"a loop of nothing but nops", invoke("", "loop nop nop br 0 end"), ends},
		{"a loop that a table closes", invoke("", "loop local.get 0 br_table 0,0,0 end"), ends},
		{"a loop after the record", invoke("", "i32.const 0 i32.const 1 call output loop br 0 end"), ends},
		{"nested loops", invoke("i", "loop loop loop local.get 1 i32.const 1 i32.add local.tee 1 br_if 0 end br 0 end br 0 end"), ends},
		{"a loop of calls", invoke("", "loop call f br 0 end").with(fn{"f", ">", "", ""}), ends},
		{"a loop of indirect calls", tabled, ends},
		{"a loop in what a table has", inside, ends},
		{"a loop with values", invoke("", "i64.const 1 f64.const 2 loop:IF>IF br 0 end drop drop"), ends},
		{"many short functions", invoke("", "loop "+strings.Repeat("call f ", 500)+"br 0 end").with(fn{"f", ">", "", strings.Repeat("memory.size drop ", 250)}), ends},
		{"two to the power of thirty calls", invoke("", "call f30").with(doubling(30)...), ends},
	}
}

// doubling are functions of which each calls the one before twice.
func doubling(n int) []fn {
	all := []fn{{"f0", ">", "", ""}}
	for i := range n {
		all = append(all, fn{fmt.Sprint("f", i+1), ">", "", fmt.Sprintf("call f%d call f%d", i, i)})
	}
	return all
}

// recursive are contracts that call themselves without end.
func recursive() []hostileCase {
	const ends = "FAIL CALL_DEPTH"
	tabled := invoke("", "i32.const 0 call_indirect >").with(fn{"f", ">", "", "i32.const 0 call_indirect >"})
	tabled.table = []string{"f"}
	wide := strings.Repeat("I", 16)
	return []hostileCase{
		{"recursion", invoke("", "local.get 0 call invoke"), ends},
		{"recursion behind its record", invoke("", "i32.const 0 i32.const 1 call output call f").with(fn{"f", ">", "", "call f"}), ends},
		{"mutual recursion", invoke("", "call f").with(fn{"f", ">", "", "call g"}, fn{"g", ">", "", "call f"}), ends},
		{"recursion by a table", tabled, ends},
		{"recursion in a loop", invoke("", "call f").with(fn{"f", ">", "", "loop call f br 0 end"}), ends},
		{"recursion with most arguments and results", invoke("", strings.Repeat("i64.const 1 ", 16)+"call f "+strings.Repeat("drop ", 16)).
			with(fn{"f", wide + ">" + wide, "", locals("local.get %d ", 0, 16) + "call f"}), ends},
		{"recursion with most locals", invoke("", "call f").with(fn{"f", ">", strings.Repeat("I", 128), "call f " + locals("local.get %d drop ", 0, 128)}), ends},
	}
}

// locals repeats a text for the numbers of locals.
func locals(text string, from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, text, i)
	}
	return b.String()
}

// greedy are contracts that want memory.
func greedy() []hostileCase {
	const limit = "i32.const 253 memory.grow drop " // from 3 pages to 16 MiB
	huge := invoke("", "i32.const 131071 call_indirect >")
	huge.tableSize = 131_072
	declared := invoke("", "i32.const 1 memory.grow i32.const -1 i32.eq if unreachable end")
	declared.maxPages = 3
	return []hostileCase{
		{"fills its memory again and again", invoke("", limit+"loop i32.const 0 i32.const 1 i32.const 16777216 memory.fill br 0 end"), "FAIL OUT_OF_FUEL"},
		{"touches every page again and again", invoke("i", limit+"loop local.get 1 i32.const 16777215 i32.and local.get 1 i32.store8 local.get 1 i32.const 4096 i32.add local.set 1 br 0 end"), "FAIL OUT_OF_FUEL"},
		{"moves its memory again and again", invoke("", limit+"loop i32.const 1 i32.const 0 i32.const 16000000 memory.copy br 0 end"), "FAIL OUT_OF_FUEL"},
		{"grows by nothing without end", invoke("", "loop i32.const 0 memory.grow drop br 0 end"), "FAIL OUT_OF_FUEL"},
		{"asks for all memory without end", invoke("", "loop i32.const -1 memory.grow drop br 0 end"), "FAIL OUT_OF_FUEL"},
		{"grows until it can't, and crashes", invoke("", "loop i32.const 1 memory.grow i32.const -1 i32.ne br_if 0 end unreachable"), "FAIL MEMORY_LIMIT"},
		{"grows until it can't, and goes on", invoke("", "loop i32.const 1 memory.grow i32.const -1 i32.ne br_if 0 end i32.const 0 memory.size i32.store i32.const 0 i32.const 4 call output"), "PASS  \x00\x01\x00\x00"},
		{"grows past its own maximum", declared, "FAIL EXECUTION_TRAP unreachable"},
		{"fills past its memory", invoke("", "i32.const 1 i32.const 0 i32.const 196608 memory.fill"), "FAIL EXECUTION_TRAP out of bounds"},
		{"fills far past its memory", invoke("", "i32.const 1 i32.const 0 i32.const -1 memory.fill"), "FAIL OUT_OF_FUEL"},
		{"fills nothing past its memory", invoke("", "i32.const 196609 i32.const 0 i32.const 0 memory.fill"), "FAIL EXECUTION_TRAP out of bounds"},
		{"copies from past its memory", invoke("", "i32.const 0 i32.const 196600 i32.const 9 memory.copy"), "FAIL EXECUTION_TRAP out of bounds"},
		{"loads past its memory", invoke("", "i32.const 196601 i64.load drop"), "FAIL EXECUTION_TRAP out of bounds"},
		{"loads past 4 GiB", invoke("", "i32.const -1 i64.load:4294967295 drop"), "FAIL EXECUTION_TRAP out of bounds"},
		{"stores half past its memory", invoke("", "i32.const 196604 i64.const -1 i64.store"), "FAIL EXECUTION_TRAP out of bounds"},
		{"calls the end of a huge table", huge, "FAIL EXECUTION_TRAP invalid table access"},
		{"calls past a table", func() program {
			p := huge
			p.funcs = []fn{{"invoke", "i>", "", "i32.const -1 call_indirect >"}}
			return p
		}(), "FAIL EXECUTION_TRAP invalid table access"},
		{"calls a function of another type", func() program {
			p := invoke("", "i32.const 0 call_indirect >I drop").with(fn{"f", ">", "", ""})
			p.table = []string{"f"}
			return p
		}(), "FAIL EXECUTION_TRAP indirect call type mismatch"},
	}
}

// flooding are contracts that say too much, or not what they should.
func flooding() []hostileCase {
	return []hostileCase{
		{"outputs without end", invoke("", "loop i32.const 0 i32.const 1 call output br 0 end"), "FAIL EXECUTION_TRAP a second output"},
		{"outputs too much", func() program { p := invoke("", "i32.const 0 i32.const 65537 call output"); return p }(), "FAIL OUTPUT_LIMIT"},
		{"outputs from outside", invoke("", "i32.const -1 i32.const 2 call output"), "FAIL EXECUTION_TRAP a host call outside"},
		{"logs without end", invoke("", "loop i32.const 1 i32.const 0 i32.const 65536 call log br 0 end", "log"), "FAIL OUT_OF_FUEL"},
		{"logs nothing without end", invoke("", "loop i32.const 1 i32.const 0 i32.const 0 call log br 0 end", "log"), "FAIL OUT_OF_FUEL"},
		{"writes without end", invoke("", "loop i32.const 2 i32.const 65536 i32.const 1024 i32.const 8 call fd_write drop br 0 end", "fd_write"), "FAIL"},
		{"fails from outside", invoke("", "i32.const 0 i32.const 1 i32.const -5 i32.const 9 call fail", "fail"), "FAIL EXECUTION_TRAP a host call outside"},
		{"fails with a code of the engine", func() program {
			p := invoke("", "i32.const 64 i32.const 11 i32.const 0 i32.const 0 call fail", "fail")
			p.data = map[int]string{64: "OUT_OF_FUEL"}
			return p
		}(), "FAIL CONTRACT_ERROR OUT_OF_FUEL"},
		{"outputs and traps", invoke("", "i32.const 0 i32.const 1 call output unreachable"), "FAIL EXECUTION_TRAP unreachable"},
		{"outputs and exits in error", invoke("", "i32.const 0 i32.const 1 call output i32.const 1 call proc_exit", "proc_exit"), "FAIL EXECUTION_TRAP the contract ended itself with status 1"},
		{"exits well without a record", invoke("", "i32.const 0 call proc_exit", "proc_exit"), "FAIL NO_OUTPUT"},
	}
}

// TestHostileContracts runs each contract of the corpus on both engines. What
// it ends as, what it used of its fuel and what it said are the same on both,
// and both still work.
func TestHostileContracts(t *testing.T) {
	on := both(t, Config{})
	for _, list := range [][]hostileCase{endless(), recursive(), greedy(), flooding()} {
		for _, c := range list {
			c.p.fuel = 3_000_000
			if strings.HasPrefix(c.property, "FAIL OUT_OF_FUEL") {
				c.p.fuel = 200_000
			}
			out := on.run(t, c.p, Run{Time: at})
			text := fmt.Sprintf("%s %s %s%s", out.Outcome, out.Code, out.Content, out.Message)
			if !strings.HasPrefix(text, c.property) {
				t.Errorf("a contract that %s: %s; want %s", c.name, text, c.property)
			}
			if used := out.Fuel; used > uint64(c.p.fuel) || (out.Code == CodeOutOfFuel && used != uint64(c.p.fuel)) {
				t.Errorf("a contract that %s used %d units of %d", c.name, used, c.p.fuel)
			}
		}
		on.unharmed(t)
	}
}

// Whatever a module does in describe or _initialize, it is refused in the same
// words by both engines.
func TestHostileDescriptions(t *testing.T) {
	// spends takes a million units for little time
	const spends = "loop i32.const 0 i32.const 0 i32.const 131072 memory.fill br 0 end"
	on := both(t, Config{})
	for _, c := range []struct {
		name, text string
		words      string
	}{
		{"traps", "unreachable", "EXECUTION_TRAP: unreachable"},
		{"never ends", spends, "OUT_OF_FUEL"},
		{"calls itself", "call describe", "CALL_DEPTH"},
		{"takes all memory", "loop i32.const 16 memory.grow i32.const -1 i32.ne br_if 0 end unreachable", "MEMORY_LIMIT"},
		{"says nothing", "", "NO_OUTPUT"},
		{"says too much", "i32.const 8 memory.grow drop i32.const 0 i32.const 262145 call output", "OUTPUT_LIMIT"},
		{"says it twice", "i32.const 0 i32.const 1 call output i32.const 0 i32.const 1 call output", "a second output"},
		{"says zeros", "i32.const 0 i32.const 100 call output", "manifest"},
		{"fails", "i32.const 0 i32.const 0 i32.const 0 i32.const 0 call fail", "CONTRACT_ERROR"},
		{"exits", "i32.const 3 call proc_exit", "status 3"},
	} {
		for _, export := range []string{exportDescribe, exportInitialize} {
			p := invoke("", "", "fail", "proc_exit").with(fn{export, ">", "", strings.ReplaceAll(c.text, "describe", export)})
			wasm := p.module()
			_, compiled := on[0].Load(t.Context(), wasm)
			_, interpreted := on[1].Load(t.Context(), wasm)
			if c.name == "says nothing" && export == exportInitialize {
				if compiled != nil || interpreted != nil {
					t.Errorf("a module that doesn't do anything when it initialises itself: %v, %v", compiled, interpreted)
				}
				continue
			}
			if compiled == nil || interpreted == nil || compiled.Error() != interpreted.Error() {
				t.Errorf("a module that %s in %s: compiled %v, interpreted %v", c.name, export, compiled, interpreted)
				continue
			}
			code := agreement.CodeOf(compiled)
			if export == exportDescribe && !strings.Contains(compiled.Error(), c.words) || code != agreement.CodeBadModule && code != agreement.CodeBadManifest {
				t.Errorf("a module that %s in %s: %v; want %s", c.name, export, compiled, c.words)
			}
		}
	}
	on.unharmed(t)
}
