package node

import (
	"bytes"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// TestContentIsNotLentToWhoKnowsItsHash lets a proposer name content that only
// this node has, as an input of a contract of its choice: the proposer must
// bring it itself. What it may read anyway isn't fetched again.
func TestContentIsNotLentToWhoKnowsItsHash(t *testing.T) {
	other := newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", other)
	self, proposer := n.ring.Address(), other.Address()
	ref := func(content string, audience ...string) *affiliatev1.ObjectRef {
		r, err := n.seal(t.Context(), []byte(content), "text/plain", "put", audience, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	private, shared := ref("a secret", self), ref("known to both", self, proposer)
	claim := func(r *affiliatev1.ObjectRef) *affiliatev1.ObjectRef { // the proposer can't know the object's id
		return &affiliatev1.ObjectRef{ContentHash: r.ContentHash, ObjectId: make([]byte, 32), Size: r.Size, SealedSize: r.SealedSize}
	}
	if err := n.obtain(t.Context(), proposer, claim(private), "x", []string{self, proposer}); agreement.CodeOf(err) != agreement.CodePeerUnreachable {
		t.Errorf("private content is good enough: %v", err)
	}
	if err := n.obtain(t.Context(), proposer, claim(shared), "x", []string{self, proposer}); err != nil {
		t.Errorf("shared content is asked for: %v", err)
	}
	inline := func(r *affiliatev1.ObjectRef) error {
		tm := &terms{Terms: &affiliatev1.Terms{
			Proposer: proposer, Parties: []*affiliatev1.Party{{Address: proposer}, {Address: self}},
			Inputs: []*affiliatev1.InputRef{{Name: "in", Object: r}},
		}}
		return n.takeInline(t.Context(), tm, []*affiliatev1.SealedObject{{Ref: r}})
	}
	if err := inline(claim(private)); agreement.CodeOf(err) != agreement.CodeDamaged {
		t.Errorf("private content is good enough in line: %v", err)
	}
	if err := inline(claim(shared)); err != nil {
		t.Errorf("shared content in line: %v", err)
	}
}

// TestSharesOnlyWhatTheAudienceCanOpen seals once more for who was unknown when
// the content was sealed first, and not for who is unknown still.
func TestSharesOnlyWhatTheAudienceCanOpen(t *testing.T) {
	late := newRing(t)
	n := bare(t)
	audience := []string{n.ring.Address(), late.Address(), "tp1unknown"}
	content := []byte("a record")
	first, err := n.seal(t.Context(), content, "text/plain", "x", audience, nil)
	if err != nil {
		t.Fatal(err)
	}
	share := func() *affiliatev1.ObjectRef {
		ref, err := n.share(t.Context(), digestOf(content), "x", audience, nil)
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	if !bytes.Equal(share().ObjectId, first.ObjectId) {
		t.Error("sealed again although nobody more can open it")
	}
	net := &network{t: t}
	st := bare(t).store
	net.must(st.SaveAffiliate(late.Address(), net.record(late)))
	n.host = net.hostOf(n, st) // it has joined
	second := share()
	o, err := n.store.Object(agreement.Hash(second.ObjectId))
	net.must(err)
	payload, err := n.payload(t.Context(), o)
	net.must(err)
	if got, err := late.Unseal(o.Header, payload, 100); err != nil || !bytes.Equal(got, content) {
		t.Errorf("who has joined can't open it: %v", err)
	}
	if !bytes.Equal(share().ObjectId, second.ObjectId) {
		t.Error("sealed a third time")
	}
}

// TestOpenObjectServesItsAudience and nobody else.
func TestOpenObjectServesItsAudience(t *testing.T) {
	reader := newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", reader)
	r, err := n.seal(t.Context(), []byte("for one"), "text/plain", "put", []string{n.ring.Address(), reader.Address()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	id := agreement.Hash(r.ObjectId)
	_, payload, err := n.OpenObject(t.Context(), reader.Address(), id, 0)
	if err != nil {
		t.Fatalf("a reader: %v", err)
	}
	_ = payload.Close()
	_, _, denied := n.OpenObject(t.Context(), "tp1other", id, 0)
	_, _, absent := n.OpenObject(t.Context(), "tp1other", agreement.Hash{1}, 0)
	if agreement.CodeOf(denied) != agreement.CodeNotFound || agreement.CodeOf(absent) != agreement.CodeNotFound {
		t.Errorf("to others: %v, %v", denied, absent)
	}
}

// TestFetchAsksThePolicyFirst takes nothing from whom the policy rejects.
func TestFetchAsksThePolicyFirst(t *testing.T) {
	n := bare(t)
	n.cfg.Policy = Policy{Default: "approve", Rules: []Rule{{Proposer: "tp1bad", Action: "reject"}}}
	e, _, err := n.doFetch(t.Context(), agreement.State{Proposer: "tp1bad"})
	if d, ok := e.(agreement.Declined); err != nil || !ok || d.Code != agreement.CodeRejected {
		t.Errorf("%#v, %v", e, err)
	}
}

// TestFetchAwaitsRecords waits for the record of a signer who isn't known yet,
// instead of rejecting the agreement.
func TestFetchAwaitsRecords(t *testing.T) {
	n := bare(t)
	tm := readTerms(t, sampleTerms())
	if err := n.awaitRecords(&tm, []string{"tp1a", "tp1b"}); !agreement.Retryable(err) {
		t.Errorf("a signer whose record isn't known: %v", err)
	}
}
