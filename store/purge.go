package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// MaxTombstone is the longest tombstone of an object, in bytes.
const MaxTombstone = 64 << 10

// Purge removes an object and all its references for good, and leaves the
// tombstone, which the store doesn't look into; nil leaves none. After a crash
// the object is there whole or not at all. One that isn't there is not an
// error.
func (s *Store) Purge(ctx context.Context, id agreement.Hash, tombstone []byte) error {
	return s.purge(ctx, id, tombstone, func(*writer) (bool, error) { return true, nil })
}

// Replace purges an object in favour of another sealing of its content, to which
// its references go over; of two with one name the longer one stays. What is
// held or released meanwhile, it is at the one or at the other. Where the other
// one isn't there either, nothing changes: agreement.ErrNotFound.
func (s *Store) Replace(ctx context.Context, id, by agreement.Hash, tombstone []byte) error {
	if id == by {
		return agreement.Errorf(agreement.CodeInternal, "object %s can't replace itself", id)
	}
	return s.purge(ctx, id, tombstone, func(w *writer) (bool, error) {
		there, err := w.has(objectKey(by))
		if err == nil && !there {
			err = notFound("object %s", by)
		}
		if err != nil {
			return false, err
		}
		return true, w.takeOver(id, by)
	})
}

// takeOver stages what purge takes from an object at the same time: some of its
// references, for another one.
func (w *writer) takeOver(id, by agreement.Hash) error {
	refs, err := referencesIn(w.txn, id, releasePage)
	if err != nil {
		return err
	}
	for _, r := range refs {
		until, there, err := untilIn(w.txn, by, r.Name)
		if err != nil {
			return err
		}
		if there && (until.IsZero() || !r.Until.IsZero() && until.After(r.Until)) {
			continue
		}
		if err := w.hold(by, r); err != nil {
			return err
		}
	}
	return nil
}

// purgeUnheld purges an object if nothing has kept it since that time.
func (s *Store) purgeUnheld(ctx context.Context, id agreement.Hash, tombstone []byte, before time.Time) error {
	return s.purge(ctx, id, tombstone, func(w *writer) (bool, error) { return w.unheldSince(id, before) })
}

// unheldSince reports whether nothing has kept an object since that time.
func (w *writer) unheldSince(id agreement.Hash, before time.Time) (bool, error) {
	var since time.Time
	err := w.get(unheldKey(id), func(b []byte) (err error) { since, err = decodeTime(b); return err })
	if errors.Is(err, badger.ErrKeyNotFound) || err == nil && since.After(before) {
		return false, nil
	}
	if err != nil {
		return false, readError(err, "since when nothing keeps it")
	}
	refs, err := referencesIn(w.txn, id, 1)
	return len(refs) == 0, err
}

// purgeEntries is how much one transaction of a purge writes: the object's own
// entries, three for each reference and six where it is taken over, two for each
// record that tells of the content.
const purgeEntries = 10 + 11*releasePage

