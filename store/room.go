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
	until time.Time  // the answer is believed so long
	grown int64      // bytes written since it was given
	space space
}

// space is what the store takes and has left, in bytes.
type space struct {
	tables, values, home int64
	free                 int64 // of the file system that has less; -1: unknown
}

func (s space) used() int64 { return s.tables + s.values + s.home }

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
	if r.grown += bytes; r.grown > roomBytes {
		r.until = time.Time{}
	}
}

// Room reports whether new work may be taken in: nil, or CodeDiskFull when the
// disk budget is used up or less than the reserve is free. What is under way
// doesn't ask, and completes.
func (s *Store) Room(ctx context.Context) error {
	sp, grown, err := s.spaceNow(ctx)
	if err != nil {
		return err
	}
	if used := sp.used() + grown; s.budget > 0 && used >= s.budget {
		return agreement.Errorf(agreement.CodeDiskFull, "the store has %d bytes, all of its budget of %d", used, s.budget).
			WithHint("raise store.disk_budget, or release what isn't needed: `affiliate store stats` says what takes the space")
	}
	if sp.free >= 0 && sp.free-grown < s.reserve {
		return agreement.Errorf(agreement.CodeDiskFull, "the disk has %d bytes left; %d are kept free", max(0, sp.free-grown), s.reserve).
			WithHint("make room on the disk, or lower store.disk_reserve")
	}
	return nil
}

// spaceNow returns an answer that is young enough, and the bytes written since.
func (s *Store) spaceNow(ctx context.Context) (space, int64, error) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	if time.Now().Before(s.room.until) {
		return s.room.space, s.room.grown, nil
	}
	sp, err := s.askSpace(ctx)
	if err != nil {
		return space{}, 0, err
	}
	s.room.space, s.room.until, s.room.grown = sp, time.Now().Add(roomAge), 0
	return sp, 0, nil
}

func (s *Store) askSpace(ctx context.Context) (sp space, err error) {
	u, err := s.home.Usage(ctx)
	if err != nil {
		return space{}, err
	}
	sp.home, sp.free = u.Bytes, s.free()
	if u.Free >= 0 && (sp.free < 0 || u.Free < sp.free) {
		sp.free = u.Free
	}
	if sp.tables, sp.values, err = diskBytes(s.dir); err != nil {
		return space{}, storeError("measuring the database", err)
	}
	return sp, nil
}
