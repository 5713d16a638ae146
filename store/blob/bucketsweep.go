package blob

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// Sweep removes uploads and keys below unfinished/ that are older than a day
// and not this process's.
func (b *bucket) Sweep(ctx context.Context) error {
	prefix := b.place.prefix + unfinishedPrefix
	old := func(key string, at time.Time) bool {
		return strings.HasPrefix(key, prefix) && !b.isRunning(key) && time.Since(at) >= b.old
	}
	err := b.pages(ctx, prefix, func(o minio.ObjectInfo) error {
		if !old(o.Key, o.LastModified) {
			return nil
		}
		return b.remove(ctx, o.Key)
	})
	if err == nil {
		err = b.sweepUploads(ctx, prefix, old)
	}
	if err != nil {
		return b.failed(ctx, "removing unfinished payloads", err)
	}
	return nil
}

func (b *bucket) sweepUploads(ctx context.Context, prefix string, old func(string, time.Time) bool) error {
	var keyMarker, idMarker string
	for {
		var r minio.ListMultipartUploadsResult
		err := b.try(ctx, shortCall, func(ctx context.Context) (err error) {
			r, err = b.core.ListMultipartUploads(ctx, b.place.bucket, prefix, keyMarker, idMarker, delimiter, pageSize)
			return err
		})
		if code(err) == "NoSuchUpload" {
			return nil // how some servers say that there are none
		}
		if err != nil {
			return err
		}
		for _, u := range r.Uploads {
			if !old(u.Key, u.Initiated) {
				continue
			}
			if err := b.abortUpload(ctx, u.Key, u.UploadID); err != nil {
				return err
			}
		}
		if !r.IsTruncated || r.NextKeyMarker == keyMarker && r.NextUploadIDMarker == idMarker {
			return nil
		}
		keyMarker, idMarker = r.NextKeyMarker, r.NextUploadIDMarker
	}
}

func (b *bucket) abortUpload(ctx context.Context, key, upload string) error {
	err := b.try(ctx, shortCall, func(ctx context.Context) error {
		return b.core.AbortMultipartUpload(ctx, b.place.bucket, key, upload)
	})
	if code(err) == "NoSuchUpload" {
		return nil
	}
	return err
}

// begin returns a new key below unfinished/, which a sweep leaves alone until
// end.
func (b *bucket) begin() string {
	key := b.place.prefix + unfinishedPrefix + rand.Text()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running[key] = true
	return key
}

func (b *bucket) end(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.running, key)
}

func (b *bucket) isRunning(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running[key]
}
