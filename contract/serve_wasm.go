//go:build wasip1

package contract

import (
	"encoding/json"
	"reflect"
	"unsafe"
)

// The imports of ABI 1. Pointers are offsets into the module's memory.

//go:wasmimport affiliate size
func hostSize(kind int32, name unsafe.Pointer, nameLen uint32) int64

//go:wasmimport affiliate read
func hostRead(kind int32, name unsafe.Pointer, nameLen uint32, dst unsafe.Pointer, offset, length uint32) int32

//go:wasmimport affiliate output
func hostOutput(ptr unsafe.Pointer, length uint32)

//go:wasmimport affiliate fail
func hostFail(code unsafe.Pointer, codeLen uint32, msg unsafe.Pointer, msgLen uint32)

//go:wasmimport affiliate log
func hostLog(level int32, ptr unsafe.Pointer, length uint32)

// served is the contract of this module; a module has one, set while its
// variables are initialised.
var served Contract

// Serve makes c the contract of this module. Call it once, to initialise a
// variable of package main.
func Serve(c Contract) Contract {
	served = c
	for _, zero := range c.Types {
		learn(zero)
	}
	return c
}

// learn has encoding/json fill its caches of a type. Every run starts from the
// memory that the module has after its variables are initialised. A type that
// can't be coded is the handler's to report.
func learn(zero any) {
	b, err := json.Marshal(zero)
	if err != nil {
		return
	}
	_ = decode(b, reflect.New(reflect.TypeOf(zero)).Interface(), true)
}

//go:wasmexport describe
func describe() {
	if err := served.complete(); err != nil {
		fail(AsFailure(err))
	}
	manifest, err := json.Marshal(served.Manifest)
	if err != nil {
		fail(AsFailure(err))
	}
	output(manifest)
}

// invoke runs a function, or a condition: those are counted on after the
// functions, and give no output.
//
//go:wasmexport invoke
func invoke(index int32) {
	m, n := served.Manifest, int(index)
	switch {
	case n >= 0 && n < len(m.Functions):
		run(served.Functions[m.Functions[n].Name])
	case n >= 0 && n-len(m.Functions) < len(m.Conditions):
		check := served.Conditions[m.Conditions[n-len(m.Functions)].Name]
		if err := check(NewCall(wasmHost{})); err != nil {
			fail(AsFailure(err))
		}
	default:
		fail(&Failure{CodeError, "the contract has no such function or condition"})
	}
}

func run(handler Handler) {
	result, err := handler(NewCall(wasmHost{}))
	if err != nil {
		fail(AsFailure(err))
	}
	record, err := Encode(result)
	if err != nil {
		fail(AsFailure(err))
	}
	output(record)
}

// wasmHost is the host as a module sees it.
type wasmHost struct{}

func (wasmHost) Value(kind int, name string) ([]byte, bool) {
	n := unsafe.Pointer(unsafe.StringData(name))
	size := hostSize(int32(kind), n, uint32(len(name)))
	if size < 0 {
		return nil, false
	}
	b := make([]byte, size)
	if size > 0 {
		b = b[:hostRead(int32(kind), n, uint32(len(name)), unsafe.Pointer(&b[0]), 0, uint32(size))]
	}
	return b, true
}

func (wasmHost) Log(line string) {
	hostLog(1, unsafe.Pointer(unsafe.StringData(line)), uint32(len(line)))
}

func output(b []byte) { hostOutput(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))) }

// fail doesn't return: the host ends the function.
func fail(f *Failure) {
	hostFail(unsafe.Pointer(unsafe.StringData(f.Code)), uint32(len(f.Code)),
		unsafe.Pointer(unsafe.StringData(f.Message)), uint32(len(f.Message)))
}
