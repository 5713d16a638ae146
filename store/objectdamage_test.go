package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// damage changes stored bytes of an object, and reads it.
func (d *driver) damage(r *rapid.T) {
	o := d.objects.draw(r)
	if o == nil || o.bad || len(o.payload) == 0 {
		return
	}
	at := rapid.IntRange(0, len(o.payload)-1).Draw(r, "at")
	switch rapid.IntRange(0, 2).Draw(r, "of") {
	case 0:
		damagePayload(r, d.s, o.Object, at)
	case 1:
		if blob.LeavesSize(o.SealedSize) == 0 {
			return
		}
		changeValue(r, d.s, leavesKey(o.ID), func(b []byte) { b[at%len(b)] ^= 1 })
		if !o.large() {
			return // they aren't needed
		}
	case 2:
		changeValue(r, d.s, objectKey(o.ID), func(b []byte) { b[0] = 77 })
		o.undescribed = true
	}
	o.bad = true
	in, err := d.s.Payload(context.Background(), o.ID, 0)
	if err == nil {
		_, err = io.Copy(io.Discard, in)
		_ = in.Close()
	}
	if agreement.CodeOf(err) != agreement.CodeDamaged || !bytes.Contains([]byte(err.Error()), []byte(o.ID.String())) {
		r.Fatalf("a damaged object is read with %v", err)
	}
}

// damagePayload flips a bit of a payload, past the store.
func damagePayload(t fatal, s *Store, o Object, at int) {
	t.Helper()
	if !o.large() {
		changeValue(t, s, payloadKey(o.ID), func(b []byte) { b[at] ^= 4 })
		return
	}
	name := o.ID.String()
	f, err := os.OpenFile(filepath.Join(s.dir, "payloads", name[:2], name), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // of a test
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, int64(at)); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b, int64(at)); err != nil {
		t.Fatal(err)
	}
}

// changeValue writes another value, past the store.
func changeValue(t fatal, s *Store, key []byte, change func([]byte)) {
	t.Helper()
	b, err := s.copyOf(key)
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	if err := s.db.Update(func(txn *badger.Txn) error { return txn.Set(key, seal(key, b)) }); err != nil {
		t.Fatal(err)
	}
}

func (d *driver) verify(r *rapid.T) {
	want := Verified{}
	for _, o := range d.objects.objects {
		want.Objects++
		if o.bad {
			want.Damaged++
		} else {
			want.Bytes += int64(len(o.payload))
		}
	}
	seen := map[agreement.Hash]bool{}
	d.objects.stale += unindexed(r, d.s)
	got, err := d.s.Verify(context.Background(), func(o Object, err error) {
		m := d.objects.objects[o.ID]
		if m == nil || m.bad != (err != nil) || seen[o.ID] {
			r.Fatalf("object %s is verified with %v", o.ID, err)
		}
		seen[o.ID] = true
	})
	got.Bytes -= got.Bytes - want.Bytes // what is read of damaged ones
	if got.Mended <= d.objects.stale {  // those of an object that is damaged again wait until it is described, or gone
		d.objects.stale -= got.Mended
		got.Mended = 0
	}
	if err != nil || got != want {
		r.Fatalf("verified %+v, not %+v: %v", got, want, err)
	}
}

func (d *driver) compareObjects(r *rapid.T) {
	bad := 0
	for _, id := range d.objects.ids() {
		o := d.objects.objects[id]
		if o.bad {
			bad++
		}
		d.compareObject(r, id, o)
	}
	q, err := d.s.Quarantined()
	if err != nil || len(q) != bad {
		r.Fatalf("%d objects are in quarantine, not %d: %v", len(q), bad, err)
	}
	if n, err := d.s.CountObjects(); err != nil || int(n) != len(d.objects.objects) {
		r.Fatalf("%d objects, not %d: %v", n, len(d.objects.objects), err)
	}
	for id, stone := range d.objects.stones {
		if got, err := d.s.Tombstone(id); err != nil || string(got) != stone {
			r.Fatalf("the tombstone of %s is %q, %v", id, got, err)
		}
		if _, err := d.s.Object(id); !errors.Is(err, agreement.ErrNotFound) {
			r.Fatalf("purged object %s: %v", id, err)
		}
	}
}

func (d *driver) compareObject(r *rapid.T, id agreement.Hash, o *modelObject) {
	refs, err := d.s.References(id)
	if err != nil || len(refs) != len(o.refs) {
		r.Fatalf("object %s is kept by %v, not %v: %v", id, refs, o.refs, err)
	}
	for _, ref := range refs {
		if until, ok := o.refs[ref.Name]; !ok || !until.Equal(ref.Until) {
			r.Fatalf("object %s is kept by %s until %v, not %v", id, ref.Name, ref.Until, until)
		}
	}
	got, err := d.s.Object(id)
	if o.bad {
		if agreement.CodeOf(err) != agreement.CodeDamaged {
			r.Fatalf("damaged object %s: %v", id, err)
		}
		return
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(o.Object) {
		r.Fatalf("object %s is %v, not %v: %v", id, got, o.Object, err)
	}
	from := 0
	if len(o.payload) > 0 {
		from = rapid.IntRange(0, len(o.payload)).Draw(r, "from")
	}
	if !bytes.Equal(readPayload(r, d.s, id, int64(from)), o.payload[from:]) {
		r.Fatalf("the payload of %s differs from %d on", id, from)
	}
}
