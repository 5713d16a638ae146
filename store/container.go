package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
)

// A backup is a line that says what it is, frames, and nothing after the last
// one. A frame is one byte for its kind, the length of its body in 4 bytes,
// big-endian, and the body. docs/format/store.md describes the bodies; the
// kinds are never given another meaning.
const backupMagic = "affiliate store backup 1\n"

const (
	frameHead    = 'H' // first: what the backup is of
	frameDeleted = 'D' // keys that are gone since the backup that this one continues
	frameRows    = 'R' // keys and values that are new since then
	framePayload = 'P' // begins a payload in the home
	frameBytes   = 'B' // the next bytes of it
	frameDamaged = 'Q' // an object that couldn't be read
	frameEnd     = 'E' // last: counts, and the hash of everything before
)

const (
	frameSize    = 1 << 20                 // bytes of rows that are put together
	frameRowsMax = 1000                    // rows
	maxFrame     = maxBatchBytes/2 + 1<<20 // bytes of a frame: the largest value, and room
)

// head is the body of the first frame.
type head struct {
	store       agreement.UUID
	since, upto uint64 // versions
	created     time.Time
}

func (v head) encode() []byte {
	e := newEncoder(64)
	e.uint(formatVersion)
	e.raw(v.store[:])
	e.uint(v.since)
	e.uint(v.upto)
	e.time(v.created)
	return e.b
}

func decodeHead(b []byte) (v head, err error) {
	d := newDecoder(b)
	format := d.uint()
	d.fixed(v.store[:])
	v.since, v.upto, v.created = d.uint(), d.uint(), d.time()
	if err := d.done(); err != nil {
		return v, err
	}
	if format != formatVersion {
		return v, agreement.Errorf(agreement.CodeStore, "the backup is of a store of format %d, and this program writes format %d", format, formatVersion).
			WithHint("restore it with the version of affiliate that wrote it")
	}
	return v, nil
}

// tally counts what a backup has.
type tally struct{ rows, deleted, payloads, bytes, damaged uint64 }

// ending is the body of the last frame.
type ending struct {
	tally
	sum [32]byte // BLAKE3-256 of everything before the frame
}

func (v ending) encode() []byte {
	e := newEncoder(96)
	for _, n := range []uint64{v.rows, v.deleted, v.payloads, v.bytes, v.damaged} {
		e.uint(n)
	}
	e.raw(v.sum[:])
	return e.b
}

func decodeEnding(b []byte) (v ending, err error) {
	d := newDecoder(b)
	for _, n := range []*uint64{&v.rows, &v.deleted, &v.payloads, &v.bytes, &v.damaged} {
		*n = d.uint()
	}
	d.fixed(v.sum[:])
	return v, d.done()
}

// frameWriter writes a backup.
type frameWriter struct {
	out   *bufio.Writer
	sum   *blake3.Hasher
	tally tally
	rows  []byte // of the next frame
	n     int
}

func newFrameWriter(w io.Writer) (*frameWriter, error) {
	f := &frameWriter{sum: blake3.New(32, nil)}
	f.out = bufio.NewWriterSize(io.MultiWriter(w, f.sum), 256<<10)
	_, err := f.out.WriteString(backupMagic)
	return f, err
}

func (f *frameWriter) frame(kind byte, body []byte) error {
	var start [5]byte
	start[0] = kind
	binary.BigEndian.PutUint32(start[1:], uint32(len(body))) //nolint:gosec // at most maxFrame
	if _, err := f.out.Write(start[:]); err != nil {
		return err
	}
	_, err := f.out.Write(body)
	return err
}

// row adds a row to those that wait.
func (f *frameWriter) row(key, value []byte, expires uint64) error {
	f.tally.rows++
	f.rows = appendBytes(f.rows, key)
	f.rows = binary.AppendUvarint(f.rows, expires)
	f.rows = appendBytes(f.rows, value)
	return f.flush(frameRows, false)
}

// deleted adds a key to those that wait.
func (f *frameWriter) deleted(key []byte) error {
	f.tally.deleted++
	f.rows = appendBytes(f.rows, key)
	return f.flush(frameDeleted, false)
}

