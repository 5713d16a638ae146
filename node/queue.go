package node

import (
	"container/heap"
	"context"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store"
)

// class keeps kinds of work that wait for different things from blocking one
// another.
type class int

const (
	classExec  class = iota // the processor
	classChain              // the chain
	classData               // objects from peers
	classIndex              // the store and the index
	classSend               // peers
	classMail               // signature checks
	classCount
)

// workers says how many tasks of a class run at once: all, and of them those
// for one peer, so that none can hold up what others wait for. Executing more
// at once than there are cores gains nothing and costs memory; sends mostly
// wait.
var workers = [classCount]struct{ all, each int }{
	classExec: {2, 2}, classChain: {8, 8}, classData: {8, 4}, classIndex: {4, 4}, classSend: {32, 16}, classMail: {4, 3},
}

// task is a pending effect, or a stored message that waits to be interpreted.
type task struct {
	class  class
	peer   string // whom the work is for, or who caused it; empty: nobody else
	effect *store.Effect
	mail   *store.InboxMail
	at     time.Time // not before
	began  time.Time // when the last attempt began
	tries  int       // of mail
	number uint64    // in the order of adding; who is due longest goes first
}

func effectTask(e store.Effect) task {
	t := task{effect: &e, peer: e.To, at: e.NotBefore}
	switch kind := agreement.EffectKind(e.Kind); kind {
	case agreement.DoExecute:
		t.class = classExec
	case agreement.DoPrepare, agreement.DoDecide, agreement.DoCheckBody, agreement.DoBroadcast:
		t.class = classChain
	case agreement.DoFetch:
		t.class = classData
	case agreement.DoIndex:
		t.class = classIndex
	default:
		t.class = classSend
	}
	return t
}

func mailTask(m store.InboxMail, from string) task {
	return task{class: classMail, peer: from, mail: &m}
}

// queue hands tasks to workers when their time has come: first those of the
// peer for which least is being done, among equals the one that is due the
// longest. It holds nothing that the store doesn't: whoever stops it loses no
// work.
type queue struct {
	work func(context.Context, task)

	mu    sync.Mutex // guards what follows
	added uint64
	lanes [classCount]map[string]*lane // by peer
	wake  [classCount]chan struct{}    // capacity 1
}

// lane is one peer's part of a class.
type lane struct {
	pending taskHeap
	doing   map[uint64]task // what workers have in hand, by number
	seen    time.Time       // when the peer was last seen, while there is work
}

func newQueue(work func(context.Context, task)) *queue {
	q := &queue{work: work}
	for c := range q.wake {
		q.lanes[c] = map[string]*lane{}
		q.wake[c] = make(chan struct{}, 1)
	}
	return q
}

func (q *queue) add(t task) {
	q.mu.Lock()
	l := q.lanes[t.class][t.peer]
	if l == nil {
		l = &lane{doing: map[uint64]task{}}
		q.lanes[t.class][t.peer] = l
	}
	if l.seen.After(t.began) {
		t.at = time.Time{} // the attempt began before the peer was back
	}
	q.added++
	t.number = q.added
	heap.Push(&l.pending, t)
	q.mu.Unlock()
	q.signal(t.class)
}

func (q *queue) signal(c class) {
	select {
	case q.wake[c] <- struct{}{}:
	default:
	}
}

// hurry makes everything that goes to one peer, or comes from it, due now: it
// has just been seen.
func (q *queue) hurry(peer string) {
	for _, c := range []class{classSend, classData} {
		q.mu.Lock()
		if l := q.lanes[c][peer]; l != nil {
			l.seen = time.Now()
			for i := range l.pending {
				l.pending[i].at = time.Time{}
			}
			heap.Init(&l.pending)
		}
		q.mu.Unlock()
		q.signal(c)
	}
}

// hurryChain makes due what has failed because the chain was away: it is back.
func (q *queue) hurryChain() {
	for c := range classCount {
		q.mu.Lock()
		for _, l := range q.lanes[c] {
			if c == classChain {
				l.seen = time.Now()
			}
			for i := range l.pending {
				if l.pending[i].waitsForChain() {
					l.pending[i].at = time.Time{}
				}
			}
			heap.Init(&l.pending)
		}
		q.mu.Unlock()
		q.signal(c)
	}
}

func (t task) waitsForChain() bool {
	return t.effect != nil && strings.Contains(t.effect.LastError, string(agreement.CodeChainUnreachable)) || t.mail != nil && t.tries > 0
}

// all yields every task that isn't done, in no order. The caller holds mu.
func (q *queue) all(yield func(task) bool) {
	for _, lanes := range q.lanes {
		for _, l := range lanes {
			for _, t := range l.doing {
				if !yield(t) {
					return
				}
			}
			for _, t := range l.pending {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// len counts what is pending, and says since when the oldest effect is.
func (q *queue) len() (n int, oldest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for t := range q.all {
		n++
		if t.effect != nil && (oldest.IsZero() || t.effect.Created.Before(oldest)) {
			oldest = t.effect.Created
		}
	}
	return n, oldest
}

// mailOf counts the messages of one sender that wait, and their bytes.
func (q *queue) mailOf(from string) (n int, size int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[classMail][from]
	if l == nil {
		return 0, 0
	}
	for _, t := range l.pending {
		size += int64(len(t.mail.Signed))
	}
	return len(l.pending), size
}

func (q *queue) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for c := range classCount {
		for range workers[c].all {
			g.Go(func() error {
				q.serve(ctx, c)
				return nil
			})
		}
	}
	return g.Wait()
}

func (q *queue) serve(ctx context.Context, c class) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		t, wait, ok := q.next(c)
		if ok {
			q.signal(c) // there may be more for the next worker
			q.work(ctx, t)
			q.done(t)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-q.wake[c]:
		case <-timer.C:
		}
	}
}

// next takes a task that is due, or says how long to wait for one. The caller
// calls done with it.
func (q *queue) next(c class) (task, time.Duration, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, wait := time.Now(), time.Hour
	var best *lane
	for _, l := range q.lanes[c] {
		if len(l.pending) == 0 || len(l.doing) >= workers[c].each {
			continue // who ends the lane's work looks again
		}
		if d := l.pending[0].at.Sub(now); d > 0 {
			wait = min(wait, d)
		} else if best == nil || l.before(best) {
			best = l
		}
	}
	if best == nil {
		return task{}, wait, false
	}
	t := heap.Pop(&best.pending).(task)
	t.began = now
	seen := t
	if t.effect != nil { // the worker may add to its own
		e := *t.effect
		seen.effect = &e
	}
	best.doing[t.number] = seen
	return t, 0, true
}

// before orders lanes whose first task is due.
func (l *lane) before(other *lane) bool {
	if len(l.doing) != len(other.doing) {
		return len(l.doing) < len(other.doing)
	}
	return l.pending[0].before(other.pending[0])
}

// done says that a task has been carried out, or added again.
func (q *queue) done(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[t.class][t.peer]
	delete(l.doing, t.number)
	if len(l.doing) == 0 && len(l.pending) == 0 {
		delete(q.lanes[t.class], t.peer)
	}
}

func (t task) before(other task) bool {
	if !t.at.Equal(other.at) {
		return t.at.Before(other.at)
	}
	return t.number < other.number
}

type taskHeap []task

func (h taskHeap) Len() int           { return len(h) }
func (h taskHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h taskHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *taskHeap) Push(x any)        { *h = append(*h, x.(task)) }
func (h *taskHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = task{} // or its bytes stay
	*h = old[:len(old)-1]
	return t
}
