package contracttest

import (
	"fmt"
	"slices"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/exec/schema"
)

// schemas are a manifest's schemas, ready for use, by their text.
type schemas map[string]*schema.Schema

// compile reads all schemas of a manifest, those of values that a case lacks
// too: a host refuses a contract with one that it can't read.
func compile(m contract.Manifest) (schemas, error) {
	all := schemas{}
	add := func(what string, doc []byte) error {
		if len(doc) == 0 {
			return nil
		}
		s, err := schema.Compile(doc)
		if err != nil {
			return fmt.Errorf("the schema of the %s: %w", what, err)
		}
		all[string(doc)] = s
		return nil
	}
	for _, v := range slices.Concat(m.Inputs, m.Existing) {
		if err := add(fmt.Sprintf("value %q", v.Name), v.Schema); err != nil {
			return nil, err
		}
	}
	for _, f := range m.Functions {
		if err := add(fmt.Sprintf("record %q", f.Record.Name), f.Record.Schema); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// check holds canonical JSON to a schema, if there is one.
func (c schemas) check(doc, content []byte) error {
	if s := c[string(doc)]; s != nil {
		return s.Check(content)
	}
	return nil
}

// values are what the case gives, as the host would pass it on.
func (c schemas) values(what string, specs []contract.ValueSpec, given map[string]any) (map[string][]byte, error) {
	all := make(map[string][]byte)
	for _, s := range specs {
		v, ok := given[s.Name]
		if !ok {
			if !s.Optional {
				return nil, fmt.Errorf("the contract needs the %s %q", what, s.Name)
			}
			continue
		}
		b, err := contract.Encode(v)
		if err == nil && s.JSON() {
			b, err = agreement.Canonical(b)
		}
		if err == nil {
			err = c.check(s.Schema, b)
		}
		if err != nil {
			return nil, fmt.Errorf("the %s %q: %w", what, s.Name, err)
		}
		all[s.Name] = b
	}
	for name := range given {
		if _, ok := all[name]; !ok {
			return nil, fmt.Errorf("the contract has no %s %q", what, name)
		}
	}
	return all, nil
}
