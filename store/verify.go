package store

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Verified is what a walk over everything has found.
type Verified struct {
	Objects, Bytes int64 // that were read, payloads
	Damaged        int64 // objects, now in quarantine
	Strays         int64 // payloads that belong to no object, or entries to none
}

// Verify reads every object and checks it against its name, the tables of the
// database against their checksums, and the entries of objects against one
// another. each, which may be nil, is told of every object as it is read, with
// what is wrong with it. It reads on when something is damaged; its error is
// about what kept it from reading.
func (s *Store) Verify(ctx context.Context, each func(Object, error)) (v Verified, err error) {
	if err := s.shared(s.db.VerifyChecksum); err != nil {
		return v, agreement.Errorf(agreement.CodeDamaged, "the database's files: %w", err).
			WithHint("restore the store from a backup")
	}
	err = s.eachObject(ctx, func(o Object) error {
		n, err := s.check(ctx, o)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v.Objects++
		v.Bytes += n
		if agreement.CodeOf(err) == agreement.CodeDamaged {
			v.Damaged++
		} else if err != nil {
			return err
		}
		if each != nil {
			each(o, err)
		}
		return nil
	})
	if err == nil {
		v.Strays, err = s.sweep(ctx)
	}
	return v, err
}

// check reads an object whole.
func (s *Store) check(ctx context.Context, o Object) (int64, error) {
	if there, err := s.hasKey(contentKey(o.ContentHash, o.ID)); err != nil {
		return 0, err
	} else if !there {
		return 0, s.quarantine(ctx, o.ID, agreement.Errorf(agreement.CodeDamaged, "object %s isn't listed under its content", o.ID))
	}
	r, err := s.payload(ctx, o, 0)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(io.Discard, r)
}

func (s *Store) hasKey(key []byte) (bool, error) {
	err := s.view(func(txn *badger.Txn) error {
		_, err := txn.Get(key)
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// eachObject calls fn for every object, damaged ones too.
func (s *Store) eachObject(ctx context.Context, fn func(Object) error) error {
	start := []byte{prefixObject}
	for {
		page, err := s.objectsFrom(start)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, o := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(o); err != nil {
				return err
			}
		}
		start = append(objectKey(page[len(page)-1].ID), 0)
	}
}

func (s *Store) objectsFrom(start []byte) (page []Object, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixObject}, start, true, func(_ []byte, item *badger.Item) (bool, error) {
			err := item.Value(func(b []byte) error {
				o, err := decodeObject(b)
				page = append(page, o)
				return err
			})
			return len(page) < MaxPage, err
		})
	})
	if err != nil {
		return nil, readError(err, "the objects")
	}
	return page, nil
}

// sweep removes what belongs to nothing: payloads without an object, what was
// purged but for its payload, and what unfinished puts left.
func (s *Store) sweep(ctx context.Context) (strays int64, err error) {
	marks, err := s.keys([]byte{prefixPutting}, MaxPage)
	if err != nil {
		return 0, err
	}
	for _, k := range marks {
		id, err := lastHash(k)
		if err != nil {
			return strays, err
		}
		if err := s.sweepOne(ctx, id); err != nil {
			return strays, err
		}
		strays++
	}
	if err := s.home.Sweep(ctx); err != nil {
		return strays, err
	}
	var lost []agreement.Hash
	err = s.home.List(ctx, func(id agreement.Hash, _ int64, modified time.Time) error {
		if there, err := s.hasKey(objectKey(id)); err != nil || there || time.Since(modified) < strayAge {
			return err
		}
		lost = append(lost, id)
		return nil
	})
	for _, id := range lost {
		err = errors.Join(err, s.sweepOne(ctx, id))
		strays++
	}
	return strays, err
}

// strayAge is how old a payload without an object must be to be a stray: a
// put makes the object right after the payload.
const strayAge = time.Hour

// sweepOne removes a payload unless somebody puts or purges it just now, or
// it has an object again.
func (s *Store) sweepOne(ctx context.Context, id agreement.Hash) error {
	if !s.puts.tryEnter(id) {
		return nil
	}
	defer s.puts.leave(id)
	if there, err := s.hasKey(objectKey(id)); err != nil {
		return err
	} else if !there {
		if err := s.home.Remove(ctx, id); err != nil {
			return err
		}
	}
	return s.remove(puttingKey(id))
}

// Stats says what takes the space.
type Stats struct {
	Objects     int64
	Bytes       int64            // of payloads
	Large       int64            // objects whose payload lies in the home
	Holders     map[string]Share // by the kind of reference that objects were put for
	Unheld      int64            // objects that nothing keeps
	Quarantined int64
	Tombstones  int64
	Tables      int64 // bytes of Badger's tables
	ValueLog    int64 // bytes
	Home        int64 // bytes
	Free        int64 // bytes of the file system; −1: unknown
	Budget      int64 // bytes; 0: none
	Reserve     int64 // bytes
}

// Share is a part of the objects.
type Share struct{ Objects, Bytes int64 }

// Stats walks over all descriptions of objects; it takes seconds for a million.
func (s *Store) Stats(ctx context.Context) (st Stats, err error) {
	st = Stats{Holders: map[string]Share{}, Budget: s.budget, Reserve: s.reserve}
	err = s.eachObject(ctx, func(o Object) error {
		st.Objects++
		st.Bytes += o.SealedSize
		if o.SealedSize > smallPayload {
			st.Large++
		}
		kind := holderKind(o.Owner)
		share := st.Holders[kind]
		share.Objects++
		share.Bytes += o.SealedSize
		st.Holders[kind] = share
		return nil
	})
	if err != nil {
		return st, err
	}
	for prefix, n := range map[byte]*int64{prefixUnheld: &st.Unheld, prefixQuarantine: &st.Quarantined, prefixTombstone: &st.Tombstones} {
		if *n, err = s.countKeys(prefix); err != nil {
			return st, err
		}
	}
	u, err := s.home.Usage(ctx)
	if err != nil {
		return st, err
	}
	st.Home, st.Free = u.Bytes, u.Free
	return st, s.shared(func() error { st.Tables, st.ValueLog = s.db.Size(); return nil })
}

// holderKind is the name of a reference up to what makes it one of many.
func holderKind(name string) string {
	if i := slices.Index([]byte(name), ':'); i > 0 {
		return name[:i]
	}
	if _, err := agreement.ParseUUID(name); err == nil {
		return "agreement"
	}
	return name
}

func (s *Store) countKeys(prefix byte) (n int64, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefix}, nil, false, func([]byte, *badger.Item) (bool, error) {
			n++
			return true, nil
		})
	})
	if err != nil {
		return 0, storeError("counting", err)
	}
	return n, nil
}
