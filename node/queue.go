package node

import (
	"container/heap"
	"context"
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
	classData               // the store, objects from peers
	classSend               // peers
	classMail               // signature checks
	classCount
)

// workers per class. Executing more at once than there are cores gains nothing
// and costs memory; sends mostly wait.
var workers = [classCount]int{classExec: 2, classChain: 8, classData: 8, classSend: 32, classMail: 4}

// task is a pending effect, or a stored message that waits to be interpreted.
type task struct {
	class  class
	effect *store.Effect
	mail   *store.InboxMail
	at     time.Time // not before
	tries  int       // of mail
	number uint64    // in the order of adding; who is due longest goes first
}

func effectTask(e store.Effect) task {
	t := task{effect: &e, at: e.NotBefore}
	switch kind := agreement.EffectKind(e.Kind); kind {
	case agreement.DoExecute:
		t.class = classExec
	case agreement.DoPrepare, agreement.DoDecide, agreement.DoCheckBody, agreement.DoBroadcast:
		t.class = classChain
	case agreement.DoFetch, agreement.DoIndex:
		t.class = classData
	default:
		t.class = classSend
	}
	return t
}

func mailTask(m store.InboxMail) task { return task{class: classMail, mail: &m} }

// queue hands tasks to workers when their time has come. It holds nothing that
// the store doesn't: whoever stops it loses no work.
type queue struct {
	work func(context.Context, task)

	mu      sync.Mutex // guards what follows
	added   uint64
	pending [classCount]taskHeap
	doing   map[uint64]task           // what workers have in hand, by number
	wake    [classCount]chan struct{} // capacity 1
}

func newQueue(work func(context.Context, task)) *queue {
	q := &queue{work: work, doing: map[uint64]task{}}
	for i := range q.wake {
		q.wake[i] = make(chan struct{}, 1)
	}
	return q
}

func (q *queue) add(t task) {
	q.mu.Lock()
	q.added++
	t.number = q.added
	heap.Push(&q.pending[t.class], t)
	q.mu.Unlock()
	q.signal(t.class)
}

func (q *queue) signal(c class) {
	select {
	case q.wake[c] <- struct{}{}:
	default:
	}
}

// hurry makes everything for one peer due now: it has just been seen.
func (q *queue) hurry(to string) {
	q.mu.Lock()
	h := &q.pending[classSend]
	for i := range *h {
		if e := (*h)[i].effect; e != nil && e.To == to {
			(*h)[i].at = time.Time{}
		}
	}
	heap.Init(h)
	q.mu.Unlock()
	q.signal(classSend)
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

func (q *queue) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for c := range classCount {
		for range workers[c] {
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

// next takes the first task that is due, or says how long to wait for one.
func (q *queue) next(c class) (task, time.Duration, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := &q.pending[c]
	if len(*h) == 0 {
		return task{}, time.Hour, false
	}
	if wait := time.Until((*h)[0].at); wait > 0 {
		return task{}, wait, false
	}
	t := heap.Pop(h).(task)
	seen := t
	if t.effect != nil { // the worker may add to its own
		e := *t.effect
		seen.effect = &e
	}
	q.doing[t.number] = seen
	return t, 0, true
}

func (q *queue) done(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.doing, t.number)
}

// all yields every task that isn't done, in no order. The caller holds mu.
func (q *queue) all(yield func(task) bool) {
	for _, t := range q.doing {
		if !yield(t) {
			return
		}
	}
	for _, h := range q.pending {
		for _, t := range h {
			if !yield(t) {
				return
			}
		}
	}
}

type taskHeap []task

func (h taskHeap) Len() int      { return len(h) }
func (h taskHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *taskHeap) Push(x any)   { *h = append(*h, x.(task)) }

func (h taskHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].number < h[j].number
}

func (h *taskHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	*h = old[:len(old)-1]
	return t
}

// timers knows when an open agreement has to be looked at again.
type timers struct {
	mu    sync.Mutex // guards what follows
	clock map[agreement.ID]time.Time
	block map[agreement.ID]time.Time
}

func newTimers() *timers {
	return &timers{clock: map[agreement.ID]time.Time{}, block: map[agreement.ID]time.Time{}}
}

func (t *timers) set(s agreement.State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	put(t.clock, s.ID, s.NextTick())
	put(t.block, s.ID, s.NextBlockTime())
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
