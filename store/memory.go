package store

import (
	"github.com/dgraph-io/badger/v4"
)

// loadMemory finds the totals out again, in time that doesn't grow with the
// number of agreements, events or objects.
func (s *Store) loadMemory() error {
	mem := memory{phases: map[string]int64{}}
	err := s.view(func(txn *badger.Txn) error {
		if err := loadPhases(txn, &mem); err != nil {
			return err
		}
		if err := loadInbox(txn, &mem); err != nil {
			return err
		}
		if err := loadKept(txn, &mem); err != nil {
			return err
		}
		return loadLastEvent(txn, &mem)
	})
	if err != nil {
		return readError(err, "the totals")
	}
	s.publish(mem)
	return nil
}

func loadPhases(txn *badger.Txn, mem *memory) error {
	return scan(txn, []byte{prefixPhaseCount}, nil, true, func(k []byte, item *badger.Item) (bool, error) {
		return true, item.Value(func(b []byte) error {
			n, err := decodeNumber(b)
			mem.phases[string(k[1:])] = int64(n) //nolint:gosec // written from an int64
			return err
		})
	})
}

func loadInbox(txn *badger.Txn, mem *memory) error {
	return scan(txn, []byte{prefixInbox}, nil, true, func(_ []byte, item *badger.Item) (bool, error) {
		return true, item.Value(func(b []byte) error {
			row, err := decodeReceived(b)
			mem.inbox++
			mem.inboxBytes += int64(row.size) //nolint:gosec // was the length of a slice
			return err
		})
	})
}

func loadKept(txn *badger.Txn, mem *memory) error {
	return scan(txn, []byte{prefixKept}, nil, true, func(_ []byte, item *badger.Item) (bool, error) {
		return true, item.Value(func(b []byte) error {
			row, err := decodeKept(b)
			mem.kept++
			mem.keptBytes += int64(row.size) //nolint:gosec // was the length of a slice
			return err
		})
	})
}

func loadLastEvent(txn *badger.Txn, mem *memory) error {
	o := badger.DefaultIteratorOptions
	o.Reverse, o.PrefetchValues, o.Prefix = true, false, []byte{prefixEvent}
	it := txn.NewIterator(o)
	defer it.Close()
	// A reverse seek starts at the greatest key that isn't greater.
	it.Seek([]byte{prefixEvent, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	if !it.ValidForPrefix([]byte{prefixEvent}) {
		return nil
	}
	seq, err := lastNumber(it.Item().Key())
	mem.lastEvent = seq
	return err
}
