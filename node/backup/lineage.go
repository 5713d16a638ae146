package backup

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/affiliate-node/affiliate/store"
)

// cursorLineage is where a store keeps the number that tells it from what it
// was restored from: after a restore its versions go on differently, and an
// incremental backup of one doesn't continue a backup of the other.
const cursorLineage = "backup/lineage"

// StoreOf returns Header.Store of a store, and makes it if there is none yet.
func StoreOf(ctx context.Context, s *store.Store) (string, error) {
	v, err := s.Cursor(cursorLineage)
	if err == nil && v == 0 {
		return Renew(ctx, s)
	}
	return text(v), err
}

// Renew gives a store that was restored an identity of its own.
func Renew(ctx context.Context, s *store.Store) (string, error) {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	v := binary.BigEndian.Uint64(b[:]) | 1
	return text(v), s.SetCursor(ctx, cursorLineage, v)
}

func text(v uint64) string { return fmt.Sprintf("%016x", v) }
