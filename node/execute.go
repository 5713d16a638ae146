package node

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/exec"
	"github.com/affiliate-node/affiliate/keys"
)

// output is a record that this node made and keeps until the chain has it.
type output struct {
	Record    string         `json:"record"`
	Hash      string         `json:"hash"` // as it goes on chain
	Salt      []byte         `json:"salt,omitempty"`
	Content   agreement.Hash `json:"content"`
	Object    agreement.Hash `json:"object"`
	MediaType string         `json:"media_type"`
}

// termsOf reads an agreement's terms back: those that its state names.
func (n *Node) termsOf(s agreement.State) (terms, error) {
	raw, err := n.store.Blob(s.ID, blobTerms)
	if err != nil {
		return terms{}, fmt.Errorf("reading the terms of %s: %w", s.ID, err)
	}
	t, err := parseTerms(raw)
	if err == nil && t.digest != s.Terms {
		err = agreement.Errorf(agreement.CodeDamaged, "the stored terms of %s aren't those that it began with", s.ID)
	}
	return t, err
}

// doExecute runs the contract on this node's own copy, and attests the result.
func (n *Node) doExecute(ctx context.Context, s agreement.State) (agreement.Event, map[string][]byte, error) {
	t, err := n.termsOf(s)
	if err != nil {
		return nil, nil, err
	}
	if err := n.mustBeVetted(t.contract); err != nil {
		if (!s.Proposing() || s.Missed != nil) && agreement.CodeOf(err) == agreement.CodeNotVetted {
			return agreement.NotVetted{}, nil, nil
		}
		return nil, nil, err
	}
	c, err := n.contract(ctx, t.contract, agreement.Hash(t.Module.ContentHash))
	if err != nil {
		return nil, nil, err
	}
	run, err := n.inputs(ctx, &t)
	if err != nil {
		return nil, nil, err
	}
	outputs, err := n.engine.Execute(ctx, c, run)
	if err != nil {
		return nil, nil, err
	}
	results, kept, err := n.keep(ctx, &t, c.Manifest, outputs)
	if err != nil {
		return nil, nil, err
	}
	att, err := n.attest(&t, results)
	if err != nil {
		return nil, nil, err
	}
	attRaw, err := proto.Marshal(att)
	if err != nil {
		return nil, nil, err
	}
	keptRaw, err := json.Marshal(kept)
	if err != nil {
		return nil, nil, err
	}
	blobs := map[string][]byte{named(blobAttestation, n.ring.Address()): attRaw, blobOutputs: keptRaw}
	if _, failed := agreement.Failed(results); !failed && len(kept) == 0 {
		return nil, nil, agreement.Errorf(agreement.CodeContractFail, "the contract skipped every function: there is nothing to record")
	}
	digest := agreement.AttestationDigest(n.cfg.Network, t.id, t.contract, t.digest, results)
	event := agreement.Executed{Records: results, Results: digest}
	if !s.Proposing() && s.Missed == nil && digest != s.Stated {
		event.Difference, err = n.differenceFromProposer(s, results)
	}
	return event, blobs, err
}

// inputs opens what the contract reads, and checks it against the terms.
func (n *Node) inputs(ctx context.Context, t *terms) (exec.Run, error) {
	run := exec.Run{
		Proposed: map[string][]byte{}, Existing: map[string][]byte{},
		Time: time.UnixMilli(t.TimeUnixMs).UTC(),
	}
	for _, group := range []struct {
		refs []*affiliatev1.InputRef
		into map[string][]byte
	}{{t.Inputs, run.Proposed}, {t.Existing, run.Existing}} {
		for _, in := range group.refs {
			content, _, err := n.content(ctx, agreement.Hash(in.Object.ContentHash))
			if err != nil {
				return exec.Run{}, fmt.Errorf("reading %q: %w", in.Name, err)
			}
			if agreement.Commitment(in.Salt, content) != in.Hash {
				return exec.Run{}, agreement.Errorf(agreement.CodeBadMessage, "%q doesn't hash to what the terms state", in.Name)
			}
			group.into[in.Name] = content
		}
	}
	var err error
	run.Context, err = contextOf(t, run.Time)
	return run, err
}

func contextOf(t *terms, at time.Time) (map[string][]byte, error) {
	parties, err := json.Marshal(toParties(t.Parties))
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"scope_id":   []byte(chainclient.ScopeAddress(t.scope)),
		"session_id": []byte(chainclient.SessionAddress(t.scope, t.id)),
		"time":       []byte(at.Format(time.RFC3339Nano)),
		"invoker":    []byte(t.Proposer),
		"parties":    parties,
		"chain_id":   []byte(t.Network),
	}, nil
}

// keep hashes what the functions made, and seals it into the store.
func (n *Node) keep(ctx context.Context, t *terms, m contract.Manifest, outputs []exec.Output) ([]agreement.RecordResult, []output, error) {
	audience, err := t.audience()
	if err != nil {
		return nil, nil, err
	}
	required, err := t.signers()
	if err != nil {
		return nil, nil, err
	}
	var results []agreement.RecordResult
	var kept []output
	for _, o := range outputs {
		r, salt, err := resultOf(t, m, o)
		if err != nil {
			return nil, nil, err
		}
		if o.Outcome == agreement.Pass {
			k := output{Record: r.Record, Hash: r.Output, Salt: salt, MediaType: mediaTypeOf(o.Function.Record.MediaType)}
			ref, err := n.seal(ctx, o.Content, k.MediaType, t.id.String(), audience, required)
			if err != nil {
				return nil, nil, err
			}
			k.Content, k.Object = agreement.Hash(ref.ContentHash), agreement.Hash(ref.ObjectId)
			kept = append(kept, k)
		}
		results = append(results, r)
	}
	return results, kept, nil
}

