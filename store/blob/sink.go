package blob

import (
	"bytes"
	"context"
	"os"

	"github.com/affiliate-node/affiliate/agreement"
)

// A Sink takes a payload whose size and hash aren't known yet: a small one
// stays in memory, a larger one goes to a home while it comes, hashed and
// written by a goroutine of its own, beside the one that seals. It belongs to
// one goroutine, and is used like this:
//
//	s := blob.NewSink(ctx, home, small, max)
//	defer s.Abort()
//	… io.Copy(s, …) …
//	p, err := s.Finish()
//	… if p.Small == nil { err = s.Commit() } …
//
// It takes less than 1 MiB of memory besides the limit of small ones, the
// leaves, and what the home's Writer takes.
type Sink struct {
	ctx   context.Context //nolint:containedctx // a Sink is one operation
	home  Home
	small int64
	max   int64
	size  int64

	head   bytes.Buffer // the payload, while it is small
	buf    []byte       // that is being filled, once it isn't
	worker *worker
	id     agreement.Hash
	err    error // sticky
}

// Payload is what a Sink has taken.
type Payload struct {
	ID     agreement.Hash
	Size   int64
	Leaves Leaves
	Small  []byte // the payload itself if it is small, not nil then; it is in no home
}

// NewSink returns a Sink for payloads of at most most bytes; those of at most
// small bytes are kept in memory.
func NewSink(ctx context.Context, home Home, small, most int64) *Sink {
	return &Sink{ctx: ctx, home: home, small: small, max: most}
}

// Write adds bytes. More than the limit is CodeTooLarge; errors of the home
// are returned as they are, by this call or a later one.
func (s *Sink) Write(p []byte) (int, error) {
	if s.worker != nil && s.worker.ended {
		return 0, os.ErrClosed
	}
	if s.err == nil {
		s.err = s.ctx.Err()
	}
	if s.err == nil && int64(len(p)) > s.max-s.size {
		s.err = agreement.Errorf(agreement.CodeTooLarge, "the object is larger than %d bytes sealed", s.max)
	}
	if s.err != nil {
		return 0, s.err
	}
	s.size += int64(len(p))
	if s.worker == nil && s.size <= s.small {
		return s.head.Write(p)
	}
	if s.worker == nil {
		if s.err = s.begin(); s.err != nil {
			return 0, s.err
		}
	}
	return s.pass(p)
}

// begin makes the payload a large one.
func (s *Sink) begin() error {
	w, err := s.home.Create(s.ctx)
	if err != nil {
		return err
	}
	s.worker = newWorker(w)
	s.buf = <-s.worker.empty
	head := s.head.Bytes()
	s.head = bytes.Buffer{}
	_, err = s.pass(head)
	return err
}

// pass hands bytes to the worker.
func (s *Sink) pass(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		taken := min(len(p), batchSize-len(s.buf))
		s.buf = append(s.buf, p[:taken]...)
		p = p[taken:]
		if len(s.buf) < batchSize {
			break
		}
		s.worker.full <- s.buf // has room for all of them
		s.buf = <-s.worker.empty
		if s.err = s.worker.failed(); s.err != nil {
			return n - len(p), s.err
		}
	}
	return n, nil
}

// Finish ends the payload and says what it is. A large one waits for Commit
// or Abort.
func (s *Sink) Finish() (Payload, error) {
	if s.err != nil {
		return Payload{}, s.err
	}
	if s.worker == nil {
		b := append([]byte{}, s.head.Bytes()...)
		id, leaves := Sum(b)
		return Payload{ID: id, Size: s.size, Leaves: leaves, Small: b}, nil
	}
	s.worker.full <- s.buf
	if s.err = s.worker.finish(); s.err != nil {
		return Payload{}, s.err
	}
	id, leaves := s.worker.hash.Sum()
	s.id = id
	return Payload{ID: id, Size: s.size, Leaves: leaves}, nil
}

// Commit makes the payload that Finish has returned visible and durable in
// the home. For a small one there is nothing to do.
func (s *Sink) Commit() error {
	if s.err != nil || s.worker == nil {
		return s.err
	}
	s.err = s.worker.writer.Commit(s.id)
	return s.err
}

// Abort ends the goroutine and removes what isn't committed.
func (s *Sink) Abort() {
	if s.worker == nil {
		return
	}
	_ = s.worker.finish() // what is removed may have failed
	s.worker.writer.Abort()
}

// worker hashes and writes the buffers that it is handed.
type worker struct {
	writer Writer
	hash   *Hasher
	full   chan []byte
	empty  chan []byte
	done   chan struct{} // closed when the goroutine has ended; err is set
	err    error
	fail   chan error // has the error as soon as there is one
	ended  bool       // of the goroutine that hands over: full is closed
}

func newWorker(w Writer) *worker {
	k := &worker{
		writer: w, hash: NewHasher(), done: make(chan struct{}), fail: make(chan error, 1),
		full: make(chan []byte, batches), empty: make(chan []byte, batches),
	}
	for range batches {
		k.empty <- make([]byte, 0, batchSize)
	}
	go k.run()
	return k
}

// run goes on taking buffers after an error, so that nobody waits for it.
func (k *worker) run() {
	defer close(k.done)
	for b := range k.full {
		if k.err == nil {
			if k.err = k.take(b); k.err != nil {
				k.fail <- k.err
			}
		}
		k.empty <- b[:0]
	}
}

// take hashes a buffer while it is written.
func (k *worker) take(b []byte) error {
	hashed := make(chan struct{})
	go func() {
		defer close(hashed)
		_, _ = k.hash.Write(b) // never fails
	}()
	_, err := k.writer.Write(b)
	<-hashed
	return err
}

func (k *worker) failed() error {
	select {
	case err := <-k.fail:
		return err
	default:
		return nil
	}
}

// finish waits until everything is written.
func (k *worker) finish() error {
	if !k.ended {
		k.ended = true
		close(k.full)
	}
	<-k.done
	return k.err
}
