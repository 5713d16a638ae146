package store

import (
	"bytes"
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
// there is no such object. It is never too late as long as there is one: what
// is purged a moment later was kept.
func (s *Store) Hold(ctx context.Context, id agreement.Hash, name string, until time.Time) error {
	err := s.update(ctx, 6, int64(2*len(name)), func(w *writer) error {
		if there, err := w.has(objectKey(id)); err != nil {
			return storeError("reading it", err)
		} else if !there {
			return notFound("object %s", id)
		}
		return w.hold(id, Reference{name, until})
	})
	if err != nil {
		return fmt.Errorf("keeping object %s for %s: %w", id, name, err)
	}
	return nil
}

// hold stages a reference.
func (w *writer) hold(id agreement.Hash, r Reference) error {
	if err := checkName("reference", r.Name); err != nil {
		return err
	}
	there, err := w.unexpire(id, r.Name)
	if err != nil {
		return err
	}
	w.set(referenceKey(id, r.Name), encodeTime(r.Until))
	w.set(heldKey(r.Name, id), nil)
	if !r.Until.IsZero() {
		w.set(expiryKey(r.Until, id, r.Name), nil)
	}
	w.del(unheldKey(id))
	if !there {
		w.mem.totals.references++
	}
	return nil
}

// unexpire stages the end of a reference's old time, if it has one, and
// reports whether there is such a reference. One that can't be read loses its
// time: it keeps its object.
func (w *writer) unexpire(id agreement.Hash, name string) (there bool, err error) {
	old, there, err := untilIn(w.txn, id, name)
	if !old.IsZero() {
		w.del(expiryKey(old, id, name))
	}
	return there, err
}

// untilIn reads how long a reference lasts, if there is such a one: zero where
// it has no time, or one that can't be read.
func untilIn(txn *badger.Txn, id agreement.Hash, name string) (until time.Time, there bool, err error) {
	err = getValue(txn, referenceKey(id, name), func(b []byte) (err error) { until, err = decodeTime(b); return err })
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return time.Time{}, false, nil
	case errors.Is(err, errDecode):
		return time.Time{}, true, nil
	case err != nil:
		return time.Time{}, false, storeError("reading a reference", err)
	}
	return until, true, nil
}

// release stages the end of references to one object, which is unheld from
// then on if there are no others. What was staged for the object before isn't
// seen.
func (w *writer) release(id agreement.Hash, now time.Time, names ...string) error {
	ended := int64(0)
	for _, name := range names {
		there, err := w.unexpire(id, name)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		ended++
		w.del(referenceKey(id, name))
		w.del(heldKey(name, id))
	}
	if ended == 0 {
		return nil
	}
	others := false
	err := scan(w.txn, referencesOf(id), nil, func(k []byte, _ row) (bool, error) {
		_, name, err := splitReferenceKey(k)
		others = !slices.Contains(names, name)
		return !others, err
	})
	if err != nil {
		return storeError("reading references", err)
	}
	if !others {
		w.set(unheldKey(id), encodeTime(now))
	}
	w.mem.totals.references -= ended
	return nil
}

// releasePage is how many references one transaction changes.
const releasePage = 100

// Release ends all references of a name, and tells how many there were.
func (s *Store) Release(ctx context.Context, name string) (int, error) {
	return s.eachHeld(ctx, name, func(w *writer, id agreement.Hash) error {
		return w.release(id, time.Now(), name)
	})
}

// ReleaseObject ends one reference to one object; none is not an error.
func (s *Store) ReleaseObject(ctx context.Context, id agreement.Hash, name string) error {
	err := s.updateFreeing(ctx, 4, func(w *writer) error { return w.release(id, time.Now(), name) })
	if err != nil {
		return fmt.Errorf("releasing object %s from %s: %w", id, name, err)
	}
	return nil
}

// HoldUntil changes how long all references of a name last, and tells how many
// there are.
func (s *Store) HoldUntil(ctx context.Context, name string, until time.Time) (int, error) {
	return s.eachHeld(ctx, name, func(w *writer, id agreement.Hash) error {
		if there, err := w.has(referenceKey(id, name)); err != nil || !there { // released meanwhile
			return err
		}
		return w.hold(id, Reference{name, until})
	})
}

