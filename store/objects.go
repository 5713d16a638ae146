package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits of one object, besides Options.MaxObjectSize.
const (
	MaxHeader   = 1 << 20 // bytes of the sealing header
	MaxAudience = 1024    // readers

	// chunkSize is the length of every chunk of a payload but the last.
	chunkSize = 1 << 20
)

// Object describes a sealed object. ID is the BLAKE3-256 of the payload.
type Object struct {
	ID          agreement.Hash
	ContentHash agreement.Hash // SHA-256 of the content, as its sealer states
	Size        int64          // bytes of content, as its sealer states
	SealedSize  int64          // bytes of payload
	MediaType   string
	Audience    []string // addresses
	Owner       string   // agreement id, "contract:<hash>" or "put"
	Created     time.Time
	Header      []byte // wrapped file keys
}

// inflight lets one put of an id run at a time.
type inflight struct {
	mu   sync.Mutex // guards busy
	busy map[agreement.Hash]chan struct{}
}

// enter waits until nobody else puts id. The caller calls leave.
func (f *inflight) enter(ctx context.Context, id agreement.Hash) error {
	for {
		f.mu.Lock()
		other, taken := f.busy[id]
		if !taken {
			f.busy[id] = make(chan struct{})
			f.mu.Unlock()
			return nil
		}
		f.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *inflight) leave(id agreement.Hash) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.busy[id])
	delete(f.busy, id)
}

// PutObject stores an object: it reads exactly o.SealedSize bytes of payload
// and checks that o.ID is their hash (CodeDamaged). When PutObject returns
// nil the object is on disk; otherwise, and after a crash at any moment,
// nothing of it is there. An object that is there already stays as it is, and
// the payload isn't read.
func (s *Store) PutObject(ctx context.Context, o Object, payload io.Reader) error {
	if err := s.checkObject(o); err != nil {
		return fmt.Errorf("putting object %s: %w", o.ID, err)
	}
	if err := s.puts.enter(ctx, o.ID); err != nil {
		return err
	}
	defer s.puts.leave(o.ID)
	there, err := s.hasObject(o.ID)
	if err == nil && !there {
		err = s.removeUnfinished(o.ID) // of a put that failed before
	}
	if err == nil && !there {
		if o.SealedSize <= chunkSize {
			err = s.putSmall(ctx, o, payload)
		} else {
			err = s.putLarge(ctx, o, payload)
		}
	}
	if err != nil {
		return fmt.Errorf("putting object %s: %w", o.ID, err)
	}
	return nil
}

func (s *Store) checkObject(o Object) error {
	if o.SealedSize < 0 || o.Size < 0 {
		return agreement.Errorf(agreement.CodeBadRequest, "its size is negative")
	}
	if o.SealedSize > s.maxObject {
		return agreement.Errorf(agreement.CodeTooLarge, "it has %d bytes, more than %d", o.SealedSize, s.maxObject).
			WithHint("store.max_object_size in affiliate.toml sets the limit")
	}
	if err := checkSize("its header", len(o.Header), MaxHeader); err != nil {
		return err
	}
	if len(o.Audience) > MaxAudience {
		return agreement.Errorf(agreement.CodeTooLarge, "it has %d readers, more than %d", len(o.Audience), MaxAudience)
	}
	longest := max(len(o.MediaType), len(o.Owner))
	for _, a := range o.Audience {
		longest = max(longest, len(a))
	}
	if longest > MaxName {
		return agreement.Errorf(agreement.CodeTooLarge, "its media type, owner or a reader has %d bytes, more than %d", longest, MaxName)
	}
	return nil
}

func (s *Store) hasObject(id agreement.Hash) (there bool, err error) {
	err = s.view(func(txn *badger.Txn) error {
		_, err := txn.Get(objectKey(id))
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, storeError("reading it", err)
	}
	return true, nil
}

// putSmall writes an object of one chunk in one shared transaction.
func (s *Store) putSmall(ctx context.Context, o Object, payload io.Reader) error {
	b := make([]byte, o.SealedSize)
	if _, err := io.ReadFull(payload, b); err != nil {
		return fmt.Errorf("reading its payload: %w", err)
	}
	if got := agreement.Hash(blake3.Sum256(b)); got != o.ID {
		return wrongHash(got)
	}
	return s.writeMeta(ctx, o, int64(len(b)), func(w *writer) {
		if len(b) > 0 {
			w.set(chunkKey(o.ID, 0), b)
		}
	})
}

func wrongHash(got agreement.Hash) error {
	return agreement.Errorf(agreement.CodeDamaged, "the payload's hash is %s", got)
}

// writeMeta makes an object visible, together with what more writes of size
// bytes.
func (s *Store) writeMeta(ctx context.Context, o Object, size int64, more func(*writer)) error {
	meta := o.encode()
	return s.update(ctx, 4, size+int64(len(meta)), func(w *writer) error {
		more(w)
		w.set(objectKey(o.ID), meta)
		w.set(contentKey(o.ContentHash, o.ID), nil)
		return nil
	})
}

// putLarge marks the object as unfinished, writes its chunks one by one, and
// replaces the mark by the description.
func (s *Store) putLarge(ctx context.Context, o Object, payload io.Reader) (err error) {
	if err := s.set(puttingKey(o.ID), nil); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.removeUnfinished(o.ID))
		}
	}()
	if err := s.writeChunks(ctx, o, payload); err != nil {
		return err
	}
	return s.writeMeta(ctx, o, 0, func(w *writer) { w.del(puttingKey(o.ID)) })
}

