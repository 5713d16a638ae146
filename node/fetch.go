package node

import (
	"context"
	"errors"
	"slices"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/exec"
)

// doFetch gets what this node lacks, and holds the terms to the chain and to
// the contract before it takes any data in.
func (n *Node) doFetch(ctx context.Context, s agreement.State) (agreement.Event, map[string][]byte, error) {
	if s.Missed == nil && n.cfg.Policy.decide(s.Contract, s.ContractName, s.Proposer) == agreement.Reject {
		return agreement.Declined{Code: agreement.CodeRejected, Reason: "this affiliate's policy rejects it"}, nil, nil
	}
	t, err := n.termsOf(s)
	if err != nil {
		return nil, nil, err
	}
	audience, err := t.audience()
	if err != nil {
		return nil, nil, err
	}
	from, err := n.sources(s)
	if err != nil {
		return nil, nil, err
	}
	if err := n.awaitRecords(&t, audience); err != nil {
		return nil, nil, err
	}
	if ok, err := n.vetted(t.contract); err != nil || !ok {
		if err == nil { // to be looked at, also when the proposer has gone
			err = n.fetchModule(ctx, from, &t, audience)
		}
		return agreement.NotVetted{}, nil, err
	}
	c, err := n.fetchContract(ctx, from, &t, audience)
	if err != nil {
		return nil, nil, err
	}
	if s.Missed == nil { // else the scope has changed since, and the chain's hashes prove more
		if err := n.checkTerms(ctx, &t, c); err != nil {
			return nil, nil, err
		}
	}
	for _, in := range slices.Concat(t.Inputs, t.Existing) {
		if err := n.obtainFrom(ctx, from, in.Object, t.id.String(), audience); err != nil {
			return nil, nil, err
		}
	}
	return agreement.DataReady{}, nil, n.store.PutContract(ctx, storedContract(c))
}

// awaitRecords wants the encryption key of every signer, to whom the results
// will be sealed. Who has just joined may lack some for a moment.
func (n *Node) awaitRecords(t *terms, audience []string) error {
	signers, err := t.signers()
	if err != nil {
		return err
	}
	if _, _, err := n.recipients(audience, signers); err != nil {
		return agreement.Errorf(agreement.CodePeerUnreachable, "%w", err)
	}
	return nil
}

// fetchModule gets the module, which every member may read. None of it runs, and
// it goes with the agreement: anybody can propose any. A contract has one
// module: where the contract is known, no other is taken.
func (n *Node) fetchModule(ctx context.Context, from []string, t *terms, audience []string) error {
	if _, err := n.knownContract(t); err != nil {
		return err
	}
	return n.keepModule(ctx, from, t, audience, t.id.String())
}

// knownContract reports whether the contract of terms is known here.
func (n *Node) knownContract(t *terms) (bool, error) {
	known, err := n.store.Contract(t.contract)
	if errors.Is(err, agreement.ErrNotFound) {
		return false, nil
	}
	if err == nil && known.Module != agreement.Hash(t.Module.ContentHash) {
		err = agreement.Errorf(agreement.CodeBadModule, "contract %s has another module than the terms name", t.contract)
	}
	return err == nil, err
}

// keepModule keeps the module of terms for an owner, and gets it first where it
// isn't here.
func (n *Node) keepModule(ctx context.Context, from []string, t *terms, audience []string, owner string) error {
	have, err := n.holdHeld(ctx, agreement.Hash(t.Module.ContentHash), n.ring.Address(), owner)
	if err == nil && !have {
		err = n.obtainFrom(ctx, from, t.Module, owner, audience)
	}
	return err
}

// fetchContract gets the module and loads it, in which it says what it is. It is
// kept for the contract once it has turned out to be that.
func (n *Node) fetchContract(ctx context.Context, from []string, t *terms, audience []string) (*exec.Contract, error) {
	known, err := n.knownContract(t)
	owner := contractOwner(t.contract)
	if err == nil && !known {
		owner = t.id.String()
	}
	if err == nil {
		err = n.keepModule(ctx, from, t, audience, owner)
	}
	if err != nil {
		return nil, err
	}
	c, err := n.contract(ctx, t.contract, agreement.Hash(t.Module.ContentHash))
	if err == nil && !known {
		err = n.keepModule(ctx, from, t, audience, contractOwner(t.contract))
	}
	return c, err
}

// checkTerms is what proposer and parties alike demand of terms.
func (n *Node) checkTerms(ctx context.Context, t *terms, c *exec.Contract) error {
	if err := t.checkContract(c.Manifest); err != nil {
		return err
	}
	if err := n.chain.CheckSpecification(ctx, chainclient.Specification{Contract: c.Hash, Manifest: c.Manifest}); err != nil {
		return err
	}
	return n.checkScopeNow(ctx, t, c)
}

// checkScopeNow holds the terms to the scope as the chain has it at present.
func (n *Node) checkScopeNow(ctx context.Context, t *terms, c *exec.Contract) error {
	scope, err := n.chain.Scope(ctx, t.scope)
	switch {
	case errors.Is(err, agreement.ErrNotFound):
		return t.checkScope(nil, c.Manifest)
	case err != nil:
		return err
	}
	return t.checkScope(&scope, c.Manifest)
}
