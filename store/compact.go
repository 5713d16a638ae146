package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Badger only marks what is deleted, and gives up the bytes when it merges
// tables and rewrites files of its value log for the sake of space. A payload
// that was purged has to be gone in any case, so all of that is done on
// purpose, some time after a purge.

// Compaction says what Compact did.
type Compaction struct {
	Before, After int64 // bytes that the database took on disk
}

// compactPause is how long Run waits after a compaction, one that failed
// included.
const compactPause = time.Hour

// compactWhenDue compacts when a purge is old enough.
func (s *Store) compactWhenDue(ctx context.Context, now time.Time) error {
	since, err := s.PurgedSince()
	if err != nil || since.IsZero() || now.Before(since.Add(s.compactAfter)) || now.Before(s.compactNext) {
		return err
	}
	s.compactNext = now.Add(compactPause)
	_, err = s.Compact(ctx)
	return err
}

// notePurge notes that the files still have bytes that were purged.
func (w *writer) notePurge() error {
	noted, err := w.has(purgedKey())
	if err == nil && !noted {
		w.set(purgedKey(), encodeTime(time.Now()))
	}
	return err
}

// PurgedSince is when the first of the objects was purged whose payload the
// files of the database may still have; zero if they have none.
func (s *Store) PurgedSince() (since time.Time, err error) {
	b, err := s.copyOf(purgedKey())
	if errors.Is(err, badger.ErrKeyNotFound) {
		return since, nil
	}
	if err == nil {
		since, err = decodeTime(b)
	}
	if err != nil {
		return since, readError(err, "the time of the first purge")
	}
	return since, nil
}

// Compact rewrites the database until its files hold nothing any more of the
// payloads that were purged before, and gives up the space that is dead. The
// store works on meanwhile, but for moments. It reads and writes up to all of
// the database, and needs as much room on the disk as its tables take.
//
// CodeInUse says that a backup or another compaction runs, CodeDiskFull that
// there is too little room. Where a long read is under way that began before a
// purge it fails, and can be tried again.
func (s *Store) Compact(ctx context.Context) (c Compaction, err error) {
	if !s.backups.turn.TryLock() {
		return c, agreement.Errorf(agreement.CodeInUse, "the store is being backed up or compacted").WithHint("try again when that has ended")
	}
	defer s.backups.turn.Unlock() // Close waits for it
	if c.Before, err = s.roomToCompact(); err != nil {
		return c, err
	}
	purges := s.purges.Load()
	s.rewriting.Lock()
	err = s.rewriteAll(ctx)
	s.rewriting.Unlock()
	if err != nil {
		return c, fmt.Errorf("compacting the database: %w", err)
	}
	tables, values, err := diskBytes(s.dir)
	if err != nil {
		return c, storeError("measuring the database", err)
	}
	c.After = tables + values
	s.log.Info("the database was compacted", "before", c.Before, "after", c.After)
	return c, s.noteCompacted(ctx, purges)
}

// rewriteAll merges all tables, and then has every file of the value log
// rewritten in which anything was dead. Badger rewrites the one with the most
// dead bytes, and none where that is the one it writes to; then it is begun
// again, with a new one. Its caller holds rewriting.
func (s *Store) rewriteAll(ctx context.Context) error {
	const rounds, least = 3, 1e-12
	var due, rewritten []string
	for round := range rounds {
		for _, step := range []func(context.Context) error{s.sealValues, s.mergeTables} {
			err := errors.Join(ctx.Err(), s.goingOn())
			if err == nil {
				err = step(ctx)
			}
			if err != nil {
				return err
			}
		}
		if round == 0 {
			var err error
			if due, err = s.withDead(); err != nil {
				return err
			}
		}
		done, err := s.collectValues(ctx, least)
		rewritten = append(rewritten, done...)
		if err = errors.Join(err, ctx.Err(), s.goingOn()); err != nil {
			return err
		}
		due = slices.DeleteFunc(due, func(name string) bool { return slices.Contains(done, name) })
		if len(due) == 0 {
			return s.awaitRemoval(ctx, rewritten)
		}
	}
	return agreement.Errorf(agreement.CodeInUse, "%d files couldn't be rewritten, because others had more to rewrite", len(due)).WithHint("try again later")
}

