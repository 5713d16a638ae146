// Package exec owns the WebAssembly engine: what may be loaded, what a
// contract can see, and what it may return. It never touches the network, the
// store or the chain, and gives a contract no clock, file or randomness that
// another machine wouldn't give it too.
package exec

import (
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// Limits that hold where Config gives none.
const (
	DefaultModuleLimit = 16 << 20         // bytes of a module
	DefaultMemoryLimit = 256 << 20        // bytes of a running contract's memory
	DefaultOutputLimit = 16 << 20         // bytes of one record
	DefaultLogLimit    = 64 << 10         // bytes of one function's log
	DefaultTimeout     = 10 * time.Second // of one function
	DefaultWorkers     = 2                // runs at once
	// LoadedLimit bounds the modules that stay compiled in memory, in bytes
	// of WebAssembly: one contract of stock Go, or many of C. Each takes about six times
	// its size, and comes back from the cache in a tenth of a second.
	LoadedLimit = 6 << 20
)

// Codes of a FAIL that the engine gives, where the contract gives none. They
// are results: every party that runs the same contract gets the same one.
const (
	CodeTrap        = "EXECUTION_TRAP" // the contract crashed
	CodeMemoryLimit = "MEMORY_LIMIT"   // it crashed for want of memory
	CodeOutputLimit = "OUTPUT_LIMIT"   // the record is too large
	CodeNoOutput    = "NO_OUTPUT"      // it returned without a record
	CodeBadOutput   = "BAD_OUTPUT"     // a JSON record isn't JSON that can be canonical
)

// Config sets an engine's limits; zero values take the defaults. MemoryLimit
// and OutputLimit decide results, so parties must use the same.
type Config struct {
	CacheDir    string // of compiled modules, made with mode 0700; empty: nothing is kept on disk
	ModuleLimit int64  // bytes
	MemoryLimit int64  // bytes
	OutputLimit int64  // bytes
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
}

// Output is what one function made of a run.
type Output struct {
	Function contract.Function
	Outcome  agreement.Outcome
	Content  []byte        // of a PASS; canonical when the record is JSON
	Code     string        // of a FAIL
	Message  string        // of a FAIL, for people; not part of what parties compare
	Elapsed  time.Duration // for people, likewise
	Log      []string      // for the author, likewise
}
