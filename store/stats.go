package store

import (
	"context"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Stats says what takes the space.
type Stats struct {
	Objects     int64
	Bytes       int64            // of payloads
	Large       int64            // objects whose payload lies in the home
	Holders     map[string]Share // by the kind of reference that objects were put for
	References  int64
	Unheld      int64 // objects that nothing keeps
	Quarantined int64
	Tombstones  int64
	Tables      int64 // bytes of Badger's tables
	ValueLog    int64 // bytes
	Home        int64 // bytes
	Free        int64 // bytes of the file system; -1: unknown
	Budget      int64 // bytes; 0: none
	Reserve     int64 // bytes
}

// Share is a part of the objects.
type Share struct{ Objects, Bytes int64 }

// Stats walks over all descriptions of objects; it takes seconds for a million.
func (s *Store) Stats(ctx context.Context) (st Stats, err error) {
	st = Stats{Holders: map[string]Share{}, Budget: s.budget, Reserve: s.reserve, References: s.memory().totals.references}
	err = s.eachObject(ctx, func(d described) error {
		st.Objects++
		st.Bytes += d.SealedSize
		if d.large() {
			st.Large++
		}
		kind := holderKind(d.Owner)
		share := st.Holders[kind]
		share.Objects++
		share.Bytes += d.SealedSize
		st.Holders[kind] = share
		return nil
	})
	if err != nil {
		return st, err
	}
	for prefix, n := range map[byte]*int64{prefixUnheld: &st.Unheld, prefixQuarantine: &st.Quarantined, prefixTombstone: &st.Tombstones} {
		if *n, err = s.countKeys(ctx, prefix); err != nil {
			return st, err
		}
	}
	sp, err := s.askSpace(ctx)
	st.Tables, st.ValueLog, st.Home, st.Free = sp.tables, sp.values, sp.home, sp.free
	return st, err
}

// holderKind is the name of a reference up to what makes it one of many.
func holderKind(name string) string {
	if kind, _, ok := strings.Cut(name, ":"); ok && kind != "" {
		return kind
	}
	if _, err := agreement.ParseUUID(name); err == nil {
		return "agreement"
	}
	return name
}

func (s *Store) countKeys(ctx context.Context, prefix byte) (n int64, err error) {
	err = s.view(func(txn *badger.Txn) error {
		n, err = countIn(ctx, txn, prefix)
		return err
	})
	if err != nil {
		return 0, storeError("counting", err)
	}
	return n, nil
}

func countIn(ctx context.Context, txn *badger.Txn, prefix byte) (n int64, err error) {
	err = scan(txn, []byte{prefix}, nil, func([]byte, row) (bool, error) {
		n++
		return true, ctx.Err()
	})
	return n, err
}
