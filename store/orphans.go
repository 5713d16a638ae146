package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"

	"github.com/affiliate-node/affiliate/agreement"
)

// orphanDir is where tables go that the manifest doesn't list. Badger would
// delete them: what a crash left, but also what there is when the manifest has
// lost its end. The directory is removed once the database proves to have what
// they have.
const orphanDir = "orphans"

// setAside moves a table to the directory of orphans.
func setAside(dir, name string) error {
	if err := os.MkdirAll(filepath.Join(dir, orphanDir), 0o700); err != nil {
		return err
	}
	return os.Rename(filepath.Join(dir, name), filepath.Join(dir, orphanDir, name))
}

// checkOrphans makes sure that the database has every row of the tables that
// were set aside, or a newer one in its place. It opens the database for that,
// without what merges tables: that may drop rows which are deleted, with the
// marks that say so. Nor may it wait for tables to be merged.
func checkOrphans(settings badger.Options) (err error) {
	dir := filepath.Join(settings.Dir, orphanDir)
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	db, err := badger.Open(settings.WithNumCompactors(0).WithNumLevelZeroTablesStall(math.MaxInt32))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	registry, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: settings.Dir, ReadOnly: true, EncryptionKey: settings.EncryptionKey})
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := readSmall(filepath.Join(dir, f.Name()), maxTable)
		if err != nil {
			return err
		}
		missing, err := missingRows(db, b, registry)
		if err != nil {
			return err
		}
		if missing > 0 {
			return agreement.Errorf(agreement.CodeDamaged, "table %s has %d rows that the database has lost", f.Name(), missing).
				WithHint("%s is damaged, or tables are missing; restore the store from a backup", filepath.Join(settings.Dir, manifestFile))
		}
	}
	return os.RemoveAll(dir)
}

// missingRows counts the rows of a table that the database doesn't have. Of a
// table that isn't whole there are none: a crash cut it short.
func missingRows(db *badger.DB, b []byte, registry *badger.KeyRegistry) (n int, err error) {
	blocks, ok := blocksOf(b, registry)
	if !ok {
		return 0, nil
	}
	err = db.View(func(txn *badger.Txn) error {
		for _, block := range blocks {
			err := eachEntry(block, func(key []byte) error {
				there, err := hasVersion(txn, key)
				if !there {
					n++
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// blocksOf returns the blocks of a table that isn't listed, and so may have
// been encrypted with any of the data keys.
func blocksOf(b []byte, registry *badger.KeyRegistry) (blocks [][]byte, ok bool) {
	var key *pb.DataKey // none for the first
	for id := uint64(1); ; id++ {
		err := guarded(func() (err error) {
			blocks = nil
			return eachBlock(b, key, func(block []byte) error {
				block, err := checkBlock(block, key)
				blocks = append(blocks, block)
				return err
			})
		})
		if err == nil {
			return blocks, true
		}
		if key, err = registry.DataKey(id); err != nil {
			return nil, false
		}
	}
}

// hasVersion reports whether the database has a key as Badger stores it, with
// its version, or a newer one.
func hasVersion(txn *badger.Txn, stored []byte) (bool, error) {
	const size = 8 // of the version, which counts down
	if len(stored) <= size {
		return false, errBadFiles
	}
	key, version := stored[:len(stored)-size], math.MaxUint64-binary.BigEndian.Uint64(stored[len(stored)-size:])
	if bytes.HasPrefix(key, []byte("!badger!")) {
		return true, nil
	}
	item, err := txn.Get(key)
	if err == nil && item.Version() >= version {
		return true, nil
	}
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return false, err
	}
	o := badger.DefaultIteratorOptions // deleted ones, too
	o.PrefetchValues = false
	it := txn.NewKeyIterator(key, o)
	defer it.Close()
	it.Rewind()
	return it.Valid() && it.Item().Version() >= version, nil
}

// eachEntry calls fn with the keys of a block that checkBlock has checked: each
// has the length of what it has in common with the first and the length of the
// rest, and that.
func eachEntry(b []byte, fn func(key []byte) error) error {
	const head = 4
	n := int64(binary.BigEndian.Uint32(b[len(b)-4:]))
	starts := int64(len(b)) - 4 - 4*n
	var first []byte
	for i := range n {
		at := int64(binary.NativeEndian.Uint32(b[starts+4*i:]))
		if at+head > starts {
			return fmt.Errorf("%w: an entry is beyond the end of its block", errBadFiles)
		}
		common, rest := int64(binary.NativeEndian.Uint16(b[at:])), int64(binary.NativeEndian.Uint16(b[at+2:]))
		if common > int64(len(first)) || at+head+rest > starts {
			return fmt.Errorf("%w: a key is longer than its block", errBadFiles)
		}
		key := append(bytes.Clone(first[:common]), b[at+head:at+head+rest]...)
		if i == 0 {
			first = key
		}
		if err := fn(key); err != nil {
			return err
		}
	}
	return nil
}
