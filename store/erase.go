package store

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Erased is a record that lost its Index, because its content was purged.
type Erased struct {
	Scope agreement.UUID
	Name  string
	At    time.Time // when it happened last
}

// eraseIndexed stages the end of what records say of the content of an object
// that is the last sealing of it: of some of them while there are many.
func (w *writer) eraseIndexed(id agreement.Hash, o Object, now time.Time) (erased int, err error) {
	last := true
	err = scan(w.txn, contentOf(o.ContentHash), nil, func(k []byte, _ row) (bool, error) {
		last = bytes.Equal(k, contentKey(o.ContentHash, id))
		return last, nil
	})
	if err != nil {
		return 0, storeError("looking for other sealings", err)
	}
	if !last {
		return 0, nil
	}
	err = scan(w.txn, indexedOf(o.ContentHash), nil, func(k []byte, _ row) (bool, error) {
		_, scope, name, err := splitIndexedKey(k)
		if err != nil {
			return false, err
		}
		w.erase(bytes.Clone(k), scope, name, now)
		erased++
		return erased < releasePage, nil
	})
	if err != nil {
		return 0, readError(err, "the index fields of content %s", o.ContentHash)
	}
	return erased, nil
}

// erase stages the end of one record's index fields, which are under the key.
func (w *writer) erase(key []byte, scope agreement.UUID, name string, now time.Time) {
	w.set(erasedKey(scope, name), encodeTime(now))
	w.del(key)
}

// Erased goes through the records that have lost their Index and that
// ForgetErased hasn't taken off the list since. It ends at the first error,
// which it yields.
func (s *Store) Erased() iter.Seq2[Erased, error] {
	return func(yield func(Erased, error) bool) {
		var after []byte
		for {
			keys, err := s.keysAfter([]byte{prefixErased}, after, pageSize)
			for _, k := range keys {
				e, err := s.erased(k)
				if errors.Is(err, badger.ErrKeyNotFound) {
					continue // taken off meanwhile
				}
				if !yield(e, err) || err != nil {
					return
				}
			}
			if err != nil {
				yield(Erased{}, err)
				return
			}
			if len(keys) < pageSize {
				return
			}
			after = keys[len(keys)-1]
		}
	}
}

func (s *Store) erased(k []byte) (e Erased, err error) {
	if e.Scope, e.Name, err = splitNamedKey(k); err != nil {
		return e, err
	}
	b, err := s.copyOf(k)
	if err == nil {
		e.At, err = decodeTime(b)
	}
	return e, err
}

// ForgetErased takes off the list what was erased before a time.
func (s *Store) ForgetErased(ctx context.Context, before time.Time) error {
	var after []byte
	for {
		keys, err := s.keysAfter([]byte{prefixErased}, after, releasePage)
		if err != nil || len(keys) == 0 {
			return err
		}
		err = s.updateFreeing(ctx, len(keys), func(w *writer) error {
			for _, k := range keys {
				var at time.Time
				err := w.get(k, func(b []byte) (err error) { at, err = decodeTime(b); return err })
				if err == nil && at.Before(before) {
					w.del(k)
				} else if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return readError(err, "the records that lost their index fields")
		}
		after = keys[len(keys)-1]
	}
}
