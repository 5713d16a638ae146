package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// collectObjects ends references whose time has come, and purges objects that
// nothing has kept for the grace time.
func (s *Store) collectObjects(ctx context.Context, now time.Time) error {
	if err := s.expire(ctx, now); err != nil {
		return err
	}
	before := now.Add(-s.grace)
	ids, err := s.unheldSince(before)
	if err != nil || len(ids) == 0 {
		return err
	}
	if err := s.sound(); err != nil {
		return fmt.Errorf("nothing is purged while references may be unreadable: %w", err)
	}
	var errs []error
	for _, id := range ids {
		if err := s.collectOne(ctx, id, now, before); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil || len(errs) == maxErrors {
			break
		}
	}
	return errors.Join(errs...)
}

// maxErrors is after how many failures a walk gives up.
const maxErrors = 10

func (s *Store) collectOne(ctx context.Context, id agreement.Hash, now, before time.Time) error {
	s.mu.Lock()
	sign := s.tombstone
	s.mu.Unlock()
	o, found, err := s.find(id)
	if err != nil || found == absent {
		return err
	}
	var stone []byte
	if sign != nil {
		if stone, err = sign(o, "nothing keeps it", now); err != nil {
			return fmt.Errorf("signing the tombstone of object %s: %w", id, err)
		}
	}
	return s.purgeUnheld(ctx, id, stone, before)
}

// soundFor is how long the tables of the database count as checked.
const soundFor = 10 * time.Minute

// sound makes sure that the tables of the database can be read: where a block
// can't, Badger says that what it holds isn't there. Nothing may be removed
// because nothing refers to it before that.
func (s *Store) sound() error {
	if time.Now().UnixNano() < s.soundUntil.Load() {
		return nil
	}
	if err := s.shared(s.db.VerifyChecksum); err != nil {
		if errors.Is(err, badger.ErrDBClosed) {
			return storeError("checking the database", err)
		}
		return agreement.Errorf(agreement.CodeDamaged, "the database's files: %w", err).
			WithHint("restore the store from a backup")
	}
	s.soundUntil.Store(time.Now().Add(soundFor).UnixNano())
	return nil
}

// expire ends references whose time has come.
func (s *Store) expire(ctx context.Context, now time.Time) error {
	for {
		due, err := s.dueBefore(now)
		if err != nil || len(due) == 0 {
			return err
		}
		n := 0
		for _, names := range due {
			n += len(names)
		}
		err = s.updateFreeing(ctx, 5*n, func(w *writer) error {
			for id, names := range due {
				if err := w.expire(id, names, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("ending references: %w", err)
		}
	}
}

// expire stages the end of references to one object whose time has come, by
// name with the time in their keys.
func (w *writer) expire(id agreement.Hash, due map[string]uint64, now time.Time) error {
	var ended []string
	for name, at := range due {
		k := expiryKey(time.Unix(int64(at), 0), id, name) //nolint:gosec // was made of one
		until, _, err := untilIn(w.txn, id, name)
		if err != nil {
			return err
		}
		if !until.IsZero() && seconds(until) == at {
			ended = append(ended, name) // and its key with it
			continue
		}
		w.del(k) // belongs to no reference any more, or to one that can't be read and so stays
	}
	return w.release(id, now, ended...)
}

// dueBefore reads the first references whose time has come, by object and
// name.
func (s *Store) dueBefore(now time.Time) (due map[agreement.Hash]map[string]uint64, err error) {
	due = map[agreement.Hash]map[string]uint64{}
	n := 0
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixExpiry}, nil, func(k []byte, _ row) (bool, error) {
			at, id, name, err := splitExpiryKey(k)
			if err != nil || at >= seconds(now) {
				return false, err
			}
			if due[id] == nil {
				due[id] = map[string]uint64{}
			}
			if _, twice := due[id][name]; twice {
				return false, nil // in the next round
			}
			due[id][name] = at
			n++
			return n < releasePage, nil
		})
	})
	if err != nil {
		return nil, readError(err, "what expires")
	}
	return due, nil
}

// unheldSince lists objects that nothing has kept since that time or longer.
func (s *Store) unheldSince(before time.Time) (ids []agreement.Hash, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixUnheld}, nil, func(k []byte, item row) (bool, error) {
			id, err := lastHash(k)
			if err != nil {
				return false, err
			}
			var since time.Time
			err = item.value(func(b []byte) (err error) { since, err = decodeTime(b); return err })
			if err == nil && !since.After(before) {
				ids = append(ids, id)
			}
			return len(ids) < MaxPage, err
		})
	})
	if err != nil {
		return nil, readError(err, "objects that nothing keeps")
	}
	return ids, nil
}
