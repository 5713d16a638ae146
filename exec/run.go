package exec

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// lastTime is the last time that a clock in nanoseconds can show.
var lastTime = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)

// Execute runs every function of a contract in order and stops at the first
// FAIL. Each sees only the values that the manifest lists for it, in memory of
// its own. What the contract does is in the outputs, a crash and a limit that
// it hits too; an error is about the request (CodeMissingInput,
// CodeUnexpectedInput, CodeMissingRecord, CodeBadJSON, CodeSchema,
// CodeBadRequest) or
// local: CodeExecutionTimeout may go away, CodeExecution won't.
func (e *Engine) Execute(ctx context.Context, c *Contract, r Run) ([]Output, error) {
	r, err := prepare(c, r)
	if err != nil {
		return nil, err
	}
	if err := take(ctx, e.runs); err != nil {
		return nil, err
	}
	defer func() { <-e.runs }()
	m, err := e.use(ctx, c.ModuleHash, func() ([]byte, error) { return e.modules.read(c.ModuleHash) })
	if err != nil {
		return nil, err
	}
	defer e.release(m)
	return e.perform(ctx, m, c, r)
}

// perform checks the conditions and runs the functions.
func (e *Engine) perform(ctx context.Context, m *loadedModule, c *Contract, r Run) ([]Output, error) {
	functions := c.Manifest.Functions
	r.room = MaxTracedCalls
	outputs := make([]Output, 0, len(functions))
	for i, cond := range c.Manifest.Conditions {
		out := Output{Function: contract.Function{Name: cond.Name, Inputs: cond.Inputs, Existing: cond.Existing}, Condition: true}
		if err := e.run(ctx, m, c, len(functions)+i, r, &out); err != nil {
			return nil, fmt.Errorf("checking %s of contract %s: %w", cond.Name, c.Manifest.Name, err)
		}
		r.room -= len(out.Calls)
		if out.Outcome == agreement.Fail || r.Trace {
			outputs = append(outputs, out)
		}
		if out.Outcome == agreement.Fail {
			return outputs, nil
		}
	}
	for i, f := range functions {
		out := Output{Function: f}
		if f.Skipped(r.has) {
			out.Outcome = agreement.Skip
		} else if err := e.run(ctx, m, c, i, r, &out); err != nil {
			return nil, fmt.Errorf("executing %s of contract %s: %w", f.Name, c.Manifest.Name, err)
		}
		r.room -= len(out.Calls)
		if outputs = append(outputs, out); out.Outcome == agreement.Fail {
			break
		}
	}
	return outputs, nil
}

func (r Run) has(name string) bool {
	_, proposed := r.Proposed[name]
	_, existing := r.Existing[name]
	return proposed || existing
}

// prepare checks that a run has what the contract needs and nothing else, and
// makes JSON canonical.
func prepare(c *Contract, r Run) (Run, error) {
	m := c.Manifest
	if r.Time.Before(startTime) || r.Time.After(lastTime) {
		return r, agreement.Errorf(agreement.CodeBadRequest, "a time of %s is out of range", r.Time.Format(time.RFC3339))
	}
	var err error
	if r.Proposed, err = c.values(m.Inputs, r.Proposed, "input", agreement.CodeMissingInput); err != nil {
		return r, err
	}
	if r.Existing, err = c.values(m.Existing, r.Existing, "existing record", agreement.CodeMissingRecord); err != nil {
		return r, err
	}
	about := map[string][]byte{contract.ContextTime: []byte(r.Time.UTC().Format(time.RFC3339Nano))}
	for name, v := range r.Context {
		if name != contract.ContextTime {
			about[name] = v
		}
	}
	r.Context = about
	return r, nil
}

