package node

import (
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestClaims lets this node sign for one agreement on a scope at a time.
func TestClaims(t *testing.T) {
	c, scope := newClaims(), agreement.UUID{1}
	x, y := agreement.ID{10}, agreement.ID{20}
	now := time.Unix(1_700_000_000, 0)
	until := now.Add(2 * time.Minute)
	take := func(id agreement.ID, until, now time.Time) (func(), bool) {
		undo, err := c.take(scope, id, until, now)
		if err != nil && !agreement.Retryable(err) {
			t.Fatal(err)
		}
		return undo, err == nil
	}
	if _, ok := take(x, until, now); !ok {
		t.Fatal("a free scope can't be claimed")
	}
	if _, ok := take(y, until, until); ok {
		t.Error("it can be claimed twice")
	}
	undo, ok := take(x, until.Add(-time.Minute), now) // another round of the same
	if !ok {
		t.Error("it can't be claimed again")
	}
	undo()
	if _, ok := take(y, until, until); ok {
		t.Error("what was signed first is forgotten")
	}
	undo, ok = take(y, until.Add(time.Minute), until.Add(1)) // x can't be used any more
	if !ok {
		t.Fatal("it is claimed for ever")
	}
	undo() // nothing was signed
	c.settle(agreement.State{ID: y, Scope: scope, Phase: agreement.Assented})
	c.settle(agreement.State{ID: x, Scope: scope, Phase: agreement.Indexing, Height: 7})
	if len(c.scope) > 0 {
		t.Error("a committed agreement keeps its claim")
	}
}

// TestClaimsAfterARestart claims what may have been signed before.
func TestClaimsAfterARestart(t *testing.T) {
	body := []agreement.Body{{Round: 1, Timeout: time.Unix(1_700_000_000, 0).UnixNano()}}
	for what, c := range map[string]struct {
		s    agreement.State
		want bool
	}{
		"a party that has assented":     {agreement.State{Self: "a", Proposer: "p", Phase: agreement.Assented, Bodies: body}, true},
		"a party that has given up":     {agreement.State{Self: "a", Proposer: "p", Phase: agreement.Closing, Bodies: body}, true},
		"a party that hasn't signed":    {agreement.State{Self: "a", Proposer: "p", Phase: agreement.Deciding}, false},
		"on the chain":                  {agreement.State{Self: "a", Proposer: "p", Phase: agreement.Indexing, Bodies: body, Height: 7}, false},
		"a proposer that has signed":    {agreement.State{Self: "p", Proposer: "p", Phase: agreement.Broadcasting, Bodies: body}, true},
		"a proposer that hasn't signed": {agreement.State{Self: "p", Proposer: "p", Phase: agreement.Collecting, Bodies: body}, false},
		"a new scope":                   {agreement.State{Self: "a", Proposer: "p", Phase: agreement.Assented, Bodies: body, NewScope: true}, false},
	} {
		claims := newClaims()
		claims.recover(c.s)
		if got := len(claims.scope) == 1; got != c.want {
			t.Errorf("%s: claimed %v", what, got)
		}
	}
}
