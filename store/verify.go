package store

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

// Verified is what a walk over everything has found.
type Verified struct {
	Objects, Bytes int64 // that were read, payloads
	Damaged        int64 // objects: in quarantine now, or lost but for their references
	Mended         int64 // entries that are right again, and quarantines of objects that are good
	Strays         int64 // payloads in the home that the database knows nothing of, and that it has without an object
}

// Verify reads every object and checks it against its name, all values against
// their checksums, the tables of the database against theirs, and entries
// against one another. What follows from other entries is mended. each, which
// may be nil, is told of every object as it is read, with what is wrong with
// it; of one that is lost only the ID is known. Verify reads on when something
// is damaged. Its error is CodeDamaged where what is damaged isn't an object,
// or says what kept it from reading.
func (s *Store) Verify(ctx context.Context, each func(Object, error)) (v Verified, err error) {
	s.soundUntil.Store(0)
	unsound := s.sound()
	k := &verification{s: s, each: each}
	err = k.objects(ctx)
	if err == nil {
		err = k.entries(ctx, unsound == nil)
	}
	if err == nil && unsound == nil {
		err = k.totals(ctx)
	}
	if err == nil {
		err = k.strays(ctx)
	}
	return k.found, errors.Join(append(k.errs, unsound, err)...)
}

// verification is one walk.
type verification struct {
	s    *Store
	each func(Object, error)

	mu    sync.Mutex // guards all below
	found Verified
	errs  []error        // about rows, at most maxErrors
	lost  agreement.Hash // the last object of which only references are left
}

func (k *verification) bad(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.errs) < maxErrors {
		k.errs = append(k.errs, err)
	}
}

func (k *verification) note(o Object, bytes int64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.found.Objects++
	k.found.Bytes += bytes
	if err != nil {
		k.found.Damaged++
	}
	if k.each != nil {
		k.each(o, err)
	}
}

// objects reads all payloads, some at a time.
func (k *verification) objects(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(4, runtime.GOMAXPROCS(0)))
	err := k.s.eachObject(ctx, func(d described) error {
		g.Go(func() error {
			n, err := k.object(ctx, d)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, agreement.ErrNotFound): // purged meanwhile
			case err == nil || agreement.CodeOf(err) == agreement.CodeDamaged:
				k.note(d.Object, n, err)
			default:
				return err
			}
			return nil
		})
		return nil
	})
	if waited := g.Wait(); waited != nil {
		return waited
	}
	return err
}

// object reads an object whole, and mends what is known of it elsewhere.
func (k *verification) object(ctx context.Context, d described) (int64, error) {
	if d.err != nil {
		return 0, k.s.quarantine(d.ID, d.version, agreement.Errorf(agreement.CodeDamaged, "its description can't be read: %w", d.err))
	}
	r, err := k.s.payload(ctx, d.Object, d.version, 0)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err := drain(r)
	if err != nil {
		return n, err
	}
	if there, err := k.s.hasKey(quarantineKey(d.ID)); err != nil || !there {
		return n, err
	}
	k.mended()
	return n, k.s.lift(d.ID)
}

func (k *verification) mended() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.found.Mended++
}

// drain reads to the end.
func drain(r io.Reader) (n int64, err error) {
	b := make([]byte, 256<<10)
	for {
		m, err := r.Read(b)
		n += int64(m)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// described is an object as it is found: err says why its description can't be
// read, and then only the ID is known.
type described struct {
	Object
	version uint64
	err     error
}

// eachObject calls fn for every object, damaged ones too.
func (s *Store) eachObject(ctx context.Context, fn func(described) error) error {
	start := []byte{prefixObject}
	for {
		page, err := s.objectsFrom(start)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, d := range page {
			err := ctx.Err()
			if err == nil {
				err = s.goingOn()
			}
			if err == nil {
				err = fn(d)
			}
			if err != nil {
				return err
			}
		}
		start = append(objectKey(page[len(page)-1].ID), 0)
	}
}

// goingOn ends what takes long when the store is about to be closed.
func (s *Store) goingOn() error {
	select {
	case <-s.ending:
		return storeError("going through the store", badger.ErrDBClosed)
	default:
		return nil
	}
}

// objectsFrom reads a page of descriptions, of some megabytes at most.
func (s *Store) objectsFrom(start []byte) (page []described, err error) {
	const most = 4 << 20
	size := 0
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixObject}, start, func(key []byte, r row) (bool, error) {
			id, err := lastHash(key)
			if err != nil {
				return false, err
			}
			d := described{version: r.item.Version()}
			if d.Object, err = describedBy(id, r); errors.Is(err, errDecode) {
				d.Object, d.err, err = Object{ID: id}, err, nil
			}
			page = append(page, d)
			size += len(d.Header)
			return len(page) < pageSize && size < most, err
		})
	})
	if err != nil {
		return nil, readError(err, "the objects")
	}
	return page, nil
}
