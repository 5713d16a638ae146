package node

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/store"
)

// TestVettingIsConsent runs nothing that isn't vetted, and goes on by itself
// when it is.
func TestVettingIsConsent(t *testing.T) {
	net := newNetwork(t, approve, approve)
	party := net.nodes[1]
	loan, err := party.findContract("loan")
	net.must(err)

	t.Run("a proposal waits for it", func(t *testing.T) {
		net.t = t
		net.must(party.unvet(t.Context(), loan.Hash))
		id := net.propose(0, net.loan())
		net.until("the question", func() bool { return net.phase(1, id) == agreement.Vetting })
		for net.pump() {
			continue
		}
		if s, err := party.state(id); err != nil || s.Phase != agreement.Vetting || len(s.Records) > 0 {
			t.Fatalf("unvetted: %s with %d results, %v", s.Phase, len(s.Records), err)
		}
		api := agreementAPI{party}
		_, err := api.Approve(t.Context(), connect.NewRequest(&affiliatev1.ApproveRequest{AgreementId: id.String()}))
		if agreement.CodeOf(err) != agreement.CodeNotVetted {
			t.Errorf("approved: %v", err)
		}
		why, err := api.Why(t.Context(), connect.NewRequest(&affiliatev1.WhyRequest{AgreementId: id.String()}))
		net.must(err)
		if !strings.Contains(why.Msg.Summary, loan.Hash.String()+" isn't vetted here") || !slices.Contains(why.Msg.Actions, "affiliate contract vet "+loan.Hash.String()) {
			t.Errorf("why: %s %q", why.Msg.Summary, why.Msg.Actions)
		}
		got, err := contractAPI{party}.VetContract(t.Context(), connect.NewRequest(&affiliatev1.VetContractRequest{Contract: loan.Hash.String(), Note: "read"}))
		net.must(err)
		if !got.Msg.Vetted || got.Msg.VettingNote != "read" || time.Since(got.Msg.VettedSince.AsTime()) > time.Minute {
			t.Errorf("vetted as %v", got.Msg)
		}
		for i, s := range net.settled(id) {
			if s.Phase != agreement.Complete {
				t.Fatalf("node %d: %s %s %s", i, s.Phase, s.Code, s.Message)
			}
		}

		// What is taken back before a contract runs is taken back in time.
		s, err := party.state(id)
		net.must(err)
		net.must(party.unvet(t.Context(), loan.Hash))
		if e, _, err := party.doExecute(t.Context(), s); err != nil || e != (agreement.NotVetted{}) {
			t.Errorf("a party executes: %#v, %v", e, err)
		}
		s, err = net.nodes[0].state(id)
		net.must(err)
		net.must(net.nodes[0].unvet(t.Context(), loan.Hash))
		if _, _, err := net.nodes[0].doExecute(t.Context(), s); agreement.CodeOf(err) != agreement.CodeNotVetted {
			t.Errorf("the proposer executes: %v", err)
		}
		if _, err := net.nodes[0].propose(t.Context(), net.loan()); agreement.CodeOf(err) != agreement.CodeNotVetted {
			t.Errorf("proposed: %v", err)
		}
		for _, n := range net.nodes {
			net.must(n.consent(t.Context(), loan.Hash, ""))
		}
	})

	t.Run("a proposal brings the contract", func(t *testing.T) {
		wasm, err := modules()
		net.must(err)
		net.vetsWhatWasProposed(t, bytes.ReplaceAll(wasm["loan"], []byte("1.0.0"), []byte("1.0.9")))
	})

	t.Run("versions side by side", func(t *testing.T) {
		net.t = t
		newer, err := party.findContract("loan@1.0.9")
		net.must(err)
		if newer.Hash == loan.Hash || newer.Name != loan.Name {
			t.Fatalf("%s %s isn't another version of %s %s", newer.Name, newer.Hash, loan.Name, loan.Hash)
		}
		net.must(party.unvet(t.Context(), loan.Hash))
		propose := func(version string) agreement.ID {
			req := net.loan()
			req.Contract = "loan@" + version
			return net.propose(0, req)
		}
		older := propose("1.0.0")
		for i, s := range net.settled(propose("1.0.9")) {
			if s.Phase != agreement.Complete || s.Contract != newer.Hash {
				t.Fatalf("the newer one, node %d: %s %s %s", i, s.Phase, s.Code, s.Message)
			}
		}
		net.until("the older one to wait", func() bool { return net.phase(1, older) == agreement.Vetting })
		net.must(party.consent(t.Context(), loan.Hash, ""))
		all := []agreement.ID{older, propose("1.0.9"), propose("1.0.0")}
		for _, id := range all {
			for i, s := range net.settled(id) {
				if s.Phase != agreement.Complete {
					t.Fatalf("side by side, node %d: %s %s %s", i, s.Phase, s.Code, s.Message)
				}
			}
		}
	})
}

// waiting is an agreement at a bare node that waits for a consent.
func waiting(t *testing.T, n *Node) agreement.ID {
	t.Helper()
	p := proposed(n, nil)
	for _, e := range []agreement.Event{p, agreement.NotVetted{}} {
		if _, err := n.apply(t.Context(), p.ID, e, cause{}); err != nil {
			t.Fatal(err)
		}
	}
	return p.ID
}

