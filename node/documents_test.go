package node

import (
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// TestDocumentsAreNotReplaced wants that a message that changes nothing, such
// as the same proposal with another transaction body, brings no documents.
func TestDocumentsAreNotReplaced(t *testing.T) {
	n := bare(t)
	good, evil := []byte("the body that was offered"), []byte("another body")
	e := proposed(n, good)
	first := mail(t, n, "first")
	first.blobs = map[string][]byte{blobTerms: []byte("terms"), named(blobBody, 1): good}
	if _, err := n.apply(t.Context(), e.ID, e, first); err != nil {
		t.Fatal(err)
	}
	second := mail(t, n, "second")
	second.blobs = map[string][]byte{blobTerms: []byte("other terms"), named(blobBody, 1): evil}
	if _, err := n.apply(t.Context(), e.ID, e, second); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{blobTerms: "terms", named(blobBody, 1): string(good)} {
		if got, err := n.store.Blob(e.ID, name); err != nil || string(got) != want {
			t.Errorf("%s is now %q (%v)", name, got, err)
		}
	}
	if left, err := n.store.Inbox(); err != nil || len(left) > 0 {
		t.Errorf("%d messages are left in the inbox (%v)", len(left), err)
	}
}

// TestSignsOnlyTheBodyThatTheStateNames is the last line of defence: whatever
// the store holds, no other body gets this affiliate's signature.
func TestSignsOnlyTheBodyThatTheStateNames(t *testing.T) {
	n := bare(t)
	good, evil := []byte("the body that was checked"), []byte("another body")
	e := proposed(n, good)
	c := mail(t, n, "proposal")
	c.blobs = map[string][]byte{named(blobBody, 1): evil}
	s, err := n.apply(t.Context(), e.ID, e, c)
	if err != nil {
		t.Fatal(err)
	}
	s.Bodies = []agreement.Body{*e.Offered}
	if _, err := n.cosignature(t.Context(), s, 1); agreement.CodeOf(err) != agreement.CodeBodyMismatch {
		t.Errorf("co-signing another body: %v", err)
	}
	if _, _, err := n.checkCosignature(t.Context(), s, "tp1proposer", cosignatureOf(good)); agreement.CodeOf(err) != agreement.CodeBodyMismatch {
		t.Errorf("a co-signature held to another body: %v", err)
	}
	if _, err := n.termsOf(s); err == nil {
		t.Error("terms that aren't there were read")
	}
}

func cosignatureOf(body []byte) *affiliatev1.CosignatureBytes {
	digest := digestOf(body)
	return &affiliatev1.CosignatureBytes{
		BodyDigest: digest[:], AccountKey: make([]byte, accountKeySize), Signature: make([]byte, signatureSize),
	}
}
