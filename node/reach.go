package node

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

const (
	// awayFirst and awayMost bound how long an affiliate that no stream reaches
	// is left alone; it doubles from attempt to attempt.
	awayFirst = time.Second
	awayMost  = 15 * time.Second
	// attemptTimeout bounds one attempt to reach an affiliate.
	attemptTimeout = 20 * time.Second
)

// reach remembers whom no stream has reached lately. An attempt takes its time
// to fail; so that what waits for an absent affiliate doesn't keep everybody
// else's mail waiting, one attempt at a time finds out whether it is back, and
// the others fail at once.
type reach struct {
	mu   sync.Mutex // guards away
	away map[string]*absence
}

type absence struct {
	until    time.Time // when the next attempt may begin
	failures int
	probing  bool
}

func newReach() *reach { return &reach{away: map[string]*absence{}} }

// begin says whether an attempt to reach an affiliate may be made. The caller
// of one that may calls end.
func (r *reach) begin(to string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.away[to]
	if a == nil {
		return nil
	}
	if now := time.Now(); now.Before(a.until) {
		return agreement.Errorf(agreement.CodePeerUnreachable, "%s couldn't be reached a moment ago", to)
	}
	a.probing, a.until = true, time.Now().Add(attemptTimeout)
	return nil
}

// end says how an attempt went. Those that were under way when another failed
// tell nothing new by failing too.
func (r *reach) end(to string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if agreement.CodeOf(err) != agreement.CodePeerUnreachable { // an answer, or nothing of the peer
		delete(r.away, to)
		return
	}
	a := r.away[to]
	if a == nil {
		a = &absence{probing: true}
		r.away[to] = a
	}
	if !a.probing {
		return
	}
	a.probing = false
	a.failures++
	pause := min(awayFirst<<min(a.failures-1, 10), awayMost)
	a.until = time.Now().Add(pause - rand.N(pause/4)) //nolint:gosec // spreads load
}

// back forgets that an affiliate was away: it has been seen.
func (r *reach) back(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.away, to)
}
