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

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits of one object, besides Options.MaxObjectSize.
const (
	MaxHeader   = 1 << 20 // bytes of the sealing header
	MaxAudience = 1024    // readers

	// smallPayload is the largest payload that lies in Badger, in bytes. Larger
	// ones lie in the store's home of payloads.
	smallPayload = 1 << 20
)

// Object describes a sealed object. ID is the BLAKE3-256 of the payload.
type Object struct {
	ID          agreement.Hash
	ContentHash agreement.Hash // SHA-256 of the content, as its sealer states
	Size        int64          // bytes of content, as its sealer states
	SealedSize  int64          // bytes of payload
	MediaType   string
	Audience    []string // addresses
	Owner       string   // the reference that it was put for, as References has it
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

// PutObject stores an object that is known by its id: it reads exactly
// o.SealedSize bytes of payload and checks that o.ID is their hash
// (CodeDamaged). When PutObject returns nil the object is on disk, with a
// reference by o.Owner; otherwise, and after a crash at any moment, nothing of
// it is there. The payload of an object that is there already isn't read.
func (s *Store) PutObject(ctx context.Context, o Object, payload io.Reader) error {
	if err := s.checkObject(o); err != nil {
		return fmt.Errorf("putting object %s: %w", o.ID, err)
	}
	there, err := s.hasObject(o.ID)
	if err == nil && there {
		if err = s.Hold(ctx, o.ID, o.Owner, time.Time{}); err == nil || !errors.Is(err, agreement.ErrNotFound) {
			return err
		}
	}
	if err == nil || errors.Is(err, agreement.ErrNotFound) {
		err = s.putKnown(ctx, o, payload)
	}
	if err != nil {
		return fmt.Errorf("putting object %s: %w", o.ID, err)
	}
	return nil
}

func (s *Store) putKnown(ctx context.Context, o Object, payload io.Reader) error {
	d, err := s.NewDraft(ctx)
	if err != nil {
		return err
	}
	defer d.Discard()
	if n, err := io.CopyN(d, payload, o.SealedSize); err != nil {
		return fmt.Errorf("reading its payload, of which %d bytes came: %w", n, err)
	}
	_, err = d.keep(ctx, o, time.Time{}, o.ID)
	return err
}

func (s *Store) tooLarge() error {
	return agreement.Errorf(agreement.CodeTooLarge, "it has more than %d bytes", s.maxObject).
		WithHint("store.max_object_size in affiliate.toml sets the limit")
}

func (s *Store) checkObject(o Object) error {
	if o.SealedSize < 0 || o.Size < 0 {
		return agreement.Errorf(agreement.CodeBadRequest, "its size is negative")
	}
	if o.SealedSize > s.maxObject {
		return s.tooLarge()
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

// hasObject reports whether an object is there and good.
func (s *Store) hasObject(id agreement.Hash) (there bool, err error) {
	err = s.view(func(txn *badger.Txn) error {
		if _, err := txn.Get(objectKey(id)); err != nil {
			return err
		}
		_, err := txn.Get(quarantineKey(id))
		there = errors.Is(err, badger.ErrKeyNotFound)
		if there {
			return nil
		}
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, storeError("reading it", err)
	}
	return there, nil
}

func wrongHash(got agreement.Hash) error {
	return agreement.Errorf(agreement.CodeDamaged, "the payload's hash is %s", got)
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

func (f *inflight) tryEnter(id agreement.Hash) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.busy[id]; taken {
		return false
	}
	f.busy[id] = make(chan struct{})
	return true
}

// Object returns the description of an object: agreement.ErrNotFound where
// there is none, CodeDamaged where it is in quarantine.
func (s *Store) Object(id agreement.Hash) (Object, error) {
	o, q, err := s.object(id)
	if err == nil && q != nil {
		err = q.err(id)
	}
	return o, err
}

// object returns an object, and its quarantine if it is in one.
func (s *Store) object(id agreement.Hash) (o Object, q *Quarantine, err error) {
	err = s.view(func(txn *badger.Txn) (err error) {
		o, q, err = objectIn(txn, id)
		return err
	})
	if err != nil {
		return Object{}, nil, readError(err, "object %s", id)
	}
	return o, q, nil
}

func objectIn(txn *badger.Txn, id agreement.Hash) (o Object, q *Quarantine, err error) {
	err = getValue(txn, objectKey(id), func(b []byte) (err error) { o, err = decodeObject(b); return err })
	if err != nil {
		return o, nil, err
	}
	err = getValue(txn, quarantineKey(id), func(b []byte) error {
		v, err := decodeQuarantine(b)
		q = &v
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		err = nil
	}
	return o, q, err
}

// ObjectsByContent returns the sealings of one content that are good, at most
// MaxPage; none is not an error.
func (s *Store) ObjectsByContent(content agreement.Hash) ([]Object, error) {
	var all []Object
	err := s.view(func(txn *badger.Txn) error {
		return scan(txn, contentOf(content), nil, false, func(k []byte, _ *badger.Item) (bool, error) {
			id, err := lastHash(k)
			if err != nil {
				return false, err
			}
			o, q, err := objectIn(txn, id)
			if err == nil && q == nil {
				all = append(all, o)
			}
			return len(all) < MaxPage, err
		})
	})
	if err != nil {
		return nil, readError(err, "the objects of content %s", content)
	}
	return all, nil
}

// SetHeader replaces who can open an object: its header, and the addresses of
// its audience. change gets the object as it is, under no other change.
func (s *Store) SetHeader(ctx context.Context, id agreement.Hash, change func(*Object) error) error {
	if err := s.puts.enter(ctx, id); err != nil {
		return err
	}
	defer s.puts.leave(id)
	o, _, err := s.object(id)
	if err != nil {
		return err
	}
	changed := o
	changed.Audience = slices.Clone(o.Audience)
	if err := change(&changed); err != nil {
		return err
	}
	o.Header, o.Audience = changed.Header, changed.Audience
	if err := s.checkObject(o); err != nil {
		return fmt.Errorf("changing the header of object %s: %w", id, err)
	}
	meta := o.encode()
	return s.update(ctx, 1, int64(len(meta)), func(w *writer) error {
		w.set(objectKey(id), meta)
		return nil
	})
}
