package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits of one batch. Badger takes 15 % of the memtable in a transaction,
// 2.4 MiB, where an entry counts with its key and a value of up to
// valueThreshold; larger values count as pointers. 1500 entries of 1.2 KiB
// stay below.
const (
	maxBatchEntries = 1500
	maxBatchBytes   = 32 << 20 // values held in memory for one batch
)

// committer lets everybody who writes at the same time share one transaction,
// and with it one wait for the disk. Whoever finds nobody leading takes the
// turn and commits the whole queue, others' operations included. Since only
// the leader decides and writes, no two decisions conflict, and event
// sequences have no gap and become visible in order.
type committer struct {
	turn chan struct{} // holds one element while somebody leads

	mu    sync.Mutex // guards queue
	queue []*operation
}

// operation is one caller's part of a batch. It is there whole or not at all.
type operation struct {
	run     func(*writer) error
	entries int // upper bound of what run writes
	size    int64
	done    chan struct{}
	err     error // valid once done is closed
}

// writer is what an operation sees: the snapshot with the earlier operations
// of its batch applied. Its own writes are applied when it returns nil.
type writer struct {
	txn    *badger.Txn
	mem    *memory // may be changed once nothing can fail any more
	staged []*badger.Entry
}

func (w *writer) get(key []byte, fn func([]byte) error) error { return getValue(w.txn, key, fn) }

// has reports whether the key is there.
func (w *writer) has(key []byte) (bool, error) {
	_, err := w.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (w *writer) set(key, value []byte) { w.staged = append(w.staged, badger.NewEntry(key, value)) }

func (w *writer) setFor(key, value []byte, lifetime time.Duration) {
	w.staged = append(w.staged, badger.NewEntry(key, value).WithTTL(lifetime))
}

// del marks a deletion by an entry without key and value: Badger has no
// exported one.
func (w *writer) del(key []byte) {
	w.staged = append(w.staged, &badger.Entry{Key: key, UserMeta: deletion})
}

const deletion = 0xff // UserMeta of a staged deletion; never stored

func (w *writer) apply() error {
	for _, e := range w.staged {
		var err error
		if e.UserMeta == deletion {
			err = w.txn.Delete(e.Key)
		} else {
			err = w.txn.SetEntry(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// update runs fn in a transaction that is on disk when update returns nil.
// When fn fails, nothing of it is written and its error is returned. entries
// and size (bytes of values) bound what fn writes.
func (s *Store) update(ctx context.Context, entries int, size int64, fn func(*writer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if entries > maxBatchEntries || size > maxBatchBytes {
		return agreement.Errorf(agreement.CodeTooLarge, "writing %d entries of %d bytes at once: at most %d and %d are possible",
			entries, size, maxBatchEntries, int64(maxBatchBytes))
	}
	op := &operation{run: fn, entries: entries, size: size, done: make(chan struct{})}
	err := s.shared(func() error {
		s.queue.add(op)
		select {
		case <-op.done:
		case s.queue.turn <- struct{}{}:
			s.lead(op)
			<-s.queue.turn
		case <-ctx.Done():
			if s.queue.withdraw(op) {
				return ctx.Err()
			}
			<-op.done // on its way to the disk: only the answer is outstanding
		}
		return op.err
	})
	if errors.Is(err, badger.ErrDBClosed) {
		return storeError("writing", err)
	}
	return err
}

func (c *committer) add(op *operation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, op)
}

// withdraw reports whether op was still waiting, and then isn't any more.
func (c *committer) withdraw(op *operation) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.queue, op)
	if i < 0 {
		return false
	}
	c.queue = slices.Delete(c.queue, i, i+1)
	return true
}

// take removes the next batch from the queue.
func (c *committer) take() []*operation {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, size, n := 0, int64(0), 0
	for _, op := range c.queue {
		entries, size = entries+op.entries, size+op.size
		if n > 0 && (entries > maxBatchEntries || size > maxBatchBytes) {
			break
		}
		n++
	}
	batch := slices.Clone(c.queue[:n])
	c.queue = slices.Delete(c.queue, 0, n)
	return batch
}

// lead commits batches until op is among them.
func (s *Store) lead(op *operation) {
	for {
		select {
		case <-op.done:
			return
		default:
			s.commitBatch(s.queue.take())
		}
	}
}

// commitBatch runs the operations one after another and commits what they
// wrote. Its caller has the turn.
func (s *Store) commitBatch(batch []*operation) {
	mem := s.memory()
	mem.phases = maps.Clone(mem.phases)
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	var failed error
	for _, op := range batch {
		s.touched(op.size)
		w := &writer{txn: txn, mem: &mem}
		if op.err = op.run(w); op.err != nil {
			continue
		}
		if failed = w.apply(); failed != nil {
			break
		}
	}
	if failed == nil {
		failed = txn.Commit()
	}
	if failed == nil {
		s.publish(mem)
	}
	for _, op := range batch {
		if failed != nil && op.err == nil {
			op.err = storeError("committing", failed)
		}
		close(op.done)
	}
}

func (s *Store) memory() memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mem
}

// publish makes the totals of a committed batch known, and wakes those who
// wait for events. The phases of a published memory never change.
func (s *Store) publish(mem memory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	grew := mem.lastEvent > s.mem.lastEvent
	s.mem = mem
	if grew {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}
