package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store"
)

// running is a queue at work in a bubble of fake time; it notes what it did.
type running struct {
	*queue
	start time.Time

	mu   sync.Mutex
	did  []string // guarded by mu; "peer at 1s"
	hold map[string]chan struct{}
}

// hold makes work for a peer last until its channel is closed.
func runQueue(t *testing.T, hold ...string) *running {
	r := &running{start: time.Now(), hold: map[string]chan struct{}{}}
	for _, peer := range hold {
		r.hold[peer] = make(chan struct{})
	}
	r.queue = newQueue(func(ctx context.Context, task task) {
		r.mu.Lock()
		r.did = append(r.did, fmt.Sprintf("%s at %s", task.peer, time.Since(r.start)))
		r.mu.Unlock()
		if wait := r.hold[task.peer]; wait != nil {
			select {
			case <-wait:
			case <-ctx.Done():
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { _ = r.run(ctx) })
	t.Cleanup(func() { cancel(); all.Wait() })
	return r
}

// send is a message that is due after a while.
func send(to string, after time.Duration) task {
	return effectTask(store.Effect{Kind: uint8(agreement.SendAssent), To: to, NotBefore: time.Now().Add(after), Created: time.Now()})
}

// done waits until nothing moves any more, and returns what was done since.
func (r *running) sofar() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	did := r.did
	r.did = nil
	return did
}

func (r *running) want(t *testing.T, want ...string) {
	t.Helper()
	if did := r.sofar(); !slices.Equal(did, want) {
		t.Errorf("done: %q, want %q", did, want)
	}
}

func TestQueueKeepsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runQueue(t)
		r.add(send("late", 3*time.Second))
		r.add(send("soon", time.Second))
		r.add(send("now", 0))
		r.want(t, "now at 0s")
		time.Sleep(time.Second)
		r.want(t, "soon at 1s")
		r.add(send("between", time.Second))
		time.Sleep(time.Hour)
		r.want(t, "between at 2s", "late at 3s")
	})
}

// TestQueueLosesNothing adds tasks of all classes, due at any time, from many
// goroutines; each is carried out once, when it is due and not later.
func TestQueueLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		late, did := time.Duration(0), map[string]int{}
		q := newQueue(func(_ context.Context, task task) {
			mu.Lock()
			defer mu.Unlock()
			did[string(task.effect.Sealed)]++
			late = max(late, time.Since(task.at))
			if time.Now().Before(task.at) {
				t.Error("too early")
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _ = q.run(ctx) })
		var adding sync.WaitGroup
		for g := range 8 {
			adding.Go(func() {
				for i := range 200 {
					time.Sleep(rand.N(20 * time.Millisecond))
					name := fmt.Appendf(nil, "%d/%d", g, i)
					q.add(task{
						class: class(rand.N(int(classCount))), peer: string('a' + byte(rand.N(5))), at: time.Now().Add(rand.N(time.Second)),
						effect: &store.Effect{Sealed: name},
					})
				}
			})
		}
		adding.Wait()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(did) != 1600 || late > 0 {
			t.Errorf("%d of 1600 were done, up to %s late", len(did), late)
		}
		for name, n := range did {
			if n != 1 {
				t.Errorf("%s was done %d times", name, n)
			}
		}
		if n, _ := q.len(); n != 0 {
			t.Errorf("%d are pending", n)
		}
		for c, lanes := range q.lanes {
			if len(lanes) > 0 {
				t.Errorf("class %d keeps %d empty lanes", c, len(lanes))
			}
		}
		cancel()
		all.Wait()
	})
}

// TestQueueHurries makes what waits for a peer due when it is seen, an attempt
// that was under way then too, and nothing else.
func TestQueueHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runQueue(t)
		r.add(send("a", time.Hour))
		r.add(send("a", 2*time.Hour))
		r.add(send("b", time.Hour))
		fetch := effectTask(store.Effect{Kind: uint8(agreement.DoFetch), To: "a", NotBefore: time.Now().Add(time.Hour)})
		r.add(fetch)
		time.Sleep(time.Second)
		r.hurry("a")
		r.want(t, "a at 1s", "a at 1s", "a at 1s")
		time.Sleep(time.Hour)
		r.want(t, "b at 1h0m0s")
	})
	synctest.Test(t, func(t *testing.T) {
		r := runQueue(t, "a")
		r.add(send("a", 0))
		r.want(t, "a at 0s")
		time.Sleep(time.Second)
		r.hurry("a") // while an attempt is under way that will fail
		again := send("a", time.Hour)
		again.began = r.start
		r.add(again)
		r.want(t, "a at 1s")
		time.Sleep(time.Second)
		later := send("a", time.Hour) // of an attempt that began afterwards
		later.began = time.Now()
		r.add(later)
		r.want(t)
	})
}