// flush writes what waits, if it is enough or has to be.
func (f *frameWriter) flush(kind byte, now bool) error {
	f.n++
	if !now && len(f.rows) < frameSize && f.n < frameRowsMax || len(f.rows) == 0 {
		return nil
	}
	err := f.frame(kind, f.rows)
	f.n = 0
	if f.rows = f.rows[:0]; cap(f.rows) > 4*frameSize {
		f.rows = nil // one large value
	}
	return err
}

// end writes the last frame.
func (f *frameWriter) end() error {
	if err := f.out.Flush(); err != nil {
		return err
	}
	v := ending{tally: f.tally}
	f.sum.Sum(v.sum[:0])
	if err := f.frame(frameEnd, v.encode()); err != nil {
		return err
	}
	return f.out.Flush()
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// frameReader reads a backup. It gives nothing out whose length is more than
// it could be.
type frameReader struct {
	in   *bufio.Reader
	sum  *blake3.Hasher
	body []byte
}

var errNoBackup = errors.New("it isn't a backup of a store, or of another version")

func newFrameReader(r io.Reader) (*frameReader, error) {
	f := &frameReader{in: bufio.NewReaderSize(r, 256<<10), sum: blake3.New(32, nil)}
	start := make([]byte, len(backupMagic))
	if _, err := io.ReadFull(f.in, start); err != nil {
		return nil, cutShort(err)
	}
	if string(start) != backupMagic {
		return nil, errNoBackup
	}
	_, _ = f.sum.Write(start) // never fails
	return f, nil
}

// cutShort is the end of a backup where there should be none.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is cut short")
	}
	return err
}

// next reads a frame, whose body is valid until the next call. The last one
// is checked against all the others.
func (f *frameReader) next() (kind byte, body []byte, err error) {
	var start [5]byte
	if _, err := io.ReadFull(f.in, start[:]); err != nil {
		return 0, nil, cutShort(err)
	}
	size := int64(binary.BigEndian.Uint32(start[1:]))
	if size > maxFrame {
		return 0, nil, fmt.Errorf("a part has %d bytes", size)
	}
	if f.body, err = readUpTo(f.in, f.body[:0], size); err != nil {
		return 0, nil, cutShort(err)
	}
	if kind = start[0]; kind == frameEnd {
		return kind, f.body, f.checkEnd()
	}
	_, _ = f.sum.Write(start[:]) // never fails
	_, _ = f.sum.Write(f.body)
	return kind, f.body, nil
}

// readUpTo reads exactly size bytes, and holds no more than have come.
func readUpTo(r io.Reader, b []byte, size int64) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	_, err := io.CopyN(buf, r, size)
	return buf.Bytes(), err
}

func (f *frameReader) checkEnd() error {
	v, err := decodeEnding(f.body)
	if err != nil {
		return err
	}
	if [32]byte(f.sum.Sum(nil)) != v.sum {
		return errors.New("its hash is another")
	}
	if _, err := f.in.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("it goes on after its end")
	}
	return nil
}

// cutBytes cuts off what appendBytes has appended.
func cutBytes(b []byte) (v, rest []byte, err error) {
	n, head := binary.Uvarint(b)
	if head <= 0 || n > uint64(len(b)-head) {
		return nil, nil, errDecode
	}
	b = b[head:]
	return b[:n:n], b[n:], nil
}

// eachRow calls fn with what frameWriter.row has written.
func eachRow(b []byte, fn func(key, value []byte, expires uint64) error) error {
	for len(b) > 0 {
		key, rest, err := cutBytes(b)
		if err != nil {
			return err
		}
		expires, n := binary.Uvarint(rest)
		if n <= 0 {
			return errDecode
		}
		value, rest, err := cutBytes(rest[n:])
		if err != nil {
			return err
		}
		if err := fn(key, value, expires); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// eachKey calls fn with what frameWriter.deleted has written.
func eachKey(b []byte, fn func(key []byte) error) error {
	for len(b) > 0 {
		key, rest, err := cutBytes(b)
		if err == nil {
			err = fn(key)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}
