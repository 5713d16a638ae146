package contract

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of a manifest. The lengths fit those of the chain's specifications.
const (
	MaxName        = 200      // bytes of a contract's or a scope specification's name, and of a type
	MaxVersion     = 50       // bytes
	MaxDescription = 2000     // bytes
	MaxIdentifier  = 64       // bytes of the name of a function, an input, a record or an indexed field
	MaxMediaType   = 100      // bytes
	MaxPath        = 200      // bytes of an index's path
	MaxRoles       = 16       // roles
	MaxParties     = 32       // parties of all roles
	MaxScopeSpecs  = 16       // scope specifications
	MaxValues      = 32       // inputs, and likewise existing records
	MaxFunctions   = 32       // functions
	MaxConditions  = 32       // conditions
	MaxIndexes     = 32       // indexed fields of a record
	MaxSchema      = 64 << 10 // bytes of one schema
)

// The values of Manifest.Hash.
const (
	HashSalted = "salted" // a commitment under a secret salt; what the empty string means
	HashPlain  = "plain"  // SHA-256 of the content alone
)

// Roles are the chain's party types, without their prefix.
func Roles() []string {
	return []string{
		"ORIGINATOR", "SERVICER", "INVESTOR", "CUSTODIAN", "OWNER", "AFFILIATE", "OMNIBUS", "PROVENANCE",
		"CONTROLLER", "VALIDATOR", "GENERIC_1", "GENERIC_2", "GENERIC_3", "GENERIC_4", "GENERIC_5", "GENERIC_6",
	}
}

// JSON tells whether the value is JSON, which the host makes canonical.
func (v ValueSpec) JSON() bool { return v.MediaType == "" || v.MediaType == MediaJSON }

// JSON tells whether the record is JSON, which the host makes canonical.
func (r RecordSpec) JSON() bool { return r.MediaType == "" || r.MediaType == MediaJSON }

// Range gives how many parties must and may hold the role.
func (r RoleSpec) Range() (least, most int) {
	if r.Optional {
		return 0, max(r.Max, 1)
	}
	least = max(r.Min, 1)
	return least, max(r.Max, least)
}

// Plain tells whether records are hashed without a salt.
func (m Manifest) Plain() bool { return m.Hash == HashPlain }

// Validate checks that the manifest is complete, within the limits and
// consistent. The error names the first field that is wrong.
func (m Manifest) Validate() error {
	if m.ABI != ABI {
		return fmt.Errorf("abi is %d; this host knows %d", m.ABI, ABI)
	}
	if m.Hash != "" && m.Hash != HashSalted && m.Hash != HashPlain {
		return fmt.Errorf("hash is %q; want %q or %q", m.Hash, HashSalted, HashPlain)
	}
	return first(
		text("name", m.Name, 1, MaxName),
		text("version", m.Version, 1, MaxVersion),
		within("roles", m.Roles, (Manifest).role, m, 1, MaxRoles),
		m.parties(),
		within("scope_specifications", m.ScopeSpecifications, (Manifest).scopeSpecification, m, 1, MaxScopeSpecs),
		within("inputs", m.Inputs, (Manifest).value, m, 0, MaxValues),
		within("existing", m.Existing, (Manifest).value, m, 0, MaxValues),
		within("functions", m.Functions, (Manifest).function, m, 1, MaxFunctions),
		within("conditions", m.Conditions, (Manifest).condition, m, 0, MaxConditions),
		m.Limits.validate(),
		m.names(),
		m.uses(),
	)
}

// first returns the first error there is.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// within checks the length of a list and each of its elements.
func within[T any](name string, list []T, check func(Manifest, T) error, m Manifest, least, most int) error {
	if len(list) < least || len(list) > most {
		return fmt.Errorf("%s: %d of them; between %d and %d are allowed", name, len(list), least, most)
	}
	for i, e := range list {
		if err := check(m, e); err != nil {
			return fmt.Errorf("%s[%d]: %w", name, i, err)
		}
	}
	return nil
}

func (m Manifest) role(r RoleSpec) error {
	if !slices.Contains(Roles(), r.Role) {
		return fmt.Errorf("%q is not a role of the chain (%s)", r.Role, strings.Join(Roles(), ", "))
	}
	if r.Min < 0 || r.Max < 0 || (r.Max != 0 && r.Max < max(r.Min, 1)) {
		return fmt.Errorf("min %d and max %d are impossible", r.Min, r.Max)
	}
	if r.Optional && r.Min > 0 {
		return fmt.Errorf("role %s is optional, so it can't have min %d; leave one of them out", r.Role, r.Min)
	}
	return nil
}

func (m Manifest) parties() error {
	total := 0
	for _, r := range m.Roles {
		if r.Min > MaxParties || r.Max > MaxParties {
			return fmt.Errorf("roles: more than %d parties", MaxParties)
		}
		least, _ := r.Range()
		total += least
	}
	if total == 0 {
		return errors.New("roles: all of them are optional; the chain wants one that isn't")
	}
	if total > MaxParties {
		return fmt.Errorf("roles: %d parties; at most %d are allowed", total, MaxParties)
	}
	return unique("roles", m.Roles, func(r RoleSpec) string { return r.Role })
}

