package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/minio/minio-go/v7"

	"github.com/affiliate-node/affiliate/agreement"
)

const (
	// partSize is the length of every part of an upload but the last. A
	// writer holds two: one that is filled and one under way.
	partSize = 8 << 20
	// maxParts is what S3 allows: a payload has at most 78 GiB.
	maxParts = 10_000
)

var errChanged = errors.New("what is there has another size than what was written")

// bucketWriter uploads part after part under a random key, because the hash
// is known at the end, and lets the server copy it to its place. What fits
// into one part goes to its place at once.
type bucketWriter struct {
	ctx      context.Context //nolint:containedctx // a Writer is one operation
	cancel   context.CancelFunc
	home     *bucket
	key      string
	upload   string // empty before the first part
	parts    []minio.CompletePart
	part     []byte // that is filled
	spare    []byte
	underWay chan error // has the outcome of the part under way; nil if there is none
	size     int64
	complete bool // the upload is a key
	ended    bool
	err      error // sticky
}

// Create begins an upload; the server learns of it when there is a whole part.
func (b *bucket) Create(ctx context.Context) (Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	return &bucketWriter{ctx: ctx, cancel: cancel, home: b, key: b.begin()}, nil
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Write adds bytes.
func (w *bucketWriter) Write(p []byte) (int, error) {
	if w.ended {
		return 0, os.ErrClosed
	}
	n := len(p)
	for len(p) > 0 && w.err == nil {
		if len(w.part) == w.home.part {
			w.err = w.send()
			continue
		}
		w.part = grow(w.part, len(p), w.home.part)
		taken := copy(w.part[len(w.part):cap(w.part)], p)
		w.part = w.part[:len(w.part)+taken]
		w.size += int64(taken)
		p = p[taken:]
	}
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	return n - len(p), w.err
}

// grow makes room for n bytes more, as far as a whole part goes. Small
// payloads don't take the memory of one.
func grow(part []byte, n, whole int) []byte {
	if len(part) < cap(part) {
		return part
	}
	const least = 64 << 10
	bigger := make([]byte, len(part), min(whole, max(least, 2*cap(part), len(part)+n)))
	copy(bigger, part)
	return bigger
}

// send begins to upload the part that is full, after the one before has
// arrived.
func (w *bucketWriter) send() error {
	if err := w.arrived(); err != nil {
		return err
	}
	if len(w.parts) == maxParts {
		return agreement.Errorf(agreement.CodeTooLarge, "a payload in a bucket has at most %d bytes", maxParts*int64(w.home.part))
	}
	if w.upload == "" {
		err := w.home.try(w.ctx, shortCall, func(ctx context.Context) (err error) {
			w.upload, err = w.home.core.NewMultipartUpload(ctx, w.home.place.bucket, w.key,
				minio.PutObjectOptions{ContentType: "application/octet-stream"})
			return err
		})
		if err != nil {
			return w.home.failed(w.ctx, "beginning a payload", err)
		}
	}
	number := len(w.parts) + 1
	w.parts = append(w.parts, minio.CompletePart{PartNumber: number})
	part, done := w.part, make(chan error, 1)
	w.part, w.spare, w.underWay = w.spare[:0], part, done
	go func() { done <- w.sendPart(number, part) }()
	return nil
}

// sendPart uploads one part. Its hash is in the signed header, so that the
// server refuses other bytes.
func (w *bucketWriter) sendPart(number int, part []byte) error {
	o := minio.PutObjectPartOptions{Sha256Hex: sha256Hex(part), DisableContentSha256: true}
	return w.home.try(w.ctx, partCall, func(ctx context.Context) error {
		body := lent{b: part}
		defer body.takeBack()
		p, err := w.home.core.PutObjectPart(ctx, w.home.place.bucket, w.key, w.upload, number, &body, int64(len(part)), o)
		w.parts[number-1].ETag = p.ETag
		return err
	})
}

// arrived waits for the part under way.
func (w *bucketWriter) arrived() error {
	if w.underWay == nil {
		return nil
	}
	err := <-w.underWay
	w.underWay = nil
	if err != nil {
		return w.home.failed(w.ctx, "writing a payload", err)
	}
	return nil
}

// Commit makes the upload a payload.
func (w *bucketWriter) Commit(id agreement.Hash) error {
	if w.ended {
		return os.ErrClosed
	}
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err == nil {
		w.err = w.commit(id)
	}
	err := w.err
	if err != nil {
		err = w.home.failed(w.ctx, "finishing the payload of object "+id.String(), err)
	}
	w.Abort()
	return err
}

func (w *bucketWriter) commit(id agreement.Hash) error {
	if w.upload != "" {
		if err := w.finishUpload(); err != nil {
			return err
		}
	}
	key := w.home.key(id)
	changed := w.home.tally.changing(id)
	before, err := w.home.stat(w.ctx, key)
	if err == nil && w.upload == "" {
		err = w.home.putWhole(w.ctx, key, w.part, minio.PutObjectOptions{})
	} else if err == nil {
		err = w.copy(key)
	}
	if err != nil {
		changed(0)
		return err
	}
	changed(w.size - max(before, 0))
	return nil
}

// finishUpload sends the last part and joins them all.
func (w *bucketWriter) finishUpload() error {
	if err := w.send(); err != nil {
		return err
	}
	if err := w.arrived(); err != nil {
		return err
	}
	err := w.home.try(w.ctx, copyCall, func(ctx context.Context) error {
		_, err := w.home.core.CompleteMultipartUpload(ctx, w.home.place.bucket, w.key, w.upload, w.parts, minio.PutObjectOptions{})
		return err
	})
	w.complete = err == nil || code(err) == "NoSuchUpload" // an earlier attempt's answer may have been lost
	if !w.complete {
		return err
	}
	return w.sameSize(w.key)
}

func (w *bucketWriter) sameSize(key string) error {
	size, err := w.home.stat(w.ctx, key)
	if err == nil && size != w.size {
		err = fmt.Errorf("%w: %d bytes instead of %d", errChanged, size, w.size)
	}
	return err
}

// copy lets the server copy the upload to its place.
func (w *bucketWriter) copy(key string) error {
	src := minio.CopySrcOptions{Bucket: w.home.place.bucket, Object: w.key}
	dst := minio.CopyDestOptions{Bucket: w.home.place.bucket, Object: key}
	err := w.home.try(w.ctx, copyCall, func(ctx context.Context) (err error) {
		if w.size > largeCopy {
			_, err = w.home.core.ComposeObject(ctx, dst, src)
		} else {
			_, err = w.home.core.Client.CopyObject(ctx, dst, src)
		}
		return err
	})
	if err != nil {
		return err
	}
	return w.sameSize(key)
}

// Abort removes the upload, also when the context has ended; what can't be
// removed is left to a sweep.
func (w *bucketWriter) Abort() {
	if w.ended {
		return
	}
	w.ended = true
	w.cancel()
	_ = w.arrived() // what is removed may have failed
	if w.upload != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), abortCall)
		defer cancel()
		var err error
		if !w.complete {
			err = w.home.abortUpload(ctx, w.key, w.upload)
		}
		_ = errors.Join(err, w.home.remove(ctx, w.key))
	}
	w.home.end(w.key)
	w.part, w.spare = nil, nil
}
