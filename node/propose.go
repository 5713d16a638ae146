package node

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/exec"
)

// propose checks a request as far as it can be checked now, seals its data
// and starts the agreement. The same request with the same agreement id again
// is the same agreement.
func (n *Node) propose(ctx context.Context, req *affiliatev1.ProposeRequest) (agreement.State, error) {
	digest, err := requestDigest(req)
	if err != nil {
		return agreement.State{}, err
	}
	id := agreement.NewUUID()
	if req.AgreementId != "" {
		if id, err = agreement.ParseUUID(req.AgreementId); err != nil {
			return agreement.State{}, agreement.Errorf(agreement.CodeBadRequest, "agreement id: %w", err)
		}
		s, err := n.proposedBefore(id, digest)
		if err != nil || s.Phase != agreement.None {
			return s, err
		}
	}
	if err := n.store.Room(ctx); err != nil {
		return agreement.State{}, err
	}
	if open, err := n.openAgreements(); err != nil || open >= int64(n.cfg.MaxOpen) {
		return agreement.State{}, errors.Join(err, agreement.Errorf(agreement.CodeBackpressure,
			"%d agreements are open, the limit is %d", open, n.cfg.MaxOpen).WithHint("raise max_open under [agreements], or wait"))
	}
	known, err := n.findContract(req.Contract)
	if err != nil {
		return agreement.State{}, err
	}
	if err := n.mustBeVetted(known.Hash); err != nil {
		return agreement.State{}, err
	}
	c, err := n.contract(ctx, known.Hash, known.Module)
	if err != nil {
		return agreement.State{}, err
	}
	defer n.drafting(ctx, id)()
	t, err := n.draft(ctx, id, req, c, known.Module)
	if err != nil {
		return agreement.State{}, err
	}
	opening, err := t.opening(n.ring.Address(), n.cfg.AckWithin)
	if err != nil {
		return agreement.State{}, err
	}
	return n.apply(ctx, id, agreement.Submitted{Opening: opening}, cause{blobs: map[string][]byte{blobTerms: t.raw, blobRequest: digest[:]}})
}

// requestDigest identifies what a request asks for, whatever its id.
func requestDigest(req *affiliatev1.ProposeRequest) (agreement.Hash, error) {
	what := proto.CloneOf(req)
	what.AgreementId = ""
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(what)
	return digestOf(raw), err
}

// proposedBefore returns the agreement that a repeated request started; phase
// None if there is none. An id that stands for something else is refused.
func (n *Node) proposedBefore(id agreement.ID, request agreement.Hash) (agreement.State, error) {
	s, err := n.state(id)
	if err != nil || s.Phase == agreement.None {
		return s, err
	}
	if !s.Proposing() {
		return s, agreement.Errorf(agreement.CodeInUse, "agreement %s is one that %s proposed", id, s.Proposer)
	}
	before, err := n.store.Blob(id, blobRequest)
	if err != nil {
		return s, err
	}
	if string(before) != string(request[:]) {
		return s, agreement.Errorf(agreement.CodeInUse, "agreement %s was proposed with another request", id).
			WithHint("repeat the request exactly, or leave the id out for a new agreement")
	}
	return s, nil
}

// draft turns a request into terms.
func (n *Node) draft(ctx context.Context, id agreement.ID, req *affiliatev1.ProposeRequest, c *exec.Contract, module agreement.Hash) (terms, error) {
	m := c.Manifest
	if err := n.checkRequest(req, m); err != nil {
		return terms{}, err
	}
	now := time.Now()
	t := &affiliatev1.Terms{
		AgreementId: id[:], Network: n.cfg.Network, Proposer: n.ring.Address(),
		ContractHash: c.Hash[:], ContractName: m.Name, Parties: req.Parties,
		Secret: randomBytes(agreement.SaltSize), TimeUnixMs: now.UnixMilli(),
	}
	lifetime := n.cfg.Lifetime
	if req.Lifetime != nil {
		lifetime = req.Lifetime.AsDuration()
	}
	if lifetime <= 0 || lifetime > n.cfg.MaxLifetime {
		return terms{}, agreement.Errorf(agreement.CodeBadRequest, "a lifetime of %s isn't between 0 and %s", lifetime, n.cfg.MaxLifetime).
			WithHint("the longest is max_lifetime under [agreements]")
	}
	t.DeadlineUnixMs = now.Add(lifetime).UnixMilli()

	onChain, err := n.draftScope(ctx, t, req, m)
	if err != nil {
		return terms{}, err
	}
	if !req.Unvetted {
		probe := terms{Terms: t, contract: c.Hash}
		if err := n.checkPeersVetted(ctx, &probe, m.Name); err != nil {
			return terms{}, err
		}
	}
	if err := n.draftData(ctx, t, req, m, onChain, module); err != nil {
		return terms{}, err
	}
	out, err := newTerms(t)
	if err != nil {
		return terms{}, err
	}
	if _, err := out.participants(); err != nil {
		return terms{}, err
	}
	return out, n.checkTerms(ctx, &out, c)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return b
}

