package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// highWaterFile holds the number of the last batch that was acknowledged,
// beside the database: when its files have lost their ends, Badger opens what
// is left and says nothing.
const highWaterFile = "ACKNOWLEDGED"

// highWater is written after every batch, and not synced: after a crash of
// the machine it may be older than the database, never newer.
type highWater struct{ f *os.File }

func openHighWater(dir string) (highWater, error) {
	f, err := os.OpenFile(filepath.Join(dir, highWaterFile), os.O_RDWR|os.O_CREATE, 0o600)
	return highWater{f}, err
}

// set notes a number; a failure shows at the next opening as an older one.
func (h highWater) set(n uint64) {
	b := binary.BigEndian.AppendUint64(nil, n)
	_, _ = h.f.WriteAt(binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), 0)
}

func (h highWater) close() error { return h.f.Close() }

// readHighWater returns the number, 0 where the file is missing or empty. It
// is not ok where the file has another content.
func readHighWater(dir string) (n uint64, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, highWaterFile))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return 0, true, nil
	}
	if err != nil || len(b) != 8+checksumSize || binary.BigEndian.Uint32(b[8:]) != crc32.Checksum(b[:8], castagnoli) {
		return 0, false, err
	}
	return binary.BigEndian.Uint64(b), true, nil
}
