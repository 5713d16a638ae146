package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/exec/schema"
)

// checkRuns wants an agreement in which at least one function runs. One that
// skips them all has nothing to record, and would leave a session, or even a
// scope, without a record on the chain.
func checkRuns(m contract.Manifest, has func(name string) bool) error {
	if !m.AllSkipped(has) {
		return nil
	}
	var why []string
	for _, f := range m.Functions {
		if text := whySkipped(f, has); !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	return agreement.Errorf(agreement.CodeBadRequest, "the contract %q would skip all its functions, so there would be nothing to record: %s",
		m.Name, short(strings.Join(why, "; "))).
		WithHint("give an input that it runs with, or choose another scope")
}

func whySkipped(f contract.Function, has func(name string) bool) string {
	if f.SkipIf != "" && has(f.SkipIf) {
		return fmt.Sprintf("the scope has the record %q", f.SkipIf)
	}
	return fmt.Sprintf("there is no %q", f.SkipWithout)
}

// checkOwners wants a new scope to have the owners that its specification asks
// for: the chain would refuse it, but only after everybody has signed.
func (t *terms) checkOwners(m contract.Manifest) error {
	for _, s := range m.ScopeSpecifications {
		if !sameUUID(s.ID, t.spec) {
			continue
		}
		for _, role := range s.Roles {
			if !slices.ContainsFunc(t.Owners, func(p *affiliatev1.Party) bool { return p.Role == role }) {
				return agreement.Errorf(agreement.CodeUnknownRole, "a scope of the kind %q needs an owner in role %s, and nobody has it", s.Name, role).
					WithHint("name a party in that role, or choose another scope specification")
			}
		}
	}
	return nil
}

// checkSchema holds an input to the contract's schema, so that whoever proposes
// learns at once what is wrong. The engine of every party checks it again.
func checkSchema(spec contract.ValueSpec, content []byte) error {
	if len(spec.Schema) == 0 {
		return nil
	}
	s, err := schema.Compile(spec.Schema)
	if err != nil {
		return agreement.Errorf(agreement.CodeBadManifest, "the schema of input %q: %w", spec.Name, err)
	}
	if err := s.Check(content); err != nil {
		return agreement.Errorf(agreement.CodeSchema, "input %q: %w", spec.Name, err).
			WithHint("`affiliate contract show` prints the schema")
	}
	return nil
}
