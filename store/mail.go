package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits of the inbox. What is over them is refused with
// CodeBackpressure, and the sender tries again later.
const (
	MaxMessage         = 16 << 20 // bytes of one signed message
	MaxInboxMessages   = 10_000
	MaxInboxBytes      = 1 << 30
	ConsumedRemembered = 30 * 24 * time.Hour // how long a consumed message is known
)

// InboxMail is a message that is stored and not yet interpreted.
type InboxMail struct {
	ID     agreement.Hash
	Signed []byte
}

// PutMail stores a received message. It isn't fresh when it is pending
// already, or was consumed within ConsumedRemembered.
func (s *Store) PutMail(ctx context.Context, id agreement.Hash, signed []byte) (fresh bool, err error) {
	if err := checkSize("message", len(signed), MaxMessage); err != nil {
		return false, err
	}
	row := received{time.Now(), uint64(len(signed))}
	value := row.encode()
	err = s.update(ctx, 2, int64(len(signed)+len(value)), func(w *writer) error {
		for _, k := range [][]byte{inboxKey(id), consumedKey(id)} {
			if there, err := w.has(k); err != nil || there {
				return err
			}
		}
		if w.mem.inbox >= MaxInboxMessages || w.mem.inboxBytes+int64(len(signed)) > MaxInboxBytes {
			return agreement.Errorf(agreement.CodeBackpressure, "the inbox is full: %d messages, %d bytes", w.mem.inbox, w.mem.inboxBytes)
		}
		w.set(inboxKey(id), value)
		w.set(signedKey(id), signed)
		w.mem.inbox++
		w.mem.inboxBytes += int64(len(signed))
		fresh = true
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("storing message %s: %w", id, err)
	}
	return fresh, nil
}

// readInbox reads the row of a pending message; a zero id has none.
func readInbox(w *writer, id agreement.Hash) (row received, err error) {
	if id.IsZero() {
		return row, nil
	}
	err = w.get(inboxKey(id), func(b []byte) (err error) { row, err = decodeReceived(b); return err })
	if err != nil {
		return row, readError(err, "message %s", id)
	}
	return row, nil
}

// consume takes a pending message out of the inbox and remembers its id.
func consume(w *writer, id agreement.Hash, row received) {
	w.del(inboxKey(id))
	w.del(signedKey(id))
	w.setFor(consumedKey(id), nil, ConsumedRemembered)
	w.mem.inbox--
	w.mem.inboxBytes -= int64(row.size) //nolint:gosec // was the length of a slice
}

// Inbox returns the pending messages in the order of their arrival.
func (s *Store) Inbox() ([]InboxMail, error) {
	type entry struct {
		InboxMail
		at time.Time
	}
	var all []entry
	err := s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixInbox}, nil, func(k []byte, item row) (bool, error) {
			id, err := lastHash(k)
			if err != nil {
				return false, err
			}
			var row received
			if err := item.value(func(b []byte) (err error) { row, err = decodeReceived(b); return err }); err != nil {
				return false, err
			}
			e := entry{InboxMail{ID: id}, row.at}
			err = getValue(txn, signedKey(id), func(b []byte) error { e.Signed = bytes.Clone(b); return nil })
			all = append(all, e)
			return true, err
		})
	})
	if err != nil {
		return nil, readError(err, "the inbox")
	}
	slices.SortStableFunc(all, func(a, b entry) int { return a.at.Compare(b.at) })
	mails := make([]InboxMail, len(all))
	for i, e := range all {
		mails[i] = e.InboxMail
	}
	return mails, nil
}

// DropMail consumes a message without a change of an agreement. One that
// isn't pending is ErrStale.
func (s *Store) DropMail(ctx context.Context, id agreement.Hash) error {
	err := s.update(ctx, 3, 0, func(w *writer) error {
		row, err := readInbox(w, id)
		if errors.Is(err, agreement.ErrNotFound) {
			return ErrStale
		}
		if err != nil {
			return err
		}
		consume(w, id, row)
		return nil
	})
	if err != nil {
		return fmt.Errorf("dropping message %s: %w", id, err)
	}
	return nil
}
