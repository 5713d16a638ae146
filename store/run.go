package store

import (
	"context"
	"errors"
	"time"
)

// Intervals of Run.
const (
	mailInterval     = time.Minute
	objectInterval   = time.Minute
	valueLogInterval = 10 * time.Minute

	// trimAfter is how many bytes of values are written or read between
	// trims. The files are mapped, so about so much is resident beyond what is
	// needed.
	trimAfter = 32 << 20
)

// Run drops kept mail that has expired, ends references whose time has come,
// purges objects that nothing keeps, clears what failed puts left, gives back
// the space of dead values and the memory of mapped files, and compacts the
// database when a purge is due, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	mail, vlog := time.NewTicker(mailInterval), time.NewTicker(valueLogInterval)
	objects := time.NewTicker(objectInterval)
	defer objects.Stop()
	defer mail.Stop()
	defer vlog.Stop()
	s.warn(ctx, "removing what a crash left of unfinished objects", errors.Join(s.sweep(ctx), s.removeFillers(ctx)))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-mail.C:
			s.warn(ctx, "dropping expired mail", s.dropExpiredMail(ctx, time.Now()))
		case <-objects.C:
			s.warn(ctx, "purging objects that nothing keeps", s.collectObjects(ctx, time.Now()))
		case <-s.trimDue:
			s.warn(ctx, "giving back the memory of mapped files", trim(s.dir))
		case <-vlog.C:
			s.warn(ctx, "collecting garbage", s.collect(ctx))
		}
	}
}

// warn logs why one round of what Run does failed; there will be another.
func (s *Store) warn(ctx context.Context, doing string, err error) {
	if err != nil && ctx.Err() == nil {
		s.log.Warn(doing, "error", err)
	}
}

func (s *Store) collect(ctx context.Context) error {
	return errors.Join(s.sweep(ctx), s.trimDeletions(ctx), s.collectHalfDead(ctx), s.compactWhenDue(ctx, time.Now()))
}

// trimEvery is how often memory is given back while Badger goes through whole
// files.
const trimEvery = 50 * time.Millisecond

// trimmed runs fn while memory of mapped files is given back.
func (s *Store) trimmed(fn func() error) error {
	ended, trimmed := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(trimEvery)
		defer tick.Stop()
		var err error
		for err == nil {
			select {
			case <-ended:
				trimmed <- trim(s.dir)
				return
			case <-tick.C:
				err = trim(s.dir)
			}
		}
		trimmed <- err
	}()
	err := fn()
	close(ended)
	if terr := <-trimmed; terr != nil {
		s.log.Warn("giving back the memory of mapped files", "error", terr)
	}
	return err
}

// collectHalfDead rewrites files of the value log for their space, unless a
// compaction does so for all.
func (s *Store) collectHalfDead(ctx context.Context) error {
	if !s.rewriting.TryLock() {
		return nil
	}
	defer s.rewriting.Unlock()
	_, err := s.collectValues(ctx, discardRatio)
	return err
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
