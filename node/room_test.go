package node

import (
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/store"
)

// full is a node whose store has used up its budget.
func full(t *testing.T) *Node {
	t.Helper()
	n := bare(t)
	st, err := store.Open(store.Options{Dir: filepath.Join(t.TempDir(), "full"), Budget: 1 << 20}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	n.store, n.cfg.MaxObjectSize = st, 4<<20
	putText(t, n, make([]byte, 2<<20))
	if err := st.Room(t.Context()); agreement.CodeOf(err) != agreement.CodeDiskFull {
		t.Fatalf("there is room: %v", err)
	}
	return n
}

// TestFullDiskRefusesNewWork of every kind, so that peers come again later and
// the operator knows.
func TestFullDiskRefusesNewWork(t *testing.T) {
	n := full(t)
	_, err := n.propose(t.Context(), &affiliatev1.ProposeRequest{Contract: "loan"})
	if agreement.CodeOf(err) != agreement.CodeDiskFull {
		t.Errorf("a proposal: %v", err)
	}
	if _, _, err = n.publish(t.Context(), nil); agreement.CodeOf(err) != agreement.CodeDiskFull {
		t.Errorf("a contract: %v", err)
	}
	tm := readTerms(t, sampleTerms())
	if err = n.checkRoom(t.Context(), &tm); !agreement.Retryable(err) {
		t.Errorf("a peer's proposal: %v", err)
	}
	if err = n.HandleGossip(t.Context(), &affiliatev1.Mail{}); agreement.CodeOf(err) != agreement.CodeDiskFull {
		t.Errorf("mail for others: %v", err)
	}
	if !slices.ContainsFunc(n.storeProblems(t.Context()), func(p string) bool { return strings.Contains(p, "disk_budget") }) {
		t.Errorf("the status says %q", n.storeProblems(t.Context()))
	}
}

// TestFullDiskLetsRunningWorkComplete: what is sealed for an agreement that has
// begun is stored.
func TestFullDiskLetsRunningWorkComplete(t *testing.T) {
	n := full(t)
	p := proposed(n, []byte("body"))
	if _, err := n.apply(t.Context(), p.Opening.ID, p, mail(t, n, "proposal")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.seal(t.Context(), []byte("a result"), "text/plain", p.Opening.ID.String(), []string{n.ring.Address()}, nil); err != nil {
		t.Errorf("a result: %v", err)
	}
	known := readTerms(t, sampleTerms())
	known.id, known.digest = p.Opening.ID, p.Opening.Terms
	if err := n.checkRoom(t.Context(), &known); err != nil {
		t.Errorf("the proposal again: %v", err)
	}
	diskFull := agreement.Errorf(agreement.CodeDiskFull, "no space left on the disk")
	if !mayPass(diskFull) || !agreement.Retryable(ofPeer(diskFull)) {
		t.Error("a full disk ends an agreement")
	}
}

// TestRevokeRefusesWhatIsOnChain names the part that the reader has.
func TestRevokeRefusesWhatIsOnChain(t *testing.T) {
	party, friend := newRing(t), newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", party, friend)
	audience := []string{n.ring.Address(), party.Address()}
	ref, err := n.seal(t.Context(), []byte("recorded"), "text/plain", refPut, audience, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := sampleTerms()
	m.Parties[1].Address = party.Address()
	tm := readTerms(t, m)
	s := agreement.State{Version: 1, ID: tm.id, Self: n.ring.Address(), Phase: agreement.Complete, Terms: tm.digest}
	change, _, err := n.change(s, 0, time.Now(), nil, cause{blobs: map[string][]byte{blobTerms: tm.raw}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.store.Commit(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	content := agreement.Hash(ref.ContentHash)
	for _, err := range []error{
		n.store.Hold(t.Context(), agreement.Hash(ref.ObjectId), tm.id.String(), time.Time{}),
		n.grant(t.Context(), content, friend.Address()),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	who, err := n.readers(content)
	want := []reader{{n.ring.Address(), whySelf}, {party.Address(), "party of agreement " + tm.id.String()}, {friend.Address(), whyGranted}}
	if err != nil || !slices.Equal(who, want) {
		t.Errorf("readers %v, %v", who, err)
	}
	if err := n.revoke(t.Context(), content, party.Address()); agreement.CodeOf(err) != agreement.CodeBadRequest || !strings.Contains(err.Error(), "party of agreement") {
		t.Errorf("a party: %v", err)
	}
	if err := n.revoke(t.Context(), content, friend.Address()); err != nil {
		t.Errorf("who was granted it: %v", err)
	}
	if ids, err := n.store.HeldBy(tm.id.String()); err != nil || len(ids) != 1 || ids[0] == agreement.Hash(ref.ObjectId) {
		t.Errorf("the agreement keeps %v, %v", ids, err)
	}
}
