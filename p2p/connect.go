package p2p

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

const (
	// meshAll is up to how many affiliates every node connects to every other.
	meshAll = 100
	// meshSome is to how many it connects above that; the others are dialed
	// when there is something to send.
	meshSome = 40
	// maxDials bounds the attempts at the same time.
	maxDials = 16
	// quickRetries is how many attempts wait only retryFirst.
	quickRetries = 3
)

// connector keeps connections to the bootstrap peers and to the affiliates
// whose records are known.
type connector struct {
	l      *live
	signal chan struct{}

	mu    sync.Mutex
	tries map[peer.ID]*attempt // guarded by mu
}

// attempt is the state of dialing one peer.
type attempt struct {
	failures int
	next     time.Time
	dialing  bool
}

func newConnector(l *live) *connector {
	return &connector{l: l, signal: make(chan struct{}, 1), tries: map[peer.ID]*attempt{}}
}

// wake makes run look again.
func (c *connector) wake() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// run dials until the node stops.
func (c *connector) run() {
	for {
		timer := time.NewTimer(c.dialDue(time.Now()))
		select {
		case <-c.l.ctx.Done():
			timer.Stop()
			return
		case <-c.signal:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// dialDue starts the attempts that are due and returns how long the next one
// has time.
func (c *connector) dialDue(now time.Time) time.Duration {
	targets := c.targets()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.tries {
		if _, ok := targets[id]; !ok {
			delete(c.tries, id)
		}
	}
	dialing := 0
	for _, a := range c.tries {
		if a.dialing {
			dialing++
		}
	}
	wait := c.l.times.retryMost
	for id, info := range targets {
		a := c.tries[id]
		if a == nil {
			a = &attempt{}
			c.tries[id] = a
		}
		switch {
		case a.dialing || c.l.net.Network().Connectedness(id) == network.Connected:
		case a.next.After(now):
			wait = min(wait, a.next.Sub(now))
		case dialing < maxDials:
			dialing++
			a.dialing = true
			c.l.spawn(func() { c.dial(info, a) })
		}
	}
	return wait
}

// targets are the peers to be connected to, with their addresses.
func (c *connector) targets() map[peer.ID]peer.AddrInfo {
	targets := map[peer.ID]peer.AddrInfo{}
	known := c.l.table.all()
	if len(known) > meshAll {
		known = c.nearest(known, meshSome)
	}
	for _, a := range known {
		if a.peer != c.l.id && len(a.addrs) > 0 && time.Now().Before(a.expires()) {
			targets[a.peer] = peer.AddrInfo{ID: a.peer, Addrs: a.addrs}
		}
	}
	for _, b := range c.l.bootstrap {
		info := targets[b.ID]
		info.ID = b.ID
		info.Addrs = append(slices.Clone(info.Addrs), b.Addrs...)
		targets[b.ID] = info
	}
	return targets
}

// nearest picks affiliates that differ from node to node and stay the same
// over time: those whose hash together with the own key is lowest.
func (c *connector) nearest(all []*affiliate, n int) []*affiliate {
	rank := func(a *affiliate) [32]byte { return sha256.Sum256([]byte(string(c.l.id) + string(a.peer))) }
	slices.SortFunc(all, func(a, b *affiliate) int {
		ra, rb := rank(a), rank(b)
		return slices.Compare(ra[:], rb[:])
	})
	return all[:min(n, len(all))]
}

// dial makes one attempt and notes how it went.
func (c *connector) dial(info peer.AddrInfo, a *attempt) {
	err := c.l.connect(c.l.ctx, info)
	c.mu.Lock()
	a.dialing = false
	if err != nil {
		a.failures++
		a.next = time.Now().Add(c.delay(a.failures))
	} else {
		a.failures = 0
		a.next = time.Now().Add(c.delay(1)) // if it is lost at once
	}
	c.mu.Unlock()
	c.wake()
}

// lost makes a peer whose connection has closed due again soon.
func (c *connector) lost(id peer.ID) {
	c.mu.Lock()
	if a := c.tries[id]; a != nil && a.failures == 0 {
		a.next = time.Now().Add(jitter(c.l.times.retryFirst / 4))
	}
	c.mu.Unlock()
	c.wake()
}

// delay doubles from retryFirst to retryMost, after a few quick ones.
func (c *connector) delay(failures int) time.Duration {
	d := c.l.times.retryFirst
	for range min(failures-quickRetries, 30) {
		if d *= 2; d > c.l.times.retryMost {
			break
		}
	}
	return jitter(min(d, c.l.times.retryMost))
}

// jitter spreads d over its three quarters to five quarters.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d*3/4 + rand.N(d/2+1) //nolint:gosec // spreads load, hides nothing
}

// connect makes a connection to a peer and waits for its hello.
func (l *live) connect(ctx context.Context, info peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, l.times.dial+l.times.hello)
	defer cancel()
	if sw, ok := l.net.Network().(*swarm.Swarm); ok {
		sw.Backoff().Clear(info.ID) // the waiting is done here
	}
	l.sessions.note(info.ID, nil)
	err := l.net.Connect(ctx, info)
	if err == nil {
		_, err = l.sessions.await(ctx, info.ID, l.times.hello)
	}
	if err != nil && l.sessions.noted(info.ID) == "" { // what the hello noted says more
		l.sessions.note(info.ID, err)
	}
	return err
}
