package node

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/exec"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/p2p"
	"github.com/affiliate-node/affiliate/store"
)

// someRecords is a table of affiliates.
type someRecords map[string][]byte

func (r someRecords) SaveAffiliate(address string, signed []byte) error {
	r[address] = signed
	return nil
}
func (r someRecords) Affiliates() (map[string][]byte, error) { return maps.Clone(r), nil }

// saying is an affiliate's record with what it says of vetting.
func (net *network) saying(ring *keys.Ring, v *affiliatev1.Vetting, expires time.Time) []byte {
	rec := &affiliatev1.AffiliateRecord{
		Network: testChain, Address: ring.Address(), AccountKey: ring.AccountKey(), Name: "Party",
		Recipient: ring.Recipient(), MailboxKey: ring.MailboxKey().PublicKey().Bytes(), PeerId: net.peerID(ring),
		Sequence: 1, ExpiresUnix: expires.Unix(), Vetting: v,
	}
	signed, err := ring.SignRecord(rec)
	net.must(err)
	raw, err := proto.Marshal(signed)
	net.must(err)
	return raw
}

// TestProposeAsksWhoHasVetted refuses only where a party says that it hasn't.
func TestProposeAsksWhoHasVetted(t *testing.T) {
	net := &network{t: t}
	ring := newRing(t)
	this, other := agreement.Hash{1}, agreement.Hash{2}
	later := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		record  []byte
		refused bool
	}{
		"vetted":            {net.saying(ring, vettingOf(nil, []store.Vetting{{Contract: this}, {Contract: other}}), later), false},
		"not vetted":        {net.saying(ring, vettingOf(nil, []store.Vetting{{Contract: other}}), later), true},
		"nothing vetted":    {net.saying(ring, &affiliatev1.Vetting{}, later), true},
		"more than it says": {net.saying(ring, &affiliatev1.Vetting{More: true}, later), false},
		"says nothing":      {net.saying(ring, nil, later), false},
		"too old":           {net.saying(ring, &affiliatev1.Vetting{}, time.Now().Add(-time.Minute)), false},
		"not known":         {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			net.t = t
			n := bare(t)
			records := someRecords{}
			if c.record != nil {
				records[ring.Address()] = c.record
			}
			n.host = net.hostOf(n, records)
			parties := []*affiliatev1.Party{{Address: n.ring.Address(), Role: "OWNER"}, {Address: ring.Address(), Role: "SERVICER"}}
			draft := &terms{Terms: &affiliatev1.Terms{Proposer: n.ring.Address(), Parties: parties}, contract: this}
			err := n.checkPeersVetted(t.Context(), draft, "loan")
			if !c.refused && err != nil {
				t.Fatal(err)
			}
			if c.refused && (agreement.CodeOf(err) != agreement.CodePeerNotVetted || !strings.Contains(err.Error(), "Party "+ring.Address())) {
				t.Errorf("refused with %v", err)
			}
			s := agreement.State{Phase: agreement.Collecting, Contract: this, Participants: []agreement.Participant{{Party: agreement.Party{Address: ring.Address()}}}}
			if why := n.unvetted(s); (len(why) == 1) != c.refused {
				t.Errorf("why says %q", why)
			}
		})
	}
}

