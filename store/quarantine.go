package store

import (
	"errors"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Quarantine says why an object is not to be read: some of its bytes aren't
// what they were. It stays known, so that it can be repaired.
type Quarantine struct {
	Since  time.Time
	Reason string // with the place
}

func (q Quarantine) err(id agreement.Hash) error {
	return agreement.Errorf(agreement.CodeDamaged, "object %s is in quarantine since %s: %s", id, q.Since.UTC().Format(time.RFC3339), q.Reason).
		WithHint("`affiliate store verify --repair` fetches it from a peer that has it, or restore a backup")
}

// quarantine takes an object out of use whose description has that version,
// and returns the error that says so: agreement.ErrNotFound if it has gone
// meanwhile. One that was put or changed since then isn't touched.
func (s *Store) quarantine(id agreement.Hash, version uint64, why error) error {
	q, gone := Quarantine{Since: time.Now(), Reason: clip(reason(why))}, false
	err := s.commit(1, func(w *writer) error {
		item, err := w.txn.Get(objectKey(id))
		if errors.Is(err, badger.ErrKeyNotFound) {
			gone = true
			return nil
		}
		if err != nil || item.Version() != version {
			return err
		}
		if there, err := w.has(quarantineKey(id)); err != nil || there {
			return err // since then, and for that reason
		}
		w.set(quarantineKey(id), q.encode())
		return nil
	})
	if err == nil && gone {
		return notFound("object %s", id)
	}
	if err != nil {
		s.log.Error("a damaged object can't be put into quarantine", "object", id, "error", err)
	}
	s.log.Error("an object is damaged", "object", id, "reason", q.Reason)
	return q.err(id)
}

// reason is the text of an error without its code.
func reason(err error) string {
	var e *agreement.Error
	if errors.As(err, &e) {
		return e.Text
	}
	return err.Error()
}

// clip keeps a text within what an entry may have.
func clip(text string) string { return strings.ToValidUTF8(text[:min(len(text), MaxText)], "") }

// Quarantined lists the objects that are damaged, at most MaxPage. Of one whose
// description can't be read either, only the ID is known.
func (s *Store) Quarantined() (all []Object, err error) {
	size := 0
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixQuarantine}, nil, func(k []byte, _ row) (bool, error) {
			id, err := lastHash(k)
			if err != nil {
				return false, err
			}
			o, _, err := findIn(txn, id)
			o.ID = id
			all = append(all, o)
			size += len(o.Header)
			return len(all) < MaxPage && size < maxListed, err
		})
	})
	if err != nil {
		return nil, readError(err, "the damaged objects")
	}
	return all, nil
}

// lift ends the quarantine of an object that proves to be good.
func (s *Store) lift(id agreement.Hash) error {
	return s.commit(1, func(w *writer) error { w.del(quarantineKey(id)); return nil })
}
