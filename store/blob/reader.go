package blob

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/affiliate-node/affiliate/agreement"
)

const (
	// batchSize is what passes at once between a goroutine that does I/O and
	// hashing and one that seals or opens.
	batchSize = 4 * GroupSize
	// batches is how many of them a stream has: one on each side, and one
	// that waits.
	batches = 3
)

// Open reads length bytes of the payload from offset on, -1 for all that
// follow. Every group is verified before any of its bytes are handed out;
// what is damaged, cut short or gone ends the reader with CodeDamaged, and so
// does a payload that goes on after its size when it is read to its end. The
// error names the object and the place.
//
// Longer ranges are read and verified ahead by a goroutine of their own,
// which ends with Close or the context. A reader takes less than 1 MiB of
// memory.
func (t *Tree) Open(ctx context.Context, from Source, offset, length int64) (io.ReadCloser, error) {
	if length < 0 {
		length = t.size - offset
	}
	if offset < 0 || offset > t.size || length < 0 || length > t.size-offset {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "a range of %d bytes from %d on is outside object %s of %d bytes", length, offset, t.id, t.size)
	}
	v := &verified{tree: t, index: offset / GroupSize, offset: offset, end: offset + length}
	v.groups = Groups(v.end)
	start := v.index * GroupSize
	want := min(v.groups*GroupSize, t.size) - start
	if v.end == t.size {
		want++ // shows whether there is more
	}
	ctx, cancel := context.WithCancel(ctx)
	source, err := from.Open(ctx, t.id, start, want)
	if err != nil {
		cancel()
		if errors.Is(err, agreement.ErrNotFound) {
			return nil, agreement.Errorf(agreement.CodeDamaged, "object %s is damaged at byte 0: its payload of %d bytes is gone", t.id, t.size)
		}
		return nil, err
	}
	v.source, v.cancel = source, cancel
	v.buf = make([]byte, min(batchSize, want+GroupSize))
	if length <= batchSize {
		return v, nil
	}
	return newAhead(ctx, v), nil
}

// verified reads groups from a source and checks them.
type verified struct {
	tree   *Tree
	source io.ReadCloser
	cancel context.CancelFunc
	index  int64 // of the group that is read next
	groups int64 // where the range ends, in groups
	offset int64 // of the byte that is handed out next
	end    int64 // where the range ends, in bytes
	buf    []byte
	rest   []byte // of buf, verified and not handed out
	err    error  // that ends the stream after rest
}

// Read gives the next bytes.
func (v *verified) Read(p []byte) (int, error) {
	if len(v.rest) == 0 {
		v.rest = v.next()
	}
	if len(v.rest) == 0 {
		return 0, v.err
	}
	n := copy(p, v.rest)
	v.rest = v.rest[n:]
	return n, nil
}

// next fills buf with verified bytes and returns those in the range; none
// means that the stream has ended with v.err.
func (v *verified) next() []byte {
	first, filled := v.index*GroupSize, int64(0)
	for v.err == nil && v.index < v.groups && int64(len(v.buf))-filled >= GroupSize {
		group := v.buf[filled : filled+v.tree.groupSize(v.index)]
		if v.err = v.read(group); v.err == nil {
			filled += int64(len(group))
			v.index++
		}
	}
	if v.err == nil && v.index >= v.groups {
		v.err = v.finish()
	}
	from, to := v.offset-first, min(v.end-first, filled)
	if from >= to {
		return nil
	}
	v.offset = first + to
	return v.buf[from:to]
}

// read reads and checks one group.
func (v *verified) read(group []byte) error {
	n, err := io.ReadFull(v.source, group)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return v.tree.damaged(v.index, "the payload ends at byte %d of %d", v.index*GroupSize+int64(n), v.tree.size)
	}
	if err != nil {
		return err
	}
	return v.tree.CheckGroup(v.index, group)
}

// finish makes sure that nothing follows the end of the payload.
func (v *verified) finish() error {
	if v.end != v.tree.size {
		return io.EOF
	}
	var more [1]byte
	switch _, err := io.ReadFull(v.source, more[:]); {
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return err
	}
	return agreement.Errorf(agreement.CodeDamaged, "object %s is damaged at byte %d: the payload goes on after its end", v.tree.id, v.tree.size)
}

// Close frees the source.
func (v *verified) Close() error {
	v.err, v.rest = os.ErrClosed, nil
	v.groups = 0
	v.cancel()
	return v.source.Close()
}

// ahead reads from a verified in a goroutine.
type ahead struct {
	cancel context.CancelFunc
	full   chan batch  // closed at the end of the stream, when err is set
	empty  chan []byte // buffers for verified
	err    error
	done   chan struct{} // closed when the goroutine has ended; closing is set
	closes error

	// Of the goroutine that reads:
	current batch
	closed  bool
}

type batch struct {
	buf  []byte
	rest []byte // of buf, not handed out
}

func newAhead(ctx context.Context, v *verified) *ahead {
	a := &ahead{
		cancel: v.cancel, full: make(chan batch, batches), empty: make(chan []byte, batches),
		done: make(chan struct{}),
	}
	for range batches - 1 {
		a.empty <- make([]byte, batchSize)
	}
	go a.run(ctx, v)
	return a
}

// run hands over full buffers in exchange for empty ones.
func (a *ahead) run(ctx context.Context, v *verified) {
	defer close(a.done)
	defer func() { a.closes = v.Close() }()
	defer close(a.full)
	for {
		b := v.next()
		if len(b) == 0 {
			a.err = v.err
			return
		}
		a.full <- batch{buf: v.buf, rest: b} // has room for all of them
		select {
		case v.buf = <-a.empty:
		case <-ctx.Done():
			a.err = ctx.Err()
			return
		}
	}
}

// Read gives the next bytes.
func (a *ahead) Read(p []byte) (int, error) {
	if a.closed {
		return 0, os.ErrClosed
	}
	if len(a.current.rest) == 0 {
		if a.current.buf != nil {
			a.empty <- a.current.buf
		}
		var more bool
		if a.current, more = <-a.full; !more {
			return 0, a.err
		}
	}
	n := copy(p, a.current.rest)
	a.current.rest = a.current.rest[n:]
	return n, nil
}

// Close ends the goroutine and frees the source.
func (a *ahead) Close() error {
	a.closed = true
	a.cancel()
	<-a.done
	return a.closes
}