// checkRequest finds what is wrong with a request without asking anybody.
func (n *Node) checkRequest(req *affiliatev1.ProposeRequest, m contract.Manifest) error {
	if err := checkRoles(req.Parties, m); err != nil {
		return err
	}
	for _, p := range req.Parties {
		if err := n.checkKnown("party "+p.Role, p.Address); err != nil {
			return err
		}
	}
	for _, a := range req.DataAccess { // sealed to nobody's key it would be a promise without effect
		if err := n.checkKnown("data access", a); err != nil {
			return err
		}
	}
	if req.ValueOwner == "" {
		return nil
	}
	return n.checkAddress("value owner", req.ValueOwner)
}

func (n *Node) checkAddress(what, address string) error {
	if err := chainclient.ValidAddress(n.cfg.Prefix, address); err != nil {
		return agreement.Errorf(agreement.CodeBadRequest, "%s: %w", what, err).
			WithHint("`affiliate peers` lists the addresses of other affiliates, `affiliate keys show` has this one's")
	}
	return nil
}

// checkKnown makes sure that this node has an affiliate's record, and so its
// encryption key.
func (n *Node) checkKnown(what, address string) error {
	if err := n.checkAddress(what, address); err != nil {
		return err
	}
	if address == n.ring.Address() {
		return nil
	}
	if _, ok := n.host.Affiliate(address); !ok {
		return agreement.Errorf(agreement.CodeUnknownParty, "%s: nothing is known here of %s", what, address).
			WithHint("its node must have been seen once: check `affiliate peers`, and members and bootstrap under [p2p]")
	}
	return nil
}

// draftScope fills in a new scope, or what the chain says of an existing one.
func (n *Node) draftScope(ctx context.Context, t *affiliatev1.Terms, req *affiliatev1.ProposeRequest, m contract.Manifest) (*chainclient.Scope, error) {
	if req.ScopeId == "" {
		spec, err := chooseSpecification(req.ScopeSpecificationId, m)
		if err != nil {
			return nil, err
		}
		scope := agreement.NewUUID()
		t.ScopeId, t.NewScope, t.ScopeSpecificationId = scope[:], true, spec[:]
		t.Owners, t.DataAccess, t.ValueOwner = req.Parties, req.DataAccess, req.ValueOwner
		return nil, nil
	}
	id, err := chainclient.ParseScope(req.ScopeId)
	if err != nil {
		return nil, err
	}
	if req.ValueOwner != "" {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "a value owner can be named for a new scope only").
			WithHint("leave the value owner out, or make a new scope")
	}
	scope, err := n.chain.Scope(ctx, id)
	if errors.Is(err, agreement.ErrNotFound) {
		return nil, agreement.Errorf(agreement.CodeNotFound, "scope %s isn't on chain", chainclient.ScopeAddress(id)).
			WithHint("leave the scope out to make a new one")
	}
	if err != nil {
		return nil, err
	}
	t.ScopeId, t.ScopeSpecificationId = id[:], scope.Specification[:]
	t.Owners = fromParties(scope.Owners)
	t.DataAccess = slices.Clone(scope.DataAccess)
	for _, a := range req.DataAccess {
		if !slices.Contains(t.DataAccess, a) {
			t.DataAccess = append(t.DataAccess, a)
			t.AddedDataAccess = append(t.AddedDataAccess, a)
		}
	}
	return &scope, nil
}

func chooseSpecification(wanted string, m contract.Manifest) (agreement.UUID, error) {
	if wanted == "" {
		return agreement.ParseUUID(m.ScopeSpecifications[0].ID)
	}
	return chainclient.ParseScopeSpec(wanted)
}

// draftData seals the inputs to the audience, and makes sure that it can open
// the existing records and the module.
func (n *Node) draftData(ctx context.Context, t *affiliatev1.Terms, req *affiliatev1.ProposeRequest, m contract.Manifest, onChain *chainclient.Scope, module agreement.Hash) error {
	probe := terms{Terms: t, id: agreement.ID(t.AgreementId), scope: agreement.UUID(t.ScopeId)}
	audience, err := probe.audience()
	if err != nil {
		return err
	}
	required, err := probe.signers()
	if err != nil {
		return err
	}
	seal := func(content []byte, mediaType string) (*affiliatev1.ObjectRef, error) {
		return n.seal(ctx, content, mediaType, probe.id.String(), audience, required)
	}
	given, err := givenInputs(req.Inputs, m)
	if err != nil {
		return err
	}
	err = checkRuns(m, func(name string) bool { // before anything is sealed
		recorded := false
		if onChain != nil {
			_, recorded = onChain.Records[name]
		}
		return recorded || given[name] != nil
	})
	if err != nil {
		return err
	}
	if t.Inputs, err = n.draftInputs(ctx, given, m, seal); err != nil {
		return err
	}
	if t.Existing, err = n.draftExisting(ctx, &probe, m, onChain, audience, required); err != nil {
		return err
	}
	t.Module, err = n.share(ctx, module, contractOwner(agreement.Hash(t.ContractHash)), audience, required)
	return err
}