// TestQueueHurriesWhatWaitsForTheChain and nothing else.
func TestQueueHurriesWhatWaitsForTheChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runQueue(t)
		for _, c := range []struct {
			kind agreement.EffectKind
			to   string
			err  string
		}{
			{agreement.DoPrepare, "", "building: CHAIN_UNREACHABLE: asking the chain"},
			{agreement.SendAssent, "a", "CHAIN_UNREACHABLE: asking the chain"},
			{agreement.SendAssent, "b", "PEER_UNREACHABLE: asking the peer"},
			{agreement.DoDecide, "", ""},
		} {
			r.add(effectTask(store.Effect{Kind: uint8(c.kind), To: c.to, LastError: c.err, NotBefore: time.Now().Add(time.Hour)}))
		}
		r.want(t)
		time.Sleep(time.Second)
		r.hurryChain()
		did := r.sofar()
		slices.Sort(did)
		if !slices.Equal(did, []string{" at 1s", "a at 1s"}) {
			t.Errorf("%q", did)
		}
	})
}

// TestQueueSharesWorkers lets a peer that never answers, and one class, hold up
// nobody else.
func TestQueueSharesWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runQueue(t, "slow")
		for range 100 {
			r.add(send("slow", 0))
		}
		if did := r.sofar(); len(did) != workers[classSend].each {
			t.Errorf("%d workers of %d are with one peer, want %d", len(did), workers[classSend].all, workers[classSend].each)
		}
		for _, peer := range []string{"b", "c", "b"} {
			r.add(send(peer, 0))
			r.want(t, peer+" at 0s")
		}
		r.add(mailTask(store.InboxMail{}, "slow"))
		r.want(t, "slow at 0s") // another class
		close(r.hold["slow"])
		if did := r.sofar(); len(did) != 100-workers[classSend].each {
			t.Errorf("%d of the slow peer's were done in the end", len(did))
		}
	})
}

// TestQueueIsFair gives the next free worker to the peer that has fewest.
func TestQueueIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runQueue(t, "greedy", "other")
		exec := func(peer string) task { return task{class: classExec, peer: peer, effect: &store.Effect{}} }
		for range 10 {
			r.add(exec("greedy"))
		}
		r.want(t, "greedy at 0s", "greedy at 0s")
		time.Sleep(time.Second)
		r.add(exec("modest"))
		r.want(t)
		close(r.hold["greedy"])
		if did := r.sofar(); len(did) != 9 || !slices.Contains(did[:2], "modest at 1s") {
			t.Errorf("%q", did)
		}
	})
}

func TestQueueTells(t *testing.T) {
	q := newQueue(nil)
	id := agreement.UUID{7}
	old := time.Now().Add(-time.Hour)
	q.add(effectTask(store.Effect{Kind: uint8(agreement.SendAssent), To: "a", Created: time.Now(), Agreement: id, Seq: 2}))
	q.add(effectTask(store.Effect{Kind: uint8(agreement.DoIndex), Created: old, Agreement: id, Seq: 1}))
	q.add(mailTask(store.InboxMail{Signed: make([]byte, 10)}, "a"))
	q.add(mailTask(store.InboxMail{Signed: make([]byte, 5)}, "a"))
	q.add(mailTask(store.InboxMail{Signed: make([]byte, 7)}, "b"))
	if n, oldest := q.len(); n != 5 || !oldest.Equal(old) {
		t.Errorf("%d pending, the oldest since %s", n, oldest)
	}
	if n, size := q.mailOf("a"); n != 2 || size != 15 {
		t.Errorf("of a: %d messages of %d bytes", n, size)
	}
	if of := q.of(id); len(of) != 2 || of[0].Seq != 1 {
		t.Errorf("of the agreement: %v", of)
	}
}

func TestBackoff(t *testing.T) {
	for attempts, want := range map[int]time.Duration{1: retryFirst, 2: 2 * retryFirst, 5: 16 * retryFirst, 11: retryMost, 1000: retryMost} {
		low, high := time.Duration(1<<62), time.Duration(0)
		for range 1000 {
			d := backoff(attempts)
			low, high = min(low, d), max(high, d)
		}
		if low < want*7/8 || high > want*9/8 || low == high {
			t.Errorf("after %d attempts: from %s to %s, want about %s", attempts, low, high, want)
		}
	}
}