// online is a node with an engine whose network runs, but without a chain.
func online(t *testing.T, others ...*Node) *Node {
	t.Helper()
	net := &network{t: t}
	n := bare(t)
	n.cfg.MaxObjectSize = 16 << 20
	cache, err := compiled()
	net.must(err)
	n.engine, err = exec.New(exec.Config{CacheDir: cache, Workers: 2, Timeout: 20 * time.Second}, slog.New(slog.DiscardHandler))
	net.must(err)
	t.Cleanup(func() { _ = n.engine.Close(context.Background()) })
	cfg := p2p.Config{Network: testChain, Prefix: "tp", Members: []string{"*"}, Listen: []string{"/ip4/127.0.0.1/tcp/0"}}
	for _, o := range others {
		_, addrs := o.host.Self()
		cfg.Bootstrap = append(cfg.Bootstrap, addrs...)
	}
	n.host, err = p2p.New(cfg, n.ring, n.store, n, nil, slog.New(slog.DiscardHandler))
	net.must(err)
	net.must(n.announceVetting())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.host.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	<-n.host.Ready()
	eventually(t, "the others to be connected", func() bool {
		for _, o := range others {
			if !slices.ContainsFunc(n.host.Peers(), func(p p2p.Peer) bool { return p.Address == o.ring.Address() && p.Connected }) ||
				!slices.ContainsFunc(o.host.Peers(), func(p p2p.Peer) bool { return p.Address == n.ring.Address() && p.Connected }) {
				return false
			}
		}
		return true
	})
	return n
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); !cond(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// takes puts a module into a node's store, as publishing does.
func (n *Node) takes(t *testing.T, wasm []byte, audience ...string) store.Contract {
	t.Helper()
	c, err := n.engine.Load(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	row := storedContract(c)
	if _, err = n.seal(t.Context(), wasm, mediaWasm, contractOwner(c.Hash), audience, nil); err == nil {
		err = n.store.PutContract(t.Context(), row)
	}
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// TestVetFetches gets a contract by its hash from a member that has vetted it,
// and from nobody else, and nothing but that.
func TestVetFetches(t *testing.T) {
	wasm, err := modules()
	if err != nil {
		t.Fatal(err)
	}
	holder := online(t)
	loan := holder.takes(t, wasm["loan"], holder.ring.Address()) // sealed before the other was known
	n := online(t, holder)
	vet := func() (*connect.Response[affiliatev1.Contract], error) {
		return contractAPI{n}.VetContract(t.Context(), connect.NewRequest(&affiliatev1.VetContractRequest{Contract: loan.Hash.String()}))
	}
	if _, err := vet(); agreement.CodeOf(err) != agreement.CodeUnknownContract || !strings.Contains(err.Error(), loan.Hash.String()) {
		t.Fatalf("given away without a consent: %v", err)
	}

	// The holder's table says something else than it does.
	payment := holder.takes(t, wasm["payment"], holder.ring.Address())
	lie := loan
	lie.Module = payment.Module
	for _, step := range []error{holder.store.PutContract(t.Context(), lie), holder.consent(t.Context(), loan.Hash, "")} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if _, err := vet(); agreement.CodeOf(err) != agreement.CodeUnknownContract {
		t.Fatalf("another contract's module: %v", err)
	}
	if all, err := n.store.ObjectsByContent(payment.Module); err != nil || len(all) > 0 {
		t.Errorf("%d objects are kept of it, %v", len(all), err)
	}

	if err := holder.store.PutContract(t.Context(), loan); err != nil {
		t.Fatal(err)
	}
	got, err := contractAPI{n}.GetContract(t.Context(), connect.NewRequest(&affiliatev1.GetContractRequest{Contract: loan.Hash.String(), Fetch: true}))
	if err != nil || got.Msg.Name != "loan" || got.Msg.Vetted {
		t.Fatalf("looked at: %v, %v", got, err)
	}
	if got, err = vet(); err != nil || !got.Msg.Vetted {
		t.Fatalf("vetted: %v, %v", got, err)
	}
	if content, _, err := n.content(t.Context(), loan.Module); err != nil || !bytes.Equal(content, wasm["loan"]) {
		t.Errorf("the module is %d bytes, %v", len(content), err)
	}
	eventually(t, "the holder to hear of it", func() bool {
		rec, _ := holder.host.Affiliate(n.ring.Address())
		return saysOf(rec, loan.Hash, time.Now()) == saysVetted
	})

	// Whoever comes next may have it from both; one more sealing is enough.
	third := online(t, holder, n)
	for range 2 {
		id, err := holder.moduleFor(t.Context(), third.ring.Address(), loan)
		if err != nil {
			t.Fatal(err)
		}
		if _, payload, err := holder.OpenObject(t.Context(), third.ring.Address(), id, 0); err != nil {
			t.Error(err)
		} else if _, err := io.Copy(io.Discard, payload); err != nil {
			t.Error(err)
		}
	}
	if all, err := holder.store.ObjectsByContent(loan.Module); err != nil || len(all) > 3 {
		t.Errorf("%d sealings, %v", len(all), err)
	}
	if _, err := third.vet(t.Context(), loan.Hash, ""); err != nil {
		t.Errorf("the third: %v", err)
	}

	// The proposer asks again before it refuses: the news may be under way.
	parties := []*affiliatev1.Party{{Address: holder.ring.Address(), Role: "OWNER"}, {Address: third.ring.Address(), Role: "SERVICER"}}
	draft := &terms{Terms: &affiliatev1.Terms{Proposer: holder.ring.Address(), Parties: parties}, contract: payment.Hash}
	if err := holder.checkPeersVetted(t.Context(), draft, "payment"); agreement.CodeOf(err) != agreement.CodePeerNotVetted {
		t.Errorf("not vetted by the third: %v", err)
	}
	if err := third.consent(t.Context(), payment.Hash, ""); err != nil {
		t.Fatal(err)
	}
	if err := holder.checkPeersVetted(t.Context(), draft, "payment"); err != nil {
		t.Errorf("vetted a moment ago: %v", err)
	}
}

// vetsWhatWasProposed finds the module of a contract that a waiting agreement
// has brought, and passes over one that makes something else.
func (net *network) vetsWhatWasProposed(t *testing.T, module []byte) {
	net.t = t
	party := net.nodes[1]
	payment, err := party.findContract("payment")
	net.must(err)
	contract, _, err := net.nodes[0].publish(t.Context(), module)
	net.must(err)
	_, err = party.seal(t.Context(), module, mediaWasm, "fetched", net.nodes[0].members(), nil) // the test has no streams
	net.must(err)
	req := net.loan()
	req.Contract = contract.Hash.String()
	net.tamper = func(_ int, m *affiliatev1.Message) {
		if p := m.GetProposal(); p != nil {
			net.restate(p, func(t *affiliatev1.Terms, _ []*affiliatev1.RecordResult) {
				o, err := net.nodes[0].store.ObjectsByContent(payment.Module)
				net.must(err)
				t.Module = refOf(o[0])
			})
		}
	}
	lie := net.propose(0, req)
	net.until("the lie to wait", func() bool { return net.phase(1, lie) == agreement.Vetting })
	for key := range party.contracts.loaded { // not even to ask what it is
		if key.contract == contract.Hash {
			t.Error("loaded without a consent")
		}
	}
	owner := contractOwner(contract.Hash)
	if !net.kept(1, payment.Module, lie.String()) || net.kept(1, payment.Module, owner) {
		t.Error("a module that was only proposed doesn't go with the agreement")
	}
	if _, err := party.vet(t.Context(), contract.Hash, ""); agreement.CodeOf(err) != agreement.CodeUnknownContract {
		t.Fatalf("vetted by a module that isn't it: %v", err)
	}
	if net.kept(1, payment.Module, owner) {
		t.Error("a module that isn't the contract's is kept for it")
	}
	net.tamper = nil
	id := net.propose(0, req)
	net.until("the proposal to wait", func() bool { return net.phase(1, id) == agreement.Vetting })
	c, err := party.vet(t.Context(), contract.Hash, "")
	if err != nil || c.Module != contract.Module {
		t.Fatalf("vetted: %v, %v", c.Module, err)
	}
	if !net.kept(1, contract.Module, owner) {
		t.Error("the module isn't kept for the contract")
	}
	if s := net.settled(id); s[0].Phase != agreement.Complete || s[1].Phase != agreement.Complete {
		t.Errorf("%s %s", s[0].Phase, s[1].Phase)
	}
	if s := net.settled(lie); s[1].Code != agreement.CodeBadModule {
		t.Errorf("the lie: %s %s", s[1].Code, s[1].Message)
	}
}

// kept reports whether a content is kept for an owner.
func (net *network) kept(node int, content agreement.Hash, owner string) bool {
	net.t.Helper()
	objects, err := net.nodes[node].store.ObjectsByContent(content)
	net.must(err)
	for _, o := range objects {
		refs, err := net.nodes[node].store.References(o.ID)
		net.must(err)
		if slices.ContainsFunc(refs, func(r store.Reference) bool { return r.Name == owner }) {
			return true
		}
	}
	return false
}
