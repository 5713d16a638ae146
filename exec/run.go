package exec

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// lastTime is the last time that a clock in nanoseconds can show.
var lastTime = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)

// Execute runs every function of a contract in order and stops at the first
// FAIL. Each sees only the values that the manifest lists for it, in memory of
// its own. What the contract does is in the outputs, a crash and a limit that
// it hits too; an error is about the request (CodeMissingInput,
// CodeUnexpectedInput, CodeMissingRecord, CodeBadJSON, CodeBadRequest) or
// local: CodeExecutionTimeout may go away, CodeExecution won't.
func (e *Engine) Execute(ctx context.Context, c *Contract, r Run) ([]Output, error) {
	r, err := prepare(c.Manifest, r)
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
	outputs := make([]Output, 0, len(c.Manifest.Functions))
	for i := range c.Manifest.Functions {
		out, err := e.function(ctx, m, c, i, r)
		if err != nil {
			return nil, fmt.Errorf("executing %s of contract %s: %w", c.Manifest.Functions[i].Name, c.Manifest.Name, err)
		}
		if outputs = append(outputs, out); out.Outcome == agreement.Fail {
			break
		}
	}
	return outputs, nil
}

// prepare checks that a run has what the contract needs and nothing else, and
// makes JSON canonical.
func prepare(m contract.Manifest, r Run) (Run, error) {
	if r.Time.Before(startTime) || r.Time.After(lastTime) {
		return r, agreement.Errorf(agreement.CodeBadRequest, "a time of %s is out of range", r.Time.Format(time.RFC3339))
	}
	var err error
	if r.Proposed, err = values(m.Inputs, r.Proposed, "input", agreement.CodeMissingInput); err != nil {
		return r, err
	}
	if r.Existing, err = values(m.Existing, r.Existing, "existing record", agreement.CodeMissingRecord); err != nil {
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

func values(specs []contract.ValueSpec, given map[string][]byte, what string, missing agreement.Code) (map[string][]byte, error) {
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

// function runs one function.
func (e *Engine) function(ctx context.Context, m *loadedModule, c *Contract, index int, r Run) (Output, error) {
	f := c.Manifest.Functions[index]
	out := Output{Function: f}
	if _, ok := r.Existing[f.SkipIf]; ok {
		out.Outcome = agreement.Skip
		return out, nil
	}
	call := newCall(c.Hash, e.cfg.OutputLimit, e.cfg.LogLimit)
	call.values = [3]map[string][]byte{
		contract.KindProposed: only(r.Proposed, f.Inputs),
		contract.KindExisting: only(r.Existing, f.Existing),
		contract.KindContext:  r.Context,
	}
	begin := time.Now()
	failure, err := e.invoke(ctx, m, call, &r.Time, exportInvoke, api.EncodeI32(int32(index))) //nolint:gosec // at most contract.MaxFunctions
	if err != nil {
		return out, err
	}
	out.Elapsed, out.Log = time.Since(begin), call.log.all()
	out.Content = call.output
	if failure == nil && f.Record.JSON() {
		out.Content, failure = canonical(call.output)
	}
	if failure != nil {
		out.Outcome, out.Content, out.Code, out.Message = agreement.Fail, nil, failure.Code, failure.Message
		return out, nil //nolint:nilerr // a FAIL is an outcome, not an error
	}
	out.Outcome = agreement.Pass
	return out, nil
}

// canonical gives a record's bytes their one form; an output that has none is
// the contract's own failure.
func canonical(output []byte) ([]byte, *contract.Failure) {
	content, err := agreement.Canonical(output)
	if err != nil {
		return nil, &contract.Failure{Code: CodeBadOutput, Message: err.Error()}
	}
	return content, nil
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

// invoke calls an export in a fresh instance of a module: nil and nil when it
// returned with an output, a failure when the contract failed, an error when
// the trouble is local. at is what the clocks show during the call; nil leaves
// them at startTime.
func (e *Engine) invoke(ctx context.Context, m *loadedModule, c *call, at *time.Time, export string, args ...uint64) (*contract.Failure, error) {
	r, err := e.start(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	ctx = context.WithValue(experimental.WithMemoryAllocator(ctx, c.allocator(e.cfg.MemoryLimit)), callKey{}, c)
	err = e.enter(ctx, r, m, c, at, export, args)
	return c.result(ctx, err)
}

// enter makes the instance and calls it.
func (e *Engine) enter(ctx context.Context, r wazero.Runtime, m *loadedModule, c *call, at *time.Time, export string, args []uint64) error {
	instance, err := r.InstantiateModule(ctx, m.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	defer c.free() // the engine doesn't where a time limit came in between
	if err != nil {
		return badInstance(err)
	}
	defer func() { _ = instance.Close(context.WithoutCancel(ctx)) }() // nothing is lost
	if initialize := instance.ExportedFunction(exportInitialize); initialize != nil {
		c.initialising = true
		if _, err := initialize.Call(ctx); err != nil {
			return err
		}
		c.initialising = false
	}
	if at != nil {
		c.now = at.UnixNano()
	}
	_, err = instance.ExportedFunction(export).Call(ctx, args...)
	return err
}

// badInstance tells a module whose segments don't fit its memory or table from
// a time limit.
func badInstance(err error) error {
	var stopped *sys.ExitError
	if errors.As(err, &stopped) {
		return err
	}
	return &endOfFunction{why: "the module's segments don't fit its memory or its table"}
}

func (c *call) free() {
	if c.memory != nil {
		c.memory.Free()
	}
}

// result says what the end of a call means. Only what every party's engine
// does alike may become a failure, which is a result.
func (c *call) result(ctx context.Context, err error) (*contract.Failure, error) {
	var (
		ended   *endOfFunction
		exited  *exit
		stopped *sys.ExitError
		broken  runtime.Error
	)
	switch {
	case c.fail != nil:
		return c.fail, nil
	case errors.As(err, &stopped):
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, fmt.Errorf("the execution was stopped: %w", context.Canceled)
		}
		return nil, agreement.Errorf(agreement.CodeExecutionTimeout, "the contract took longer than allowed").
			WithHint("it is tried again; if the contract needs more time, raise exec.timeout")
	case errors.As(err, &exited) && exited.status == 0, err == nil:
		if !c.done {
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
		if why == stackOverflow {
			debug.FreeOSMemory() // the engine's stack was many megabytes
		}
		return c.crash(why), nil
	}
	return nil, agreement.Errorf(agreement.CodeExecution, "the engine failed: %w", firstLine(err))
}

// crash is the failure of a contract that didn't end by itself.
func (c *call) crash(why string) *contract.Failure {
	code := CodeTrap
	if c.memory != nil && c.memory.denied {
		code, why = CodeMemoryLimit, fmt.Sprintf("the contract needs more than the %d bytes of memory it may have", c.memory.limit)
	}
	if last := c.log.lastWords(); last != "" {
		why += "; " + last
	}
	return &contract.Failure{Code: code, Message: cleanText(why, maxMessage)}
}

const stackOverflow = "stack overflow"

// trapText tells whether an error of the engine is a trap of WebAssembly, and
// which. The engine's error values aren't exported; its words are.
func trapText(err error) (string, bool) {
	text, ok := strings.CutPrefix(firstLine(err).Error(), "wasm error: ")
	if !ok && text != stackOverflow { // the compiler says this one bare
		return "", false
	}
	switch text {
	case "unreachable", "out of bounds memory access", "integer divide by zero", "integer overflow",
		"invalid conversion to integer", "invalid table access", "indirect call type mismatch", stackOverflow:
		return text, true
	}
	return "", false
}

func firstLine(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}
