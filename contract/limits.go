package contract

import "fmt"

// Limits bound one run of a function or a condition; zero means the default.
// They decide results: a function that needs more ends as FAIL, at every party
// alike. So they belong to the contract and not to a node's configuration. A
// node that grants less refuses the contract; it never cuts a limit short.
type Limits struct {
	Memory int64 `json:"memory,omitempty"` // bytes, in whole pages of 64 KiB
	Fuel   int64 `json:"fuel,omitempty"`   // units of the engine's cost table
	Output int64 `json:"output,omitempty"` // bytes of one record
}

// What a manifest may ask for, and what holds where it doesn't. The defaults
// are part of ABI 1: another value would change the results of contracts that
// rely on it.
const (
	DefaultMemory = 128 << 20         // bytes
	MaxMemory     = 4 << 30           // bytes: all that a module can address
	DefaultFuel   = 1_000_000_000     // units
	MaxFuel       = 1_000_000_000_000 // units
	DefaultOutput = 16 << 20          // bytes
	MaxOutput     = 64 << 20          // bytes
	page          = 64 << 10          // bytes
)

// MemoryLimit is how much memory a run may have, in bytes; whole pages.
func (m Manifest) MemoryLimit() int64 { return orDefault(m.Limits.Memory, DefaultMemory) }

// FuelLimit is how much fuel a run may use, in units.
func (m Manifest) FuelLimit() int64 { return orDefault(m.Limits.Fuel, DefaultFuel) }

// OutputLimit is how large a record may be as the function gives it, in bytes.
func (m Manifest) OutputLimit() int64 { return orDefault(m.Limits.Output, DefaultOutput) }

func orDefault(n, otherwise int64) int64 {
	if n == 0 {
		return otherwise
	}
	return n
}

func (l Limits) validate() error {
	for _, c := range []struct {
		name    string
		n, most int64
	}{{"memory", l.Memory, MaxMemory}, {"fuel", l.Fuel, MaxFuel}, {"output", l.Output, MaxOutput}} {
		if c.n < 0 || c.n > c.most {
			return fmt.Errorf("limits: %s is %d; between 1 and %d are allowed, 0 means the default", c.name, c.n, c.most)
		}
	}
	if l.Memory%page != 0 {
		return fmt.Errorf("limits: memory is %d; want whole pages of %d bytes", l.Memory, page)
	}
	return nil
}
