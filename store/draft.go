package store

import (
	"context"
	"fmt"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// Draft is an object that is being put: its payload is written to it, and its
// name follows from that. One goroutine uses it. It takes about two megabytes
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
// on disk.
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
	if there, err := d.s.hasObject(o.ID); err != nil {
		return o, err
	} else if there {
		return o, d.s.Hold(ctx, o.ID, o.Owner, until)
	}
	if err := d.sink.Commit(); err != nil {
		return o, err
	}
	return o, d.s.writeObject(ctx, o, p, until)
}

// Discard gives up what wasn't kept. It may be called at any time.
func (d *Draft) Discard() { d.sink.Abort() }

// writeObject makes an object visible whose payload is at its place, or small.
func (s *Store) writeObject(ctx context.Context, o Object, p blob.Payload, until time.Time) error {
	meta := o.encode()
	size := int64(len(meta) + len(p.Leaves) + len(p.Small) + 2*len(o.Owner))
	err := s.update(ctx, 12, size, func(w *writer) error {
		if err := w.hold(o.ID, o.Owner, until); err != nil {
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
		return nil
	})
	if err == nil {
		s.touched(int64(len(p.Small)))
		s.room.grew(o.SealedSize)
	}
	return err
}
