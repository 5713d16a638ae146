package chainclient

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/uuid"
	mdtypes "github.com/provenance-io/provenance/x/metadata/types"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// Specification is a contract as its specifications on the chain show it.
type Specification struct {
	Contract agreement.Hash
	Manifest contract.Manifest
}

// specs are the chain's specifications of one contract: wanted ones, or those
// found. What was not found is nil or absent.
type specs struct {
	contract *mdtypes.ContractSpecification
	records  []mdtypes.RecordSpecification
	scopes   []*mdtypes.ScopeSpecification // in the manifest's order
}

// CheckSpecification compares the chain's specifications with the manifest:
// UNKNOWN_CONTRACT when the contract was never published,
// SPECIFICATION_MISMATCH when something differs. A success is remembered.
func (c *Client) CheckSpecification(ctx context.Context, s Specification) error {
	key, err := cacheKey(s)
	if err != nil {
		return err
	}
	c.mu.Lock()
	done := c.checked[key]
	c.mu.Unlock()
	if done {
		return nil
	}
	want, err := wantSpecs(s, c.signer.Address())
	if err != nil {
		return err
	}
	got, err := c.findSpecs(ctx, s)
	if err != nil {
		return err
	}
	if err := compareSpecs(s, got, want); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.checked) >= maxCached {
		clear(c.checked)
	}
	c.checked[key] = true
	return nil
}

func cacheKey(s Specification) (agreement.Hash, error) {
	m, err := json.Marshal(s.Manifest)
	if err != nil {
		return agreement.Hash{}, agreement.Errorf(agreement.CodeInternal, "encoding a manifest: %w", err)
	}
	return sha256.Sum256(append(s.Contract[:], m...)), nil
}

// wantSpecs is what the manifest says, as specifications owned by owner.
func wantSpecs(s Specification, owner string) (specs, error) {
	m, want := s.Manifest, specs{}
	roles, err := contractRoles(m.Roles)
	if err != nil {
		return want, err
	}
	description := "version " + m.Version // never blank: the chain wants one for the GENERIC roles
	want.contract = &mdtypes.ContractSpecification{
		SpecificationId: contractSpecID(s.Contract), Description: &mdtypes.Description{Name: m.Name, Description: description},
		OwnerAddresses: []string{owner}, PartiesInvolved: roles,
		Source: &mdtypes.ContractSpecification_Hash{Hash: sourceHash(s.Contract)}, ClassName: m.Name,
	}
	for _, f := range m.Functions {
		r, err := recordSpec(s, f)
		if err != nil {
			return want, err
		}
		want.records = append(want.records, r)
	}
	for _, spec := range m.ScopeSpecifications {
		r, err := scopeSpec(spec, owner, contractSpecID(s.Contract))
		if err != nil {
			return want, err
		}
		want.scopes = append(want.scopes, r)
	}
	return want, nil
}

// contractRoles lists each role as often as the contract wants it at least:
// the chain takes parties beyond those, but wants every one of those. So an
// optional role isn't there.
func contractRoles(rs []contract.RoleSpec) ([]mdtypes.PartyType, error) {
	var out []mdtypes.PartyType
	for _, r := range rs {
		t, err := chainRole(r.Role)
		if err != nil {
			return nil, err
		}
		least, _ := r.Range()
		for range least {
			out = append(out, t)
		}
	}
	return out, nil
}

func chainRole(role string) (mdtypes.PartyType, error) {
	t, ok := partyType(agreement.Role(role))
	if !ok {
		return 0, agreement.Errorf(agreement.CodeUnknownRole, "the chain has no role %q", role)
	}
	return t, nil
}

