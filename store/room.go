package store

import (
	"context"
	"sync"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// room knows whether there is space for more, without asking the system each
// time.
type room struct {
	mu    sync.Mutex // guards all below
	asked time.Time
	used  int64 // bytes, of Badger and the home
	free  int64 // bytes of the file system; −1: unknown
}

// How long an answer of the system is believed, and how many bytes may be
// written until then.
const (
	roomAge   = 5 * time.Second
	roomBytes = 32 << 20
)

// grew notes that something was written.
func (r *room) grew(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used += bytes
	if r.free >= 0 {
		r.free = max(0, r.free-bytes)
	}
	if bytes > roomBytes {
		r.asked = time.Time{}
	}
}

// Room reports whether new work may be taken in: nil, or CodeDiskFull when the
// disk budget is used up or less than the reserve is free. What is under way
// doesn't ask, and completes.
func (s *Store) Room(ctx context.Context) error {
	used, free, err := s.space(ctx)
	switch {
	case err != nil:
		return err
	case s.budget > 0 && used >= s.budget:
		return agreement.Errorf(agreement.CodeDiskFull, "the store has %d bytes, all of its budget of %d", used, s.budget).
			WithHint("raise store.disk_budget, or release what isn't needed: `affiliate store stats` says what takes the space")
	case free >= 0 && free < s.reserve:
		return agreement.Errorf(agreement.CodeDiskFull, "the disk has %d bytes left; %d are kept free", free, s.reserve).
			WithHint("make room on the disk, or lower store.disk_reserve")
	}
	return nil
}

func (s *Store) space(ctx context.Context) (used, free int64, err error) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	if time.Since(s.room.asked) < roomAge {
		return s.room.used, s.room.free, nil
	}
	u, err := s.home.Usage(ctx)
	if err != nil {
		return 0, 0, err
	}
	err = s.shared(func() error {
		lsm, vlog := s.db.Size()
		s.room.used = u.Bytes + lsm + vlog
		return nil
	})
	s.room.free, s.room.asked = u.Free, time.Now()
	return s.room.used, s.room.free, err
}
