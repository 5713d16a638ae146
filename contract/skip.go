package contract

import (
	"fmt"
	"slices"
)

// Skipped tells whether a skip rule of the function holds. has tells whether an
// agreement has the input or existing record of that name; a name means one of
// them, never both.
func (f Function) Skipped(has func(name string) bool) bool {
	return f.SkipIf != "" && has(f.SkipIf) || f.SkipWithout != "" && !has(f.SkipWithout)
}

// AllSkipped tells whether an agreement would skip every function, and so have
// nothing to record. has is as in Function.Skipped.
func (m Manifest) AllSkipped(has func(name string) bool) bool {
	return len(m.Functions) > 0 && !slices.ContainsFunc(m.Functions, func(f Function) bool { return !f.Skipped(has) })
}

func (m Manifest) skipRules(f Function) error {
	if f.SkipIf != "" && !optional(m.Existing, f.SkipIf) {
		return fmt.Errorf("skip_if: %q is not an optional existing record of the contract", f.SkipIf)
	}
	if f.SkipWithout != "" && !optional(slices.Concat(m.Inputs, m.Existing), f.SkipWithout) {
		return fmt.Errorf("skip_without: %q is not an optional input or existing record of the contract", f.SkipWithout)
	}
	if f.SkipIf != "" && f.SkipIf == f.SkipWithout {
		return fmt.Errorf("skip_if and skip_without are both %q, so the function would never run", f.SkipIf)
	}
	return nil
}

func optional(values []ValueSpec, name string) bool {
	return slices.ContainsFunc(values, func(v ValueSpec) bool { return v.Name == name && v.Optional })
}
