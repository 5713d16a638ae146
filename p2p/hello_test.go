package p2p

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

func TestAffiliatesFindOneAnother(t *testing.T) {
	a := run(t, "a")
	b := run(t, "b", a)
	c := run(t, "c", b) // doesn't know a
	eventually(t, "everybody is connected to everybody", func() bool {
		return a.connectedTo(b, c) && b.connectedTo(a, c) && c.connectedTo(a, b)
	})
	if p := c.peer(a.address()); p.Name != "a" || len(p.Multiaddrs) != 2 || p.PeerID != a.id.String() || p.LastError != "" {
		t.Errorf("c knows of a: %+v", p)
	}
	eventually(t, "latency is measured", func() bool { return a.peer(b.address()).Latency > 0 })
	eventually(t, "the node is told", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.peers) == 2
	})
	rec, ok := a.Affiliate(c.address())
	if !ok || rec.Recipient != c.ring.Recipient() {
		t.Error("a doesn't have c's record")
	}
	b.stop()
	eventually(t, "b is gone", func() bool { return !a.peer(b.address()).Connected })
	if !a.connectedTo(c) {
		t.Error("c went with b")
	}
}

func TestStrangerIsRefused(t *testing.T) {
	cfg := testConfig("a")
	cfg.Members = []string{"tp1somebodyelse"}
	a := newTestNode(t, cfg, newTestRing(t), newMemory()).start(t)
	b := run(t, "b", a)
	eventually(t, "b is told that it is no member", func() bool {
		p := b.Peers()
		return len(p) > 0 && strings.Contains(p[0].LastError, string(agreement.CodeNotAMember))
	})
	if len(a.Peers()) != 0 {
		t.Errorf("a took b in: %+v", a.Peers())
	}
	if a.sessions().countAdmitted() != 0 || b.sessions().countAdmitted() != 0 {
		t.Error("somebody is admitted")
	}
}

func (n *testNode) sessions() *sessions { return n.live.Load().sessions }

func TestOtherNetworkIsRefused(t *testing.T) {
	a := run(t, "a")
	cfg := testConfig("b")
	cfg.Network = "testing-2"
	_, cfg.Bootstrap = a.Self()
	b := newTestNode(t, cfg, newTestRing(t), newMemory()).start(t)
	eventually(t, "b is refused", func() bool { return b.Peers()[0].LastError != "" })
	if a.sessions().countAdmitted() != 0 || len(a.Peers()) != 0 {
		t.Error("a took b in")
	}
}

// rawHost is a libp2p host without any of our manners.
func rawHost(t *testing.T, to *testNode) network.Conn {
	t.Helper()
	h, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	_, texts := to.Self()
	var addrs []ma.Multiaddr
	for _, s := range texts {
		addrs = append(addrs, ma.StringCast(s))
	}
	infos, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	if err := h.Connect(ctx, infos[0]); err != nil {
		t.Fatal(err)
	}
	return h.Network().ConnsToPeer(to.id)[0]
}

// Whoever doesn't say who it is gets nothing and is hung up on.
func TestSilentPeerIsHungUpOn(t *testing.T) {
	a := newTestNode(t, testConfig("a"), newTestRing(t), newMemory())
	a.times.hello = 300 * time.Millisecond
	a.start(t)
	conn := rawHost(t, a)
	s, err := conn.NewStream(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(testLimit))
	if err := negotiate(s, string(protoMail)); err != nil {
		t.Fatal(err)
	}
	_ = writeFrame(s, mailTo(t, a.ring, 10), MailLimit)
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("a stranger got an answer")
	}
	eventually(t, "the connection is closed", conn.IsClosed)
	if a.taken() != 0 {
		t.Error("a stranger's mail was taken")
	}
}

// A record that belongs to another node doesn't open the door.
func TestBorrowedRecordIsRefused(t *testing.T) {
	a, b := run(t, "a"), run(t, "b")
	conn := rawHost(t, a)
	s, err := conn.NewStream(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(testLimit))
	if err := negotiate(s, string(protoHello)); err != nil {
		t.Fatal(err)
	}
	record, err := b.live.Load().ownRecord(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFrame(s, &affiliatev1.HelloRequest{Record: record}, helloLimit); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("a borrowed record got an answer")
	}
	eventually(t, "the connection is closed", conn.IsClosed)
	if len(a.Peers()) != 0 {
		t.Error("a believes the record")
	}
}

func TestReconnectAfterRestart(t *testing.T) {
	a := run(t, "a")
	mem := newMemory()
	cfg := testConfig("b")
	_, cfg.Bootstrap = a.Self()
	ring := newTestRing(t)
	b := newTestNode(t, cfg, ring, mem).start(t)
	eventually(t, "connected", func() bool { return a.connectedTo(b) && b.connectedTo(a) })
	before := a.peer(b.address()).Sequence
	b.stop()
	eventually(t, "disconnected", func() bool { return !a.connectedTo(b) })

	cfg.Bootstrap = nil // a's stored record is enough
	again := newTestNode(t, cfg, ring, mem)
	if _, ok := again.Affiliate(a.address()); !ok {
		t.Fatal("a's record is forgotten")
	}
	again.start(t)
	eventually(t, "connected again", func() bool { return a.connectedTo(again) && again.connectedTo(a) })
	if after := a.peer(b.address()).Sequence; after <= before {
		t.Errorf("sequence went from %d to %d", before, after)
	}
}

func TestTCPAlone(t *testing.T) {
	cfg := testConfig("a")
	cfg.Listen = cfg.Listen[1:]
	a := newTestNode(t, cfg, newTestRing(t), newMemory()).start(t)
	b := run(t, "b", a)
	eventually(t, "connected", func() bool { return b.connectedTo(a) })
	if err := b.Send(testContext(t), a.address(), mailTo(t, a.ring, 100)); err != nil {
		t.Error(err)
	}
}

func TestListenErrors(t *testing.T) {
	a := run(t, "a")
	for _, addr := range a.live.Load().net.Network().ListenAddresses() {
		cfg := testConfig("b")
		cfg.Listen = []string{addr.String()}
		b := newTestNode(t, cfg, newTestRing(t), newMemory())
		wantCode(t, b.Run(testContext(t)), agreement.CodeInUse)
	}
	for i, change := range []func(*Config){
		func(c *Config) { c.Listen = []string{"127.0.0.1:4040"} },
		func(c *Config) { c.Bootstrap = []string{"/ip4/127.0.0.1/tcp/1"} },
		func(c *Config) { c.Name = strings.Repeat("n", 65) },
		func(c *Config) { c.RecordLifetime = time.Second },
	} {
		cfg := testConfig("b")
		change(&cfg)
		mem := newMemory()
		_, err := New(cfg, a.ring, mem, mem, nil, slog.New(slog.DiscardHandler))
		if agreement.CodeOf(err) != agreement.CodeBadRequest {
			t.Errorf("change %d: %v", i, err)
		}
	}
}

// An operator reads once that a peer refuses this affiliate, not at every attempt.
func TestRefusalIsNewsOnce(t *testing.T) {
	s, id := newSessions(), peer.ID("a")
	if !s.firstRefusal(id) {
		t.Error("the first refusal is no news")
	}
	s.note(id, nil) // another attempt
	if s.firstRefusal(id) || !s.firstRefusal("b") {
		t.Error("a repeated refusal is news, or another peer's isn't")
	}
	s.welcome(id)
	if !s.firstRefusal(id) {
		t.Error("a refusal after a welcome is no news")
	}
}