// eachHeld runs fn for every object that a name keeps, some in a transaction.
func (s *Store) eachHeld(ctx context.Context, name string, fn func(*writer, agreement.Hash) error) (n int, err error) {
	var after agreement.Hash
	for {
		ids, err := s.heldAfter(name, after, releasePage)
		if err != nil || len(ids) == 0 {
			return n, err
		}
		limit := len(ids)
		err = s.updateFreeing(ctx, 6*limit, func(w *writer) (err error) {
			if ids, err = heldIn(w.txn, name, after, limit); err != nil { // again: an object may have been replaced
				return err
			}
			for _, id := range ids {
				if err := fn(w, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, fmt.Errorf("changing what %s keeps: %w", name, err)
		}
		if len(ids) == 0 {
			continue
		}
		n += len(ids)
		after = ids[len(ids)-1]
	}
}

// Holders calls fn with every name that keeps an object, until it fails. Those
// that come or go meanwhile may be among them.
func (s *Store) Holders(ctx context.Context, fn func(name string) error) error {
	for start := []byte{prefixHeld}; ; {
		names, err := s.holdersFrom(start)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(name); err != nil {
				return err
			}
		}
		start = beyondHeld(names[len(names)-1])
	}
}

// holdersFrom lists some names, without what each of them keeps.
func (s *Store) holdersFrom(start []byte) (names []string, err error) {
	err = s.view(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.PrefetchValues = false
		o.Prefix = []byte{prefixHeld}
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Seek(start); it.Valid() && len(names) < 10*releasePage; it.Seek(start) {
			name, _, err := splitHeldKey(it.Item().Key())
			if err != nil {
				return err
			}
			names, start = append(names, name), beyondHeld(name)
		}
		return nil
	})
	if err != nil {
		return nil, readError(err, "what keeps objects")
	}
	return names, nil
}

// beyondHeld is behind all that a name keeps.
func beyondHeld(name string) []byte {
	return append(heldKey(name, agreement.Hash(bytes.Repeat([]byte{0xff}, len(agreement.Hash{})))), 0)
}

// HeldBy lists the objects that a name keeps.
func (s *Store) HeldBy(name string) ([]agreement.Hash, error) {
	return s.heldAfter(name, agreement.Hash{}, 0)
}

// heldAfter lists objects that a name keeps, after one or (zero) from the
// first; a limit of 0 is none.
func (s *Store) heldAfter(name string, after agreement.Hash, limit int) (ids []agreement.Hash, err error) {
	if err := checkName("reference", name); err != nil {
		return nil, err
	}
	err = s.view(func(txn *badger.Txn) error {
		ids, err = heldIn(txn, name, after, limit)
		return err
	})
	if err != nil {
		return nil, readError(err, "what %s keeps", name)
	}
	return ids, nil
}

func heldIn(txn *badger.Txn, name string, after agreement.Hash, limit int) (ids []agreement.Hash, err error) {
	err = scan(txn, heldOf(name), heldKey(name, after), func(k []byte, _ row) (bool, error) {
		_, id, err := splitHeldKey(k)
		if err != nil || id == after && !after.IsZero() {
			return true, err
		}
		ids = append(ids, id)
		return len(ids) != limit, nil
	})
	return ids, err
}

// References lists what keeps an object, at most MaxPage.
func (s *Store) References(id agreement.Hash) (refs []Reference, err error) {
	err = s.view(func(txn *badger.Txn) error {
		refs, err = referencesIn(txn, id, MaxPage)
		return err
	})
	if err != nil {
		return nil, readError(err, "the references to object %s", id)
	}
	return refs, nil
}

// referencesIn reads references; the time of one that can't be read is zero.
func referencesIn(txn *badger.Txn, id agreement.Hash, limit int) (refs []Reference, err error) {
	err = scan(txn, referencesOf(id), nil, func(k []byte, item row) (bool, error) {
		_, name, err := splitReferenceKey(k)
		if err != nil {
			return false, err
		}
		r := Reference{Name: name}
		err = item.value(func(b []byte) (err error) { r.Until, err = decodeTime(b); return err })
		if errors.Is(err, errDecode) {
			r.Until, err = time.Time{}, nil
		}
		refs = append(refs, r)
		return len(refs) < limit, err
	})
	return refs, err
}
