package node

import (
	"context"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/p2p"
	"github.com/affiliate-node/affiliate/store"
)

func TestAbsentAffiliatesAreNamed(t *testing.T) {
	peers := []p2p.Peer{{Name: "A", Address: "tp1a", Connected: true}, {Name: "B", Address: "tp1b"}, {Address: "tp1c"}}
	if got := absent(peers[:1]); got != "" {
		t.Errorf("nobody is absent, but %q", got)
	}
	if got := absent(peers); got != "B tp1b, tp1c" {
		t.Error(got)
	}
	if got := absent(append(peers, peers[1:]...)); got != "B tp1b, tp1c, B tp1b, and 1 more: see `affiliate peers`" {
		t.Error(got)
	}
}

// What a worker has in hand is still to be done: why and status count it.
func TestQueueCountsWhatIsInHand(t *testing.T) {
	id := agreement.NewUUID()
	started, finish := make(chan struct{}), make(chan struct{})
	q := newQueue(func(context.Context, task) {
		started <- struct{}{}
		<-finish
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- q.run(ctx) }()
	q.add(effectTask(store.Effect{Agreement: id, Kind: uint8(agreement.SendProposal), Created: time.Unix(1, 0)}))
	<-started
	if n, oldest := q.len(); n != 1 || oldest.Unix() != 1 || len(q.of(id)) != 1 {
		t.Errorf("%d tasks, the oldest of %s, %d of the agreement", n, oldest, len(q.of(id)))
	}
	cancel()
	close(finish)
	<-ended
	if n, _ := q.len(); n != 0 {
		t.Errorf("%d tasks after the last", n)
	}
}
