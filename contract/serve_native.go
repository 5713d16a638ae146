//go:build !wasip1

package contract

// Serve returns c. In a WebAssembly build it also makes c the contract of the
// module. Call it once, to initialise a variable of package main.
func Serve(c Contract) Contract { return c }
