// Package contracttest owns the harness that runs a contract natively in its
// author's tests. It never runs WebAssembly, and gives a handler nothing that
// the real host wouldn't.
package contracttest

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// Case is what an agreement brings to a contract. A value is []byte as it is,
// or anything else as JSON.
type Case struct {
	Inputs   map[string]any
	Existing map[string]any
	Parties  []contract.Party // default: one for each role that isn't optional, named after it
	Invoker  string           // default: the first party
	Scope    string           // UUID; default: a fixed one
	Session  string           // UUID; default: a fixed one
	Time     time.Time        // default: 2 January 2026, 03:04:05 UTC
}

// Result is what one function made, or a condition that failed.
type Result struct {
	Function string // or the condition
	Record   string // of a function
	Outcome  agreement.Outcome
	Content  []byte            // of a PASS; canonical when the record is JSON
	Failure  *contract.Failure // of a FAIL
	Log      []string
}

// JSON reads the record into the variable that into points to.
func (r Result) JSON(into any) error {
	if r.Failure != nil {
		return fmt.Errorf("%s failed: %w", r.Function, r.Failure)
	}
	if r.Outcome != agreement.Pass {
		return fmt.Errorf("%s ended as %s", r.Function, r.Outcome)
	}
	return json.Unmarshal(r.Content, into)
}

// Run checks the conditions and runs the functions of a contract in order, as a
// host does: each sees only the values that the manifest lists for it, skip
// rules are applied, JSON becomes canonical and must fit its schema, a record over
// the contract's limit is a FAIL, and the first FAIL ends it. Results are of the functions; of the
// conditions only one that failed is there, alone. The error is about the
// contract or the case, a value that breaks its schema among it. Limits of memory
// and fuel, and the refusal of an agreement in which every function is skipped
// need the real host.
func Run(c contract.Contract, k Case) ([]Result, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	doc, err := json.Marshal(c.Manifest)
	if err != nil {
		return nil, fmt.Errorf("writing the manifest: %w", err)
	}
	if _, err := contract.Parse(doc); err != nil {
		return nil, err
	}
	s, err := compile(c.Manifest)
	if err != nil {
		return nil, err
	}
	inputs, err := s.values("input", c.Manifest.Inputs, k.Inputs)
	if err != nil {
		return nil, err
	}
	existing, err := s.values("existing record", c.Manifest.Existing, k.Existing)
	if err != nil {
		return nil, err
	}
	about, err := k.context(c.Manifest)
	if err != nil {
		return nil, err
	}
	r := runner{c, s, inputs, existing, about}
	if failed, ok := r.conditions(); !ok {
		return []Result{failed}, nil
	}
	return r.functions(), nil
}

// runner has all that an agreement brings.
type runner struct {
	contract                contract.Contract
	schemas                 schemas
	inputs, existing, about map[string][]byte
}

// conditions returns the first condition that fails, and whether all pass.
func (r *runner) conditions() (Result, bool) {
	for _, k := range r.contract.Manifest.Conditions {
		h := r.host(k.Inputs, k.Existing)
		if err := r.contract.Conditions[k.Name](contract.NewCall(h)); err != nil {
			return Result{Function: k.Name, Outcome: agreement.Fail, Failure: contract.AsFailure(err), Log: h.log}, false
		}
	}
	return Result{}, true
}

func (r *runner) functions() []Result {
	var results []Result
	for _, f := range r.contract.Manifest.Functions {
		result := Result{Function: f.Name, Record: f.Record.Name, Outcome: agreement.Skip}
		if !f.Skipped(r.has) {
			h := r.host(f.Inputs, f.Existing)
			result.Outcome, result.Content, result.Failure = r.run(f, h)
			result.Log = h.log
		}
		if results = append(results, result); result.Outcome == agreement.Fail {
			break
		}
	}
	return results
}

func (r *runner) has(name string) bool {
	_, input := r.inputs[name]
	_, existing := r.existing[name]
	return input || existing
}

func (r *runner) host(inputs, existing []string) *host {
	return &host{values: [3]map[string][]byte{only(r.inputs, inputs), only(r.existing, existing), r.about}}
}

func (r *runner) run(f contract.Function, h *host) (agreement.Outcome, []byte, *contract.Failure) {
	result, err := r.contract.Functions[f.Name](contract.NewCall(h))
	if err != nil {
		return agreement.Fail, nil, contract.AsFailure(err)
	}
	content, err := contract.Encode(result)
	if most := r.contract.Manifest.OutputLimit(); err == nil && int64(len(content)) > most {
		return agreement.Fail, nil, &contract.Failure{
			Code: "OUTPUT_LIMIT", Message: fmt.Sprintf("the record has %d bytes; at most %d are allowed", len(content), most),
		}
	}
	if err == nil && f.Record.JSON() {
		content, err = agreement.Canonical(content)
	}
	if err != nil {
		return agreement.Fail, nil, &contract.Failure{Code: "BAD_OUTPUT", Message: err.Error()}
	}
	if err := r.schemas.check(f.Record.Schema, content); err != nil {
		return agreement.Fail, nil, &contract.Failure{Code: "SCHEMA", Message: err.Error()}
	}
	return agreement.Pass, content, nil
}

func (k Case) context(m contract.Manifest) (map[string][]byte, error) {
	if k.Parties == nil {
		for _, r := range m.Roles {
			if r.Optional {
				continue
			}
			k.Parties = append(k.Parties, contract.Party{Address: "tp1" + r.Role, Role: r.Role})
		}
	}
	if k.Invoker == "" {
		k.Invoker = k.Parties[0].Address
	}
	if k.Scope == "" {
		k.Scope = "11111111-1111-4111-8111-111111111111"
	}
	if k.Session == "" {
		k.Session = "22222222-2222-4222-8222-222222222222"
	}
	if k.Time.IsZero() {
		k.Time = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	parties, err := json.Marshal(k.Parties)
	if err != nil {
		return nil, fmt.Errorf("writing the parties: %w", err)
	}
	return map[string][]byte{
		contract.ContextScope: []byte(k.Scope), contract.ContextSession: []byte(k.Session),
		contract.ContextInvoker: []byte(k.Invoker), contract.ContextParties: parties,
		contract.ContextTime: []byte(k.Time.UTC().Format(time.RFC3339Nano)),
	}, nil
}

func only(all map[string][]byte, names []string) map[string][]byte {
	some := make(map[string][]byte)
	for _, name := range names {
		if b, ok := all[name]; ok {
			some[name] = b
		}
	}
	return some
}

// host gives a handler what one function may see.
type host struct {
	values [3]map[string][]byte
	log    []string
}

func (h *host) Value(kind int, name string) ([]byte, bool) {
	b, ok := h.values[kind][name]
	return slices.Clone(b), ok
}

func (h *host) Log(line string) { h.log = append(h.log, line) }
