package exec

import (
	"context"
	"math"
	"slices"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/affiliate-node/affiliate/exec/module"
)

// hostFunction is a function that modules can import.
type hostFunction struct {
	signature module.Signature
	run       func(c *call, m api.Memory, args []uint64) uint64
}

// moduleAffiliate is the module that ABI 1 is imported from.
const moduleAffiliate = "affiliate"

// Names of what a contract exports (ABI 1; reactors have _initialize).
const (
	exportMemory     = "memory"
	exportDescribe   = "describe"
	exportInvoke     = "invoke"
	exportInitialize = "_initialize"
)

// maxValueName is the longest name of a value that a contract asks for, bytes.
const maxValueName = 256

// What the host takes for its work, in units of fuel. They are part of the
// engine's rules, as is the cost table of instructions.
const (
	costHostCall = 128 // of every call
	costByte     = 4   // of every byte that is logged, drawn at random, or output, to be made canonical
	costVector   = 32  // of every part of what fd_write writes
	// Bytes that are copied cost a unit for every 8.
	copyShift = 3
)

// affiliateFunctions are the functions of ABI 1.
func affiliateFunctions() map[string]hostFunction {
	return map[string]hostFunction{
		"size":   {module.Sig("iii:I"), abiSize},
		"read":   {module.Sig("iiiiii:i"), abiRead},
		"output": {module.Sig("ii:"), abiOutput},
		"fail":   {module.Sig("iiii:"), abiFail},
		"log":    {module.Sig("iii:"), abiLog},
	}
}

// importSignature tells the type of a function that modules may import.
func importSignature(from, name string) (module.Signature, bool) {
	var f hostFunction
	switch from {
	case moduleAffiliate:
		f = affiliateFunctions()[name]
	case moduleWASI:
		return wasiSignature(name)
	}
	return f.signature, f.run != nil
}

// provide makes a module of host functions.
func provide(ctx context.Context, r wazero.Runtime, from string, functions map[string]hostFunction) error {
	b := r.NewHostModuleBuilder(from)
	for name, f := range functions {
		params, results := valueTypes(f.signature)
		run := api.GoModuleFunc(func(ctx context.Context, mod api.Module, stack []uint64) {
			c := callOf(ctx)
			end := c.trace(from+"."+name, params, stack)
			c.charge(costHostCall)
			r := f.run(c, mod.Memory(), stack)
			if len(results) > 0 {
				stack[0] = r
			}
			end(r)
		})
		b = b.NewFunctionBuilder().WithGoModuleFunction(run, params, results).Export(name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

// trace notes a call of a traced run, and its result once there is one.
func (c *call) trace(function string, params []api.ValueType, stack []uint64) (end func(result uint64)) {
	if !c.traced {
		return func(uint64) {}
	}
	if c.made++; len(c.calls) >= c.room {
		return func(uint64) {}
	}
	args := slices.Clone(stack[:len(params)])
	for i, t := range params {
		if t == api.ValueTypeI32 {
			args[i] = uint64(uint32(args[i])) //nolint:gosec // the upper half is anything
		}
	}
	c.calls = append(c.calls, HostCall{Function: function, Args: args, Fuel: c.used()})
	h := &c.calls[len(c.calls)-1]
	c.asked = ""
	return func(result uint64) { h.Value, h.Result = c.asked, result }
}

func valueTypes(s module.Signature) (params, results []api.ValueType) {
	list := &params
	for _, t := range []byte(s) {
		if t == ':' {
			list = &results
			continue
		}
		*list = append(*list, t)
	}
	return params, results
}

// view returns a part of the module's memory, valid during the host call.
func view(m api.Memory, ptr, length uint64) []byte {
	b, ok := m.Read(uint32(ptr), uint32(length)) //nolint:gosec // i32 arguments
	if !ok {
		trap("a host call outside of the module's memory")
	}
	return b
}

// value finds a value that the function may see.
func (c *call) value(m api.Memory, kind, name, length uint64) ([]byte, bool) {
	if c.initialising {
		trap("values can't be read while the module initialises itself")
	}
	if uint32(length) > maxValueName || uint32(kind) >= uint32(len(c.values)) { //nolint:gosec // i32 arguments
		return nil, false
	}
	c.asked = string(view(m, name, length))
	b, ok := c.values[uint32(kind)][c.asked] //nolint:gosec // checked above
	return b, ok
}

func abiSize(c *call, m api.Memory, a []uint64) uint64 {
	b, ok := c.value(m, a[0], a[1], a[2])
	if !ok {
		return math.MaxUint64 // -1
	}
	return uint64(len(b))
}

func abiRead(c *call, m api.Memory, a []uint64) uint64 {
	b, ok := c.value(m, a[0], a[1], a[2])
	if !ok {
		return math.MaxUint32 // -1
	}
	offset, length := uint64(uint32(a[4])), uint64(uint32(a[5])) //nolint:gosec // i32 arguments
	b = b[min(offset, uint64(len(b))):]
	b = b[:min(length, uint64(len(b)), math.MaxInt32)]
	c.charge(uint64(len(b)) >> copyShift)
	return uint64(copy(view(m, a[3], uint64(len(b))), b)) //nolint:gosec // a length is never negative
}

func abiOutput(c *call, m api.Memory, a []uint64) uint64 {
	switch b := view(m, a[0], a[1]); {
	case c.initialising:
		trap("there is no output while the module initialises itself")
	case c.condition:
		trap("a condition has no output")
	case c.done:
		trap("a second output")
	case int64(len(b)) > c.outputLimit:
		c.end(CodeOutputLimit, "an output of %d bytes; at most %d are allowed", len(b), c.outputLimit)
	default:
		c.charge(uint64(len(b)) * costByte)
		c.output, c.done = append([]byte{}, b...), true
	}
	return 0
}

func abiFail(c *call, m api.Memory, a []uint64) uint64 {
	if c.initialising {
		trap("a module can't fail while it initialises itself")
	}
	c.charge((maxCode + maxMessage) * costByte)
	message := view(m, a[2], a[3])
	code, text := cleanCode(string(head(view(m, a[0], a[1]), maxCode+1)), cleanText(string(head(message, maxMessage)), maxMessage))
	c.end(code, "%s", text)
	return 0
}

func abiLog(c *call, m api.Memory, a []uint64) uint64 {
	line := string(head(view(m, a[1], a[2]), maxLogLine))
	c.charge(uint64(len(line)) * costByte)
	switch uint32(a[0]) { //nolint:gosec // i32 argument
	case 2:
		line = "warning: " + line
	case 3:
		line = "error: " + line
	}
	c.log.add(line)
	return 0
}

func head(b []byte, most int) []byte { return b[:min(len(b), most)] }
