package node

import (
	"sync"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// timers knows which agreements are open, who proposed them, and when each has
// to be looked at again.
type timers struct {
	mu    sync.Mutex // guards what follows
	clock map[agreement.ID]time.Time
	block map[agreement.ID]time.Time
	open  map[agreement.ID]string // the proposer
	count map[string]int          // of open, by proposer
}

func newTimers() *timers {
	return &timers{
		clock: map[agreement.ID]time.Time{}, block: map[agreement.ID]time.Time{},
		open: map[agreement.ID]string{}, count: map[string]int{},
	}
}

func (t *timers) set(s agreement.State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	put(t.clock, s.ID, s.NextTick())
	put(t.block, s.ID, s.NextBlockTime())
	_, was := t.open[s.ID]
	switch {
	case !was && !s.Phase.Final():
		t.open[s.ID] = s.Proposer
		t.count[s.Proposer]++
	case was && s.Phase.Final():
		delete(t.open, s.ID)
		if t.count[s.Proposer]--; t.count[s.Proposer] == 0 {
			delete(t.count, s.Proposer)
		}
	}
}

// openOf counts the open agreements that an affiliate proposed.
func (t *timers) openOf(proposer string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count[proposer]
}

func put(m map[agreement.ID]time.Time, id agreement.ID, at time.Time) {
	if at.IsZero() {
		delete(m, id)
		return
	}
	m[id] = at
}

func (t *timers) dueByClock(now time.Time) []agreement.ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return due(t.clock, func(at time.Time) bool { return !now.Before(at) })
}

// dueByBlock lists agreements whose time has passed on the chain; a
// transaction whose timeout equals the block's time may still be in it.
func (t *timers) dueByBlock(now time.Time) []agreement.ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return due(t.block, func(at time.Time) bool { return now.After(at) })
}

func due(m map[agreement.ID]time.Time, isDue func(time.Time) bool) []agreement.ID {
	var out []agreement.ID
	for id, at := range m {
		if isDue(at) {
			out = append(out, id)
		}
	}
	return out
}
