package node

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/store"
)

// made is two connected nodes that have made the same record, each sealed for
// both by itself, in an agreement that the second one knows.
func made(t *testing.T, text []byte, ended bool) (a, b *Node, o store.Object) {
	t.Helper()
	a = online(t)
	b = online(t, a)
	p := proposed(b, []byte("body"))
	m := sampleTerms()
	m.Parties = []*affiliatev1.Party{{Address: a.ring.Address(), Role: "ORIGINATOR"}, {Address: b.ring.Address(), Role: "SERVICER"}}
	m.Owners, m.Proposer = m.Parties, a.ring.Address()
	tm := readTerms(t, m)
	p.Opening.Terms = tm.digest
	c := mail(t, b, "proposal")
	c.blobs = map[string][]byte{blobTerms: tm.raw}
	if _, err := b.apply(t.Context(), p.Opening.ID, p, c); err != nil {
		t.Fatal(err)
	}
	if ended {
		s, err := b.apply(t.Context(), p.Opening.ID, agreement.Declined{Code: agreement.CodeRejected, Reason: "no"}, cause{})
		if err != nil || !s.Phase.Final() {
			t.Fatal(s.Phase, err)
		}
	}
	both := []string{a.ring.Address(), b.ring.Address()}
	var ref *affiliatev1.ObjectRef
	for _, n := range []*Node{a, b} {
		var err error
		if ref, err = n.seal(t.Context(), text, "text/plain", p.Opening.ID.String(), both, both); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if o, err = b.store.Object(agreement.Hash(ref.ObjectId)); err != nil {
		t.Fatal(err)
	}
	return a, b, o
}

// spoilLog changes a byte of what the database of one of the test's nodes holds,
// found by what stands before it.
func spoilLog(t *testing.T, before []byte) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(filepath.Dir(t.TempDir()), "*", "data", "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	spoiled := 0
	for _, path := range logs {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.LastIndex(content, before)
		if at < 0 {
			continue
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte{content[at+len(before)-1] ^ 1}, int64(at+len(before)-1))
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		spoiled++
	}
	if spoiled != 1 {
		t.Fatalf("%d of %d logs had it", spoiled, len(logs))
	}
}

// wantReplaced reads the content at a node that has repaired it.
func wantReplaced(t *testing.T, n *Node, damaged store.Object, text []byte) {
	t.Helper()
	var problem error
	sum, err := n.verify(t.Context(), true, func(v verified) { problem = v.Problem })
	if err != nil || sum.Damaged != 1 || sum.Repaired != 1 {
		t.Fatalf("%+v, %v: %v", sum, err, problem)
	}
	got, _, err := n.content(t.Context(), damaged.ContentHash)
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("repaired: %d bytes, %v", len(got), err)
	}
	now, err := n.store.ObjectsByContent(damaged.ContentHash)
	if err != nil || len(now) != 2 { // one of them came from the peer, and goes
		t.Fatalf("%d objects, %v", len(now), err)
	}
	kept := 0
	for _, o := range now {
		refs, err := n.store.References(o.ID)
		if err != nil {
			t.Fatal(err)
		}
		if len(refs) == 0 {
			continue
		}
		kept++
		if len(refs) != 1 || refs[0].Name != damaged.Owner || !refs[0].Until.IsZero() || o.ID == damaged.ID || !sameSet(o.Audience, damaged.Audience) || o.MediaType != "text/plain" {
			t.Errorf("%v is kept by %v", o, refs)
		}
		if readers, err := keys.Readers(o.Header); err != nil || readers != 2 {
			t.Errorf("%d can open it, %v", readers, err)
		}
	}
	if kept != 1 {
		t.Errorf("%d objects are kept", kept)
	}
	if stone, err := n.store.Tombstone(damaged.ID); err != nil || len(stone) == 0 {
		t.Errorf("no tombstone: %v", err)
	}
	if sum, err = n.verify(t.Context(), true, nil); err != nil || sum.Damaged != 0 || sum.Objects != 2 {
		t.Errorf("verified again: %+v, %v", sum, err)
	}
	n.repairQuietly(t.Context(), damaged.ID) // it is gone, which is well
}

// TestRepairByContent has another party's sealing in the place of a damaged one
// of a record, which every party has sealed for itself.
func TestRepairByContent(t *testing.T) {
	text := bytes.Repeat([]byte("what a function made "), 100_000)
	_, b, o := made(t, text, true)
	spoil(t, o.ID)
	wantReplaced(t, b, o, text)
}

// TestRepairKeepsNames puts nothing else in the place of an object that an open
// agreement names.
func TestRepairKeepsNames(t *testing.T) {
	_, b, o := made(t, bytes.Repeat([]byte("what a function made "), 100_000), false)
	spoil(t, o.ID)
	if _, err := b.verify(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.repair(t.Context(), o.ID); agreement.CodeOf(err) != agreement.CodeInUse {
		t.Errorf("repaired with %v", err)
	}
}

// TestRepairOfDescription does so where the description is damaged, which says
// what the object is and who may read it.
func TestRepairOfDescription(t *testing.T) {
	text := []byte("a small record")
	_, b, o := made(t, text, true)
	spoilLog(t, o.Header)
	if _, _, err := b.content(t.Context(), o.ContentHash); agreement.CodeOf(err) != agreement.CodeDamaged {
		t.Fatalf("a damaged description: %v", err)
	}
	wantReplaced(t, b, o, text)
}

// TestRepairFromHere takes another sealing that this node has itself.
func TestRepairFromHere(t *testing.T) {
	text := bytes.Repeat([]byte("twice here "), 100_000)
	n := bare(t)
	n.cfg.MaxObjectSize = 16 << 20
	owner, self := agreement.NewUUID().String(), []string{n.ring.Address()}
	ref, err := n.seal(t.Context(), text, "text/plain", owner, self, nil)
	if err != nil {
		t.Fatal(err)
	}
	o, err := n.store.Object(agreement.Hash(ref.ObjectId))
	if err != nil {
		t.Fatal(err)
	}
	other, err := n.seal(t.Context(), text, "text/plain", refPut, self, nil)
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, o.ID)
	if sum, err := n.verify(t.Context(), true, nil); err != nil || sum.Damaged != 1 || sum.Repaired != 1 {
		t.Fatalf("%+v, %v", sum, err)
	}
	refs, err := n.store.References(agreement.Hash(other.ObjectId))
	if err != nil || len(refs) != 2 {
		t.Errorf("references %v, %v", refs, err)
	}
}

// TestSealingOf tells only those who can read it.
func TestSealingOf(t *testing.T) {
	n := bare(t)
	o := putText(t, n, []byte("x"))
	for who, want := range map[string]agreement.Code{n.ring.Address(): "", "tp1other": agreement.CodeNotFound} {
		ref, err := n.SealingOf(t.Context(), who, o.ContentHash)
		if agreement.CodeOf(err) != want && err != nil || want == "" && !bytes.Equal(ref.ObjectId, o.ID[:]) {
			t.Errorf("%s: %v, %v", who, ref, err)
		}
	}
	_, denied := n.SealingOf(t.Context(), "tp1other", o.ContentHash)
	_, absent := n.SealingOf(t.Context(), "tp1other", agreement.Hash{1})
	if denied == nil || absent == nil || strings.ReplaceAll(denied.Error(), o.ContentHash.String(), "") != strings.ReplaceAll(absent.Error(), agreement.Hash{1}.String(), "") {
		t.Errorf("one can tell what the other holds: %v, %v", denied, absent)
	}
}
