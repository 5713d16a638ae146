// Package contract owns what contract authors write against: the manifest and
// the SDK, which compiles natively for tests and to WebAssembly. It never
// imports anything but the standard library, and never reaches past the host.
package contract

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
	Functions           []Function           `json:"functions"`          // run in this order
	Conditions          []string             `json:"conditions,omitempty"`
}

// RoleSpec is a role and how many parties may hold it.
type RoleSpec struct {
	Role string `json:"role"`          // chain PartyType without prefix
	Min  int    `json:"min,omitempty"` // 0 means 1
	Max  int    `json:"max,omitempty"` // 0 means Min
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
}

// Function makes one record.
type Function struct {
	Name     string     `json:"name"`
	Role     string     `json:"role"`               // who is responsible for the record
	Inputs   []string   `json:"inputs,omitempty"`   // names among Manifest.Inputs
	Existing []string   `json:"existing,omitempty"` // names among Manifest.Existing
	Record   RecordSpec `json:"record"`
	// SkipIf names an existing record; the function is skipped when the scope has it.
	SkipIf string `json:"skip_if,omitempty"`
}

// RecordSpec is the output of a function.
type RecordSpec struct {
	Name      string  `json:"name"`
	Type      string  `json:"type"`
	MediaType string  `json:"media_type,omitempty"` // "application/json" is the default
	Index     []Index `json:"index,omitempty"`      // nothing is indexed unless listed
}

// Index makes one field of a JSON record searchable.
type Index struct {
	Field string `json:"field"`          // name in searches
	Path  string `json:"path,omitempty"` // JSON pointer (RFC 6901) without "/"; default: Field
}

// MediaJSON is the default media type of inputs and records.
const MediaJSON = "application/json"
