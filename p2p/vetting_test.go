package p2p

import (
	"bytes"
	"io"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

func vettingOf(contracts ...byte) *affiliatev1.Vetting {
	v := new(affiliatev1.Vetting)
	for _, c := range contracts {
		v.Contracts = append(v.Contracts, bytes.Repeat([]byte{c}, 32))
	}
	return v
}

// vettingAt is what a node knows of another's vetting; nil: nothing.
func (n *testNode) vettingAt(other *testNode) *affiliatev1.Vetting {
	rec, _ := n.Affiliate(other.address())
	return rec.GetVetting()
}

// What an affiliate has vetted reaches the others by itself, and at once whom
// asks.
func TestVettingIsTold(t *testing.T) {
	a, b := pair(t)
	a.SetVetting(vettingOf(1, 2))
	eventually(t, "b hears of it", func() bool { return proto.Equal(b.vettingAt(a), vettingOf(1, 2)) })
	for _, v := range []*affiliatev1.Vetting{vettingOf(2), {More: true}, nil} {
		a.SetVetting(v)
		if err := b.Refresh(testContext(t), a.address()); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(b.vettingAt(a), v) {
			t.Errorf("b knows %v, not %v", b.vettingAt(a), v)
		}
	}
	b.stop()
	wantCode(t, a.Refresh(testContext(t), "tp1nobody"), agreement.CodePeerUnreachable)
	wantCode(t, b.Refresh(testContext(t), a.address()), agreement.CodePeerUnreachable)
}

// A new connection tells it, too, although the greeting doesn't.
func TestVettingIsToldToNewPeers(t *testing.T) {
	a := run(t, "a")
	a.SetVetting(vettingOf(1))
	cfg := testConfig("b")
	_, cfg.Bootstrap = a.Self()
	b := newTestNode(t, cfg, newTestRing(t), newMemory())
	b.SetVetting(vettingOf(2))
	b.start(t)
	eventually(t, "both know", func() bool {
		return proto.Equal(a.vettingAt(b), vettingOf(2)) && proto.Equal(b.vettingAt(a), vettingOf(1))
	})
}

// Who is no member doesn't learn what is vetted, whoever opens the connection.
func TestVettingIsForMembers(t *testing.T) {
	stranger := run(t, "stranger")
	for _, dials := range []bool{true, false} {
		cfg := testConfig("a")
		cfg.Members = nil
		_, cfg.Bootstrap = stranger.Self()
		if !dials {
			cfg.Bootstrap = nil
		}
		a := newTestNode(t, cfg, newTestRing(t), newMemory())
		a.SetVetting(vettingOf(1))
		a.start(t)
		if !dials {
			stranger = run(t, "caller", a)
		}
		eventually(t, "the refusal", func() bool {
			if dials {
				_, greeted := stranger.Affiliate(a.address())
				return greeted && !a.connectedTo(stranger)
			}
			for _, p := range stranger.Peers() {
				if p.PeerID == a.id.String() && p.LastError != "" {
					return true
				}
			}
			return false
		})
		if v := stranger.vettingAt(a); v != nil {
			t.Errorf("dials %v: a stranger knows %v", dials, v)
		}
	}
}

func TestFetchContract(t *testing.T) {
	a, b := pair(t)
	want := bytes.Repeat([]byte("module"), 50_000)
	b.keepObject(agreement.Hash{7}, want)
	_, body, err := a.FetchContract(testContext(t), b.address(), agreement.Hash{7})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	_, _, err = a.FetchContract(testContext(t), b.address(), agreement.Hash{8})
	wantCode(t, err, agreement.CodeNotFound)
	l := a.live.Load()
	_, _, err = l.fetch(testContext(t), b.address(), &affiliatev1.FetchObjectRequest{ContractHash: make([]byte, 31)})
	wantCode(t, err, agreement.CodeBadMessage)
	_, _, err = l.fetch(testContext(t), b.address(), &affiliatev1.FetchObjectRequest{ContractHash: make([]byte, 32), Offset: 1})
	wantCode(t, err, agreement.CodeBadMessage)
}

// TestFetchTerms gets what the other one gives, up to a size.
func TestFetchTerms(t *testing.T) {
	a, b := pair(t)
	want := bytes.Repeat([]byte("terms"), 1000)
	b.keepObject(agreement.Hash{7}, want)
	got, err := a.FetchTerms(testContext(t), b.address(), agreement.ID{7}, 5000)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	_, err = a.FetchTerms(testContext(t), b.address(), agreement.ID{7}, 4999)
	wantCode(t, err, agreement.CodeTooLarge)
	_, err = a.FetchTerms(testContext(t), b.address(), agreement.ID{8}, 5000)
	wantCode(t, err, agreement.CodeNotFound)
	refusesMalformed(t, a, b,
		&affiliatev1.FetchObjectRequest{AgreementId: make([]byte, 15)},
		&affiliatev1.FetchObjectRequest{AgreementId: make([]byte, 16), Offset: 1},
		&affiliatev1.FetchObjectRequest{AgreementId: make([]byte, 16), ObjectId: make([]byte, 32)},
	)
}

// TestFindContent gets the name of a sealing, and no payload.
func TestFindContent(t *testing.T) {
	a, b := pair(t)
	b.keepObject(agreement.Hash{7}, []byte("sealed"))
	ref, err := a.FindContent(testContext(t), b.address(), agreement.Hash{7})
	if err != nil || ref.GetSealedSize() != 6 {
		t.Errorf("%v, %v", ref, err)
	}
	_, err = a.FindContent(testContext(t), b.address(), agreement.Hash{8})
	wantCode(t, err, agreement.CodeNotFound)
	refusesMalformed(t, a, b,
		&affiliatev1.FetchObjectRequest{ContentHash: make([]byte, 31)},
		&affiliatev1.FetchObjectRequest{ContentHash: make([]byte, 32), Offset: 1},
		&affiliatev1.FetchObjectRequest{ContentHash: make([]byte, 32), ObjectId: make([]byte, 32)},
	)
}

// TestFetchHeader gets a header, and no payload.
func TestFetchHeader(t *testing.T) {
	a, b := pair(t)
	b.keepObject(agreement.Hash{7}, []byte("sealed"))
	header, err := a.FetchHeader(testContext(t), b.address(), agreement.Hash{7})
	if err != nil || agreement.Hash(header) != (agreement.Hash{7}) {
		t.Errorf("%x, %v", header, err)
	}
	_, err = a.FetchHeader(testContext(t), b.address(), agreement.Hash{8})
	wantCode(t, err, agreement.CodeNotFound)
	refusesMalformed(t, a, b,
		&affiliatev1.FetchObjectRequest{ObjectId: make([]byte, 31), Header: true},
		&affiliatev1.FetchObjectRequest{ObjectId: make([]byte, 32), Header: true, Offset: 1},
	)
}

// refusesMalformed has the second one refuse requests of the first.
func refusesMalformed(t *testing.T, a, b *testNode, requests ...*affiliatev1.FetchObjectRequest) {
	t.Helper()
	for _, r := range requests {
		_, _, err := a.live.Load().fetch(testContext(t), b.address(), r)
		wantCode(t, err, agreement.CodeBadMessage)
	}
}
