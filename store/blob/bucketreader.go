package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/affiliate-node/affiliate/agreement"
)

// bucketReader reads a range of a payload. It asks again from where it was
// when an answer breaks off.
type bucketReader struct {
	ctx         context.Context //nolint:containedctx // a reader is one operation
	home        *bucket
	id          agreement.Hash
	offset, end int64
	answer      *answer // nil between two
	failures    int     // since the last byte
}

// answer is one of the server's, read as long as bytes come.
type answer struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	timer  *time.Timer // cancels
}

// Open asks for the range, so that one of a payload that isn't there fails
// here.
func (b *bucket) Open(ctx context.Context, id agreement.Hash, offset, length int64) (io.ReadCloser, error) {
	r := &bucketReader{ctx: ctx, home: b, id: id, offset: offset, end: offset + length}
	if length == 0 {
		size, err := b.stat(ctx, b.key(id))
		if err == nil && size < 0 {
			err = r.absent()
		}
		return r, r.failed(err)
	}
	for {
		err := r.ask()
		if err == nil {
			return r, nil
		}
		if err = r.again(err); err != nil {
			return nil, err
		}
	}
}

func (r *bucketReader) absent() error {
	return fmt.Errorf("the payload of object %s: %w", r.id, agreement.ErrNotFound)
}

func (r *bucketReader) failed(err error) error {
	if err == nil || errors.Is(err, agreement.ErrNotFound) {
		return err
	}
	return r.home.failed(r.ctx, "reading the payload of object "+r.id.String(), err)
}

// again waits before the next attempt, or returns the error that ends the
// reader.
func (r *bucketReader) again(err error) error {
	r.failures++
	if errors.Is(err, agreement.ErrNotFound) || r.failures >= attempts || !mayPass(r.ctx, err) {
		return r.failed(err)
	}
	return r.home.wait(r.ctx, r.failures)
}

// ask asks for what is left.
func (r *bucketReader) ask() error {
	var o minio.GetObjectOptions
	if err := o.SetRange(r.offset, r.end-1); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.ctx)
	a := &answer{cancel: cancel, timer: time.AfterFunc(r.home.silence, cancel)}
	body, _, _, err := r.home.core.GetObject(ctx, r.home.place.bucket, r.home.key(r.id), o)
	inTime := a.timer.Stop()
	var said minio.ErrorResponse
	switch {
	case err == nil:
		a.body = body
		r.answer = a
		return nil
	case errors.As(err, &said) && said.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		r.end = r.offset // the payload ends before the range
		err = nil
	case isAbsent(err):
		err = r.absent()
	case !inTime && r.ctx.Err() == nil:
		err = errSilence
	}
	cancel()
	return err
}

// Read gives the next bytes.
func (r *bucketReader) Read(p []byte) (int, error) {
	for r.offset < r.end {
		n, err := r.next(p[:min(int64(len(p)), r.end-r.offset)])
		r.offset += int64(n)
		if n > 0 {
			r.failures = 0
		}
		if err != nil {
			r.drop()
		}
		switch {
		case n > 0 || len(p) == 0:
			return n, nil
		case errors.Is(err, io.EOF):
			r.end = r.offset // the payload ends before the range
		case err != nil:
			if err = r.again(err); err != nil {
				return 0, err
			}
		}
	}
	return 0, io.EOF
}

// next reads from the answer. It doesn't count the time between two reads.
func (r *bucketReader) next(p []byte) (int, error) {
	if r.answer == nil {
		if err := r.ask(); err != nil || r.answer == nil {
			return 0, err
		}
	}
	r.answer.timer.Reset(r.home.silence)
	n, err := r.answer.body.Read(p)
	if !r.answer.timer.Stop() && err != nil && r.ctx.Err() == nil {
		err = errSilence
	}
	return n, err
}

func (r *bucketReader) drop() {
	if r.answer != nil {
		r.answer.cancel()
		_ = r.answer.body.Close() // only read
		r.answer = nil
	}
}

// Close ends the reader.
func (r *bucketReader) Close() error {
	r.drop()
	r.offset = r.end
	return nil
}
