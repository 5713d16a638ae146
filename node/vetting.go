package node

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/store"
)

// vetted reports whether this affiliate has consented to run a contract: it has
// vetted it, a rule of its policy pins it, or it runs what any member proposes.
func (n *Node) vetted(contract agreement.Hash) (bool, error) {
	if n.cfg.RunUnvetted || n.cfg.Policy.pins(contract) {
		return true, nil
	}
	_, err := n.store.Vetting(contract)
	if errors.Is(err, agreement.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// mustBeVetted is vetted as an error for who wants to run the contract here.
func (n *Node) mustBeVetted(contract agreement.Hash) error {
	ok, err := n.vetted(contract)
	if err != nil || ok {
		return err
	}
	return agreement.Errorf(agreement.CodeNotVetted, "contract %s isn't vetted here", contract).
		WithHint("see what it is with `affiliate contract show %s`, and consent with `affiliate contract vet %s`", contract, contract)
}

// vet records the consent to a contract, which it gets first where it isn't
// here: nobody consents to what this node hasn't seen.
func (n *Node) vet(ctx context.Context, contract agreement.Hash, note string) (store.Contract, error) {
	if len(note) > store.MaxNote || !utf8.ValidString(note) {
		return store.Contract{}, agreement.Errorf(agreement.CodeBadRequest, "a note is text of at most %d bytes", store.MaxNote).
			WithHint("shorten it")
	}
	c, err := n.contractByHash(ctx, contract)
	if err != nil {
		return store.Contract{}, err
	}
	return c, n.consent(ctx, contract, note)
}

// consent stores a vetting; one that is there keeps its time, and its note
// unless there is another.
func (n *Node) consent(ctx context.Context, contract agreement.Hash, note string) error {
	v, err := n.store.Vetting(contract)
	switch {
	case errors.Is(err, agreement.ErrNotFound):
		v = store.Vetting{Contract: contract, Since: time.Now(), Note: note}
	case err != nil:
		return err
	case note != "":
		v.Note = note
	}
	if err := n.store.PutVetting(ctx, v); err != nil {
		return err
	}
	n.log.Info("contract vetted", "contract", contract, "note", note)
	if err := n.announceVetting(); err != nil {
		return err
	}
	return n.resumeVetted(ctx)
}

// unvet takes the consent back. What runs or has run goes on; what hasn't begun
// to run waits for a new one.
func (n *Node) unvet(ctx context.Context, contract agreement.Hash) error {
	if err := n.store.DropVetting(ctx, contract); err != nil {
		return err
	}
	n.log.Info("contract not vetted any more", "contract", contract)
	return n.announceVetting()
}

// announceVetting tells the other affiliates what is vetted here, so that they
// learn before they propose.
func (n *Node) announceVetting() error {
	if n.cfg.RunUnvetted {
		return nil
	}
	n.announcing.Lock() // or an older list could come last
	defer n.announcing.Unlock()
	all, err := n.store.Vettings()
	if err != nil {
		return err
	}
	n.host.SetVetting(vettingOf(n.cfg.Policy.pinned(), all))
	return nil
}

// vettingOf is what a record says: the pinned contracts and the latest vetted
// ones, as many as it takes.
func vettingOf(pinned []agreement.Hash, vettings []store.Vetting) *affiliatev1.Vetting {
	slices.SortStableFunc(vettings, func(a, b store.Vetting) int { return b.Since.Compare(a.Since) })
	v := new(affiliatev1.Vetting)
	add := func(h agreement.Hash) {
		at, there := slices.BinarySearchFunc(v.Contracts, h[:], bytes.Compare)
		switch {
		case there:
		case len(v.Contracts) == keys.MaxVetted:
			v.More = true
		default:
			v.Contracts = slices.Insert(v.Contracts, at, h[:])
		}
	}
	for _, h := range pinned {
		add(h)
	}
	for _, w := range vettings {
		add(w.Contract)
	}
	return v
}

// resumeVetted lets everything go on that waited for a consent which is there.
func (n *Node) resumeVetted(ctx context.Context) error {
	for s, err := range n.inPhase(agreement.Vetting) {
		if err == nil {
			err = n.resume(ctx, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// resume lets one agreement go on, if it waits for a consent that is there.
func (n *Node) resume(ctx context.Context, s agreement.State) error {
	if s.Phase != agreement.Vetting {
		return nil
	}
	ok, err := n.vetted(s.Contract)
	if err == nil && ok {
		_, err = n.apply(ctx, s.ID, agreement.Vetted{}, cause{})
	}
	return err
}

// inPhase yields the agreements in a phase, as they are when their turn comes.
func (n *Node) inPhase(phase agreement.Phase) func(func(agreement.State, error) bool) {
	return func(yield func(agreement.State, error) bool) {
		var after agreement.ID
		for {
			ids, err := n.store.Agreements(after, phase.String(), store.MaxPage)
			if err != nil {
				yield(agreement.State{}, err)
				return
			}
			for _, id := range ids {
				s, err := n.state(id)
				if err == nil && s.Phase != phase {
					continue
				}
				if !yield(s, err) {
					return
				}
			}
			if len(ids) < store.MaxPage {
				return
			}
			after = ids[len(ids)-1]
		}
	}
}
