package store

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// discardRatio is how much of a file of the value log is dead when it is
// rewritten.
const discardRatio = 0.5

// collectValues has Badger rewrite files of the value log of which at least
// that part is dead. Badger takes the first entry that makes no sense for the
// end of a file, and deletes what follows; so the file is read before. While it
// rewrites one it reads what writing changes, so nobody writes.
//
// Its caller holds rewriting.
func (s *Store) collectValues(ctx context.Context, part float64) (rewritten []string, err error) {
	sound := map[string]bool{} // nothing is written to them any more
	for ctx.Err() == nil && s.goingOn() == nil {
		name, err := s.rewrittenNext(part)
		if err != nil || name == "" {
			return rewritten, err
		}
		if !sound[name] {
			if err := checkLog(filepath.Join(s.dir, name)); err != nil {
				return rewritten, agreement.Errorf(agreement.CodeDamaged, "rewriting the value log: %w", err).
					WithHint("run `affiliate store verify`, which finds out what is lost; then restore the store from a backup")
			}
			sound[name] = true
			continue // another one may be the next by now
		}
		need := int64((1-part)*valueLogFileSize) + freeingLeft
		if free := s.free(); free >= 0 && free < need {
			return rewritten, agreement.Errorf(agreement.CodeDiskFull, "rewriting the value log takes up to %d bytes, and the disk has %d left", need, free).
				WithHint("make room on the disk of the store")
		}
		err = s.trimmed(func() error {
			return s.whileNobodyWrites(ctx, func() error { return s.db.RunValueLogGC(part) })
		})
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return rewritten, nil
		}
		if err != nil {
			return rewritten, storeError("rewriting the value log", err)
		}
		rewritten = append(rewritten, name)
	}
	return rewritten, ctx.Err()
}

// deadValues reads Badger's statistics: how many bytes are dead, by the number
// of the file, of those that there are.
func (s *Store) deadValues() (files badgerFiles, dead map[uint64]uint64, err error) {
	if files, err = listFiles(s.dir); err != nil {
		return files, nil, storeError("listing the value log", err)
	}
	b, err := readSmall(filepath.Join(s.dir, discardFile), discardMost)
	if err != nil {
		return files, nil, storeError("reading the statistics of the value log", err)
	}
	dead = deadBytes(b)
	maps.DeleteFunc(dead, func(number, n uint64) bool { _, there := files.values[number]; return !there || n == 0 })
	return files, dead, nil
}

// rewrittenNext returns the name of the file that Badger would rewrite, empty
// if there is none.
func (s *Store) rewrittenNext(part float64) (name string, err error) {
	files, dead, err := s.deadValues()
	if err != nil {
		return "", err
	}
	number := uint64(0)
	for _, n := range slices.Sorted(maps.Keys(dead)) {
		if dead[n] > dead[number] {
			number = n
		}
	}
	if number == 0 || number == files.newestValues() || float64(dead[number]) < part*float64(files.values[number]) {
		return "", nil
	}
	return valuesName(number), nil
}

func valuesName(number uint64) string { return fmt.Sprintf("%06d%s", number, valueExt) }

// checkLog reads a file of the value log that isn't written to any more, and
// checks every entry against its checksum, up to the end.
func checkLog(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	r := &logReader{in: bufio.NewReaderSize(f, 256<<10)}
	const head = 20 // number of the key, initialisation vector
	if _, err := r.in.Discard(head); err != nil {
		return fmt.Errorf("%w: %s is cut short", errBadFiles, filepath.Base(path))
	}
	for at := int64(head); ; at += r.size {
		err := r.next()
		if errors.Is(err, io.EOF) && r.size == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %s at byte %d: %w", errBadFiles, filepath.Base(path), at, err)
		}
	}
}

// logReader reads entries of a log: two bytes of flags, the lengths of key and
// value and a time as varints, key and value, and their CRC-32C.
type logReader struct {
	in   *bufio.Reader
	size int64 // read of the entry
	sum  uint32
}

// ReadByte reads a byte of the entry's head.
func (r *logReader) ReadByte() (byte, error) {
	b, err := r.in.ReadByte()
	if err == nil {
		r.size++
		r.sum = crc32.Update(r.sum, castagnoli, []byte{b})
	}
	return b, err
}

func (r *logReader) next() error {
	const most = maxBatchBytes // of a key and its value
	r.size, r.sum = 0, 0
	var head [3]uint64
	for range 2 {
		if _, err := r.ReadByte(); err != nil {
			return err
		}
	}
	for i := range head {
		var err error
		if head[i], err = binary.ReadUvarint(r); err != nil {
			return err
		}
	}
	if head[0] == 0 || head[0] > most || head[1] > most {
		return errors.New("its lengths make no sense")
	}
	if err := r.skip(int64(head[0] + head[1])); err != nil { //nolint:gosec // both are bounded
		return err
	}
	var sum [checksumSize]byte
	if _, err := io.ReadFull(r.in, sum[:]); err != nil {
		return err
	}
	r.size += checksumSize
	if binary.BigEndian.Uint32(sum[:]) != r.sum {
		return errors.New("its checksum is another")
	}
	return nil
}

// skip reads bytes for their checksum only.
func (r *logReader) skip(n int64) error {
	for n > 0 {
		b, err := r.in.Peek(int(min(n, int64(r.in.Size()))))
		if err != nil {
			return io.ErrUnexpectedEOF
		}
		r.sum = crc32.Update(r.sum, castagnoli, b)
		n -= int64(len(b))
		r.size += int64(len(b))
		if _, err := r.in.Discard(len(b)); err != nil {
			return err
		}
	}
	return nil
}
