package store

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// backups lets one backup run at a time, and keeps payloads from being removed
// under it.
type backups struct {
	turn    sync.Mutex   // held by a backup
	removal sync.RWMutex // held shared while a payload is removed, alone by a backup
}

// deletions is the journal of deleted keys, from which an incremental backup
// learns what has gone: Badger forgets it. It is kept from the first backup
// on.
type deletions struct {
	on          bool
	from        uint64 // later versions are complete
	first, last uint64 // sequences; first is greater when there are none
}

// noted reports whether the deletion of a key is for the journal.
func (d deletions) noted(key []byte) bool {
	return d.on && key[0] != prefixDeleted && !skipped(key)
}

// skipped are keys that a backup doesn't have: they are about this store.
func skipped(key []byte) bool {
	switch key[0] {
	case prefixFormat, prefixStoreID, prefixTotals, prefixBackups, prefixPutting, prefixPurged, prefixFiller:
		return true
	}
	return false
}

func loadDeletions(txn *badger.Txn, mem *memory) error {
	d := deletions{}
	err := getValue(txn, backupsKey(), func(b []byte) (err error) { d.from, err = decodeNumber(b); return err })
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	d.on = true
	if d.last, err = lastOf(txn, prefixDeleted); err != nil {
		return err
	}
	d.first = d.last + 1
	err = scan(txn, []byte{prefixDeleted}, nil, func(k []byte, _ row) (bool, error) {
		d.first, err = lastNumber(k)
		return false, err
	})
	mem.deletions = d
	return err
}

// startDeletions begins the journal, if it isn't kept yet.
func (s *Store) startDeletions(ctx context.Context) error {
	if s.memory().deletions.on {
		return nil
	}
	err := s.update(ctx, 1, 0, func(w *writer) error {
		if w.mem.deletions.on {
			return nil
		}
		// What this batch deletes has the next version.
		w.mem.deletions = deletions{on: true, from: w.txn.ReadTs() + 1, first: 1}
		w.set(backupsKey(), encodeNumber(w.mem.deletions.from))
		return nil
	})
	if err != nil {
		return fmt.Errorf("beginning the journal of deletions: %w", err)
	}
	return nil
}

// maxDeletions is how many deletions are remembered; beyond, the older half is
// forgotten, and a backup since then has to be a full one.
const maxDeletions = 400_000

// trimDeletions keeps the journal from growing without end.
func (s *Store) trimDeletions(ctx context.Context) error {
	d := s.memory().deletions
	if !d.on || d.last-d.first+1 <= maxDeletions {
		return nil
	}
	for keep := d.last - maxDeletions/2; d.first <= keep; d = s.memory().deletions {
		err := s.updateFreeing(ctx, releasePage+1, func(w *writer) error {
			d := &w.mem.deletions
			for n := 0; n < releasePage && d.first <= keep; n++ {
				item, err := w.txn.Get(deletedKey(d.first))
				if err == nil {
					d.from = max(d.from, item.Version())
				} else if !errors.Is(err, badger.ErrKeyNotFound) {
					return err
				}
				w.del(deletedKey(d.first))
				d.first++
			}
			w.set(backupsKey(), encodeNumber(d.from))
			return nil
		})
		if err != nil {
			return fmt.Errorf("shortening the journal of deletions: %w", err)
		}
	}
	return nil
}