func (c *Contract) values(specs []contract.ValueSpec, given map[string][]byte, what string, missing agreement.Code) (map[string][]byte, error) {
	known := make(map[string][]byte, len(specs))
	for _, s := range specs {
		v, ok := given[s.Name]
		if !ok {
			if s.Optional {
				continue
			}
			return nil, agreement.Errorf(missing, "the contract needs the %s %q", what, s.Name)
		}
		if s.JSON() {
			var err error
			if v, err = agreement.Canonical(v); err != nil {
				return nil, agreement.Errorf(agreement.CodeOf(err), "the %s %q: %w", what, s.Name, err)
			}
			if err := c.fits(s.Schema != nil, valueSchema(s.Name), v); err != nil {
				return nil, agreement.Errorf(agreement.CodeSchema, "the %s %q: %w", what, s.Name, err).
					WithHint("`affiliate contract show` prints the schema")
			}
		}
		known[s.Name] = v
	}
	for name := range given {
		if _, ok := known[name]; !ok {
			return nil, agreement.Errorf(agreement.CodeUnexpectedInput, "the contract has no %s %q", what, name)
		}
	}
	return known, nil
}

// run runs one function or condition and says in out how it went.
func (e *Engine) run(ctx context.Context, m *loadedModule, c *Contract, index int, r Run, out *Output) error {
	f := out.Function
	call := newCall(m.start, c.Manifest.OutputLimit(), e.cfg.LogLimit)
	call.values = [3]map[string][]byte{
		contract.KindProposed: only(r.Proposed, f.Inputs),
		contract.KindExisting: only(r.Existing, f.Existing),
		contract.KindContext:  r.Context,
	}
	call.at, call.condition = r.Time.UnixNano(), out.Condition
	call.traced, call.room = r.Trace, min(r.room, MaxHostCalls)
	begin := time.Now()
	failure, err := e.invoke(ctx, m, call, limits{c.Manifest.MemoryLimit(), c.Manifest.FuelLimit()}, exportInvoke, api.EncodeI32(int32(index))) //nolint:gosec // at most contract.MaxFunctions and MaxConditions
	if err != nil {
		return err
	}
	out.Elapsed, out.Log, out.Fuel = time.Since(begin), call.log.all(), call.used()
	out.Calls, out.CallCount = call.calls, call.made
	if failure == nil && !out.Condition {
		out.Content = call.output
		if f.Record.JSON() {
			out.Content, failure = c.record(f.Record, call.output)
		}
	}
	out.Outcome = agreement.Pass
	if failure != nil {
		out.Outcome, out.Content, out.Code, out.Message = agreement.Fail, nil, failure.Code, failure.Message
	}
	return nil
}

func only(all map[string][]byte, names []string) map[string][]byte {
	some := make(map[string][]byte, len(names))
	for _, name := range names {
		if v, ok := all[name]; ok {
			some[name] = v
		}
	}
	return some
}

// limits are those of a call that decide its result.
type limits struct{ memory, fuel int64 }

// invoke calls an export in an instance that has what the module begins with:
// nil and nil when it did what it should, a failure when the contract failed,
// an error when the trouble is local.
func (e *Engine) invoke(ctx context.Context, m *loadedModule, c *call, l limits, export string, args ...uint64) (*contract.Failure, error) {
	r, err := e.start(ctx)
	if err != nil {
		return nil, err
	}
	i, err := e.instance(ctx, r, m, l.memory)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeExecution, "the engine failed: %w", err)
	}
	keep := false
	defer func() { e.giveBack(ctx, m, i, keep) }()
	if !m.start.initialised {
		if failure, err := e.begin(ctx, i, c); failure != nil || err != nil {
			return failure, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	if c.at != 0 {
		c.now = c.at
	}
	stopped, err := i.call(ctx, c, l.fuel, export, args...)
	keep = err == nil && !stopped
	return c.result(ctx, stopped, err)
}

// instance takes an instance that is idle, or makes one.
func (e *Engine) instance(ctx context.Context, r wazero.Runtime, m *loadedModule, memoryLimit int64) (*instance, error) {
	if i := e.idle(m); i != nil {
		if i.memory.limit == uint64(memoryLimit) { //nolint:gosec // a limit is never negative
			return i, nil
		}
		i.close(ctx) // describe's, which has the default limit
	}
	return m.start.instantiate(ctx, r, m.compiled, m.mutable, memoryLimit)
}

func (e *Engine) idle(m *loadedModule) *instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := len(m.idle) - 1
	if last < 0 {
		return nil
	}
	i := m.idle[last]
	m.idle = m.idle[:last]
	return i
}

