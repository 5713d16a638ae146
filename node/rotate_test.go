package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/keys"
)

// TestRotationWrapsEverything keeps all objects readable, under their ids, and
// forgets the old identity when its time has come.
func TestRotationWrapsEverything(t *testing.T) {
	friend := newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", friend)
	var ids []agreement.Hash
	for i := range 20 {
		ids = append(ids, putText(t, n, fmt.Appendf(nil, "object %d", i)).ID)
	}
	shared, err := n.seal(t.Context(), []byte("shared"), "text/plain", refPut, []string{n.ring.Address(), friend.Address()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	old := n.ring.Recipient()
	if err := n.rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n.ring.Recipient() == old {
		t.Fatal("the recipient is the old one")
	}
	if st := n.rotation(); !st.Running || len(st.Identities) != 2 {
		t.Errorf("%+v", st)
	}
	if err := n.rotate(t.Context()); agreement.CodeOf(err) != agreement.CodeInUse {
		t.Errorf("a second one: %v", err)
	}
	if err := n.carryRotation(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if st := n.rotation(); st.Running || len(st.Identities) != 2 {
		t.Errorf("wrapped, but not old enough: %+v", st)
	}
	// What comes for the old identity meanwhile is opened, and kept for the new one.
	header, payload, err := keys.Seal([]byte("late"), []string{old})
	if err != nil {
		t.Fatal(err)
	}
	late := takeSealed(t, n, header, payload, []byte("late"))
	if err := n.carryRotation(t.Context(), time.Now().Add(DefaultOldKeys+time.Minute)); err != nil {
		t.Fatal(err)
	}
	if st := n.rotation(); st.Running || len(st.Identities) != 1 {
		t.Errorf("ended: %+v", st)
	}
	for i, id := range ids {
		if !opens(t, n, n.ring, id, fmt.Appendf(nil, "object %d", i)) {
			t.Errorf("object %d isn't opened any more", i)
		}
	}
	if !opens(t, n, n.ring, late, []byte("late")) {
		t.Error("what came late isn't opened any more")
	}
	id := agreement.Hash(shared.ObjectId)
	if !opens(t, n, friend, id, []byte("shared")) || !opens(t, n, n.ring, id, []byte("shared")) {
		t.Error("what is shared isn't opened any more")
	}
}

// takeSealed takes a sealed object in, as from a peer.
func takeSealed(t *testing.T, n *Node, header, payload, text []byte) agreement.Hash {
	t.Helper()
	r := objectRef{content: digestOf(text), id: blake3.Sum256(payload), size: int64(len(text)), sealed: int64(len(payload)), mediaType: "text/plain"}
	if err := n.takeIn(t.Context(), r, header, bytes.NewReader(payload), refPut, []string{n.ring.Address()}); err != nil {
		t.Fatal(err)
	}
	return r.id
}

// TestFetchAfterARotation gets what was sealed to an identity that is forgotten.
func TestFetchAfterARotation(t *testing.T) {
	a := online(t)
	b := online(t, a)
	both := []string{a.ring.Address(), b.ring.Address()}
	ref, err := a.seal(t.Context(), []byte("text"), "text/plain", refPut, both, both)
	if err != nil {
		t.Fatal(err)
	}
	before, err := a.store.Object(agreement.Hash(ref.ObjectId))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.carryRotation(t.Context(), time.Now().Add(DefaultOldKeys+time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.HeaderFor(t.Context(), "tp1other", agreement.Hash(ref.ObjectId)); agreement.CodeOf(err) != agreement.CodeNotFound {
		t.Errorf("a header for others: %v", err)
	}
	eventually(t, "the new recipient", func() bool {
		rec, ok := a.host.Affiliate(b.ring.Address())
		return ok && rec.Recipient == b.ring.Recipient()
	})
	if err := b.obtain(t.Context(), a.ring.Address(), ref, refPut, both); err != nil {
		t.Fatal(err)
	}
	if !opens(t, b, b.ring, agreement.Hash(ref.ObjectId), []byte("text")) {
		t.Error("what was fetched isn't opened")
	}
	if o, err := a.store.Object(agreement.Hash(ref.ObjectId)); err != nil || !bytes.Equal(o.Header, before.Header) {
		t.Errorf("the sealer's header has changed: %v", err)
	}
}

// TestRotationGoesOn where it was interrupted, and begins anew for another
// identity.
func TestRotationGoesOn(t *testing.T) {
	n := bare(t)
	o := putText(t, n, []byte("one"))
	if err := n.rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	number := n.ring.Identities()[0].Number
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.carryRotation(ctx, time.Now()); err == nil {
		t.Error("carried on without a context")
	}
	if st := n.rotation(); !st.Running {
		t.Errorf("%+v", st)
	}
	for _, err := range []error{
		n.store.SetCursor(t.Context(), rotationFor, uint64(number)),
		n.store.SetCursor(t.Context(), rotationCursor, binary.BigEndian.Uint64(o.ID[:])),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	at, err := n.rotationStart(t.Context(), number)
	if err != nil || !bytes.Equal(at[:8], o.ID[:8]) || bytes.Compare(at[:], o.ID[:]) > 0 {
		t.Errorf("goes on after %s, %v", at, err)
	}
	if at, err = n.rotationStart(t.Context(), number+1); err != nil || !at.IsZero() {
		t.Errorf("for another identity it begins after %s, %v", at, err)
	}
}
