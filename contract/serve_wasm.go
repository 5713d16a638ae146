//go:build wasip1

package contract

import (
	"encoding/json"
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
	return c
}

//go:wasmexport describe
func describe() {
	manifest, err := json.Marshal(served.Manifest)
	if err != nil {
		fail(AsFailure(err))
	}
	output(manifest)
}

//go:wasmexport invoke
func invoke(function int32) {
	if function < 0 || int(function) >= len(served.Manifest.Functions) {
		fail(&Failure{CodeError, "the contract has no such function"})
	}
	name := served.Manifest.Functions[function].Name
	handler := served.Functions[name]
	if handler == nil {
		fail(&Failure{CodeError, "the contract has no handler for " + name})
	}
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
