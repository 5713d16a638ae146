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
	smallPayload = 128 << 10
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

// large reports whether the payload lies in the home.
func (v Object) large() bool { return v.SealedSize > smallPayload }

// inflight lets one goroutine at a time put, change or remove what an id
// names.
type inflight struct {
	mu   sync.Mutex // guards busy
	busy map[agreement.Hash]chan struct{}
}

// enter waits until nobody else has the id. The caller calls leave.
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

func (f *inflight) tryEnter(id agreement.Hash) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.busy[id]; taken {
		return false
	}
	f.busy[id] = make(chan struct{})
	return true
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
// it is there. Of an object that is there already the payload isn't read, and
// nothing but the reference changes; one that is in quarantine is repaired.
func (s *Store) PutObject(ctx context.Context, o Object, payload io.Reader) error {
	if err := s.checkObject(o); err != nil {
		return fmt.Errorf("putting object %s: %w", o.ID, err)
	}
	_, found, err := s.find(o.ID)
	if err == nil && found == good {
		if err = s.Hold(ctx, o.ID, o.Owner, time.Time{}); err == nil || !errors.Is(err, agreement.ErrNotFound) {
			return err
		}
		err = nil // purged meanwhile
	}
	if err == nil {
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
		return fmt.Errorf("its payload, of which %d bytes came: %w", n, err)
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
	if err := checkName("reference", o.Owner); err != nil {
		return err
	}
	if err := checkSize("its header", len(o.Header), MaxHeader); err != nil {
		return err
	}
	if len(o.Audience) > MaxAudience {
		return agreement.Errorf(agreement.CodeTooLarge, "it has %d readers, more than %d", len(o.Audience), MaxAudience)
	}
	longest := len(o.MediaType)
	for _, a := range o.Audience {
		longest = max(longest, len(a))
	}
	if longest > MaxName {
		return agreement.Errorf(agreement.CodeTooLarge, "its media type or a reader has %d bytes, more than %d", longest, MaxName)
	}
	return nil
}

func wrongHash(got agreement.Hash) error {
	return agreement.Errorf(agreement.CodeDamaged, "the payload's hash is %s", got)
}

// Object returns the description of an object: agreement.ErrNotFound where
// there is none, CodeDamaged where it is in quarantine.
func (s *Store) Object(id agreement.Hash) (Object, error) {
	o, _, err := s.object(id)
	return o, err
}

// object returns an object that is good, and the version of its description.
func (s *Store) object(id agreement.Hash) (o Object, version uint64, err error) {
	var q *Quarantine
	err = s.view(func(txn *badger.Txn) (err error) {
		o, version, err = objectIn(txn, id)
		if err == nil || errors.Is(err, errDecode) {
			var qErr error
			if q, qErr = quarantineIn(txn, id); qErr != nil {
				return qErr
			}
		}
		return err
	})
	switch {
	case q != nil:
		return Object{}, 0, q.err(id)
	case errors.Is(err, errDecode):
		return Object{}, 0, s.quarantine(id, version, agreement.Errorf(agreement.CodeDamaged, "its description can't be read: %w", err))
	case err != nil:
		return Object{}, 0, readError(err, "object %s", id)
	}
	return o, version, nil
}

// objectIn returns an object and the version of its description; errDecode
// where it can't be read.
func objectIn(txn *badger.Txn, id agreement.Hash) (o Object, version uint64, err error) {
	item, err := txn.Get(objectKey(id))
	if err != nil {
		return Object{}, 0, err
	}
	o, err = describedBy(id, row{item})
	return o, item.Version(), err
}

// describedBy reads the description of an object.
func describedBy(id agreement.Hash, r row) (o Object, err error) {
	err = r.value(func(b []byte) (err error) { o, err = decodeObject(b); return err })
	if err == nil && o.ID != id {
		err = errDecode
	}
	return o, err
}

// quarantineIn returns why an object is in quarantine, nil if it isn't.
func quarantineIn(txn *badger.Txn, id agreement.Hash) (q *Quarantine, err error) {
	err = getValue(txn, quarantineKey(id), func(b []byte) error {
		v, err := decodeQuarantine(b)
		q = &v
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if errors.Is(err, errDecode) {
		return &Quarantine{Reason: "the reason can't be read"}, nil
	}
	return q, err
}

// condition is how an object is found.
type condition int

const (
	absent condition = iota
	good
	repairable  // in quarantine; its description is good
	undescribed // and so is its description
)

// find returns an object as far as it can be read, and its condition.
func (s *Store) find(id agreement.Hash) (o Object, found condition, err error) {
	err = s.view(func(txn *badger.Txn) error {
		o, found, err = findIn(txn, id)
		return err
	})
	if err != nil {
		return Object{}, absent, readError(err, "object %s", id)
	}
	return o, found, nil
}

func findIn(txn *badger.Txn, id agreement.Hash) (Object, condition, error) {
	o, _, err := objectIn(txn, id)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return Object{}, absent, nil
	}
	if errors.Is(err, errDecode) {
		return Object{ID: id}, undescribed, nil
	}
	if err != nil {
		return Object{}, absent, err
	}
	inIt, err := hasIn(txn, quarantineKey(id))
	if inIt {
		return o, repairable, err
	}
	return o, good, err
}

// maxListed bounds the bytes of headers in one answer.
const maxListed = 64 << 20

// ObjectsByContent returns the sealings of one content that are good, at most
// MaxPage; none is not an error.
func (s *Store) ObjectsByContent(content agreement.Hash) ([]Object, error) {
	var all []Object
	size := 0
	err := s.view(func(txn *badger.Txn) error {
		return scan(txn, contentOf(content), nil, func(k []byte, _ row) (bool, error) {
			id, err := lastHash(k)
			if err != nil {
				return false, err
			}
			o, found, err := findIn(txn, id)
			if err == nil && found == good {
				all = append(all, o)
				size += len(o.Header)
			}
			return len(all) < MaxPage && size < maxListed, err
		})
	})
	if err != nil {
		return nil, readError(err, "the objects of content %s", content)
	}
	return all, nil
}

// DamagedByContent returns the sealings of one content that are damaged, at
// most MaxPage. Of one whose description can't be read either, only ID and
// ContentHash are known.
func (s *Store) DamagedByContent(content agreement.Hash) (all []Object, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, contentOf(content), nil, func(k []byte, _ row) (bool, error) {
			id, err := lastHash(k)
			if err != nil {
				return false, err
			}
			o, found, err := findIn(txn, id)
			if err == nil && (found == undescribed || found == repairable) {
				o.ContentHash = content
				all = append(all, o)
			}
			return len(all) < MaxPage, err
		})
	})
	if err != nil {
		return nil, readError(err, "the damaged objects of content %s", content)
	}
	return all, nil
}

