package node

import (
	"context"
	"sync"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// claims knows, for each existing scope, the agreement that this node has
// signed for last and until when that signature can be used. Two agreements
// that read the same record and are signed at the same time would both commit,
// and the second would undo the first: so one waits until the other is on the
// chain, or can't be any more. As every owner of a scope signs, one honest owner
// is enough.
type claims struct {
	mu    sync.Mutex // guards scope
	scope map[agreement.UUID]claim
}

type claim struct {
	by    agreement.ID
	until time.Time // of the chain
}

func newClaims() *claims { return &claims{scope: map[agreement.UUID]claim{}} }

// take claims a scope for an agreement until a time of the chain, or says who
// has it now. What it returns undoes the claim.
func (c *claims) take(scope agreement.UUID, by agreement.ID, until, now time.Time) (undo func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, there := c.scope[scope]
	if there && old.by != by && !now.After(old.until) {
		return nil, agreement.Errorf(agreement.CodeBackpressure, "agreement %s has signatures on the same scope until %s of the chain's time",
			old.by, old.until.UTC().Format(time.TimeOnly))
	}
	next := claim{by, until}
	if there && old.by == by && old.until.After(until) {
		next.until = old.until
	}
	c.scope[scope] = next
	return func() { c.restore(scope, next, old) }, nil
}

func (c *claims) restore(scope agreement.UUID, from, to claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.scope[scope] != from:
	case to.by.IsZero():
		delete(c.scope, scope)
	default:
		c.scope[scope] = to
	}
}

// settle gives a scope free when its agreement is on the chain, or has ended.
func (c *claims) settle(s agreement.State) {
	if s.Height == 0 && !s.Phase.Final() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scope[s.Scope].by == s.ID {
		delete(c.scope, s.Scope)
	}
}

// recover claims what an agreement may have been signed for before a restart.
func (c *claims) recover(s agreement.State) {
	body, ok := s.Body()
	unsigned := s.Proposing() && s.Phase != agreement.Broadcasting && s.Phase != agreement.Closing
	if !ok || unsigned || s.NewScope || s.Height > 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := time.Unix(0, body.Timeout); until.After(c.scope[s.Scope].until) {
		c.scope[s.Scope] = claim{s.ID, until}
	}
}

// reserve is the last check before a signature on a transaction body: that the
// scope is still as the terms say, and that this node signs for no other
// agreement on it until the body has timed out. A new scope is nobody else's.
func (n *Node) reserve(ctx context.Context, s agreement.State, until, now time.Time) error {
	if s.NewScope {
		return nil
	}
	t, err := n.termsOf(s)
	if err != nil {
		return err
	}
	undo, err := n.claims.take(s.Scope, s.ID, until, now)
	if err != nil {
		return err
	}
	c, err := n.contract(ctx, t.contract, agreement.Hash(t.Module.ContentHash))
	if err == nil {
		err = n.checkScopeNow(ctx, &t, c)
	}
	if err != nil {
		undo()
	}
	return err
}
