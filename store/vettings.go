package store

import (
	"context"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// MaxNote is the longest note of a vetting, in bytes.
const MaxNote = 1024

// Vetting is this affiliate's consent to run a contract.
type Vetting struct {
	Contract agreement.Hash
	Since    time.Time
	Note     string // for people
}

// PutVetting stores a consent, in place of an earlier one to the same contract.
func (s *Store) PutVetting(ctx context.Context, v Vetting) error {
	if err := checkSize("the vetting's note", len(v.Note), MaxNote); err != nil {
		return err
	}
	if err := s.put(ctx, vettingKey(v.Contract), v.encode()); err != nil {
		return fmt.Errorf("storing the vetting of contract %s: %w", v.Contract, err)
	}
	return nil
}

// DropVetting takes a consent back; it is no error if there is none.
func (s *Store) DropVetting(ctx context.Context, contract agreement.Hash) error {
	err := s.update(ctx, 1, 0, func(w *writer) error { w.del(vettingKey(contract)); return nil })
	if err != nil {
		return fmt.Errorf("taking back the vetting of contract %s: %w", contract, err)
	}
	return nil
}

// Vetting returns the consent to a contract, or agreement.ErrNotFound.
func (s *Store) Vetting(contract agreement.Hash) (v Vetting, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return getValue(txn, vettingKey(contract), func(b []byte) (err error) { v, err = decodeVetting(b); return err })
	})
	if err != nil {
		return Vetting{}, readError(err, "the vetting of contract %s", contract)
	}
	return v, nil
}

// Vettings returns all consents, at most MaxPage, in the order of hashes.
func (s *Store) Vettings() ([]Vetting, error) {
	var all []Vetting
	err := s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixVetting}, nil, func(_ []byte, item row) (bool, error) {
			var v Vetting
			err := item.value(func(b []byte) (err error) { v, err = decodeVetting(b); return err })
			all = append(all, v)
			return len(all) < MaxPage, err
		})
	})
	if err != nil {
		return nil, readError(err, "the vettings")
	}
	return all, nil
}

func (v Vetting) encode() []byte {
	e := newEncoder(len(v.Note) + 64)
	e.raw(v.Contract[:])
	e.time(v.Since)
	e.string(v.Note)
	return e.b
}

func decodeVetting(b []byte) (Vetting, error) {
	d := newDecoder(b)
	var v Vetting
	d.fixed(v.Contract[:])
	v.Since, v.Note = d.time(), d.string()
	return v, d.done()
}
