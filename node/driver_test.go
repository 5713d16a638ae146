package node

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestConcurrentEventsAllCount lets the answers of twenty parties arrive at the
// same time, each of them three times, while documents are saved: none is lost
// and none counts twice.
func TestConcurrentEventsAllCount(t *testing.T) {
	const parties = 20
	n := bare(t)
	opening := agreement.Opening{
		ID: agreement.NewUUID(), Self: n.ring.Address(), Contract: agreement.Hash{3}, Scope: agreement.UUID{4},
		Participants: []agreement.Party{{Address: n.ring.Address(), Role: "OWNER"}},
		Deadline:     time.Now().Add(time.Hour), AckWithin: time.Minute,
	}
	for i := range parties {
		opening.Participants = append(opening.Participants, agreement.Party{Address: fmt.Sprintf("tp1party%d", i), Role: "OWNER"})
	}
	id, results := opening.ID, agreement.Hash{5}
	for _, e := range []agreement.Event{
		agreement.Submitted{Opening: opening},
		agreement.Executed{Records: []agreement.RecordResult{{Record: "r", Outcome: agreement.Pass}}, Results: results},
		agreement.BodyPrepared{Body: agreement.Body{Round: 1, Digest: agreement.Hash{6}, Timeout: time.Now().Add(time.Hour).UnixNano()}},
	} {
		if _, err := n.apply(t.Context(), id, e, cause{}); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for i := range parties {
		from := fmt.Sprintf("tp1party%d", i)
		c := mail(t, n, from)
		c.blobs = map[string][]byte{named(blobAttestation, from): []byte(from)}
		for range 3 {
			all.Go(func() {
				if _, err := n.apply(t.Context(), id, agreement.AssentReceived{From: from, Results: results, Round: 1}, c); err != nil {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			if err := n.saveBlobs(t.Context(), id, map[string][]byte{named("test", i): []byte(from)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s, err := n.state(id)
	if err != nil || s.Phase != agreement.Broadcasting {
		t.Fatalf("%s, %v", s.Phase, err)
	}
	effects, err := n.store.Effects()
	if err != nil {
		t.Fatal(err)
	}
	seen, broadcasts := map[uint64]bool{}, 0
	for _, e := range effects {
		if seen[e.Seq] {
			t.Errorf("effect %d is there twice", e.Seq)
		}
		seen[e.Seq] = true
		if agreement.EffectKind(e.Kind) == agreement.DoBroadcast {
			broadcasts++
		}
	}
	if broadcasts != 1 {
		t.Errorf("%d broadcasts", broadcasts)
	}
	n.wantEvents(t, id, "result_received", parties)
	for i := range parties {
		for _, name := range []string{named("test", i), named(blobAttestation, fmt.Sprintf("tp1party%d", i))} {
			if _, err := n.store.Blob(id, name); err != nil {
				t.Error(err)
			}
		}
	}
}

// wantEvents counts an agreement's events of a kind.
func (n *Node) wantEvents(t *testing.T, id agreement.ID, kind string, want int) {
	t.Helper()
	events, err := n.store.EventsAfter(0, &id, 1000)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for _, e := range events {
		if e.Kind == kind {
			got++
		}
	}
	if got != want {
		t.Errorf("%d events %q, want %d", got, kind, want)
	}
}

// TestRefusedEventsAreConsumed wants that a message or an effect whose event is
// refused doesn't come back.
func TestRefusedEventsAreConsumed(t *testing.T) {
	n := bare(t)
	e := proposed(n, nil)
	if _, err := n.apply(t.Context(), e.ID, e, mail(t, n, "proposal")); err != nil {
		t.Fatal(err)
	}
	c := mail(t, n, "a cancellation by somebody else")
	if _, err := n.apply(t.Context(), e.ID, agreement.CancellationReceived{From: "tp1other"}, c); agreement.CodeOf(err) != agreement.CodeNotAuthorized {
		t.Errorf("got %v", err)
	}
	if left, err := n.store.Inbox(); err != nil || len(left) > 0 {
		t.Errorf("%d messages are left, %v", len(left), err)
	}
	if s, err := n.state(e.ID); err != nil || s.Phase != agreement.Fetching {
		t.Errorf("%s, %v", s.Phase, err)
	}
}

// TestTimersAfterARestart sets the deadlines of what is open, and counts it.
func TestTimersAfterARestart(t *testing.T) {
	n := bare(t)
	open, ended := proposed(n, nil), proposed(n, nil)
	for _, e := range []agreement.Proposed{open, ended} {
		if _, err := n.apply(t.Context(), e.ID, e, mail(t, n, e.ID.String())); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.apply(t.Context(), ended.ID, agreement.Declined{Code: agreement.CodeRejected}, cause{}); err != nil {
		t.Fatal(err)
	}
	n.timers, n.queue = newTimers(), newQueue(nil) // the process is another
	if err := n.takeUp(); err != nil {
		t.Fatal(err)
	}
	if due := n.timers.dueByClock(open.Deadline.Add(time.Second)); len(due) != 1 || due[0] != open.ID {
		t.Errorf("due at the deadline: %v", due)
	}
	if got := n.timers.openOf("tp1proposer"); got != 1 {
		t.Errorf("%d are open", got)
	}
	if pending, _ := n.queue.len(); pending != 3 { // two fetches and a rejection
		t.Errorf("%d effects are pending", pending)
	}
}
