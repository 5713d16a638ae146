package store

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits of small things.
const (
	MaxManifest        = 1 << 20  // bytes of a contract's manifest
	MaxAffiliateRecord = 64 << 10 // bytes of a signed affiliate record
)

// Contract is a contract that this node knows. Its module is an object.
type Contract struct {
	Hash     agreement.Hash
	Module   agreement.Hash // SHA-256, the content hash of the module's object
	Name     string
	Version  string
	Manifest []byte // canonical JSON
	Size     int64  // bytes of the module
	Added    time.Time
}

// PutContract stores a contract, in place of one with the same hash.
func (s *Store) PutContract(ctx context.Context, c Contract) error {
	if err := checkSize("the contract's manifest", len(c.Manifest), MaxManifest); err != nil {
		return err
	}
	if err := checkSize("the contract's name or version", max(len(c.Name), len(c.Version)), MaxName); err != nil {
		return err
	}
	if err := s.put(ctx, contractKey(c.Hash), c.encode()); err != nil {
		return fmt.Errorf("storing contract %s: %w", c.Hash, err)
	}
	return nil
}

// put writes one key with others' writes.
func (s *Store) put(ctx context.Context, key, value []byte) error {
	return s.update(ctx, 1, int64(len(value)), func(w *writer) error { w.set(key, value); return nil })
}

// Contract returns a contract by its hash, or agreement.ErrNotFound.
func (s *Store) Contract(hash agreement.Hash) (c Contract, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return getValue(txn, contractKey(hash), func(b []byte) (err error) { c, err = decodeContract(b); return err })
	})
	if err != nil {
		return Contract{}, readError(err, "contract %s", hash)
	}
	return c, nil
}

// Contracts returns all contracts, at most MaxPage, in the order of hashes.
func (s *Store) Contracts() ([]Contract, error) {
	var all []Contract
	err := s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixContract}, nil, func(_ []byte, item row) (bool, error) {
			var c Contract
			err := item.value(func(b []byte) (err error) { c, err = decodeContract(b); return err })
			all = append(all, c)
			return len(all) < MaxPage, err
		})
	})
	if err != nil {
		return nil, readError(err, "the contracts")
	}
	return all, nil
}

// Cursor returns a stored number, 0 if there is none.
func (s *Store) Cursor(name string) (v uint64, err error) {
	err = s.view(func(txn *badger.Txn) error {
		err := getValue(txn, cursorKey(name), func(b []byte) (err error) { v, err = decodeNumber(b); return err })
		if err == badger.ErrKeyNotFound { //nolint:errorlint // Badger returns it bare
			return nil
		}
		return err
	})
	if err != nil {
		return 0, readError(err, "cursor %s", name)
	}
	return v, nil
}

// SetCursor stores a number under a name.
func (s *Store) SetCursor(ctx context.Context, name string, v uint64) error {
	if err := checkName("cursor", name); err != nil {
		return err
	}
	if err := s.put(ctx, cursorKey(name), encodeNumber(v)); err != nil {
		return fmt.Errorf("setting cursor %s: %w", name, err)
	}
	return nil
}

// SaveAffiliate stores the signed record of an affiliate, in place of an
// earlier one.
func (s *Store) SaveAffiliate(address string, signed []byte) error {
	if err := checkName("affiliate", address); err != nil {
		return err
	}
	if err := checkSize("the affiliate's record", len(signed), MaxAffiliateRecord); err != nil {
		return err
	}
	err := s.submit(nil, &operation{entries: 1, size: int64(len(signed)), leaves: floor, run: func(w *writer) error {
		w.set(affiliateKey(address), signed)
		return nil
	}})
	if err != nil {
		return fmt.Errorf("storing the record of affiliate %s: %w", address, err)
	}
	return nil
}

// Affiliates returns the signed records by address.
func (s *Store) Affiliates() (map[string][]byte, error) {
	all := map[string][]byte{}
	err := s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixAffiliate}, nil, func(k []byte, item row) (bool, error) {
			return true, item.value(func(b []byte) error { all[string(k[1:])] = bytes.Clone(b); return nil })
		})
	})
	if err != nil {
		return nil, readError(err, "the affiliates")
	}
	return all, nil
}