// purge removes an object if it may go when its turn has come.
func (s *Store) purge(ctx context.Context, id agreement.Hash, tombstone []byte, may func(*writer) (bool, error)) error {
	err := checkSize("the tombstone", len(tombstone), MaxTombstone)
	if err == nil {
		err = s.puts.enter(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("purging object %s: %w", id, err)
	}
	defer s.puts.leave(id)
	left, marked := true, false
	for left && err == nil {
		err = s.updateFreeing(ctx, purgeEntries, func(w *writer) error {
			ok, err := may(w)
			if left = ok; err != nil || !ok {
				return err
			}
			left, marked, err = w.purge(id, tombstone)
			s.purges.Add(1)
			return err
		})
	}
	if err == nil && marked {
		err = s.removePayload(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("purging object %s: %w", id, err)
	}
	return nil
}

// purge stages the end of an object: of some of its references, or of what
// records say of its content, while there are many left, and then of all. A
// payload in the home is marked for removal, which comes after.
func (w *writer) purge(id agreement.Hash, tombstone []byte) (left, marked bool, err error) {
	o, found, err := findIn(w.txn, id)
	if err != nil || found == absent {
		return false, false, err
	}
	refs, err := referencesIn(w.txn, id, releasePage)
	if err != nil {
		return false, false, err
	}
	for _, r := range refs {
		if !r.Until.IsZero() {
			w.del(expiryKey(r.Until, id, r.Name))
		}
		w.del(referenceKey(id, r.Name))
		w.del(heldKey(r.Name, id))
	}
	w.mem.totals.references -= int64(len(refs))
	if len(refs) == releasePage {
		return true, false, nil
	}
	erased := 0
	if found != undescribed {
		if erased, err = w.eraseIndexed(id, o, time.Now()); err != nil {
			return false, false, err
		}
	}
	if found == undescribed || !o.large() || erased > 0 {
		if err := w.notePurge(); err != nil {
			return false, false, err
		}
	}
	if erased == releasePage {
		return true, false, nil
	}
	w.mem.totals.objects--
	w.mem.totals.bytes -= o.SealedSize // of one that isn't described, Verify takes it off
	for _, k := range [][]byte{objectKey(id), leavesKey(id), payloadKey(id), quarantineKey(id), unheldKey(id)} {
		w.del(k)
	}
	if found != undescribed {
		w.del(contentKey(o.ContentHash, id))
	}
	if marked = found == undescribed || o.large(); marked {
		w.set(puttingKey(id), nil)
	}
	if tombstone != nil {
		w.set(tombstoneKey(id), tombstone)
	}
	return false, marked, nil
}

// removePayload removes what a purge has marked. While a backup is made, which
// may be about to read it, that is left to the next sweep.
func (s *Store) removePayload(ctx context.Context, id agreement.Hash) error {
	if !s.backups.removal.TryRLock() {
		return nil
	}
	defer s.backups.removal.RUnlock()
	if err := s.home.Remove(ctx, id); err != nil {
		return err
	}
	return s.unmark(ctx, id)
}

func (s *Store) unmark(ctx context.Context, id agreement.Hash) error {
	return s.updateFreeing(ctx, 1, func(w *writer) error { w.del(puttingKey(id)); return nil })
}

// sweep removes from the home what unfinished puts and purges left. Nothing
// else is removed: what the database doesn't know isn't its own to remove.
func (s *Store) sweep(ctx context.Context) error {
	var after []byte
	for {
		marks, err := s.keysAfter([]byte{prefixPutting}, after, pageSize)
		if err != nil || len(marks) == 0 {
			return errors.Join(err, s.home.Sweep(ctx))
		}
		for _, k := range marks {
			id, err := lastHash(k)
			if err != nil {
				return err
			}
			if err := s.sweepOne(ctx, id); err != nil {
				return err
			}
		}
		after = marks[len(marks)-1]
	}
}

// sweepOne removes a marked payload unless somebody puts or purges it just
// now, or it has an object again.
func (s *Store) sweepOne(ctx context.Context, id agreement.Hash) error {
	if !s.puts.tryEnter(id) {
		return nil
	}
	defer s.puts.leave(id)
	there, err := s.hasKey(objectKey(id))
	if err != nil {
		return storeError("sweeping", err)
	}
	if there {
		return s.unmark(ctx, id)
	}
	return s.removePayload(ctx, id)
}

// keysAfter lists keys with a prefix, after one or (nil) from the first.
func (s *Store) keysAfter(prefix, after []byte, limit int) (keys [][]byte, err error) {
	start := after
	if after != nil {
		start = append(append([]byte{}, after...), 0)
	}
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, prefix, start, func(k []byte, _ row) (bool, error) {
			keys = append(keys, append([]byte{}, k...))
			return len(keys) < limit, nil
		})
	})
	if err != nil {
		return nil, storeError("reading keys", err)
	}
	return keys, nil
}

// Tombstone returns what was left of a purged object, or
// agreement.ErrNotFound.
func (s *Store) Tombstone(id agreement.Hash) ([]byte, error) {
	b, err := s.copyOf(tombstoneKey(id))
	if err != nil {
		return nil, readError(err, "the tombstone of object %s", id)
	}
	return b, nil
}
