package node

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/store"
)

// Retention says how long the data of an agreement that has ended is kept.
// Zero means for ever.
type Retention struct {
	Failed  time.Duration // after an agreement that came to nothing
	Default time.Duration // after one that is recorded on chain
	Rules   []KeepRule    // the first that matches goes before Default
}

// KeepRule is how long the data of one contract's recorded agreements is kept.
type KeepRule struct {
	Contract string        // hash, in hex, or name
	Keep     time.Duration // zero: for ever
}

// of is how long an agreement's data is kept after its end.
func (r Retention) of(s agreement.State) time.Duration {
	if !committed(s) {
		return r.Failed
	}
	for _, rule := range r.Rules {
		if rule.Contract == s.Contract.String() || rule.Contract == s.ContractName {
			return rule.Keep
		}
	}
	return r.Default
}

// committed reports whether the chain has, or may have, what an agreement says:
// one that found other records there than its own is kept as evidence.
func committed(s agreement.State) bool {
	return s.Phase != agreement.FailedPhase || s.Code == agreement.CodeCommittedMismatch
}

// retire lets the data of an agreement that has ended go when its time has
// come. It may be done again.
func (n *Node) retire(ctx context.Context, s agreement.State, ended time.Time) error {
	keep := n.cfg.Retention.of(s)
	if !s.Phase.Final() || keep == 0 {
		return nil
	}
	_, err := n.store.HoldUntil(ctx, s.ID.String(), ended.Add(keep))
	return err
}

// retireQuietly leaves to the sweep what fails.
func (n *Node) retireQuietly(ctx context.Context, s agreement.State, ended time.Time) {
	if err := n.retire(ctx, s, ended); err != nil && ctx.Err() == nil {
		n.log.Warn("how long an agreement's data is kept is set later", "agreement", s.ID, "error", err)
	}
}

// retireLate retires what an effect has stored after its agreement had ended.
func (n *Node) retireLate(ctx context.Context, id agreement.ID) {
	ctx, cancel := saving(ctx)
	defer cancel()
	if s, err := n.state(id); err == nil && s.Phase.Final() {
		n.retireQuietly(ctx, s, time.Now())
	}
}

const (
	retentionCursor = "retention"
	retentionEvery  = time.Hour
)

// sweepRetention retires all that has ended since it ran last: what a crash has
// kept from it, and data that came late.
func (n *Node) sweepRetention(ctx context.Context) error {
	seen, err := n.store.Cursor(retentionCursor)
	if err != nil {
		return err
	}
	for {
		events, err := n.store.EventsAfter(seen, nil, store.MaxPage)
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			if e.Kind != "complete" && e.Kind != "failed" {
				continue
			}
			s, err := n.state(e.Agreement)
			if err == nil {
				err = n.retire(ctx, s, e.Time)
			}
			if err != nil {
				return fmt.Errorf("retiring agreement %s: %w", e.Agreement, err)
			}
		}
		seen = events[len(events)-1].Sequence
		if err := n.store.SetCursor(ctx, retentionCursor, seen); err != nil {
			return err
		}
	}
}

