package store

import (
	"context"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Intervals of Run.
const (
	mailInterval     = time.Minute
	valueLogInterval = 10 * time.Minute
	discardRatio     = 0.5 // a value log file is rewritten when half of it is dead

	// trimAfter is how many bytes of values are written or read between
	// trims. The files are mapped, so about so much is resident beyond what is
	// needed.
	trimAfter = 32 << 20
)

// Run drops kept mail that has expired, clears what failed object puts left,
// and gives back the space of dead values and the memory of mapped files,
// until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	mail, vlog := time.NewTicker(mailInterval), time.NewTicker(valueLogInterval)
	defer mail.Stop()
	defer vlog.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-mail.C:
			if err := s.dropExpiredMail(ctx, time.Now()); err != nil && ctx.Err() == nil {
				s.log.Warn("dropping expired mail", "error", err)
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
	if err := s.removeOrphans(); err != nil {
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
