package contract

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Contract is what an author writes: the manifest, a handler for each of its
// functions, and a check for each of its conditions.
type Contract struct {
	Manifest   Manifest
	Functions  map[string]Handler // by Function.Name
	Conditions map[string]Check   // by Condition.Name

	// Types are zero values of the types that handlers read and return as JSON,
	// such as Application{}. What encoding/json has to learn about them is then
	// learned once, when the module is loaded, and not in every run: several
	// times less fuel and time. Results are the same without.
	Types []any
}

// Handler makes one record. What it returns becomes the record: []byte as it
// is, anything else as JSON. An error ends the agreement as FAIL, and nothing
// goes on chain; make it with Fail, so that it has a code that applications
// can rely on. A handler sees nothing but the Call and must not depend on
// anything else.
type Handler func(c *Call) (any, error)

// Check decides a condition: nil lets the agreement go on, an error ends it as
// FAIL before any function runs. Make it with Fail, as in a Handler.
type Check func(c *Call) error

// Validate checks the manifest, and that every function has its handler and
// every condition its check. One that the manifest doesn't list is an error too:
// it would never run.
func (c Contract) Validate() error { return first(c.Manifest.Validate(), c.complete()) }

func (c Contract) complete() error {
	functions, conditions := map[string]bool{}, map[string]bool{}
	for _, f := range c.Manifest.Functions {
		functions[f.Name] = true
		if c.Functions[f.Name] == nil {
			return fmt.Errorf("the contract has no handler for %s", f.Name)
		}
	}
	for _, k := range c.Manifest.Conditions {
		conditions[k.Name] = true
		if c.Conditions[k.Name] == nil {
			return fmt.Errorf("the contract has no check for the condition %s", k.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Functions)) {
		if !functions[name] {
			return fmt.Errorf("the manifest has no function %s, so its handler would never run", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Conditions)) {
		if !conditions[name] {
			return fmt.Errorf("the manifest has no condition %s, so its check would never run", name)
		}
	}
	return nil
}

// Failure is a FAIL: a stable code for programs and a message for people.
type Failure struct {
	Code    string // capitals, digits and underscores, such as LOAN_RATE_INVALID
	Message string
}

// Error gives the code and the message.
func (f *Failure) Error() string { return f.Code + ": " + f.Message }

// Fail makes a Failure.
func Fail(code, format string, args ...any) error {
	return &Failure{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Codes of failures that the SDK itself makes.
const (
	CodeInputMissing = "INPUT_MISSING" // a value was read that isn't there
	CodeInputInvalid = "INPUT_INVALID" // a value isn't the JSON that the handler reads
	CodeError        = "CONTRACT_ERROR"
)

// AsFailure gives the failure that an error of a handler stands for; one that
// wasn't made with Fail has the code CodeError.
func AsFailure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Code: CodeError, Message: err.Error()}
}

// Kinds of values, as ABI 1 numbers them.
const (
	KindProposed = 0 // an input that the proposer gave
	KindExisting = 1 // a record that the scope has
	KindContext  = 2 // what the agreement says of itself
)

// Names of context values.
const (
	ContextScope   = "scope_id"   // UUID
	ContextSession = "session_id" // UUID, the agreement's id
	ContextTime    = "time"       // RFC 3339, UTC, nanoseconds: the proposal's time
	ContextParties = "parties"    // JSON array of Party
	ContextInvoker = "invoker"    // account address of the proposer
)

// Party is an affiliate in a role.
type Party struct {
	Address string `json:"address"`
	Role    string `json:"role"`
}

// Host gives a call its values and takes its log. The WebAssembly host is
// one; contracttest has another.
type Host interface {
	// Value returns a value whole, and whether there is one.
	Value(kind int, name string) ([]byte, bool)
	// Log takes a line for the author; it is never part of a result.
	Log(line string)
}

// Call is one run of one function or condition.
type Call struct{ host Host }

// NewCall makes the call that a handler gets.
func NewCall(h Host) *Call { return &Call{host: h} }

// Input names an input that the proposer gave.
func (c *Call) Input(name string) Value { return Value{c.host, KindProposed, name} }

// Existing names a record that the scope has.
func (c *Call) Existing(name string) Value { return Value{c.host, KindExisting, name} }

// ScopeID is the UUID of the scope.
func (c *Call) ScopeID() string { return c.context(ContextScope) }

// SessionID is the UUID of the agreement.
func (c *Call) SessionID() string { return c.context(ContextSession) }

// Invoker is the account address of the proposer.
func (c *Call) Invoker() string { return c.context(ContextInvoker) }

// Time is the proposal's time, the same for all parties.
func (c *Call) Time() time.Time {
	t, _ := time.Parse(time.RFC3339Nano, c.context(ContextTime))
	return t.UTC()
}

// Parties are all parties with their roles.
func (c *Call) Parties() ([]Party, error) {
	var parties []Party
	err := Value{c.host, KindContext, ContextParties}.JSON(&parties)
	return parties, err
}

// Logf writes a line for the author.
func (c *Call) Logf(format string, args ...any) { c.host.Log(fmt.Sprintf(format, args...)) }

func (c *Call) context(name string) string {
	b, _ := c.host.Value(KindContext, name)
	return string(b)
}
