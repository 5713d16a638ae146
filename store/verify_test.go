package store

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestVerifyMends removes and adds entries that follow from others, and finds
// all as it was.
func TestVerifyMends(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	o, _ := put(t, s, 100_000)
	free, _ := put(t, s, 7)
	until := time.Now().Add(time.Hour)
	if err := s.Hold(t.Context(), o.ID, "pin", until); err != nil {
		t.Fatal(err)
	}
	if err := s.ReleaseObject(t.Context(), free.ID, "put"); err != nil {
		t.Fatal(err)
	}
	before := dump(t, s)
	var gone agreement.Hash = [32]byte{9}
	for what, change := range map[string]func(*badger.Txn) error{
		"no content":            func(txn *badger.Txn) error { return txn.Delete(contentKey(o.ContentHash, o.ID)) },
		"no name":               func(txn *badger.Txn) error { return txn.Delete(heldKey("pin", o.ID)) },
		"no time":               func(txn *badger.Txn) error { return txn.Delete(expiryKey(until, o.ID, "pin")) },
		"another content":       func(txn *badger.Txn) error { return txn.Set(contentKey(gone, o.ID), nil) },
		"content of none":       func(txn *badger.Txn) error { return txn.Set(contentKey(gone, gone), nil) },
		"name of none":          func(txn *badger.Txn) error { return txn.Set(heldKey("pin", gone), nil) },
		"another time":          func(txn *badger.Txn) error { return txn.Set(expiryKey(until.Add(time.Hour), o.ID, "pin"), nil) },
		"time of none":          func(txn *badger.Txn) error { return txn.Set(expiryKey(until, gone, "pin"), nil) },
		"time of one without":   func(txn *badger.Txn) error { return txn.Set(expiryKey(until, o.ID, "put"), nil) },
		"unheld though kept":    func(txn *badger.Txn) error { return txn.Set(unheldKey(o.ID), nil) },
		"unheld, but not there": func(txn *badger.Txn) error { return txn.Set(unheldKey(gone), nil) },
	} {
		if err := s.db.Update(change); err != nil {
			t.Fatal(err)
		}
		v, err := s.Verify(t.Context(), nil)
		if err != nil || v.Mended != 1 || v.Damaged != 0 || v.Objects != 2 {
			t.Errorf("%s: verified %+v, %v", what, v, err)
		}
		if got := dump(t, s); difference(got, before) != "" {
			t.Fatalf("%s: %s", what, difference(got, before))
		}
	}
	// One more, whose time can't be the same.
	if err := s.db.Update(func(txn *badger.Txn) error { return txn.Delete(unheldKey(free.ID)) }); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Verify(t.Context(), nil); err != nil || v.Mended != 1 {
		t.Errorf("not unheld: verified %+v, %v", v, err)
	}
	checkWhole(t, s)
}

// TestVerifyFinds what is lost or damaged, and reads on.
func TestVerifyFinds(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	lost, _ := put(t, s, 70_000)
	good, _ := put(t, s, smallPayload+9)
	if err := s.SetCursor(t.Context(), "c", 7); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Update(func(txn *badger.Txn) error { return txn.Delete(objectKey(lost.ID)) }); err != nil {
		t.Fatal(err)
	}
	found := map[agreement.Hash]error{}
	verify := func() (Verified, error) {
		return s.Verify(t.Context(), func(o Object, err error) { found[o.ID] = err })
	}
	v, err := verify()
	wantCode(t, "an object less", err, agreement.CodeDamaged)
	if v.Objects != 1 || v.Damaged != 1 || v.Strays != 2 || v.Mended != 1 || found[good.ID] != nil || agreement.CodeOf(found[lost.ID]) != agreement.CodeDamaged {
		t.Errorf("verified %+v: %v", v, found)
	}
	// It is known from then on, and can be put again.
	if v, err = verify(); err != nil || v.Damaged != 1 {
		t.Errorf("again: verified %+v, %v", v, err)
	}
	err = s.db.Update(func(txn *badger.Txn) error { return txn.Set(cursorKey("c"), []byte("garbage")) })
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify()
	wantCode(t, "a damaged cursor", err, agreement.CodeDamaged)
	_, err = s.Cursor("c")
	wantCode(t, "reading it", err, agreement.CodeDamaged)
	if err := s.SetCursor(t.Context(), "c", 8); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyLiftsQuarantine of what proves to be good.
func TestVerifyLiftsQuarantine(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	o, p := put(t, s, 3*smallPayload)
	damagePayload(t, s, o, 2*smallPayload)
	r, err := s.Payload(t.Context(), o.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := drainAll(r)
	wantCode(t, "reading", err, agreement.CodeDamaged)
	if !bytes.Equal(got, p[:len(got)]) || len(got) > 2*smallPayload {
		t.Error("wrong bytes were handed out")
	}
	if _, err := s.Payload(t.Context(), o.ID, 0); agreement.CodeOf(err) != agreement.CodeDamaged {
		t.Errorf("in quarantine: %v", err)
	}
	damagePayload(t, s, o, 2*smallPayload) // as it was
	if v, err := s.Verify(t.Context(), nil); err != nil || v.Mended != 1 {
		t.Errorf("verified %+v, %v", v, err)
	}
	if !bytes.Equal(readPayload(t, s, o.ID, 0), p) {
		t.Error("it differs")
	}
	checkWhole(t, s)
}

func drainAll(r interface{ Read([]byte) (int, error) }) ([]byte, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// TestQuarantineIsOfWhatWasRead: what was put again or has gone since isn't
// taken out of use.
func TestQuarantineIsOfWhatWasRead(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	o, p := put(t, s, 2*smallPayload)
	_, version, err := s.object(o.ID)
	if err != nil {
		t.Fatal(err)
	}
	bad := agreement.Errorf(agreement.CodeDamaged, "a bit")
	if err := s.SetHeader(t.Context(), o.ID, func(*Object) error { return nil }); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "changed since", s.suspect(o.ID, version, bad), agreement.CodeDamaged)
	if !bytes.Equal(readPayload(t, s, o.ID, 0), p) {
		t.Error("it differs")
	}
	if err := s.Purge(t.Context(), o.ID, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.suspect(o.ID, version, bad); !errors.Is(err, agreement.ErrNotFound) {
		t.Errorf("gone since: %v", err)
	}
	if q, err := s.Quarantined(); err != nil || len(q) != 0 {
		t.Errorf("in quarantine: %v, %v", q, err)
	}
}

// TestVerifyEndsWithItsContext, and with the store.
func TestVerifyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	put(t, s, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Verify(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Verify(t.Context(), nil)
	wantCode(t, "closed", err, agreement.CodeStore)
	_, err = s.Backup(t.Context(), &bytes.Buffer{}, 0)
	wantCode(t, "backing up what is closed", err, agreement.CodeStore)
}