// withDead names the files of the value log in which anything is dead, but for
// the one that is written to.
func (s *Store) withDead() (names []string, err error) {
	files, dead, err := s.deadValues()
	if err != nil {
		return nil, err
	}
	for _, number := range slices.Sorted(maps.Keys(dead)) {
		if number != files.newestValues() {
			names = append(names, valuesName(number))
		}
	}
	return names, nil
}

// noteCompacted takes back the note, unless something was purged meanwhile.
func (s *Store) noteCompacted(ctx context.Context, purges uint64) error {
	return s.updateFreeing(ctx, 1, func(w *writer) error {
		noted, err := w.has(purgedKey())
		if err != nil || !noted {
			return err
		}
		if s.purges.Load() != purges {
			w.set(purgedKey(), encodeTime(time.Now())) // later than they were, by less than this took
			return nil
		}
		w.del(purgedKey())
		return nil
	})
}

// roomToCompact makes sure that there is room for a second copy of the tables,
// and for files of the value log that are written before others are removed.
func (s *Store) roomToCompact() (used int64, err error) {
	tables, values, err := diskBytes(s.dir)
	if err != nil {
		return 0, storeError("measuring the database", err)
	}
	need := tables + 3*valueLogFileSize + floor
	if free := s.free(); free >= 0 && free < need {
		return 0, agreement.Errorf(agreement.CodeDiskFull, "compacting the database may take %d bytes, and the disk has %d left", need, free).
			WithHint("make room on the disk of the store")
	}
	return tables + values, nil
}

// fillerSize is the size of a filler, in bytes: the largest value that takes a
// place of its own in a batch.
const fillerSize = 1 << 20

// sealValues lets the value log go on in a new file, by filling the one that is
// written to: Badger never rewrites that.
func (s *Store) sealValues(ctx context.Context) (err error) {
	before, err := listFiles(s.dir)
	if err != nil {
		return storeError("listing the value log", err)
	}
	defer func() { err = errors.Join(err, s.removeFillers(context.WithoutCancel(ctx))) }()
	filler := make([]byte, fillerSize)
	const each, most = 4, 2 * valueLogFileSize / fillerSize
	for n := uint64(0); n < most; n += each {
		err := s.update(ctx, each, each*fillerSize, func(w *writer) error {
			for i := range uint64(each) {
				w.set(fillerKey(n+i), filler)
			}
			return nil
		})
		if err == nil {
			err = trim(s.dir)
		}
		if err != nil {
			return err
		}
		now, err := listFiles(s.dir)
		if err != nil {
			return storeError("listing the value log", err)
		}
		if now.newestValues() > before.newestValues() {
			return nil
		}
	}
	return agreement.Errorf(agreement.CodeInternal, "the value log doesn't go on in a new file")
}

// removeFillers removes what sealValues has written, now or before a crash.
func (s *Store) removeFillers(ctx context.Context) error {
	keys, err := s.keysAfter([]byte{prefixFiller}, nil, maxBatchEntries)
	if err != nil || len(keys) == 0 {
		return err
	}
	return s.updateFreeing(ctx, len(keys), func(w *writer) error {
		for _, k := range keys {
			w.del(k)
		}
		return nil
	})
}

// mergeTables merges what is in memory and in tables, so that no payload is
// left in a version that was deleted. Where a reader has kept one from being
// dropped before, its table isn't merged again by itself; so its key is deleted
// once more.
func (s *Store) mergeTables(ctx context.Context) error {
	var left [][]byte
	for range 2 {
		if err := s.deleteAgain(ctx, left); err != nil {
			return err
		}
		var upto uint64
		err := s.view(func(txn *badger.Txn) error { upto = txn.ReadTs(); return nil })
		if err == nil {
			err = s.flush(ctx)
		}
		if err == nil {
			err = s.trimmed(func() error {
				return s.shared(func() error { return s.db.Flatten(1) })
			})
		}
		if err != nil {
			return storeError("merging tables", err)
		}
		if left, err = s.deletedBefore(ctx, upto); err != nil || len(left) == 0 {
			return err
		}
	}
	return agreement.Errorf(agreement.CodeInUse, "%d payloads that were purged are still being read", len(left)).
		WithHint("try again later; a restart ends every read")
}

