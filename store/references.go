package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// A Reference keeps an object: by an agreement, a contract, a pin or whatever
// else its name says. An object that none keeps is purged by Run, once
// Options.Grace has passed.
type Reference struct {
	Name  string    // 1 to MaxName bytes
	Until time.Time // zero: until it is released
}

// Hold keeps an object by a reference until that time; zero means until it is
// released. A reference of that name is replaced. agreement.ErrNotFound when
// there is no such object.
func (s *Store) Hold(ctx context.Context, id agreement.Hash, name string, until time.Time) error {
	err := s.update(ctx, 6, int64(2*len(name)), func(w *writer) error {
		if there, err := w.has(objectKey(id)); err != nil {
			return storeError("reading it", err)
		} else if !there {
			return notFound("object %s", id)
		}
		return w.hold(id, name, until)
	})
	if err != nil {
		return fmt.Errorf("keeping object %s for %s: %w", id, name, err)
	}
	return nil
}

// hold stages a reference.
func (w *writer) hold(id agreement.Hash, name string, until time.Time) error {
	if err := checkName("reference", name); err != nil {
		return err
	}
	if err := w.unexpire(id, name); err != nil {
		return err
	}
	w.set(referenceKey(id, name), encodeTime(until))
	w.set(heldKey(name, id), nil)
	if !until.IsZero() {
		w.set(expiryKey(until, id, name), nil)
	}
	w.del(unheldKey(id))
	return nil
}

// unexpire stages the end of a reference's old time, if it has one.
func (w *writer) unexpire(id agreement.Hash, name string) error {
	var old time.Time
	err := w.get(referenceKey(id, name), func(b []byte) (err error) { old, err = decodeTime(b); return err })
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return readError(err, "a reference to object %s", id)
	}
	if !old.IsZero() {
		w.del(expiryKey(old, id, name))
	}
	return nil
}

// release stages the end of a reference. The object is unheld from then on if
// it was the last.
func (w *writer) release(id agreement.Hash, name string, now time.Time) error {
	if err := w.unexpire(id, name); err != nil {
		return err
	}
	w.del(referenceKey(id, name))
	w.del(heldKey(name, id))
	others := false
	err := scan(w.txn, referencesOf(id), nil, false, func(k []byte, _ *badger.Item) (bool, error) {
		others = string(k[len(referencesOf(id)):]) != name
		return !others, nil
	})
	if err != nil {
		return storeError("reading references", err)
	}
	if there, err := w.has(objectKey(id)); err != nil || !there || others {
		return err
	}
	w.set(unheldKey(id), encodeTime(now))
	return nil
}

// releasePage is how many references one transaction ends.
const releasePage = 100

// Release ends all references of a name, and tells how many there were.
func (s *Store) Release(ctx context.Context, name string) (int, error) {
	return s.eachHeld(ctx, name, func(w *writer, id agreement.Hash) error {
		return w.release(id, name, time.Now())
	})
}

// ReleaseObject ends one reference to one object; none is not an error.
func (s *Store) ReleaseObject(ctx context.Context, id agreement.Hash, name string) error {
	return s.update(ctx, 6, int64(2*len(name)), func(w *writer) error { return w.release(id, name, time.Now()) })
}

// HoldUntil changes how long all references of a name last, and tells how many
// there are.
func (s *Store) HoldUntil(ctx context.Context, name string, until time.Time) (int, error) {
	return s.eachHeld(ctx, name, func(w *writer, id agreement.Hash) error {
		if there, err := w.has(referenceKey(id, name)); err != nil || !there { // released meanwhile
			return err
		}
		return w.hold(id, name, until)
	})
}

// eachHeld runs fn for every object that a name keeps, some in a transaction.
func (s *Store) eachHeld(ctx context.Context, name string, fn func(*writer, agreement.Hash) error) (int, error) {
	n := 0
	ids, err := s.HeldBy(name)
	if err != nil {
		return 0, err
	}
	for page := range slices.Chunk(ids, releasePage) {
		err := s.update(ctx, 6*len(page), int64(len(page)*2*len(name)), func(w *writer) error {
			for _, id := range page {
				if err := fn(w, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, fmt.Errorf("changing what %s keeps: %w", name, err)
		}
		n += len(page)
	}
	return n, nil
}

// HeldBy lists the objects that a name keeps.
func (s *Store) HeldBy(name string) (ids []agreement.Hash, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, heldOf(name), nil, false, func(k []byte, _ *badger.Item) (bool, error) {
			id, err := lastHash(k)
			ids = append(ids, id)
			return true, err
		})
	})
	if err != nil {
		return nil, readError(err, "what %s keeps", name)
	}
	return ids, nil
}

// References lists what keeps an object, at most MaxPage.
func (s *Store) References(id agreement.Hash) (refs []Reference, err error) {
	prefix := referencesOf(id)
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, prefix, nil, true, func(k []byte, item *badger.Item) (bool, error) {
			r := Reference{Name: string(k[len(prefix):])}
			err := item.Value(func(b []byte) (err error) { r.Until, err = decodeTime(b); return err })
			refs = append(refs, r)
			return len(refs) < MaxPage, err
		})
	})
	if err != nil {
		return nil, readError(err, "the references to object %s", id)
	}
	return refs, nil
}