// resultOf is what is attested of an output, and the salt of its hash.
func resultOf(t *terms, m contract.Manifest, o exec.Output) (r agreement.RecordResult, salt []byte, err error) {
	r = agreement.RecordResult{
		Function: o.Function.Name, Record: o.Function.Record.Name, Outcome: o.Outcome, Fuel: o.Fuel,
		Inputs: inputHashes(t, m, o.Function), Code: o.Code, Message: short(o.Message),
	}
	if o.Outcome != agreement.Pass {
		return r, nil, nil
	}
	if m.Hash != contract.HashPlain {
		salt, err = agreement.OutputSalt(t.Secret, r.Record)
	}
	r.Output = agreement.Commitment(salt, o.Content)
	return r, salt, err
}

func mediaTypeOf(s string) string {
	if s == "" {
		return contract.MediaJSON
	}
	return s
}

// inputHashes are a function's inputs as they go on chain: the proposed ones,
// then the existing records, in the manifest's order.
func inputHashes(t *terms, m contract.Manifest, f contract.Function) []agreement.NamedHash {
	var out []agreement.NamedHash
	add := func(names []string, specs []contract.ValueSpec, refs []*affiliatev1.InputRef) {
		for _, name := range names {
			h := agreement.NamedHash{Name: name, Hash: agreement.AbsentHash()}
			for _, s := range specs {
				if s.Name == name {
					h.Type = s.Type
				}
			}
			for _, r := range refs {
				if r.Name == name {
					h.Hash = r.Hash
				}
			}
			out = append(out, h)
		}
	}
	add(f.Inputs, m.Inputs, t.Inputs)
	add(f.Existing, m.Existing, t.Existing)
	return out
}

// attest signs this node's results.
func (n *Node) attest(t *terms, results []agreement.RecordResult) (*affiliatev1.Attestation, error) {
	digest := agreement.AttestationDigest(n.cfg.Network, t.id, t.contract, t.digest, results)
	sig, err := n.ring.Sign(digest[:])
	if err != nil {
		return nil, fmt.Errorf("signing the attestation: %w", err)
	}
	return &affiliatev1.Attestation{
		Address: n.ring.Address(), AccountKey: n.ring.AccountKey(), TermsDigest: t.digest[:],
		Records: fromResults(results), Signature: sig,
	}, nil
}

// checkAttestation verifies an attestation by address over these terms, and
// returns its digest.
func (n *Node) checkAttestation(t *terms, address string, a *affiliatev1.Attestation) (agreement.Hash, []agreement.RecordResult, error) {
	if a == nil || a.Address != address || string(a.TermsDigest) != string(t.digest[:]) || len(a.Records) > maxValues {
		return agreement.Hash{}, nil, agreement.Errorf(agreement.CodeBadMessage, "the attestation isn't %s's for these terms", address)
	}
	signer, err := keys.AddressOf(n.cfg.Prefix, a.AccountKey)
	if err != nil || signer != address {
		return agreement.Hash{}, nil, agreement.Errorf(agreement.CodeBadSignature, "the attestation's key isn't %s's", address)
	}
	for _, r := range a.Records {
		if r.Outcome < affiliatev1.Outcome(agreement.Pass) || r.Outcome > affiliatev1.Outcome(agreement.Fail) {
			return agreement.Hash{}, nil, agreement.Errorf(agreement.CodeBadMessage, "the attestation has an outcome %d", r.Outcome)
		}
	}
	results := toResults(a.Records)
	digest := agreement.AttestationDigest(n.cfg.Network, t.id, t.contract, t.digest, results)
	if !keys.Verify(a.AccountKey, digest[:], a.Signature) {
		return agreement.Hash{}, nil, agreement.Errorf(agreement.CodeBadSignature, "the attestation's signature doesn't verify")
	}
	return digest, results, nil
}

func fromResults(rs []agreement.RecordResult) []*affiliatev1.RecordResult {
	var out []*affiliatev1.RecordResult
	for _, r := range rs {
		p := &affiliatev1.RecordResult{
			Function: r.Function, Record: r.Record, Outcome: affiliatev1.Outcome(r.Outcome),
			Fuel: r.Fuel, OutputHash: r.Output, Code: r.Code, Message: r.Message,
		}
		for _, in := range r.Inputs {
			p.Inputs = append(p.Inputs, &affiliatev1.NamedHash{Name: in.Name, Hash: in.Hash, TypeName: in.Type})
		}
		out = append(out, p)
	}
	return out
}

func toResults(rs []*affiliatev1.RecordResult) []agreement.RecordResult {
	var out []agreement.RecordResult
	for _, p := range rs {
		r := agreement.RecordResult{
			Function: p.Function, Record: p.Record, Outcome: agreement.Outcome(p.Outcome), //nolint:gosec // compared, not trusted
			Fuel: p.Fuel, Output: p.OutputHash, Code: p.Code, Message: p.Message,
		}
		for _, in := range p.Inputs {
			r.Inputs = append(r.Inputs, agreement.NamedHash{Name: in.Name, Hash: in.Hash, Type: in.TypeName})
		}
		out = append(out, r)
	}
	return out
}

func digestOf(b []byte) agreement.Hash { return sha256.Sum256(b) }
