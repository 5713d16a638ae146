package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Quarantine says why an object is not to be read: some of its bytes aren't
// what they were. It stays known, so that it can be repaired.
type Quarantine struct {
	Since  time.Time
	Reason string // with the place
}

func (q Quarantine) err(id agreement.Hash) error {
	return agreement.Errorf(agreement.CodeDamaged, "object %s is in quarantine since %s: %s", id, q.Since.UTC().Format(time.RFC3339), q.Reason).
		WithHint("`affiliate store verify --repair` fetches it from a peer that has it, or restore a backup")
}

// quarantine takes an object out of use, and returns the error that says so.
func (s *Store) quarantine(ctx context.Context, id agreement.Hash, why error) error {
	q := Quarantine{Since: time.Now(), Reason: clip(why.Error())}
	value := q.encode()
	err := s.update(context.WithoutCancel(ctx), 1, int64(len(value)), func(w *writer) error {
		if there, err := w.has(objectKey(id)); err != nil || !there {
			return err
		}
		w.set(quarantineKey(id), value)
		return nil
	})
	if err != nil {
		s.log.Error("a damaged object can't be put into quarantine", "object", id, "error", err)
	}
	s.log.Error("an object is damaged", "object", id, "reason", q.Reason)
	return q.err(id)
}

// clip keeps a text within what an entry may have.
func clip(text string) string { return strings.ToValidUTF8(text[:min(len(text), MaxText)], "") }

// Quarantined lists the objects that are damaged, at most MaxPage.
func (s *Store) Quarantined() (all []Object, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixQuarantine}, nil, false, func(k []byte, _ *badger.Item) (bool, error) {
			id, err := lastHash(k)
			if err != nil {
				return false, err
			}
			o, _, err := objectIn(txn, id)
			all = append(all, o)
			return len(all) < MaxPage, err
		})
	})
	if err != nil {
		return nil, readError(err, "the damaged objects")
	}
	return all, nil
}

// Purge removes an object and all its references for good, and leaves the
// tombstone, which the store doesn't look into. After a crash the object is there
// whole or not at all. One that isn't there is not an error.
func (s *Store) Purge(ctx context.Context, id agreement.Hash, tombstone []byte) error {
	return s.purge(ctx, id, tombstone, false)
}

// purge with unheld leaves an object alone that something keeps.
func (s *Store) purge(ctx context.Context, id agreement.Hash, tombstone []byte, unheld bool) error {
	if err := s.puts.enter(ctx, id); err != nil {
		return err
	}
	defer s.puts.leave(id)
	o, _, err := s.object(id)
	if errors.Is(err, agreement.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("purging object %s: %w", id, err)
	}
	refs, err := s.References(id)
	if err != nil || unheld && len(refs) > 0 {
		return err
	}
	err = s.update(ctx, 9+4*len(refs), int64(len(tombstone)), func(w *writer) error {
		if there, err := w.has(unheldKey(id)); err != nil || unheld && !there {
			return errors.Join(err, errHeld)
		}
		return w.purge(o, refs, tombstone)
	})
	if errors.Is(err, errHeld) {
		return nil
	}
	if err == nil {
		err = s.removePayload(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("purging object %s: %w", id, err)
	}
	return nil
}

var errHeld = errors.New("the object is kept after all")

// purge stages the end of an object. Its payload, if it lies in the home, is
// marked for removal, which comes after.
func (w *writer) purge(o Object, refs []Reference, tombstone []byte) error {
	for _, r := range refs {
		if err := w.unexpire(o.ID, r.Name); err != nil {
			return err
		}
		w.del(referenceKey(o.ID, r.Name))
		w.del(heldKey(r.Name, o.ID))
	}
	for _, k := range [][]byte{
		objectKey(o.ID), contentKey(o.ContentHash, o.ID), leavesKey(o.ID), payloadKey(o.ID), quarantineKey(o.ID), unheldKey(o.ID),
	} {
		w.del(k)
	}
	if o.SealedSize > smallPayload {
		w.set(puttingKey(o.ID), nil)
	}
	if tombstone != nil {
		w.set(tombstoneKey(o.ID), tombstone)
	}
	return nil
}

// removePayload removes what a purge has marked.
func (s *Store) removePayload(ctx context.Context, id agreement.Hash) error {
	_, err := s.copyOf(puttingKey(id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return storeError("reading the mark of a purged object", err)
	}
	if err := s.home.Remove(ctx, id); err != nil {
		return err
	}
	return s.remove(puttingKey(id))
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