func (s *Store) writeChunks(ctx context.Context, o Object, payload io.Reader) error {
	h := blake3.New(len(o.ID), nil)
	buf := make([]byte, chunkSize)
	for i, left := uint32(0), o.SealedSize; left > 0; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(left, chunkSize)]
		if _, err := io.ReadFull(payload, b); err != nil {
			return fmt.Errorf("reading its payload: %w", err)
		}
		_, _ = h.Write(b) // never fails
		if err := s.set(chunkKey(o.ID, i), b); err != nil {
			return err
		}
		left -= int64(len(b))
	}
	if got := agreement.Hash(h.Sum(nil)); got != o.ID {
		return wrongHash(got)
	}
	return nil
}

// removeUnfinished deletes the chunks of an object that was never finished,
// then its mark. Its caller has entered the id.
func (s *Store) removeUnfinished(id agreement.Hash) error {
	marked, err := s.isMarked(id)
	if err != nil || !marked {
		return err
	}
	if err := s.removeChunks(id); err != nil {
		return err
	}
	return s.remove(puttingKey(id))
}

func (s *Store) isMarked(id agreement.Hash) (bool, error) {
	_, err := s.copyOf(puttingKey(id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, storeError("reading the mark of an unfinished object", err)
	}
	return true, nil
}

func (s *Store) removeChunks(id agreement.Hash) error {
	for {
		keys, err := s.keys(chunksOf(id), maxBatchEntries/2)
		if err != nil || len(keys) == 0 {
			return err
		}
		if err := s.remove(keys...); err != nil {
			return err
		}
	}
}

// remove deletes keys, few enough for a transaction, past the committer.
func (s *Store) remove(keys ...[]byte) error {
	err := s.shared(func() error {
		return s.db.Update(func(txn *badger.Txn) error {
			for _, k := range keys {
				if err := txn.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return storeError("deleting", err)
	}
	return nil
}

// keys reads the first keys with a prefix.
func (s *Store) keys(prefix []byte, limit int) (keys [][]byte, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, prefix, nil, false, func(k []byte, _ *badger.Item) (bool, error) {
			keys = append(keys, slices.Clone(k))
			return len(keys) < limit, nil
		})
	})
	if err != nil {
		return nil, storeError("listing keys", err)
	}
	return keys, nil
}

// removeOrphans removes what unfinished puts left, except those that run.
func (s *Store) removeOrphans() error {
	marks, err := s.keys([]byte{prefixPutting}, MaxPage)
	if err != nil {
		return err
	}
	for _, k := range marks {
		id, err := lastHash(k)
		if err != nil {
			return err
		}
		if !s.puts.tryEnter(id) {
			continue
		}
		err = s.removeUnfinished(id)
		s.puts.leave(id)
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *inflight) tryEnter(id agreement.Hash) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.busy[id]; taken {
		return false
	}
	f.busy[id] = make(chan struct{})
	return true
}

// Object returns the description of an object, or agreement.ErrNotFound.
func (s *Store) Object(id agreement.Hash) (o Object, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return getValue(txn, objectKey(id), func(b []byte) (err error) { o, err = decodeObject(b); return err })
	})
	if err != nil {
		return Object{}, readError(err, "object %s", id)
	}
	return o, nil
}

// ObjectsByContent returns the sealings of one content, at most MaxPage; none
// is not an error.
func (s *Store) ObjectsByContent(content agreement.Hash) ([]Object, error) {
	var all []Object
	err := s.view(func(txn *badger.Txn) error {
		return scan(txn, contentOf(content), nil, false, func(k []byte, _ *badger.Item) (bool, error) {
			id, err := lastHash(k)
			if err != nil {
				return false, err
			}
			var o Object
			err = getValue(txn, objectKey(id), func(b []byte) (err error) { o, err = decodeObject(b); return err })
			all = append(all, o)
			return len(all) < MaxPage, err
		})
	})
	if err != nil {
		return nil, readError(err, "the objects of content %s", content)
	}
	return all, nil
}

// DeleteObject removes an object; one that isn't there is not an error. After
// a crash it is there whole or not at all.
func (s *Store) DeleteObject(ctx context.Context, id agreement.Hash) error {
	if err := s.puts.enter(ctx, id); err != nil {
		return err
	}
	defer s.puts.leave(id)
	o, err := s.Object(id)
	if errors.Is(err, agreement.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = s.update(ctx, 3, 0, func(w *writer) error {
			w.set(puttingKey(id), nil)
			w.del(objectKey(id))
			w.del(contentKey(o.ContentHash, id))
			return nil
		})
	}
	if err == nil {
		err = s.removeUnfinished(id)
	}
	if err != nil {
		return fmt.Errorf("deleting object %s: %w", id, err)
	}
	return nil
}