// keepRetention sweeps from time to time.
func (n *Node) keepRetention(ctx context.Context) error {
	if err := n.sweepDrafts(ctx); err != nil && ctx.Err() == nil {
		n.log.Warn("looking for the data of agreements that never began", "error", err)
	}
	ticker := time.NewTicker(retentionEvery)
	defer ticker.Stop()
	for {
		if err := n.forgetErased(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("taking out of the index what was purged", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := n.sweepRetention(ctx); err != nil && ctx.Err() == nil {
				n.log.Warn("setting how long data is kept", "error", err)
			}
		}
	}
}

// drafts counts who stores data for an agreement that may not have begun.
type drafts struct {
	mu    sync.Mutex // guards count
	count map[agreement.ID]int
}

func (d *drafts) add(id agreement.ID, by int) (left int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count[id] += by; d.count[id] == 0 {
		delete(d.count, id)
		return 0
	}
	return d.count[id]
}

// drafting says that data is going to be stored for an agreement. The caller
// calls done, after which nothing is kept for one that hasn't begun.
func (n *Node) drafting(ctx context.Context, id agreement.ID) (done func()) {
	lock := n.locks.of(id)
	lock.Lock()
	defer lock.Unlock()
	n.drafts.add(id, 1)
	return func() {
		lock.Lock()
		defer lock.Unlock()
		if n.drafts.add(id, -1) == 0 {
			n.abandon(ctx, id)
		}
	}
}

// abandon lets go of what was stored for an agreement that never began, or that
// has ended. The caller holds the agreement's lock.
func (n *Node) abandon(ctx context.Context, id agreement.ID) {
	ctx, cancel := saving(ctx)
	defer cancel()
	s, err := n.state(id)
	switch {
	case err != nil:
	case s.Phase == agreement.None:
		_, err = n.store.Release(ctx, id.String())
	case s.Phase.Final(): // a repeated proposal has brought data again
		err = n.retire(ctx, s, time.Now())
	}
	if err != nil {
		n.log.Warn("the data of an agreement that never began is left", "agreement", id, "error", err)
	}
}

// sweepDrafts lets go of what a crash has left of agreements that never began.
func (n *Node) sweepDrafts(ctx context.Context) error {
	return n.store.Holders(ctx, func(name string) error {
		id, err := agreement.ParseUUID(name)
		if err != nil {
			return nil // another kind of reference
		}
		lock := n.locks.of(id)
		lock.Lock()
		defer lock.Unlock()
		s, err := n.state(id)
		if err != nil || s.Phase != agreement.None || n.drafts.add(id, 0) > 0 {
			return err
		}
		if events, err := n.store.EventsAfter(0, &id, 1); err != nil || len(events) > 0 {
			return err // it had begun: its state is what is lost, and that is for store verify
		}
		count, err := n.store.Release(ctx, name)
		if count > 0 {
			n.log.Info("the data of an agreement that never began is let go", "agreement", id, "objects", count)
		}
		return err
	})
}

// tombstone is what stays of a purged object: who removed what, when and why.
type tombstone struct {
	Version    int            `json:"version"`
	Object     agreement.Hash `json:"object"`
	Content    agreement.Hash `json:"content"`
	Size       int64          `json:"size"` // bytes of content
	When       time.Time      `json:"when"`
	Why        string         `json:"why"`
	Address    string         `json:"address"`
	AccountKey []byte         `json:"account_key"`
	Signature  []byte         `json:"signature,omitempty"` // over the rest, in canonical JSON
}

// signed is what the signature covers.
func (t tombstone) signed() ([]byte, error) {
	t.Signature = nil
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return agreement.Canonical(raw)
}

// tombstone makes the tombstone of an object.
func (n *Node) tombstone(o store.Object, why string, at time.Time) ([]byte, error) {
	t := tombstone{
		Version: 1, Object: o.ID, Content: o.ContentHash, Size: o.Size, When: at.UTC().Truncate(time.Second), Why: why,
		Address: n.ring.Address(), AccountKey: n.ring.AccountKey(),
	}
	text, err := t.signed()
	if err != nil {
		return nil, err
	}
	if t.Signature, err = n.ring.SignFor(keys.ForTombstone, text); err != nil {
		return nil, err
	}
	return json.Marshal(t)
}

// readTombstone verifies a tombstone.
func readTombstone(prefix string, raw []byte) (t tombstone, err error) {
	if err := json.Unmarshal(raw, &t); err != nil {
		return t, agreement.Errorf(agreement.CodeDamaged, "reading a tombstone: %w", err)
	}
	text, err := t.signed()
	if err != nil {
		return t, err
	}
	address, err := keys.AddressOf(prefix, t.AccountKey)
	if err != nil || address != t.Address || !keys.VerifyFor(keys.ForTombstone, t.AccountKey, text, t.Signature) {
		return t, agreement.Errorf(agreement.CodeBadSignature, "a tombstone isn't signed by %s", t.Address)
	}
	return t, nil
}
