// Package exec owns the WebAssembly engine: what may be loaded, what a
// contract can see, and what it may return. It never touches the network, the
// store or the chain, and gives a contract no clock, file or randomness that
// another machine wouldn't give it too.
package exec

import (
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/exec/schema"
)

// Limits that hold where Config gives none.
const (
	DefaultModuleLimit = 16 << 20         // bytes of a module
	DefaultMemoryLimit = 256 << 20        // bytes of a running contract's memory
	DefaultOutputLimit = 16 << 20         // bytes of one record
	DefaultFuelLimit   = 10_000_000_000   // units that one function may use
	DefaultLogLimit    = 64 << 10         // bytes of one function's log
	DefaultTimeout     = 10 * time.Second // of one function
	DefaultWorkers     = 2                // runs at once
	// LoadedLimit bounds what the modules take that stay compiled in memory, in bytes:
	// one contract of stock Go takes 25 MB, one of C less than one, and many
	// stay. The others come back from the cache in a tenth of a second.
	LoadedLimit = 44 << 20
)

// Codes of a FAIL that the engine gives, where the contract gives none. They
// are results: every party that runs the same contract gets the same one.
const (
	CodeTrap        = "EXECUTION_TRAP" // the contract crashed
	CodeOutOfFuel   = "OUT_OF_FUEL"    // it computed for longer than it may
	CodeCallDepth   = "CALL_DEPTH"     // it called itself too deep
	CodeMemoryLimit = "MEMORY_LIMIT"   // it crashed for want of memory
	CodeOutputLimit = "OUTPUT_LIMIT"   // the record is too large
	CodeNoOutput    = "NO_OUTPUT"      // it returned without a record
	CodeBadOutput   = "BAD_OUTPUT"     // a JSON record isn't JSON that can be canonical
	CodeSchema      = "SCHEMA"         // a JSON record doesn't fit the manifest's schema
)

// engineCodes are those codes: a contract can't fail with one of them by
// itself, so that they are to be believed.
func engineCodes() []string {
	return []string{CodeTrap, CodeOutOfFuel, CodeCallDepth, CodeMemoryLimit, CodeOutputLimit, CodeNoOutput, CodeBadOutput, CodeSchema}
}

// Config sets an engine's limits; zero values take the defaults. None of them
// decides a result: a contract whose manifest may need more memory, output or
// fuel than a node grants is refused when it is loaded.
type Config struct {
	CacheDir    string // of compiled modules, made with mode 0700; empty: nothing is kept on disk
	ModuleLimit int64  // bytes
	MemoryLimit int64  // bytes
	OutputLimit int64  // bytes
	FuelLimit   int64  // units
	LogLimit    int64  // bytes
	Timeout     time.Duration
	Workers     int
	// Compiler is a program with arguments that calls RunCompiler on what it
	// gets as last argument and on standard input. With it, and a CacheDir,
	// modules are compiled in a process of their own; without, in this one.
	Compiler []string
}

// Contract is a module that was admitted and has described itself. It stays
// valid until its engine is closed.
type Contract struct {
	Hash         agreement.Hash // of module and manifest: agreement.ContractHash
	ModuleHash   agreement.Hash // SHA-256 of the module
	Manifest     contract.Manifest
	ManifestJSON []byte // canonical
	Size         int64  // of the module, bytes

	schemas map[string]*schema.Schema // of values and of records, by name
}

// Input is one value for a contract, with its media type.
type Input struct {
	Content   []byte
	MediaType string
}

// Run is what one execution of a contract gets to see. Time is the
// proposal's, the only clock there is.
type Run struct {
	Proposed map[string][]byte // by name of an input
	Existing map[string][]byte // by name of a record on the scope
	Context  map[string][]byte // scope_id, session_id, parties, invoker…; time is set from Time
	Time     time.Time
	Trace    bool // note host calls, and conditions that pass

	room int // for host calls that may still be noted
}

// Output is what one function made of a run, or a condition that failed.
type Output struct {
	Function  contract.Function // of a condition: its name and what it reads
	Condition bool
	Outcome   agreement.Outcome
	Fuel      uint64        // units used; a result, as are the outcome, the content and the code
	Content   []byte        // of a PASS; canonical when the record is JSON
	Code      string        // of a FAIL
	Message   string        // of a FAIL, for people; not part of what parties compare
	Elapsed   time.Duration // for people, likewise
	Log       []string      // for the author, likewise
	Calls     []HostCall    // of a traced run: the first ones
	CallCount uint64        // of a traced run: all of them
}

// HostCall is one call of a contract to its host.
type HostCall struct {
	Function string   `json:"function"`        // such as affiliate.read
	Value    string   `json:"value,omitempty"` // the name of the value that was asked for
	Args     []uint64 `json:"args"`            // their bits, without sign
	Result   uint64   `json:"result"`
	Fuel     uint64   `json:"fuel"` // used before the call, units
}

// Limits of the calls that a trace keeps. Each takes at most 500 bytes.
const (
	MaxHostCalls   = 10_000 // of one function or condition
	MaxTracedCalls = 20_000 // of one run
)
