// Package contract owns what contract authors write against: the manifest and
// the SDK, which compiles natively for tests and to WebAssembly. It never
// imports anything but the standard library, and never reaches past the host.
package contract

import "encoding/json"

// ABI is the version of the interface between contracts and host.
const ABI = 1

// Manifest is what a contract says of itself; describe() returns it as JSON.
// Unknown fields are refused, so that a typing error can't weaken a contract.
type Manifest struct {
	ABI     int    `json:"abi"`     // 1
	Name    string `json:"name"`    // 1 to 200 bytes; the session's name on chain
	Version string `json:"version"` // 1 to 50 bytes, for people
	// Hash is "salted" (the default) or "plain": how records are hashed for the chain.
	Hash  string     `json:"hash,omitempty"`
	Roles []RoleSpec `json:"roles"`
	// ScopeSpecifications are the kinds of scope that the contract works on;
	// the first is what a new scope gets unless the proposer chooses another.
	ScopeSpecifications []ScopeSpecification `json:"scope_specifications"`
	Inputs              []ValueSpec          `json:"inputs,omitempty"`   // proposed by the proposer
	Existing            []ValueSpec          `json:"existing,omitempty"` // records on the scope
	// Conditions are checked in this order before any function runs; the first
	// that fails ends the agreement.
	Conditions []Condition `json:"conditions,omitempty"`
	Functions  []Function  `json:"functions"`       // run in this order
	Limits     Limits      `json:"limits,omitzero"` // of one run of a function or condition
}

// RoleSpec is a role and how many parties may hold it.
type RoleSpec struct {
	Role string `json:"role"`          // chain PartyType without prefix
	Min  int    `json:"min,omitempty"` // 0 means 1
	Max  int    `json:"max,omitempty"` // 0 means Min
	// Optional allows an agreement without anybody in the role. Such a role has
	// no Min, and answers for no record: the chain wants who does to be there.
	Optional bool `json:"optional,omitempty"`
}

// ScopeSpecification describes a kind of scope. Publishing writes it to the
// chain where it isn't there yet.
type ScopeSpecification struct {
	ID          string   `json:"id"` // UUID
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Roles       []string `json:"roles"` // who must own such a scope
}

// ValueSpec is an input or an existing record that a contract reads.
type ValueSpec struct {
	Name      string `json:"name"`
	Type      string `json:"type"`                 // name of the type, on chain as type_name
	MediaType string `json:"media_type,omitempty"` // "application/json" (the default) is canonicalised
	Optional  bool   `json:"optional,omitempty"`
	// Schema is a JSON Schema that a JSON value must fit, an object. The host
	// checks a value before the contract sees it.
	Schema json.RawMessage `json:"schema,omitempty"`
}

// Condition decides whether the functions may run: it makes no record, and
// passes or fails. It reads only what some function reads too, so that each
// value on which the outcome rests stands among the inputs of a record.
type Condition struct {
	Name     string   `json:"name"`               // no function's
	Inputs   []string `json:"inputs,omitempty"`   // names among Manifest.Inputs
	Existing []string `json:"existing,omitempty"` // names among Manifest.Existing
}

// Function makes one record.
type Function struct {
	Name     string     `json:"name"`
	Role     string     `json:"role"`               // who is responsible for the record
	Inputs   []string   `json:"inputs,omitempty"`   // names among Manifest.Inputs
	Existing []string   `json:"existing,omitempty"` // names among Manifest.Existing
	Record   RecordSpec `json:"record"`
	// SkipIf names an optional existing record; the function is skipped when the
	// scope has it.
	SkipIf string `json:"skip_if,omitempty"`
	// SkipWithout names an optional input or existing record; the function is
	// skipped when it isn't there.
	SkipWithout string `json:"skip_without,omitempty"`
}

// RecordSpec is the output of a function.
type RecordSpec struct {
	Name      string          `json:"name"`
	Type      string          `json:"type"`
	MediaType string          `json:"media_type,omitempty"` // "application/json" is the default
	Schema    json.RawMessage `json:"schema,omitempty"`     // that a JSON record must fit, as in ValueSpec
	Index     []Index         `json:"index,omitempty"`      // nothing is indexed unless listed
}

// Index makes one field of a JSON record searchable.
type Index struct {
	Field string `json:"field"`          // name in searches
	Path  string `json:"path,omitempty"` // JSON pointer (RFC 6901) without "/"; default: Field
}

// MediaJSON is the default media type of inputs and records.
const MediaJSON = "application/json"
