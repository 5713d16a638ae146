package store

import (
	"errors"

	"github.com/dgraph-io/badger/v4"
)

// memory is what the store keeps of its own content: totals that would take a
// scan to find out. Only the leader of the committer changes it.
type memory struct {
	lastEvent  uint64
	phases     map[string]int64
	inbox      int64 // messages
	inboxBytes int64
	kept       int64 // mails
	keptBytes  int64
	totals     totals
	deletions  deletions
}

// totals are written with every batch: what there must be, so that what gets
// lost is noticed.
type totals struct {
	batch      uint64 // counts the batches that wrote
	objects    int64
	bytes      int64 // of their payloads
	references int64
}

// loadMemory finds the totals out again, in time that doesn't grow with the
// number of agreements, events or objects.
func (s *Store) loadMemory() error {
	mem := memory{phases: map[string]int64{}}
	err := s.view(func(txn *badger.Txn) error {
		for _, load := range []func(*badger.Txn, *memory) error{loadPhases, loadInbox, loadKept, loadLastEvent, loadTotals, loadDeletions} {
			if err := load(txn, &mem); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return readError(err, "the totals")
	}
	s.publish(mem)
	return nil
}

func loadPhases(txn *badger.Txn, mem *memory) error {
	return scan(txn, []byte{prefixPhaseCount}, nil, func(k []byte, r row) (bool, error) {
		return true, r.value(func(b []byte) error {
			n, err := decodeNumber(b)
			mem.phases[string(k[1:])] = int64(n) //nolint:gosec // written from an int64
			return err
		})
	})
}

func loadInbox(txn *badger.Txn, mem *memory) error {
	return scan(txn, []byte{prefixInbox}, nil, func(_ []byte, r row) (bool, error) {
		return true, r.value(func(b []byte) error {
			row, err := decodeReceived(b)
			mem.inbox++
			mem.inboxBytes += int64(row.size) //nolint:gosec // was the length of a slice
			return err
		})
	})
}

func loadKept(txn *badger.Txn, mem *memory) error {
	return scan(txn, []byte{prefixKept}, nil, func(_ []byte, r row) (bool, error) {
		return true, r.value(func(b []byte) error {
			row, err := decodeKept(b)
			mem.kept++
			mem.keptBytes += int64(row.size) //nolint:gosec // was the length of a slice
			return err
		})
	})
}

func loadLastEvent(txn *badger.Txn, mem *memory) (err error) {
	mem.lastEvent, err = lastOf(txn, prefixEvent)
	return err
}

// lastOf returns the greatest number among keys that are a prefix and a
// number, 0 if there is none.
func lastOf(txn *badger.Txn, prefix byte) (last uint64, err error) {
	o := badger.DefaultIteratorOptions
	o.Reverse, o.PrefetchValues, o.Prefix = true, false, []byte{prefix}
	// A reverse seek starts at the greatest key that isn't greater.
	start := append([]byte{prefix}, number64(^uint64(0))...)
	err = scanWith(txn, o, start, func(k []byte, _ row) (bool, error) {
		last, err = lastNumber(k)
		return false, err
	})
	return last, err
}

func loadTotals(txn *badger.Txn, mem *memory) error {
	err := getValue(txn, totalsKey(), func(b []byte) (err error) { mem.totals, err = decodeTotals(b); return err })
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil // it is new
	}
	return err
}