// deleteAgain deletes keys that are deleted.
func (s *Store) deleteAgain(ctx context.Context, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	return s.updateFreeing(ctx, len(keys), func(w *writer) error {
		for _, k := range keys {
			there, err := w.has(k)
			if err != nil {
				return err
			}
			if !there {
				w.del(k)
			}
		}
		return nil
	})
}

// flush has Badger write what it holds in memory into a table. The only one of
// its functions that does, while it is open, is the one that drops a prefix;
// it drops one that nothing else uses. Meanwhile it takes no writes, so those
// wait for the turn.
func (s *Store) flush(ctx context.Context) error {
	before, err := listFiles(s.dir)
	if err != nil {
		return err
	}
	err = s.whileNobodyWrites(ctx, func() error {
		k := fillerKey(^uint64(0))
		// The totals are written again, for they stay: were the newest version
		// dropped, a later opening would give it to another write, and the next
		// incremental backup would miss that.
		t := totalsKey()
		err := s.db.Update(func(txn *badger.Txn) error {
			return errors.Join(txn.Set(k, seal(k, []byte{0})), txn.Set(t, seal(t, s.memory().totals.encode())))
		})
		if err != nil {
			return err
		}
		if err = guarded(func() error { return s.db.DropPrefix(k) }); err != nil {
			s.stuck.Store(true)
			s.fail(err) // Badger is between two memtables, and would panic
		}
		return err
	})
	if err != nil {
		return err
	}
	// Were one left that somebody still reads, a crash would bring back what it
	// has, after it was dropped from the tables.
	return s.awaitRemoval(ctx, slices.DeleteFunc(before.logs, func(name string) bool { return filepath.Ext(name) != memoryExt }))
}

// deletedBefore finds payloads and index fields that are left in a version that
// was deleted up to then, the first of them. One is where a reader may still
// need it, or did.
func (s *Store) deletedBefore(ctx context.Context, upto uint64) (left [][]byte, err error) {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues, o.AllVersions = false, true
	var last []byte
	var newer uint64 // version of the key's last item
	err = s.view(func(txn *badger.Txn) (err error) {
		for _, o.Prefix = range [][]byte{{prefixPayload}, {prefixIndexed}} {
			err = errors.Join(err, scanWith(txn, o, nil, func(k []byte, r row) (bool, error) {
				if string(k) == string(last) && newer <= upto {
					left = append(left, bytes.Clone(k))
				}
				last, newer = append(last[:0], k...), r.item.Version()
				return len(left) < maxBatchEntries, ctx.Err()
			}))
		}
		return err
	})
	if err != nil {
		return nil, storeError("looking for what was deleted", err)
	}
	return left, nil
}

// How long a rewritten file may stay because something is being read, and how
// often it is looked for.
const (
	removalTime  = time.Minute
	removalPause = 20 * time.Millisecond
)

// awaitRemoval waits until files are gone, also after a loss of power. Badger
// removes what it doesn't need any more when nobody reads.
func (s *Store) awaitRemoval(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, removalTime, agreement.Errorf(agreement.CodeInUse, "files that were rewritten are still being read").
		WithHint("try again later; a restart ends every read"))
	defer cancel()
	tick := time.NewTicker(removalPause)
	defer tick.Stop()
	for {
		there := func(name string) bool { _, err := os.Stat(filepath.Join(s.dir, name)); return err == nil }
		if !slices.ContainsFunc(names, there) {
			if err := syncDir(s.dir); err != nil {
				return storeError("syncing the database's directory", err)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.ending:
			return s.goingOn()
		}
	}
}
