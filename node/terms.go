package node

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/contract"
)

// Limits on terms, for the sender and the recipient alike.
const (
	maxTerms        = 256 << 10 // bytes
	maxParticipants = 64
	maxValues       = 256 // inputs, existing records, data access entries: each
	maxClockSkew    = 10 * time.Minute
)

// terms is a proposal's immutable part, checked and ready for use.
type terms struct {
	*affiliatev1.Terms
	raw      []byte
	digest   agreement.Hash
	id       agreement.ID
	scope    agreement.UUID
	spec     agreement.UUID
	contract agreement.Hash
}

// newTerms serialises t once; these bytes are what everybody refers to.
func newTerms(t *affiliatev1.Terms) (terms, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(t)
	if err != nil {
		return terms{}, fmt.Errorf("serialising terms: %w", err)
	}
	return parseTerms(raw)
}

// parseTerms decodes terms and checks what can be checked without asking
// anybody. Errors have the code BAD_MESSAGE.
func parseTerms(raw []byte) (terms, error) {
	if len(raw) > maxTerms {
		return terms{}, agreement.Errorf(agreement.CodeTooLarge, "terms have %d bytes, the limit is %d", len(raw), maxTerms)
	}
	t := terms{Terms: &affiliatev1.Terms{}, raw: raw, digest: sha256.Sum256(raw)}
	if err := proto.Unmarshal(raw, t.Terms); err != nil {
		return terms{}, agreement.Errorf(agreement.CodeBadMessage, "decoding terms: %w", err)
	}
	if err := t.checkShape(); err != nil {
		return terms{}, agreement.Errorf(agreement.CodeBadMessage, "terms: %w", err)
	}
	return t, nil
}

func (t *terms) checkShape() error {
	var err error
	if t.id, err = agreement.UUIDFromBytes(t.AgreementId); err != nil {
		return fmt.Errorf("agreement id: %w", err)
	}
	if t.scope, err = agreement.UUIDFromBytes(t.ScopeId); err != nil {
		return fmt.Errorf("scope id: %w", err)
	}
	if t.spec, err = agreement.UUIDFromBytes(t.ScopeSpecificationId); err != nil {
		return fmt.Errorf("scope specification id: %w", err)
	}
	if t.contract, err = agreement.HashFromBytes(t.ContractHash); err != nil {
		return fmt.Errorf("contract hash: %w", err)
	}
	if t.id.IsZero() || t.scope.IsZero() {
		return fmt.Errorf("agreement and scope need an id")
	}
	if len(t.Secret) != agreement.SaltSize {
		return fmt.Errorf("the secret has %d bytes, not %d", len(t.Secret), agreement.SaltSize)
	}
	if len(t.Parties) == 0 || len(t.Parties)+len(t.Owners) > maxParticipants {
		return fmt.Errorf("%d parties and %d owners (from 1 to %d in all)", len(t.Parties), len(t.Owners), maxParticipants)
	}
	for _, n := range []int{len(t.Inputs), len(t.Existing), len(t.DataAccess), len(t.AddedDataAccess)} {
		if n > maxValues {
			return fmt.Errorf("a list has %d entries, the limit is %d", n, maxValues)
		}
	}
	for _, in := range slices.Concat(t.Inputs, t.Existing) {
		if err := checkRef(in); err != nil {
			return err
		}
	}
	if _, err := objectOf(t.Module); err != nil {
		return fmt.Errorf("module: %w", err)
	}
	return nil
}

func checkRef(in *affiliatev1.InputRef) error {
	if len(in.Salt) != 0 && len(in.Salt) != agreement.SaltSize {
		return fmt.Errorf("input %q: a salt has %d bytes, not %d", in.Name, agreement.SaltSize, len(in.Salt))
	}
	if _, err := objectOf(in.Object); err != nil {
		return fmt.Errorf("input %q: %w", in.Name, err)
	}
	return nil
}

// checkTime holds the clock and the deadline to what this node accepts.
func (t *terms) checkTime(now time.Time, maxLifetime time.Duration) error {
	start, deadline := time.UnixMilli(t.TimeUnixMs), time.UnixMilli(t.DeadlineUnixMs)
	switch {
	case start.After(now.Add(maxClockSkew)):
		return agreement.Errorf(agreement.CodeBadMessage, "the proposal's time %s is in the future", start.UTC().Format(time.RFC3339))
	case !deadline.After(now):
		return agreement.Errorf(agreement.CodeExpired, "the proposal's deadline %s has passed", deadline.UTC().Format(time.RFC3339))
	case deadline.Sub(start) > maxLifetime:
		return agreement.Errorf(agreement.CodeBadMessage, "the proposal lives for %s, this affiliate accepts %s at most",
			deadline.Sub(start), maxLifetime)
	}
	return nil
}