type sealer func(content []byte, mediaType string) (*affiliatev1.ObjectRef, error)

// givenInputs finds the inputs of a request by name: all that the contract
// needs, and nothing else.
func givenInputs(inputs []*affiliatev1.ProposedInput, m contract.Manifest) (map[string]*affiliatev1.ProposedInput, error) {
	given := map[string]*affiliatev1.ProposedInput{}
	for _, in := range inputs {
		if given[in.Name] != nil || !slices.ContainsFunc(m.Inputs, func(s contract.ValueSpec) bool { return s.Name == in.Name }) {
			return nil, agreement.Errorf(agreement.CodeUnexpectedInput, "the contract %q has no input %q, or it is given twice", m.Name, in.Name).
				WithHint("its inputs are %s", inputNames(m))
		}
		given[in.Name] = in
	}
	for _, spec := range m.Inputs {
		if given[spec.Name] == nil && !spec.Optional {
			return nil, agreement.Errorf(agreement.CodeMissingInput, "input %q is missing", spec.Name).
				WithHint("give it with --input %s=@FILE; its type is %s, %s", spec.Name, spec.Type, mediaTypeOf(spec.MediaType))
		}
	}
	return given, nil
}

func (n *Node) draftInputs(ctx context.Context, given map[string]*affiliatev1.ProposedInput, m contract.Manifest, seal sealer) ([]*affiliatev1.InputRef, error) {
	var out []*affiliatev1.InputRef
	for _, spec := range m.Inputs {
		in := given[spec.Name]
		if in == nil {
			continue
		}
		content, err := n.inputContent(ctx, in, spec)
		if err != nil {
			return nil, err
		}
		ref, err := seal(content, mediaTypeOf(spec.MediaType))
		if err != nil {
			return nil, err
		}
		r := &affiliatev1.InputRef{Name: spec.Name, Object: ref}
		if m.Hash != contract.HashPlain {
			r.Salt = randomBytes(agreement.SaltSize)
		}
		r.Hash = agreement.Commitment(r.Salt, content)
		out = append(out, r)
	}
	return out, nil
}

func inputNames(m contract.Manifest) string {
	if len(m.Inputs) == 0 {
		return "none"
	}
	var names []string
	for _, s := range m.Inputs {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

// inputContent is an input as it will be hashed: JSON in its canonical form.
func (n *Node) inputContent(ctx context.Context, in *affiliatev1.ProposedInput, spec contract.ValueSpec) ([]byte, error) {
	content := in.GetContent()
	if named := in.GetContentHash(); named != "" {
		hash, err := agreement.ParseHash(named)
		if err != nil {
			return nil, agreement.Errorf(agreement.CodeBadRequest, "input %q: %w", spec.Name, err)
		}
		if content, _, err = n.content(ctx, hash); err != nil {
			return nil, err
		}
	}
	want := mediaTypeOf(spec.MediaType)
	if in.MediaType != "" && in.MediaType != want {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "input %q is %s, the contract wants %s", spec.Name, in.MediaType, want).
			WithHint("give it as %s, or leave the media type out", want)
	}
	if want != contract.MediaJSON {
		return content, nil
	}
	canonical, err := agreement.Canonical(content)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadJSON, "input %q: %w", spec.Name, err).
			WithHint("in the JSON of agreements a number is within ±2^53 and has no more digits than a double keeps (write others as strings), and a name occurs once in an object")
	}
	return canonical, checkSchema(spec, canonical)
}

// draftExisting refers to every record that the contract reads and the scope
// has, as the chain has it now.
func (n *Node) draftExisting(ctx context.Context, t *terms, m contract.Manifest, onChain *chainclient.Scope, audience, required []string) ([]*affiliatev1.InputRef, error) {
	var out []*affiliatev1.InputRef
	for _, spec := range m.Existing {
		if onChain == nil {
			continue // what isn't optional is missed by checkContract
		}
		committed, ok := onChain.Records[spec.Name]
		if !ok {
			continue
		}
		held, err := n.store.Record(t.scope, spec.Name)
		if err != nil && !errors.Is(err, agreement.ErrNotFound) {
			return nil, err
		}
		if err != nil || held.Hash != committed.Hash {
			return nil, agreement.Errorf(agreement.CodeMissingRecord, "record %q of the scope isn't held here as it is on chain", spec.Name).
				WithHint("let an affiliate propose that holds it")
		}
		ref, err := n.share(ctx, held.Content, t.id.String(), audience, required)
		if err != nil {
			return nil, err
		}
		out = append(out, &affiliatev1.InputRef{Name: spec.Name, Object: ref, Salt: held.Salt, Hash: held.Hash})
	}
	return out, nil
}