func recordSpec(s Specification, f contract.Function) (mdtypes.RecordSpecification, error) {
	role, err := chainRole(f.Role)
	if err != nil {
		return mdtypes.RecordSpecification{}, err
	}
	if strings.TrimSpace(f.Record.Name) == "" {
		return mdtypes.RecordSpecification{}, agreement.Errorf(agreement.CodeBadManifest, "the record of function %q has no name", f.Name)
	}
	inputs, err := inputSpecs(s.Manifest, f)
	if err != nil {
		return mdtypes.RecordSpecification{}, err
	}
	id := mdtypes.RecordSpecMetadataAddress(uuid.UUID(agreement.ContractSpecificationID(s.Contract)), f.Record.Name)
	return mdtypes.RecordSpecification{
		SpecificationId: id, Name: f.Record.Name, Inputs: inputs, TypeName: f.Record.Type,
		ResultType: mdtypes.DefinitionType_DEFINITION_TYPE_RECORD, ResponsibleParties: []mdtypes.PartyType{role},
	}, nil
}

// inputSpecs gives the function's inputs, then the existing records that it
// reads: all as hashes.
func inputSpecs(m contract.Manifest, f contract.Function) ([]*mdtypes.InputSpecification, error) {
	var out []*mdtypes.InputSpecification
	add := func(names []string, among []contract.ValueSpec) error {
		for _, name := range names {
			i := slices.IndexFunc(among, func(v contract.ValueSpec) bool { return v.Name == name })
			if i < 0 || slices.ContainsFunc(out, func(in *mdtypes.InputSpecification) bool { return in.Name == name }) {
				return agreement.Errorf(agreement.CodeBadManifest, "function %q: the input %q is not declared, or is named twice", f.Name, name)
			}
			out = append(out, &mdtypes.InputSpecification{
				Name: name, TypeName: among[i].Type, Source: &mdtypes.InputSpecification_Hash{Hash: typeHash(among[i].Type)},
			})
		}
		return nil
	}
	if err := add(f.Inputs, m.Inputs); err != nil {
		return nil, err
	}
	if err := add(f.Existing, m.Existing); err != nil {
		return nil, err
	}
	return out, nil
}

// typeHash stands where the chain wants a source of an input's type.
func typeHash(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func scopeSpec(s contract.ScopeSpecification, owner string, contractSpec mdtypes.MetadataAddress) (*mdtypes.ScopeSpecification, error) {
	id, err := agreement.ParseUUID(s.ID)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadManifest, "scope specification %q: %w", s.Name, err)
	}
	out := &mdtypes.ScopeSpecification{
		SpecificationId: mdtypes.ScopeSpecMetadataAddress(uuid.UUID(id)),
		Description:     &mdtypes.Description{Name: s.Name, Description: s.Description},
		OwnerAddresses:  []string{owner}, ContractSpecIds: []mdtypes.MetadataAddress{contractSpec},
	}
	for _, r := range s.Roles {
		t, err := chainRole(r)
		if err != nil {
			return nil, err
		}
		out.PartiesInvolved = append(out.PartiesInvolved, t)
	}
	return out, nil
}

// findSpecs reads what the chain has.
func (c *Client) findSpecs(ctx context.Context, s Specification) (specs, error) {
	var got specs
	var resp mdtypes.ContractSpecificationResponse
	req := &mdtypes.ContractSpecificationRequest{
		SpecificationId: contractSpecID(s.Contract).String(), IncludeRecordSpecs: true,
	}
	if err := c.query(ctx, "/provenance.metadata.v1.Query/ContractSpecification", req, &resp); err != nil {
		return got, c.refusedQuery(err)
	}
	if resp.ContractSpecification != nil {
		got.contract = resp.ContractSpecification.Specification
	}
	for _, w := range resp.RecordSpecifications {
		if w != nil && w.Specification != nil {
			got.records = append(got.records, *w.Specification)
		}
	}
	for _, spec := range s.Manifest.ScopeSpecifications {
		found, err := c.findScopeSpec(ctx, spec.ID)
		if err != nil {
			return got, err
		}
		got.scopes = append(got.scopes, found)
	}
	return got, nil
}