func (m Manifest) scopeSpecification(s ScopeSpecification) error {
	if len(s.Roles) == 0 || len(s.Roles) > MaxRoles {
		return fmt.Errorf("roles: %d of them; between 1 and %d are allowed", len(s.Roles), MaxRoles)
	}
	for _, r := range s.Roles {
		if !slices.Contains(Roles(), r) {
			return fmt.Errorf("roles: %q is not a role of the chain", r)
		}
	}
	return first(
		uuid(s.ID),
		text("name", s.Name, 1, MaxName),
		text("description", s.Description, 0, MaxDescription),
		unique("roles", s.Roles, func(r string) string { return r }),
	)
}

func (m Manifest) value(v ValueSpec) error {
	return first(identifier("name", v.Name), typeName(v.Type), mediaType(v.MediaType), schema(v.Schema, v.JSON()))
}

func (m Manifest) function(f Function) error {
	i := slices.IndexFunc(m.Roles, func(r RoleSpec) bool { return r.Role == f.Role })
	if i < 0 {
		return fmt.Errorf("role %q is not among the contract's roles", f.Role)
	}
	if m.Roles[i].Optional {
		return fmt.Errorf("role %q is optional; who answers for a record must be there", f.Role)
	}
	return first(identifier("name", f.Name), m.record(f.Record), m.reads(f.Inputs, f.Existing), m.skipRules(f))
}

// condition lets a condition read only what some function reads too. The inputs
// of a record are attested and on the chain; what only a condition read would
// decide without being there.
func (m Manifest) condition(c Condition) error {
	if err := first(identifier("name", c.Name), m.reads(c.Inputs, c.Existing)); err != nil {
		return err
	}
	for _, name := range slices.Concat(c.Inputs, c.Existing) {
		if !m.read(name) {
			return fmt.Errorf("no function reads %q, so a condition can't either", name)
		}
	}
	return nil
}

// reads checks the names of what a function or a condition sees.
func (m Manifest) reads(inputs, existing []string) error {
	for _, name := range inputs {
		if !named(m.Inputs, name) {
			return fmt.Errorf("inputs: the contract has no input %q", name)
		}
	}
	for _, name := range existing {
		if !named(m.Existing, name) {
			return fmt.Errorf("existing: the contract has no existing record %q", name)
		}
	}
	return first(
		unique("inputs", inputs, func(s string) string { return s }),
		unique("existing", existing, func(s string) string { return s }),
	)
}

// read tells whether a function sees the input or existing record.
func (m Manifest) read(name string) bool {
	return slices.ContainsFunc(m.Functions, func(f Function) bool {
		return slices.Contains(f.Inputs, name) || slices.Contains(f.Existing, name)
	})
}

func (m Manifest) record(r RecordSpec) error {
	if err := first(identifier("name", r.Name), typeName(r.Type), mediaType(r.MediaType), schema(r.Schema, r.JSON())); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if len(r.Index) > MaxIndexes || (len(r.Index) > 0 && !r.JSON()) {
		return fmt.Errorf("record: index: at most %d fields, of JSON records only", MaxIndexes)
	}
	for _, ix := range r.Index {
		if err := first(identifier("field", ix.Field), text("path", ix.Path, 0, MaxPath)); err != nil {
			return fmt.Errorf("record: index: %w", err)
		}
	}
	return unique("record: index", r.Index, func(ix Index) string { return ix.Field })
}

// names checks that no two things of a kind share a name. An input and an
// existing record of one function stand side by side on the chain, so those
// may not share one either.
func (m Manifest) names() error {
	name := func(v ValueSpec) string { return v.Name }
	return first(
		unique("scope_specifications", m.ScopeSpecifications, func(s ScopeSpecification) string { return s.ID }),
		unique("inputs and existing", slices.Concat(m.Inputs, m.Existing), name),
		unique("functions", m.Functions, func(f Function) string { return f.Name }),
		m.conditionNames(),
		unique("records", m.Functions, func(f Function) string { return f.Record.Name }),
	)
}

// conditionNames checks that a name means one function or one condition: a
// result says by its name alone whose it is.
func (m Manifest) conditionNames() error {
	for _, c := range m.Conditions {
		if slices.ContainsFunc(m.Functions, func(f Function) bool { return f.Name == c.Name }) {
			return fmt.Errorf("conditions: %q is the name of a function", c.Name)
		}
	}
	return unique("conditions", m.Conditions, func(c Condition) string { return c.Name })
}

// uses checks that every input and existing record serves a function: nobody
// should have to send data that nothing reads.
func (m Manifest) uses() error {
	for _, v := range m.Inputs {
		if !m.read(v.Name) {
			return fmt.Errorf("inputs: no function reads %q", v.Name)
		}
	}
	for _, v := range m.Existing {
		rules := func(f Function) bool { return f.SkipIf == v.Name || f.SkipWithout == v.Name }
		if !m.read(v.Name) && !slices.ContainsFunc(m.Functions, rules) {
			return fmt.Errorf("existing: no function reads %q", v.Name)
		}
	}
	return nil
}

func named(values []ValueSpec, name string) bool {
	return slices.ContainsFunc(values, func(v ValueSpec) bool { return v.Name == name })
}
