package exec

import (
	"fmt"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/exec/schema"
)

// A contract's schemas are known by what they are for: a value and a record
// may share a name.
func valueSchema(name string) string  { return "value " + name }
func recordSchema(name string) string { return "record " + name }

// compileSchemas reads the schemas of a manifest.
func compileSchemas(m contract.Manifest) (map[string]*schema.Schema, error) {
	schemas := make(map[string]*schema.Schema)
	add := func(key, what, name string, doc []byte) error {
		if len(doc) == 0 {
			return nil
		}
		s, err := schema.Compile(doc)
		if err != nil {
			return fmt.Errorf("%s %q: schema: %w", what, name, err)
		}
		schemas[key] = s
		return nil
	}
	for _, v := range m.Inputs {
		if err := add(valueSchema(v.Name), "inputs", v.Name, v.Schema); err != nil {
			return nil, err
		}
	}
	for _, v := range m.Existing {
		if err := add(valueSchema(v.Name), "existing", v.Name, v.Schema); err != nil {
			return nil, err
		}
	}
	for _, f := range m.Functions {
		if err := add(recordSchema(f.Record.Name), "records", f.Record.Name, f.Record.Schema); err != nil {
			return nil, err
		}
	}
	return schemas, nil
}

// fits holds a canonical document against its schema, if the manifest has one.
func (c *Contract) fits(has bool, key string, doc []byte) error {
	if !has {
		return nil
	}
	s, ok := c.schemas[key]
	if !ok {
		return agreement.Errorf(agreement.CodeInternal, "the contract wasn't loaded with its schemas")
	}
	return s.Check(doc)
}

// record gives a JSON record's bytes their one form, and holds them against
// their schema; an output that has none, or doesn't fit, is the contract's own
// failure.
func (c *Contract) record(r contract.RecordSpec, output []byte) ([]byte, *contract.Failure) {
	content, err := agreement.Canonical(output)
	if err != nil {
		return nil, &contract.Failure{Code: CodeBadOutput, Message: err.Error()}
	}
	if limit := c.Manifest.OutputLimit(); int64(len(content)) > limit { // 1e15 grows
		return nil, &contract.Failure{Code: CodeOutputLimit, Message: fmt.Sprintf("a record of %d bytes; at most %d are allowed", len(content), limit)}
	}
	if err := c.fits(r.Schema != nil, recordSchema(r.Name), content); err != nil {
		return nil, &contract.Failure{Code: CodeSchema, Message: err.Error()}
	}
	return content, nil
}
