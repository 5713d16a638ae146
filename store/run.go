package store

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Intervals of Run.
const (
	mailInterval     = time.Minute
	objectInterval   = time.Minute
	valueLogInterval = 10 * time.Minute
	discardRatio     = 0.5 // a value log file is rewritten when half of it is dead

	// trimAfter is how many bytes of values are written or read between
	// trims. The files are mapped, so about so much is resident beyond what is
	// needed.
	trimAfter = 32 << 20
)

// Run drops kept mail that has expired, ends references whose time has come,
// purges objects that nothing keeps, clears what failed puts left, and gives
// back the space of dead values and the memory of mapped files, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	mail, vlog := time.NewTicker(mailInterval), time.NewTicker(valueLogInterval)
	objects := time.NewTicker(objectInterval)
	defer objects.Stop()
	defer mail.Stop()
	defer vlog.Stop()
	if _, err := s.sweep(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("removing what a crash left of unfinished objects", "error", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-mail.C:
			if err := s.dropExpiredMail(ctx, time.Now()); err != nil && ctx.Err() == nil {
				s.log.Warn("dropping expired mail", "error", err)
			}
		case <-objects.C:
			if err := s.collectObjects(ctx, time.Now()); err != nil && ctx.Err() == nil {
				s.log.Warn("purging objects that nothing keeps", "error", err)
			}
		case <-s.trimDue:
			if err := trim(s.dir); err != nil {
				s.log.Warn("giving back the memory of mapped files", "error", err)
			}
		case <-vlog.C:
			if err := s.collect(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("collecting garbage", "error", err)
			}
		}
	}
}

func (s *Store) collect(ctx context.Context) error {
	if _, err := s.sweep(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		err := s.shared(func() error { return s.db.RunValueLogGC(discardRatio) })
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return nil
		}
		if err != nil {
			return storeError("rewriting the value log", err)
		}
	}
	return nil
}

// collectObjects ends references whose time has come, and purges objects that
// nothing has kept for the grace time.
func (s *Store) collectObjects(ctx context.Context, now time.Time) error {
	if err := s.expire(ctx, now); err != nil {
		return err
	}
	s.mu.Lock()
	sign := s.tombstone
	s.mu.Unlock()
	ids, err := s.unheldSince(now.Add(-s.grace))
	if err != nil {
		return err
	}
	for _, id := range ids {
		o, _, err := s.object(id)
		if errors.Is(err, agreement.ErrNotFound) {
			continue
		}
		var stone []byte
		if err == nil && sign != nil {
			stone, err = sign(o, "nothing keeps it", now)
		}
		if err == nil {
			err = s.purge(ctx, id, stone, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expire ends references whose time has come.
func (s *Store) expire(ctx context.Context, now time.Time) error {
	for {
		keys, err := s.keysBefore(prefixExpiry, now)
		if err != nil || len(keys) == 0 {
			return err
		}
		err = s.update(ctx, 6*len(keys), int64(len(keys)*2*MaxName), func(w *writer) error {
			for _, k := range keys {
				id, name := agreement.Hash(k[9:41]), string(k[41:])
				if err := w.release(id, name, now); err != nil {
					return err
				}
				w.del(k)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// keysBefore reads the first keys whose time has come.
func (s *Store) keysBefore(prefix byte, now time.Time) (keys [][]byte, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefix}, nil, false, func(k []byte, _ *badger.Item) (bool, error) {
			if len(k) < 41 || binary.BigEndian.Uint64(k[1:]) >= uint64(max(0, now.Unix())) { //nolint:gosec // not negative
				return false, nil
			}
			keys = append(keys, slices.Clone(k))
			return len(keys) < releasePage, nil
		})
	})
	if err != nil {
		return nil, storeError("reading what expires", err)
	}
	return keys, nil
}

// unheldSince lists objects that nothing has kept since that time or longer.
func (s *Store) unheldSince(before time.Time) (ids []agreement.Hash, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixUnheld}, nil, true, func(k []byte, item *badger.Item) (bool, error) {
			id, err := lastHash(k)
			if err != nil {
				return false, err
			}
			var since time.Time
			err = item.Value(func(b []byte) (err error) { since, err = decodeTime(b); return err })
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

// touched counts what is resident because it was written or read.
func (s *Store) touched(bytes int64) {
	if s.sinceTrim.Add(bytes) < trimAfter {
		return
	}
	s.sinceTrim.Store(0)
	select {
	case s.trimDue <- struct{}{}:
	default:
	}
}