// giveBack keeps an instance for the next run, as the snapshot has it, or
// closes it.
func (e *Engine) giveBack(ctx context.Context, m *loadedModule, i *instance, keep bool) {
	if keep && i.reset(m.start) {
		e.mu.Lock()
		i = e.loaded.keep(m, i)
		e.mu.Unlock()
	}
	if i != nil {
		i.close(ctx)
	}
}

// result says what the end of a call means. Only what every party's engine
// does alike may become a failure, which is a result.
func (c *call) result(ctx context.Context, stopped bool, err error) (*contract.Failure, error) {
	var (
		ended  *endOfFunction
		exited *exit
		broken runtime.Error
	)
	switch left := c.instance.left(); {
	case stopped && errors.Is(ctx.Err(), context.Canceled):
		return nil, fmt.Errorf("the execution was stopped: %w", context.Canceled)
	case stopped:
		return nil, agreement.Errorf(agreement.CodeExecutionTimeout, "the contract took longer than allowed").
			WithHint("it is tried again; if the contract needs more time, raise exec.timeout")
	case c.fail != nil:
		return c.fail, nil
	case left < 0:
		return &contract.Failure{Code: CodeOutOfFuel, Message: fmt.Sprintf("the contract used up its %d units of fuel", c.budget)}, nil
	case errors.As(err, &exited) && exited.status == 0, err == nil:
		if !c.done && !c.condition {
			return &contract.Failure{Code: CodeNoOutput, Message: "the function returned without a record"}, nil
		}
		return nil, nil
	case errors.As(err, &broken):
		return nil, agreement.Errorf(agreement.CodeExecution, "the engine failed: %w", firstLine(err))
	case errors.As(err, &exited):
		return c.crash(fmt.Sprintf("the contract ended itself with status %d", exited.status)), nil
	case errors.As(err, &ended):
		return c.crash(ended.why), nil
	}
	if why, ok := trapText(err); ok {
		if why == "unreachable" && c.instance.tooDeep() {
			return &contract.Failure{Code: CodeCallDepth, Message: "the contract's functions call one another too deep"}, nil
		}
		return c.crash(why), nil
	}
	return nil, agreement.Errorf(agreement.CodeExecution, "the engine failed: %w", firstLine(err))
}

// crash is the failure of a contract that didn't end by itself.
func (c *call) crash(why string) *contract.Failure {
	code := CodeTrap
	if m := c.instance.memory; m.denied {
		code, why = CodeMemoryLimit, fmt.Sprintf("the contract needs more than the %d bytes of memory it may have", m.limit)
	}
	if last := c.log.lastWords(); last != "" {
		why += "; " + last
	}
	return &contract.Failure{Code: code, Message: cleanText(why, maxMessage)}
}

// trapText tells whether an error of the engine is a trap of WebAssembly, and
// which. The engine's error values aren't exported; its words are. Its stack
// overflow isn't one: the depth that a module may use ends before.
func trapText(err error) (string, bool) {
	text, ok := strings.CutPrefix(firstLine(err).Error(), "wasm error: ")
	if !ok {
		return "", false
	}
	switch text {
	case "unreachable", "out of bounds memory access", "integer divide by zero", "integer overflow",
		"invalid conversion to integer", "invalid table access", "indirect call type mismatch":
		return text, true
	}
	return "", false
}

func firstLine(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}
