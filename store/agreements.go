package store

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// pageSize is how many rows one snapshot reads for an iterator, so that no
// snapshot outlives the work on its rows.
const pageSize = 256

// MaxPage bounds the rows of one answer.
const MaxPage = 10_000

// Agreement returns the state and its revision. An unknown id gives
// agreement.ErrNotFound.
func (s *Store) Agreement(id agreement.ID) (state []byte, revision uint64, err error) {
	var v saved
	err = s.view(func(txn *badger.Txn) error {
		return getValue(txn, agreementKey(id), func(b []byte) (err error) { v, err = decodeSaved(b); return err })
	})
	if err != nil {
		return nil, 0, readError(err, "agreement %s", id)
	}
	return v.state, v.revision, nil
}

// Blob returns a named document of an agreement, or agreement.ErrNotFound.
func (s *Store) Blob(id agreement.ID, name string) ([]byte, error) {
	b, err := s.copyOf(blobKey(id, name))
	if err != nil {
		return nil, readError(err, "document %s of agreement %s", name, id)
	}
	return b, nil
}

// Agreements lists ids in their order, those in one phase or (empty) all,
// after one that was seen before or (zero) from the first.
func (s *Store) Agreements(after agreement.ID, phase string, limit int) ([]agreement.ID, error) {
	prefix := []byte{prefixAgreement}
	if phase != "" {
		if err := checkName("phase", phase); err != nil {
			return nil, err
		}
		prefix = phaseOf(phase)
	}
	return s.ids(prefix, after, min(limit, MaxPage))
}

// ids reads the agreement ids that follow prefix in the keys.
func (s *Store) ids(prefix []byte, after agreement.ID, limit int) ([]agreement.ID, error) {
	var ids []agreement.ID
	if limit <= 0 {
		return nil, nil
	}
	err := s.view(func(txn *badger.Txn) error {
		start := append(slices.Clone(prefix), after[:]...)
		return scan(txn, prefix, start, func(k []byte, _ row) (bool, error) {
			id, err := lastUUID(k)
			if err != nil || id == after {
				return true, err
			}
			ids = append(ids, id)
			return len(ids) < limit, nil
		})
	})
	if err != nil {
		return nil, storeError("listing agreements", err)
	}
	return ids, nil
}

// OpenAgreements goes through the agreements that aren't final. A state that
// can't be read comes as nil; Agreement then says why.
func (s *Store) OpenAgreements() iter.Seq2[agreement.ID, []byte] {
	return func(yield func(agreement.ID, []byte) bool) {
		var after agreement.ID
		for {
			ids, err := s.ids([]byte{prefixOpen}, after, pageSize)
			if err != nil {
				s.log.Error("going through the open agreements", "error", err)
				return
			}
			for _, id := range ids {
				state, _, err := s.Agreement(id)
				if err == nil && state == nil {
					state = []byte{}
				}
				if !yield(id, state) {
					return
				}
				after = id
			}
			if len(ids) < pageSize {
				return
			}
		}
	}
}

// CountPhases returns how many agreements are in each phase. It reads nothing
// from disk.
func (s *Store) CountPhases() (map[string]int64, error) {
	counts := maps.Clone(s.memory().phases)
	maps.DeleteFunc(counts, func(_ string, n int64) bool { return n == 0 })
	return counts, nil
}

// Effects returns every effect that isn't done, in the order of agreement and
// sequence.
func (s *Store) Effects() ([]Effect, error) {
	var all []Effect
	err := s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixEffect}, nil, func(k []byte, item row) (bool, error) {
			e, err := effectOf(k, item)
			if err != nil {
				return false, err
			}
			all = append(all, e)
			return true, nil
		})
	})
	if err != nil {
		return nil, readError(err, "the pending effects")
	}
	return all, nil
}

func effectOf(k []byte, item row) (e Effect, err error) {
	if err := item.value(func(b []byte) (err error) { e, err = decodeEffect(b); return err }); err != nil {
		return Effect{}, err
	}
	if e.Seq, err = lastNumber(k); err != nil {
		return Effect{}, err
	}
	e.Agreement, err = lastUUID(k[:len(k)-8])
	return e, err
}

// UpdateEffect replaces a pending effect. ErrStale says that it is done.
func (s *Store) UpdateEffect(ctx context.Context, e Effect) error {
	if err := e.check(); err != nil {
		return fmt.Errorf("updating an effect: %w", err)
	}
	value := e.encode()
	return s.onEffect(ctx, e.Agreement, e.Seq, int64(len(value)), func(w *writer, k []byte) { w.set(k, value) })
}

// DropEffect ends a pending effect without a change of its agreement. ErrStale
// says that it is done.
func (s *Store) DropEffect(ctx context.Context, id agreement.ID, seq uint64) error {
	return s.onEffect(ctx, id, seq, 0, func(w *writer, k []byte) { w.del(k) })
}

func (s *Store) onEffect(ctx context.Context, id agreement.ID, seq uint64, size int64, fn func(*writer, []byte)) error {
	k := effectKey(id, seq)
	err := s.update(ctx, 1, size, func(w *writer) error {
		there, err := w.has(k)
		if err != nil {
			return storeError("reading it", err)
		}
		if !there {
			return ErrStale
		}
		fn(w, k)
		return nil
	})
	if err != nil {
		return fmt.Errorf("updating effect %d of agreement %s: %w", seq, id, err)
	}
	return nil
}
