package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits of one Record.
const (
	MaxIndexFields = 256
	MaxIndexValue  = 64 << 10 // bytes of all fields and values together
)

// Record is one version of a record that this affiliate holds.
type Record struct {
	Scope     agreement.UUID
	Name      string
	Agreement agreement.ID
	Contract  agreement.Hash
	Hash      string         // as it is on chain
	Salt      []byte         // empty when the hash is plain
	Content   agreement.Hash // SHA-256 of the content
	Object    agreement.Hash // a sealing of it
	MediaType string
	Height    int64
	BlockTime time.Time
	TxHash    string
	Index     map[string]string // field to the text of its value; goes with the last sealing of Content
}

func (v Record) check() error {
	if err := checkName("record", v.Name); err != nil {
		return err
	}
	if v.Height < 0 {
		return agreement.Errorf(agreement.CodeInternal, "record %s has height %d", v.Name, v.Height)
	}
	size := 0
	for field, value := range v.Index {
		size += len(field) + len(value)
	}
	if err := checkSize("the index of record "+v.Name, size, MaxIndexValue); err != nil {
		return err
	}
	if err := checkSize("the texts of record "+v.Name, max(len(v.Hash), len(v.Salt), len(v.MediaType), len(v.TxHash)), MaxText); err != nil {
		return err
	}
	return checkSize("the number of indexed fields of record "+v.Name, len(v.Index), MaxIndexFields)
}

// PutRecords stores records, all or none. The greatest height is the current
// one of its name; among equals, the one that was put last for the first time.
// The same record again changes nothing.
func (s *Store) PutRecords(ctx context.Context, records []Record) error {
	values, size := make([][]byte, len(records)), int64(0)
	for i, r := range records {
		if err := r.check(); err != nil {
			return fmt.Errorf("storing records: %w", err)
		}
		values[i] = r.encode()
		size += int64(len(values[i]))
		for field, value := range r.Index {
			size += int64(len(field) + len(value))
		}
	}
	// A batch's staged writes aren't visible to its own reads.
	err := s.update(ctx, 3*len(records), size, func(w *writer) error {
		newest := map[string]current{}
		for i, r := range records {
			if err := putRecord(w, r, values[i], newest); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing records: %w", err)
	}
	return nil
}

// putRecord stages one record; newest holds what the operation has staged.
func putRecord(w *writer, r Record, value []byte, newest map[string]current) error {
	k := recordKey(r.Scope, r.Name, r.Height, r.Agreement)
	there, err := w.has(k)
	if err != nil {
		return storeError("reading a record", err)
	}
	w.set(k, value)
	if len(r.Index) > 0 {
		w.set(indexedKey(r), encodeFields(r.Index))
	}
	if there {
		return nil
	}
	ck := currentKey(r.Scope, r.Name)
	now, known := newest[string(ck)]
	if !known {
		now.height = -1
		err := w.get(ck, func(b []byte) (err error) { now, err = decodeCurrent(b); return err })
		if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
			return readError(err, "record %s", r.Name)
		}
	}
	if r.Height >= now.height {
		now = current{r.Height, r.Agreement}
		w.set(ck, now.encode())
	}
	newest[string(ck)] = now
	return nil
}

// Record returns the current version, or agreement.ErrNotFound.
func (s *Store) Record(scope agreement.UUID, name string) (r Record, err error) {
	err = s.view(func(txn *badger.Txn) error {
		r, err = currentRecord(txn, scope, name)
		return err
	})
	if err != nil {
		return Record{}, readError(err, "record %s of scope %s", name, scope)
	}
	return r, nil
}

func currentRecord(txn *badger.Txn, scope agreement.UUID, name string) (r Record, err error) {
	var c current
	err = getValue(txn, currentKey(scope, name), func(b []byte) (err error) { c, err = decodeCurrent(b); return err })
	if err != nil {
		return r, err
	}
	err = getValue(txn, recordKey(scope, name, c.height, c.agreement), func(b []byte) (err error) { r, err = decodeRecord(b); return err })
	if err != nil {
		return r, err
	}
	return r, r.readIndex(txn)
}

// readIndex reads the fields that are kept with the record's content, if they
// still are.
func (v *Record) readIndex(txn *badger.Txn) error {
	err := getValue(txn, indexedKey(*v), func(b []byte) (err error) { v.Index, err = decodeFields(b); return err })
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	}
	return err
}

// RecordHistory returns all versions, at most MaxPage, the greatest height
// first. None is agreement.ErrNotFound.
func (s *Store) RecordHistory(scope agreement.UUID, name string) ([]Record, error) {
	var all []Record
	err := checkName("record", name)
	if err != nil {
		return nil, err
	}
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, recordsOf(scope, name), nil, func(_ []byte, item row) (bool, error) {
			var r Record
			err := item.value(func(b []byte) (err error) { r, err = decodeRecord(b); return err })
			if err == nil {
				err = r.readIndex(txn)
			}
			all = append(all, r)
			return len(all) < MaxPage, err
		})
	})
	if err == nil && len(all) == 0 {
		err = badger.ErrKeyNotFound
	}
	if err != nil {
		return nil, readError(err, "record %s of scope %s", name, scope)
	}
	slices.Reverse(all)
	return all, nil
}

// Records goes through the current version of every record. It ends at the
// first error, which it yields.
func (s *Store) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var after []byte
		for {
			page, last, err := s.recordsAfter(after)
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
			}
			if err != nil {
				yield(Record{}, readError(err, "the records"))
				return
			}
			if len(page) < pageSize {
				return
			}
			after = last
		}
	}
}

// recordsAfter reads a page of current records, and the key of its last one.
func (s *Store) recordsAfter(after []byte) (page []Record, last []byte, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixCurrent}, after, func(k []byte, _ row) (bool, error) {
			if bytes.Equal(k, after) {
				return true, nil
			}
			scope, name, err := splitNamedKey(k)
			if err != nil {
				return false, err
			}
			r, err := currentRecord(txn, scope, name)
			if err != nil {
				return false, err
			}
			page, last = append(page, r), bytes.Clone(k)
			return len(page) < pageSize, nil
		})
	})
	return page, last, err
}