// TestConsentIsNoticed whichever way it comes, and when.
func TestConsentIsNoticed(t *testing.T) {
	for name, give := range map[string]func(n *Node, s agreement.State) error{
		"vetted": func(n *Node, s agreement.State) error { return n.consent(t.Context(), s.Contract, "") },
		"pinned at a restart": func(n *Node, s agreement.State) error {
			n.cfg.Policy.Rules = []Rule{{Contract: s.Contract.String(), Action: "ask"}}
			return n.resumeVetted(t.Context())
		},
		"open at a restart": func(n *Node, _ agreement.State) error {
			n.cfg.RunUnvetted = true
			return n.resumeVetted(t.Context())
		},
		"just before it was asked for": func(n *Node, s agreement.State) error {
			if err := n.store.PutVetting(t.Context(), store.Vetting{Contract: s.Contract}); err != nil {
				return err
			}
			return n.resume(t.Context(), s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := bare(t)
			id := waiting(t, n)
			if err := n.consent(t.Context(), agreement.Hash{9}, "another"); err != nil {
				t.Fatal(err)
			}
			s, err := n.state(id)
			if err != nil || s.Phase != agreement.Vetting {
				t.Fatalf("before: %s, %v", s.Phase, err)
			}
			if err := give(n, s); err != nil {
				t.Fatal(err)
			}
			if s, err := n.state(id); err != nil || s.Phase != agreement.Fetching {
				t.Errorf("after: %s, %v", s.Phase, err)
			}
		})
	}
}

func TestConsentKeepsItsTime(t *testing.T) {
	n := bare(t)
	first := store.Vetting{Contract: agreement.Hash{1}, Since: time.Unix(5, 0).UTC(), Note: "first"}
	if err := n.store.PutVetting(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for note, want := range map[string]string{"": "first", "second": "second"} {
		if err := n.consent(t.Context(), first.Contract, note); err != nil {
			t.Fatal(err)
		}
		if v, err := n.store.Vetting(first.Contract); err != nil || v.Since != first.Since || note != "" && v.Note != want {
			t.Errorf("with the note %q: %+v, %v", note, v, err)
		}
	}
	if _, err := n.vet(t.Context(), agreement.Hash{1}, strings.Repeat("n", store.MaxNote+1)); agreement.CodeOf(err) != agreement.CodeBadRequest {
		t.Errorf("a note too long: %v", err)
	}
	if _, err := n.vet(t.Context(), agreement.Hash{2}, ""); agreement.CodeOf(err) != agreement.CodeUnknownContract {
		t.Errorf("a contract that nobody has: %v", err)
	}
	if ok, err := n.vetted(agreement.Hash{2}); ok || err != nil {
		t.Errorf("it is vetted: %v, %v", ok, err)
	}
	for _, text := range []string{"loan", "loan@1", strings.Repeat("0", 8)} {
		if _, err := (contractAPI{n}).VetContract(t.Context(), connect.NewRequest(&affiliatev1.VetContractRequest{Contract: text})); agreement.CodeOf(err) != agreement.CodeBadRequest {
			t.Errorf("%q is vetted: %v", text, err)
		}
	}
}

// TestPolicyPins says which rules are a consent.
func TestPolicyPins(t *testing.T) {
	h := func(b byte) agreement.Hash { return agreement.Hash{b} }
	p := Policy{Default: "approve", Rules: []Rule{
		{Contract: "loan", Action: "approve"}, {Action: "approve"}, {Contract: h(1).String(), Action: "reject"},
		{Contract: h(2).String(), Proposer: "tp1a", Action: "approve"}, {Contract: h(3).String(), Action: "ask"},
	}}
	if got := p.pinned(); !slices.Equal(got, []agreement.Hash{h(2), h(3)}) {
		t.Errorf("pinned: %v", got)
	}
}

// TestAnnouncedVetting fits into a record: the pinned and the newest contracts,
// and whether there are more.
func TestAnnouncedVetting(t *testing.T) {
	ring := newRing(t)
	net := &network{t: t}
	for _, c := range []struct {
		pinned, vetted int
		more           bool
	}{{0, 0, false}, {1, 2, false}, {1, keys.MaxVetted, true}, {0, keys.MaxVetted, false}, {keys.MaxVetted + 1, 0, true}} {
		var pinned []agreement.Hash
		var vettings []store.Vetting
		for i := range c.pinned {
			pinned = append(pinned, digestOf([]byte{'p', byte(i), byte(i >> 8)}))
		}
		for i := range c.vetted {
			vettings = append(vettings, store.Vetting{Contract: digestOf([]byte{'v', byte(i), byte(i >> 8)}), Since: time.Unix(int64(i), 0)})
		}
		if c.pinned > 0 {
			vettings = append(vettings, store.Vetting{Contract: pinned[0]}) // both ways
		}
		v := vettingOf(pinned, vettings)
		if v.More != c.more || len(v.Contracts) != min(c.pinned+c.vetted, keys.MaxVetted) {
			t.Errorf("%+v: %d contracts, more: %v", c, len(v.Contracts), v.More)
		}
		if c.pinned+c.vetted == 0 {
			continue
		}
		newest := digestOf([]byte{'v', byte(c.vetted - 1), byte((c.vetted - 1) >> 8)})
		rec := &affiliatev1.AffiliateRecord{
			Network: testChain, Address: ring.Address(), AccountKey: ring.AccountKey(), Recipient: ring.Recipient(), PeerId: net.peerID(ring),
			MailboxKey: ring.MailboxKey().PublicKey().Bytes(), Sequence: 1, ExpiresUnix: time.Now().Add(time.Hour).Unix(), Vetting: v,
		}
		signed, err := ring.SignRecord(rec)
		net.must(err)
		if _, err := keys.VerifyRecord("tp", testChain, signed, time.Now()); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if c.vetted > 0 && saysOf(rec, newest, time.Now()) != saysVetted {
			t.Errorf("%+v: the newest is missing", c)
		}
	}
}
