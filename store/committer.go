package store

import (
	"context"
	"errors"
	"fmt"
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
	leaves  int64 // bytes that the disk must have left
	done    chan struct{}
	err     error // valid once done is closed
}

// writer is what an operation sees: the snapshot with the earlier operations
// of its batch applied. Its own writes are applied when it returns nil.
type writer struct {
	txn    *badger.Txn
	mem    *memory // its phases may be changed once nothing can fail any more
	staged []*badger.Entry

	counted bool // the totals changed, even if nothing is staged
}

func (w *writer) get(key []byte, fn func([]byte) error) error { return getValue(w.txn, key, fn) }

// has reports whether the key is there.
func (w *writer) has(key []byte) (bool, error) {
	return hasIn(w.txn, key)
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
			err = w.delete(e.Key)
		} else {
			e.Value = seal(e.Key, e.Value)
			err = w.txn.SetEntry(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// delete deletes a key, and notes it where backups need it.
func (w *writer) delete(key []byte) error {
	if w.mem.deletions.noted(key) {
		w.mem.deletions.last++
		k := deletedKey(w.mem.deletions.last)
		if err := w.txn.Set(k, seal(k, key)); err != nil {
			return err
		}
	}
	return w.txn.Delete(key)
}

// Bytes that the file system must have left. Badger writes into mapped files:
// where there is no room, the process would end. So nothing is written close
// to the end, but for what frees space, and the rest is room for what Badger
// does by itself.
const (
	floor       = 64 << 20
	freeingLeft = 40 << 20
)

// update runs fn in a transaction that is on disk when update returns nil.
// When fn fails, nothing of it is written and its error is returned. entries
// and size (bytes of values) bound what fn writes.
func (s *Store) update(ctx context.Context, entries int, size int64, fn func(*writer) error) error {
	return s.submitFor(ctx, &operation{run: fn, entries: entries, size: size, leaves: floor})
}

// updateFreeing is update for what frees space, which works longer where there
// is little.
func (s *Store) updateFreeing(ctx context.Context, entries int, fn func(*writer) error) error {
	return s.submitFor(ctx, &operation{run: fn, entries: entries, leaves: freeingLeft})
}

// commit is update for little that nobody can call off.
func (s *Store) commit(entries int, fn func(*writer) error) error {
	return s.submit(nil, &operation{run: fn, entries: entries, leaves: floor})
}

func (s *Store) submitFor(ctx context.Context, op *operation) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.submit(ctx.Done(), op)
	if errors.Is(err, errWithdrawn) {
		return ctx.Err()
	}
	return err
}

var errWithdrawn = errors.New("the operation was called off")

// submit waits until the operation is done, or was called off in time.
func (s *Store) submit(called <-chan struct{}, op *operation) error {
	if op.entries > maxBatchEntries || op.size > maxBatchBytes {
		return agreement.Errorf(agreement.CodeTooLarge, "writing %d entries of %d bytes at once: at most %d and %d are possible",
			op.entries, op.size, maxBatchEntries, int64(maxBatchBytes))
	}
	if why := s.broken.Load(); why != nil {
		return storeError("writing", fmt.Errorf("an earlier write failed, and none is taken until a restart: %w", *why))
	}
	op.done = make(chan struct{})
	err := s.shared(func() error {
		s.queue.add(op)
		select {
		case <-op.done:
		case s.queue.turn <- struct{}{}:
			s.lead(op)
			<-s.queue.turn
		case <-called:
			if s.queue.withdraw(op) {
				return errWithdrawn
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

// whileNobodyWrites runs fn, which may take a second, with the turn.
func (s *Store) whileNobodyWrites(ctx context.Context, fn func() error) error {
	return s.shared(func() error {
		select {
		case s.queue.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-s.queue.turn }()
		return fn()
	})
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
	var failed error
	why := guarded(func() error {
		txn := s.db.NewTransaction(true)
		defer txn.Discard()
		var wrote bool
		if wrote, failed = s.runAll(txn, &mem, batch); failed != nil || !wrote {
			return nil
		}
		mem.totals.batch++
		k := totalsKey()
		if failed = txn.Set(k, seal(k, mem.totals.encode())); failed != nil {
			return nil
		}
		return txn.Commit()
	})
	if failed == nil {
		failed = why
	}
	if failed == nil {
		s.high.set(mem.totals.batch)
		s.publish(mem)
	}
	if why != nil && !errors.Is(why, badger.ErrDBClosed) && !errors.Is(why, badger.ErrBlockedWrites) {
		s.fail(why)
	}
	for _, op := range batch {
		if failed != nil && op.err == nil {
			op.err = storeError("committing", failed)
		}
		close(op.done)
	}
}

// runAll runs the operations of a batch, and reports whether they wrote.
func (s *Store) runAll(txn *badger.Txn, mem *memory, batch []*operation) (wrote bool, err error) {
	free := s.free()
	for _, op := range batch {
		if free >= 0 && free < op.leaves+op.size {
			op.err = agreement.Errorf(agreement.CodeDiskFull, "the disk of the store has %d bytes left, and %d are kept free", free, op.leaves).
				WithHint("free space on it; `affiliate store stats` says what takes the space")
			continue
		}
		s.touched(op.size)
		before := *mem
		w := &writer{txn: txn, mem: mem}
		if op.err = guarded(func() error { return op.run(w) }); op.err != nil {
			*mem = before
			continue
		}
		if err := w.apply(); err != nil {
			return wrote, err
		}
		wrote = wrote || len(w.staged) > 0 || w.counted
	}
	return wrote, nil
}

// fail ends all writing: after a write of which nobody knows how much is on
// disk, and may be lost by the system, the next one isn't durable either.
func (s *Store) fail(why error) {
	if s.broken.CompareAndSwap(nil, &why) {
		s.log.Error("the store can't write, and takes nothing more until a restart", "error", why)
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