// participants are the parties, then the scope's owners who aren't parties;
// the proposer comes first, because it pays the fee.
func (t *terms) participants() ([]agreement.Party, error) {
	out := toParties(t.Parties)
	for _, o := range toParties(t.Owners) {
		if !slices.ContainsFunc(out, func(p agreement.Party) bool { return p.Address == o.Address }) {
			out = append(out, agreement.Party{Address: o.Address})
		}
	}
	first := slices.IndexFunc(out, func(p agreement.Party) bool { return p.Address == t.Proposer })
	if first < 0 {
		return nil, agreement.Errorf(agreement.CodeNotAuthorized, "the proposer %s is no party and owns no part of the scope", t.Proposer)
	}
	p := out[first]
	return slices.Insert(slices.Delete(out, first, first+1), 0, p), nil
}

// signers are the participants' addresses, each once, the proposer first.
func (t *terms) signers() ([]string, error) {
	parts, err := t.participants()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range parts {
		if !slices.Contains(out, p.Address) {
			out = append(out, p.Address)
		}
	}
	return out, nil
}

// audience is who may read the agreement's objects.
func (t *terms) audience() ([]string, error) {
	out, err := t.signers()
	if err != nil {
		return nil, err
	}
	for _, a := range t.DataAccess {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out, nil
}

// opening is what the life cycle has to know of the terms.
func (t *terms) opening(self string, ackWithin time.Duration) (agreement.Opening, error) {
	parts, err := t.participants()
	if err != nil {
		return agreement.Opening{}, err
	}
	return agreement.Opening{
		ID: t.id, Self: self, Terms: t.digest, Contract: t.contract, ContractName: t.ContractName,
		Scope: t.scope, NewScope: t.NewScope, Participants: parts,
		Deadline: time.UnixMilli(t.DeadlineUnixMs), AckWithin: ackWithin,
	}, nil
}

// write is what goes on chain when the results are these. Every party builds
// it from its own results and compares.
func (t *terms) write(results []agreement.RecordResult) (chainclient.Write, error) {
	signers, err := t.signers()
	if err != nil {
		return chainclient.Write{}, err
	}
	w := chainclient.Write{
		Scope: t.scope, Session: t.id, ScopeSpec: t.spec, NewScope: t.NewScope,
		Owners: toParties(t.Owners), Parties: toParties(t.Parties),
		DataAccess: t.DataAccess, AddedDataAccess: t.AddedDataAccess, ValueOwner: t.ValueOwner,
		Contract: t.contract, ContractName: t.ContractName, Signers: signers,
	}
	for _, r := range results {
		if r.Outcome == agreement.Pass {
			w.Records = append(w.Records, chainclient.RecordWrite{
				Name: r.Record, Method: r.Function, Inputs: r.Inputs, Output: r.Output,
			})
		}
	}
	return w, nil
}

// checkContract holds the terms to the contract's manifest. Proposer and
// parties run the same check.
func (t *terms) checkContract(m contract.Manifest) error {
	if t.ContractName != m.Name {
		return agreement.Errorf(agreement.CodeSpecification, "the terms name the contract %q, it is %q", t.ContractName, m.Name)
	}
	if err := checkRoles(t.Parties, m); err != nil {
		return err
	}
	if !slices.ContainsFunc(m.ScopeSpecifications, func(s contract.ScopeSpecification) bool { return sameUUID(s.ID, t.spec) }) {
		return agreement.Errorf(agreement.CodeSpecification, "the contract %q doesn't work on scopes of this specification", m.Name)
	}
	if err := checkNames("input", agreement.CodeMissingInput, t.Inputs, m.Inputs, m.Hash); err != nil {
		return err
	}
	if err := checkNames("existing record", agreement.CodeMissingRecord, t.Existing, m.Existing, ""); err != nil {
		return err
	}
	return checkRuns(m, func(name string) bool {
		return slices.ContainsFunc(slices.Concat(t.Inputs, t.Existing), func(in *affiliatev1.InputRef) bool { return in.Name == name })
	})
}

func sameUUID(s string, u agreement.UUID) bool {
	v, err := agreement.ParseUUID(s)
	return err == nil && v == u
}

func checkRoles(parties []*affiliatev1.Party, m contract.Manifest) error {
	have := map[string]int{}
	for i, p := range parties {
		same := func(other *affiliatev1.Party) bool { return other.Role == p.Role && other.Address == p.Address }
		if slices.ContainsFunc(parties[:i], same) {
			return agreement.Errorf(agreement.CodeUnknownRole, "%s is named twice in role %s", p.Address, p.Role)
		}
		if !slices.ContainsFunc(m.Roles, func(r contract.RoleSpec) bool { return r.Role == p.Role }) {
			return agreement.Errorf(agreement.CodeUnknownRole, "the contract %q has no role %q", m.Name, p.Role).
				WithHint("its roles are %s", roleNames(m))
		}
		have[p.Role]++
	}
	for _, r := range m.Roles {
		low, high := r.Range()
		if n := have[r.Role]; n < low || n > high {
			return agreement.Errorf(agreement.CodeUnknownRole, "the contract %q wants %s in role %s, the request names %d",
				m.Name, bounds(low, high), r.Role, n).WithHint("its roles are %s", roleNames(m))
		}
	}
	return nil
}

func bounds(low, high int) string {
	if low == high {
		return fmt.Sprintf("%d affiliate(s)", low)
	}
	return fmt.Sprintf("%d to %d affiliates", low, high)
}

func roleNames(m contract.Manifest) string {
	var names []string
	for _, r := range m.Roles {
		name := r.Role
		if r.Optional {
			name += " (optional)"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// checkNames holds a list of references to what the manifest declares. mode is
// the contract's way of hashing; it decides whether an input has a salt.
func checkNames(what string, missing agreement.Code, refs []*affiliatev1.InputRef, specs []contract.ValueSpec, mode string) error {
	seen := map[string]bool{}
	for _, r := range refs {
		known := slices.ContainsFunc(specs, func(s contract.ValueSpec) bool { return s.Name == r.Name })
		if !known || seen[r.Name] {
			return agreement.Errorf(agreement.CodeUnexpectedInput, "the contract has no %s %q, or it is given twice", what, r.Name)
		}
		if what == "input" && (mode == contract.HashPlain) != (len(r.Salt) == 0) {
			return agreement.Errorf(agreement.CodeBadMessage, "%s %q is hashed in another way than the contract says", what, r.Name)
		}
		seen[r.Name] = true
	}
	for _, s := range specs {
		if !seen[s.Name] && !s.Optional {
			return agreement.Errorf(missing, "%s %q is missing", what, s.Name).
				WithHint("the contract can't run without it; its type is %s", s.Type)
		}
	}
	return nil
}

// checkScope holds the terms to the scope as the chain has it; nil means that
// the chain has none.
func (t *terms) checkScope(onChain *chainclient.Scope, m contract.Manifest) error {
	if t.NewScope {
		if onChain != nil {
			return agreement.Errorf(agreement.CodeSpecification, "scope %s is on chain already", chainclient.ScopeAddress(t.scope))
		}
		if !slices.Equal(toParties(t.Owners), toParties(t.Parties)) || len(t.AddedDataAccess) > 0 {
			return agreement.Errorf(agreement.CodeBadMessage, "a new scope is owned by the parties")
		}
		if len(t.Existing) > 0 {
			return agreement.Errorf(agreement.CodeMissingRecord, "a new scope has no records, and the terms name some")
		}
		return t.checkOwners(m)
	}
	if onChain == nil {
		return agreement.Errorf(agreement.CodeNotFound, "scope %s isn't on chain", chainclient.ScopeAddress(t.scope))
	}
	if onChain.Specification != t.spec || !slices.Equal(onChain.Owners, toParties(t.Owners)) {
		return agreement.Errorf(agreement.CodeSpecification, "scope %s has other owners or another specification than the terms say",
			chainclient.ScopeAddress(t.scope))
	}
	if !sameSet(t.DataAccess, slices.Concat(onChain.DataAccess, t.AddedDataAccess)) {
		return agreement.Errorf(agreement.CodeSpecification, "scope %s has another data access than the terms say",
			chainclient.ScopeAddress(t.scope))
	}
	return t.checkExisting(onChain, m)
}

// checkExisting wants every record that the contract reads and the scope has,
// as it is now: leaving out an optional one would change the result.
func (t *terms) checkExisting(onChain *chainclient.Scope, m contract.Manifest) error {
	for _, spec := range m.Existing {
		_, there := onChain.Records[spec.Name]
		if given := slices.ContainsFunc(t.Existing, func(in *affiliatev1.InputRef) bool { return in.Name == spec.Name }); there && !given {
			return agreement.Errorf(agreement.CodeMissingRecord, "the scope has a record %q, and the terms leave it out", spec.Name)
		}
	}
	for _, in := range t.Existing {
		if r, ok := onChain.Records[in.Name]; !ok || r.Hash != in.Hash {
			return agreement.Errorf(agreement.CodeMissingRecord, "record %q isn't on chain with the hash that the terms state", in.Name).
				WithHint("it has changed since; propose again")
		}
	}
	return nil
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

func toParties(ps []*affiliatev1.Party) []agreement.Party {
	out := make([]agreement.Party, 0, len(ps))
	for _, p := range ps {
		out = append(out, agreement.Party{Address: p.Address, Role: agreement.Role(p.Role)})
	}
	return out
}

func fromParties(ps []agreement.Party) []*affiliatev1.Party {
	out := make([]*affiliatev1.Party, 0, len(ps))
	for _, p := range ps {
		out = append(out, &affiliatev1.Party{Address: p.Address, Role: string(p.Role)})
	}
	return out
}
