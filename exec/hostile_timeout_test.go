package exec

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// slow are contracts that have fuel for minutes.
func slow() map[string]program {
	const all = "i32.const 253 memory.grow drop "
	tabled := invoke("", "loop i32.const 0 call_indirect > br 0 end").with(fn{"nothing", ">", "", ""})
	tabled.table = []string{"nothing"}
	passive := invoke("", "loop br 0 end i32.const 0 i32.const 0 i32.const 0 memory.init 0")
	passive.passive = []string{"x"}
	straight := ""
	for i := range 3000 {
		straight += fmt.Sprintf("local.get 1 i64.const %d i64.div_u local.set 1 ", i+1)
	}
	programs := map[string]program{
		"a loop":             invoke("", "loop br 0 end"),
		"long straight code": invoke("I", "loop "+straight+"br 0 end"),
		"calls without end":  invoke("", "call f40").with(doubling(40)...),
		"a table":            tabled,
		"filling":            invoke("", all+"loop i32.const 0 i32.const 1 i32.const 16777216 memory.fill br 0 end"),
		"moving":             invoke("", all+"loop i32.const 1 i32.const 0 i32.const 16000000 memory.copy br 0 end"),
		"growing":            invoke("", "loop i32.const -1 memory.grow drop br 0 end"),
		"drawing":            invoke("", "loop i32.const 0 i32.const 65536 call random_get drop br 0 end", "random_get"),
		"asking the time":    invoke("", "loop i32.const 0 i64.const 0 i32.const 0 call clock_time_get drop br 0 end", "clock_time_get"),
		"writing nothing":    invoke("", "loop i32.const 1 i32.const 16384 i32.const 1024 i32.const 8 call fd_write drop br 0 end", "fd_write"),
		"waiting":            invoke("", "loop i32.const 0 i32.const 65536 i32.const 1024 i32.const 8 call poll_oneoff drop br 0 end", "poll_oneoff"),
		"logging":            invoke("", "loop i32.const 0 i32.const 0 i32.const 10 call log br 0 end", "log"),
		"its own data":       passive,
		"after its record":   invoke("", "i32.const 0 i32.const 1 call output loop br 0 end"),
	}
	for name, p := range programs {
		p.fuel = DefaultFuelLimit
		programs[name] = p
	}
	return programs
}

// The clock on the wall stops a contract wherever it is, within moments, and
// what it did until then is no result. Nothing of it is used again.
func TestTimeoutsAreNoResults(t *testing.T) {
	const limit = 10 * time.Millisecond
	e := engine(t, Config{Timeout: limit})
	for name, p := range slow() {
		c := loadSlow(t, e, p)
		begin := time.Now()
		out, err := e.Execute(t.Context(), c, Run{Time: at})
		took := time.Since(begin)
		if agreement.CodeOf(err) != agreement.CodeExecutionTimeout || !agreement.Retryable(err) || out != nil {
			t.Errorf("%s: %v, %v", name, out, err)
		}
		if took > 500*limit { // far more than it takes, for slow machines
			t.Errorf("%s: stopped after %s", name, took)
		}
		if m := e.find(c.ModuleHash); len(m.idle) > 0 {
			t.Errorf("%s: an instance that was stopped waits to be used again", name)
		} else {
			e.release(m)
		}
	}
	on := pair{engine(t, Config{}), interpreter(t, Config{})}
	on.unharmed(t)
}

// loadSlow loads a contract, again if this machine is too slow for describe.
func loadSlow(t *testing.T, e *Engine, p program) *Contract {
	t.Helper()
	for range 100 {
		c, err := e.Load(t.Context(), p.module())
		if err == nil {
			if m := e.find(c.ModuleHash); m != nil { // of describe
				for i := e.idle(m); i != nil; i = e.idle(m) {
					i.close(t.Context())
				}
				e.release(m)
			}
			return c
		}
		if agreement.CodeOf(err) != agreement.CodeExecutionTimeout {
			t.Fatal(err)
		}
	}
	t.Fatal("describe takes too long again and again")
	return nil
}

// A request that is cancelled ends as such, before it begins and under way.
func TestCancelledRuns(t *testing.T) {
	e := engine(t, Config{Timeout: time.Minute})
	for _, name := range []string{"a loop", "drawing", "calls without end", "its own data"} {
		c := loadSlow(t, e, slow()[name])
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Millisecond, cancel)
		if out, err := e.Execute(ctx, c, Run{Time: at}); !errors.Is(err, context.Canceled) || out != nil {
			t.Errorf("%s: %v, %v", name, out, err)
		}
		if out, err := e.Execute(ctx, c, Run{Time: at}); err == nil || out != nil {
			t.Errorf("%s, after it was cancelled: %v", name, out)
		}
	}
}

// A module that takes too long to initialise or to describe itself is tried
// again: that is no reason to refuse it.
func TestTimeoutsOfLoading(t *testing.T) {
	for _, export := range []string{exportInitialize, exportDescribe} {
		e := engine(t, Config{Timeout: 5 * time.Millisecond})
		p := invoke("", "i32.const 0 i32.const 1 call output").with(doubling(24)...).with(fn{export, ">", "", "call f24"}) // some 100 million units, of the thousand million that there are
		if export == exportDescribe {
			manifest := (&program{}).manifest()
			p.funcs[len(p.funcs)-1].text += fmt.Sprintf(" i32.const %d i32.const %d call output", manifestAt, len(manifest))
		}
		_, err := e.Load(t.Context(), p.module())
		wantCode(t, err, agreement.CodeExecutionTimeout, "longer than allowed")
		patient := engine(t, Config{})
		c, err := patient.Load(t.Context(), p.module())
		if err != nil {
			t.Fatalf("with more time: %v", err)
		}
		if out := execute(t, patient, c, Run{Time: at})[0]; out.Outcome != agreement.Pass {
			t.Errorf("%+v", out)
		}
	}
}
