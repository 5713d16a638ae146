package store

import (
	"context"
	"fmt"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// Draft is an object that is being put: its payload is written to it, and its
// name follows from that. One goroutine uses it. It takes about one megabyte
// of memory, however much is written.
type Draft struct {
	s    *Store
	sink *blob.Sink
}

// NewDraft begins to put an object whose payload is yet to be written; ctx
// bounds the whole put. CodeDiskFull when there is no room for more.
func (s *Store) NewDraft(ctx context.Context) (*Draft, error) {
	if err := s.Room(ctx); err != nil {
		return nil, err
	}
	return &Draft{s, blob.NewSink(ctx, s.home, smallPayload, s.maxObject)}, nil
}

// Write adds to the payload. CodeTooLarge when that makes it larger than
// allowed.
func (d *Draft) Write(p []byte) (int, error) {
	n, err := d.sink.Write(p)
	if agreement.CodeOf(err) == agreement.CodeTooLarge {
		err = d.s.tooLarge()
	}
	return n, err
}

// Keep makes the object visible: o describes it, except for ID and SealedSize,
// which Keep fills in. It is kept by the reference o.Owner until that time;
// zero means as long as nobody releases it. When Keep returns nil the object is
// on disk. One that is there already stays as it is, and is returned; if it is
// in quarantine, it gets this payload.
func (d *Draft) Keep(ctx context.Context, o Object, until time.Time) (Object, error) {
	return d.keep(ctx, o, until, agreement.Hash{})
}

func (d *Draft) keep(ctx context.Context, o Object, until time.Time, want agreement.Hash) (Object, error) {
	p, err := d.sink.Finish()
	if err != nil {
		return o, err
	}
	if !want.IsZero() && want != p.ID {
		return o, wrongHash(p.ID)
	}
	o.ID, o.SealedSize = p.ID, p.Size
	if err := d.s.checkObject(o); err != nil {
		return o, fmt.Errorf("putting object %s: %w", o.ID, err)
	}
	if err := d.s.puts.enter(ctx, o.ID); err != nil {
		return o, err
	}
	defer d.s.puts.leave(o.ID)
	there, found, err := d.s.find(o.ID)
	if err != nil {
		return o, err
	}
	name := o.Owner
	switch found {
	case good:
		return there, d.s.Hold(ctx, o.ID, name, until)
	case repairable:
		o = there // what is known of it here: its header may have been changed
		o.SealedSize = p.Size
	}
	if o.large() {
		if err := d.s.mark(ctx, o.ID); err != nil {
			return o, err
		}
	}
	if err := d.sink.Commit(); err != nil {
		return o, err
	}
	return o, d.s.writeObject(ctx, o, found, p, Reference{name, until})
}

// mark notes that a payload is going to lie in the home without an object:
// until it is one, or after it was. A sweep removes what is marked, and
// nothing else: what the database doesn't know may be another one's.
func (s *Store) mark(ctx context.Context, id agreement.Hash) error {
	return s.update(ctx, 1, 0, func(w *writer) error { w.set(puttingKey(id), nil); return nil })
}

// writeObject makes an object visible whose payload is at its place, or small.
func (s *Store) writeObject(ctx context.Context, o Object, was condition, p blob.Payload, by Reference) error {
	meta := o.encode()
	size := int64(len(meta) + len(p.Leaves) + len(p.Small) + 2*len(by.Name))
	err := s.update(ctx, 14, size, func(w *writer) error {
		if err := w.hold(o.ID, by); err != nil {
			return err
		}
		if len(p.Small) > 0 {
			w.set(payloadKey(o.ID), p.Small)
		}
		if len(p.Leaves) > 0 {
			w.set(leavesKey(o.ID), p.Leaves)
		}
		w.set(objectKey(o.ID), meta)
		w.set(contentKey(o.ContentHash, o.ID), nil)
		w.del(puttingKey(o.ID))
		w.del(quarantineKey(o.ID))
		w.del(tombstoneKey(o.ID))
		if was == absent {
			w.mem.totals.objects++
			w.mem.totals.bytes += o.SealedSize
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("putting object %s: %w", o.ID, err)
	}
	s.room.grew(o.SealedSize)
	return nil
}

// Discard gives up what wasn't kept. It may be called at any time.
func (d *Draft) Discard() { d.sink.Abort() }
