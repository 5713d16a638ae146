package node

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/store"
)

// putText seals content as PutObject does, and returns the object.
func putText(t *testing.T, n *Node, content []byte) store.Object {
	t.Helper()
	ref, err := n.seal(t.Context(), content, "text/plain", refPut, []string{n.ring.Address()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	o, err := n.store.Object(agreement.Hash(ref.ObjectId))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// opens reports whether a ring opens an object of a node.
func opens(t *testing.T, n *Node, ring *keys.Ring, id agreement.Hash, want []byte) bool {
	t.Helper()
	o, err := n.store.Object(id)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := n.payload(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ring.Unseal(o.Header, payload, o.Size)
	return err == nil && bytes.Equal(got, want)
}

// TestGrantAndRevoke opens a content to one more affiliate under the same id,
// and takes that back under another.
func TestGrantAndRevoke(t *testing.T) {
	friend := newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", friend)
	text := bytes.Repeat([]byte("granted "), 1000)
	o := putText(t, n, text)
	if err := n.pin(t.Context(), o.ContentHash, "keep", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if opens(t, n, friend, o.ID, text) {
		t.Fatal("opened before it was granted")
	}
	for range 2 {
		if err := n.grant(t.Context(), o.ContentHash, friend.Address()); err != nil {
			t.Fatal(err)
		}
	}
	if !opens(t, n, friend, o.ID, text) || !opens(t, n, n.ring, o.ID, text) {
		t.Error("granted, and not opened")
	}
	after, err := n.store.Object(o.ID)
	if err != nil {
		t.Fatal(err)
	}
	if count, err := keys.Readers(after.Header); err != nil || count != 2 {
		t.Errorf("the header has %d readers, %v", count, err)
	}
	if _, body, err := n.OpenObject(t.Context(), friend.Address(), o.ID, 0); err != nil {
		t.Errorf("isn't served: %v", err)
	} else {
		_ = body.Close()
	}
	who, err := n.readers(o.ContentHash)
	want := []reader{{n.ring.Address(), whySelf}, {friend.Address(), whyGranted}}
	if err != nil || !slices.Equal(who, want) {
		t.Errorf("readers %v, %v", who, err)
	}
	if err := n.revoke(t.Context(), o.ContentHash, friend.Address()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.store.Object(o.ID); !errors.Is(err, agreement.ErrNotFound) {
		t.Errorf("the old object: %v", err)
	}
	stone, err := n.store.Tombstone(o.ID)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := readTombstone("tp", stone); err != nil || s.Object != o.ID {
		t.Errorf("tombstone %+v, %v", s, err)
	}
	now, err := n.store.ObjectsByContent(o.ContentHash)
	if err != nil || len(now) != 1 || opens(t, n, friend, now[0].ID, text) || !opens(t, n, n.ring, now[0].ID, text) {
		t.Errorf("afterwards there are %d objects, or others open them: %v", len(now), err)
	}
	refs, err := n.store.References(now[0].ID)
	if err != nil || len(refs) != 2 {
		t.Errorf("references %v, %v", refs, err)
	}
	if err := n.revoke(t.Context(), o.ContentHash, friend.Address()); agreement.CodeOf(err) != agreement.CodeNotFound {
		t.Errorf("revoked twice: %v", err)
	}
}

// TestRevokeAfterACrash goes on where a revocation ended between its steps.
func TestRevokeAfterACrash(t *testing.T) {
	friend := newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", friend)
	o := putText(t, n, []byte("a"))
	if err := n.grant(t.Context(), o.ContentHash, friend.Address()); err != nil {
		t.Fatal(err)
	}
	o, err := n.store.Object(o.ID)
	if err != nil {
		t.Fatal(err)
	}
	refs, err := n.store.References(o.ID)
	if err != nil {
		t.Fatal(err)
	}
	id, err := n.replacement(t.Context(), o, friend.Address(), refs)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.revoke(t.Context(), o.ContentHash, friend.Address()); err != nil {
		t.Fatal(err)
	}
	if now, err := n.store.ObjectsByContent(o.ContentHash); err != nil || len(now) != 1 || now[0].ID != id {
		t.Errorf("%d objects, %v", len(now), err)
	}
}

// TestRevokeKeepsAgreements refuses what the data of an agreement must not lose.
func TestRevokeKeepsAgreements(t *testing.T) {
	party := newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", party)
	ref, err := n.seal(t.Context(), []byte("data"), "text/plain", refPut, []string{n.ring.Address(), party.Address()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := proposed(n, []byte("body"))
	tm := readTerms(t, sampleTerms())
	p.Opening.Terms = tm.digest
	c := mail(t, n, "proposal")
	c.blobs = map[string][]byte{blobTerms: tm.raw}
	if _, err := n.apply(t.Context(), p.Opening.ID, p, c); err != nil {
		t.Fatal(err)
	}
	if err := n.store.Hold(t.Context(), agreement.Hash(ref.ObjectId), p.Opening.ID.String(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	err = n.revoke(t.Context(), agreement.Hash(ref.ContentHash), party.Address())
	if agreement.CodeOf(err) != agreement.CodeInUse {
		t.Errorf("while the agreement is open: %v", err)
	}
	if _, err := n.store.Object(agreement.Hash(ref.ObjectId)); err != nil {
		t.Errorf("the object: %v", err)
	}
	self := n.revoke(t.Context(), agreement.Hash(ref.ContentHash), n.ring.Address())
	if agreement.CodeOf(self) != agreement.CodeBadRequest {
		t.Errorf("this affiliate itself: %v", self)
	}
}

// TestForget ends what people keep a content for, and nothing else.
func TestForget(t *testing.T) {
	n := bare(t)
	o := putText(t, n, []byte("x"))
	id := agreement.NewUUID().String()
	for _, err := range []error{
		n.store.Hold(t.Context(), o.ID, id, time.Time{}),
		n.pin(t.Context(), o.ContentHash, "a", time.Now().Add(time.Hour)),
		n.forget(t.Context(), o.ContentHash),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	refs, err := n.store.References(o.ID)
	if err != nil || len(refs) != 1 || refs[0].Name != id {
		t.Errorf("left are %v, %v", refs, err)
	}
	if err := n.forget(t.Context(), o.ContentHash); agreement.CodeOf(err) != agreement.CodeNotFound {
		t.Errorf("forgotten twice: %v", err)
	}
	for name, err := range map[string]error{
		"no label":    n.pin(t.Context(), o.ContentHash, "", time.Time{}),
		"long label":  n.pin(t.Context(), o.ContentHash, strings.Repeat("x", 255), time.Time{}),
		"in the past": n.pin(t.Context(), o.ContentHash, "x", time.Now().Add(-time.Second)),
	} {
		if agreement.CodeOf(err) != agreement.CodeBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPutTwiceIsOneObject for the same owner; others get sealings of their own,
// and can't tell that there was one.
func TestPutTwiceIsOneObject(t *testing.T) {
	one, two := newRing(t), newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", one, two)
	text := bytes.Repeat([]byte("twice"), 1<<19) // a payload of its own
	n.cfg.MaxObjectSize = 1 << 24
	first := putText(t, n, text)
	if again := putText(t, n, text); again.ID != first.ID {
		t.Error("two objects of one content")
	}
	st, err := n.store.Stats(t.Context())
	if err != nil || st.Objects != 1 || st.Home != first.SealedSize {
		t.Errorf("%d objects with %d bytes, %v", st.Objects, st.Home, err)
	}
	share := func(ring *keys.Ring) agreement.Hash {
		ref, err := n.share(t.Context(), first.ContentHash, agreement.NewUUID().String(), []string{n.ring.Address(), ring.Address()}, []string{ring.Address()})
		if err != nil {
			t.Fatal(err)
		}
		return agreement.Hash(ref.ObjectId)
	}
	a, b := share(one), share(two)
	if a == b || a == first.ID || b == first.ID {
		t.Error("readers get the same object")
	}
	_, _, denied := n.OpenObject(t.Context(), two.Address(), a, 0)
	_, _, absent := n.OpenObject(t.Context(), two.Address(), agreement.Hash{1}, 0)
	if denied == nil || absent == nil || strings.ReplaceAll(denied.Error(), a.String(), "") != strings.ReplaceAll(absent.Error(), agreement.Hash{1}.String(), "") {
		t.Errorf("one can tell what the other holds: %v, %v", denied, absent)
	}
}

// TestGrantReadsNoPayload grants although the payload is gone: it takes the same
// time for a gigabyte.
func TestGrantReadsNoPayload(t *testing.T) {
	friend := newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", friend)
	o := putText(t, n, bytes.Repeat([]byte("x"), 1<<20))
	removed := 0
	err := filepath.WalkDir(filepath.Dir(t.TempDir()), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != o.ID.String() {
			return err
		}
		removed++
		return os.Remove(path)
	})
	if err != nil || removed != 1 {
		t.Fatalf("%d payloads, %v", removed, err)
	}
	began := time.Now()
	if err := n.grant(t.Context(), o.ContentHash, friend.Address()); err != nil {
		t.Fatal(err)
	}
	t.Logf("granted in %s", time.Since(began))
	if o, err = n.store.Object(o.ID); err != nil || !slices.Contains(o.Audience, friend.Address()) {
		t.Errorf("audience %v, %v", o.Audience, err)
	}
}