func (c *Client) findScopeSpec(ctx context.Context, id string) (*mdtypes.ScopeSpecification, error) {
	var resp mdtypes.ScopeSpecificationResponse
	req := &mdtypes.ScopeSpecificationRequest{SpecificationId: id}
	if err := c.query(ctx, "/provenance.metadata.v1.Query/ScopeSpecification", req, &resp); err != nil {
		return nil, c.refusedQuery(err)
	}
	if resp.ScopeSpecification == nil {
		return nil, nil //nolint:nilnil // absent is an answer
	}
	return resp.ScopeSpecification.Specification, nil
}

// compareSpecs names the first difference between the chain and the manifest.
func compareSpecs(s Specification, got, want specs) error {
	if got.contract == nil {
		return agreement.Errorf(agreement.CodeUnknownContract, "the contract %s is not published on the chain", s.Contract).
			WithHint("publish it first: affiliate contract publish")
	}
	if d := contractDifference(got.contract, want.contract); d != "" {
		return specMismatch(s, d)
	}
	for _, w := range want.records {
		g := recordNamed(got.records, w.Name)
		if g == nil {
			return specMismatch(s, fmt.Sprintf("the record specification %q is missing", w.Name))
		}
		if d := recordDifference(g, &w); d != "" {
			return specMismatch(s, d)
		}
	}
	if len(got.records) != len(want.records) {
		return specMismatch(s, fmt.Sprintf("there are %d record specifications, not %d", len(got.records), len(want.records)))
	}
	for i, w := range want.scopes {
		if d := scopeDifference(got.scopes[i], w); d != "" {
			return specMismatch(s, d)
		}
	}
	return nil
}

func specMismatch(s Specification, why string) error {
	return agreement.Errorf(agreement.CodeSpecification, "the chain's specifications of contract %q differ from its manifest: %s", s.Manifest.Name, why).
		WithHint("ask whoever published contract %s", s.Contract)
}

func recordNamed(rs []mdtypes.RecordSpecification, name string) *mdtypes.RecordSpecification {
	for i := range rs {
		if rs[i].Name == name {
			return &rs[i]
		}
	}
	return nil
}

// contractDifference leaves out who owns the specification and what it says
// to people.
func contractDifference(got, want *mdtypes.ContractSpecification) string {
	g, w := *got, *want
	g.OwnerAddresses, g.Description, w.OwnerAddresses, w.Description = nil, nil, nil, nil
	return fieldDifference("contract specification", reflect.ValueOf(g), reflect.ValueOf(w))
}

func recordDifference(got, want *mdtypes.RecordSpecification) string {
	g, w := *got, *want
	if len(g.Inputs) == 0 && len(w.Inputs) == 0 {
		g.Inputs, w.Inputs = nil, nil
	}
	return fieldDifference("record specification "+want.Name, reflect.ValueOf(g), reflect.ValueOf(w))
}

// scopeDifference allows further contracts and another description: several
// contracts may share a kind of scope.
func scopeDifference(got, want *mdtypes.ScopeSpecification) string {
	if got == nil {
		return fmt.Sprintf("the scope specification %s is missing", want.SpecificationId)
	}
	g, w := *got, *want
	g.OwnerAddresses, g.Description, w.OwnerAddresses, w.Description = nil, nil, nil, nil
	g.ContractSpecIds, w.ContractSpecIds = nil, nil
	if d := fieldDifference("scope specification", reflect.ValueOf(g), reflect.ValueOf(w)); d != "" {
		return d
	}
	if !lists(got, want.ContractSpecIds[0]) {
		return fmt.Sprintf("the scope specification %s does not list the contract", want.SpecificationId)
	}
	return ""
}

func lists(s *mdtypes.ScopeSpecification, id mdtypes.MetadataAddress) bool {
	return slices.ContainsFunc(s.ContractSpecIds, func(m mdtypes.MetadataAddress) bool { return m.Equals(id) })
}