// ContentOf finds out of which content an object is a sealing whose
// description can't be read, by going through all objects.
func (s *Store) ContentOf(ctx context.Context, id agreement.Hash) (content agreement.Hash, err error) {
	found := false
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixContent}, nil, func(k []byte, _ row) (bool, error) {
			last, err := lastHash(k)
			if found = err == nil && last == id; found {
				content = agreement.Hash(k[1:])
			}
			return !found, errors.Join(err, ctx.Err())
		})
	})
	if err == nil && !found {
		err = badger.ErrKeyNotFound
	}
	if err != nil {
		return content, readError(err, "the content of object %s", id)
	}
	return content, nil
}

// SetHeader replaces who can open an object: its header, and the addresses of
// its audience. change gets the object as it is, under no other change.
func (s *Store) SetHeader(ctx context.Context, id agreement.Hash, change func(*Object) error) error {
	if err := s.puts.enter(ctx, id); err != nil {
		return err
	}
	defer s.puts.leave(id)
	o, found, err := s.find(id)
	switch {
	case err != nil:
		return err
	case found == absent:
		return notFound("object %s", id)
	case found == undescribed:
		return damaged("the description of object %s", id)
	}
	changed := o
	changed.Audience, changed.Header = slices.Clone(o.Audience), slices.Clone(o.Header)
	if err := change(&changed); err != nil {
		return err
	}
	o.Header, o.Audience = changed.Header, changed.Audience
	if err := s.checkObject(o); err != nil {
		return fmt.Errorf("changing the header of object %s: %w", id, err)
	}
	meta := o.encode()
	err = s.update(ctx, 1, int64(len(meta)), func(w *writer) error {
		w.set(objectKey(id), meta)
		return nil
	})
	if err != nil {
		return fmt.Errorf("changing the header of object %s: %w", id, err)
	}
	return nil
}
