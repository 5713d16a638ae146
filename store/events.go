package store

import (
	"context"
	"math"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// LastEvent returns the sequence of the newest event, 0 if there is none.
func (s *Store) LastEvent() uint64 { return s.memory().lastEvent }

// EventsAfter returns up to limit events with a higher sequence, in order: of
// one agreement, or (nil) of all. A reader that goes on after the last one it
// was given misses none.
func (s *Store) EventsAfter(seq uint64, id *agreement.ID, limit int) ([]Event, error) {
	limit = min(limit, MaxPage)
	if seq == math.MaxUint64 || limit <= 0 {
		return nil, nil
	}
	var events []Event
	err := s.view(func(txn *badger.Txn) (err error) {
		if id == nil {
			events, err = eventsFrom(txn, seq+1, limit)
		} else {
			events, err = eventsFromOf(txn, *id, seq+1, limit)
		}
		return err
	})
	if err != nil {
		return nil, readError(err, "the events after %d", seq)
	}
	return events, nil
}

func eventsFrom(txn *badger.Txn, seq uint64, limit int) (events []Event, err error) {
	err = scan(txn, []byte{prefixEvent}, eventKey(seq), func(k []byte, item row) (bool, error) {
		var e Event
		if err := item.value(func(b []byte) (err error) { e, err = decodeEvent(b); return err }); err != nil {
			return false, err
		}
		var err error
		e.Sequence, err = lastNumber(k)
		events = append(events, e)
		return len(events) < limit, err
	})
	return events, err
}

func eventsFromOf(txn *badger.Txn, id agreement.ID, seq uint64, limit int) (events []Event, err error) {
	err = scan(txn, eventsOf(id), eventOfKey(id, seq), func(k []byte, _ row) (bool, error) {
		seq, err := lastNumber(k)
		if err != nil {
			return false, err
		}
		e := Event{}
		err = getValue(txn, eventKey(seq), func(b []byte) (err error) { e, err = decodeEvent(b); return err })
		if err != nil {
			return false, err
		}
		e.Sequence = seq
		events = append(events, e)
		return len(events) < limit, nil
	})
	return events, err
}

// WaitEvents returns when there is an event with a higher sequence, or when
// ctx ends, with its error.
func (s *Store) WaitEvents(ctx context.Context, after uint64) error {
	for {
		s.mu.Lock()
		last, changed := s.mem.lastEvent, s.changed
		s.mu.Unlock()
		if last > after {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ending:
			return storeError("waiting for events", badger.ErrDBClosed)
		}
	}
}
