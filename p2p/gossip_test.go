package p2p

import (
	"fmt"
	"slices"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
)

// line makes three running nodes of which a and c can't connect.
func line(t *testing.T) (a, b, c *testNode) {
	t.Helper()
	b = run(t, "b")
	nodes := make([]*testNode, 0, 2)
	for _, name := range []string{"a", "c"} {
		cfg := testConfig(name)
		_, cfg.Bootstrap = b.Self()
		nodes = append(nodes, newTestNode(t, cfg, newTestRing(t), newMemory()))
	}
	a, c = nodes[0], nodes[1]
	cut(a, c)
	a.start(t)
	c.start(t)
	return a, b, c
}

// gossipTo gossips one mail after another until one has arrived: gossip has no
// mesh at first, nothing says when, and it may always lose some.
func gossipTo(t *testing.T, from, to *testNode, mail func() *affiliatev1.Mail) *affiliatev1.Mail {
	t.Helper()
	ctx := testContext(t)
	for ctx.Err() == nil {
		m := mail()
		if err := from.Gossip(ctx, m); err != nil && agreement.CodeOf(err) != agreement.CodePeerUnreachable {
			t.Fatal(err)
		}
		if within(time.Second, func() bool { return to.hasGossip(m.Mailbox) }) {
			return m
		}
	}
	t.Fatal("no gossip arrives")
	return nil
}

func TestGossipReachesWhomNoStreamReaches(t *testing.T) {
	a, b, c := line(t)
	eventually(t, "a knows c through b, and both gossip with b", func() bool {
		_, known := a.Affiliate(c.address())
		return known && a.connectedTo(b) && c.connectedTo(b) && a.gossipsWith(1) && b.gossipsWith(2)
	})
	ctx := testContext(t)
	wantCode(t, a.Send(ctx, c.address(), mailTo(t, c.ring, 10)), agreement.CodePeerUnreachable)
	m := gossipTo(t, a, c, func() *affiliatev1.Mail { return mailTo(t, c.ring, 200<<10) })
	if !proto.Equal(c.gossiped(m.Mailbox), m) || !c.ring.Recognises(m) {
		t.Error("another mail arrived")
	}
	if a.hasGossip(m.Mailbox) {
		t.Error("a was given its own mail")
	}
	eventually(t, "b saw it pass", func() bool { return b.hasGossip(m.Mailbox) })
	if b.ring.Recognises(m) || a.ring.Recognises(m) {
		t.Error("others recognise the mail")
	}
	wantCode(t, a.Gossip(ctx, mailTo(t, c.ring, GossipLimit)), agreement.CodeTooLarge)
}

// Gossip loses what comes before its mesh has formed; keeping and looking
// again make up for it.
func TestGossipedMailArrivesOneWayOrAnother(t *testing.T) {
	a, _, c := line(t)
	eventually(t, "a knows c and somebody to gossip with", func() bool {
		_, known := a.Affiliate(c.address())
		return known && a.gossipsWith(1)
	})
	m := mailTo(t, c.ring, 10<<10)
	if err := a.Gossip(testContext(t), m); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mail arrives", func() bool { return c.has(m.Mailbox) || c.hasGossip(m.Mailbox) })
}

// The largest mail that Gossip takes must really arrive: libp2p drops larger
// ones silently.
func TestLargestGossip(t *testing.T) {
	a, b := pair(t)
	eventually(t, "gossip runs", func() bool { return a.gossipsWith(1) })
	gossipTo(t, a, b, func() *affiliatev1.Mail {
		m := mailTo(t, b.ring, 100)
		m.Sealed = append(m.Sealed, make([]byte, GossipLimit)...)
		m.Sealed = m.Sealed[:len(m.Sealed)-(proto.Size(m)-GossipLimit)]
		if proto.Size(m) != GossipLimit {
			t.Fatalf("%d bytes", proto.Size(m))
		}
		return m
	})
}

func TestGossipAlone(t *testing.T) {
	a := run(t, "a")
	wantCode(t, a.Gossip(testContext(t), mailTo(t, a.ring, 10)), agreement.CodePeerUnreachable)
}

// Mail for somebody who is away waits with a peer, and only its recipient can
// take it.
func TestKeptMailIsPulledOnConnect(t *testing.T) {
	b := run(t, "b")
	d := run(t, "d", b) // looks for mail, too
	c := newTestRing(t)
	for range 7 { // more than a page
		b.offer(mailTo(t, c, 5000))
	}
	other := mailTo(t, newTestRing(t), 10)
	b.offer(other)

	cfg := testConfig("c")
	_, cfg.Bootstrap = b.Self()
	mem := newMemory()
	newTestNode(t, cfg, c, mem).start(t)
	eventually(t, "c has its mail", func() bool { return mem.taken() == 7 })
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) != 1 || b.kept[string(other.Mailbox)] == nil {
		t.Errorf("b still keeps %d mails", len(b.kept))
	}
	if d.taken() != 0 {
		t.Error("d took mail of others")
	}
}

// A mail that the node can't store must not stop the others.
func TestPullGoesOnAfterAFailure(t *testing.T) {
	b := run(t, "b")
	c := newTestRing(t)
	for range 5 {
		b.offer(mailTo(t, c, 100))
	}
	cfg := testConfig("c")
	_, cfg.Bootstrap = b.Self()
	mem := newMemory()
	calls := 0
	mem.onMail = func(string, *affiliatev1.Mail) error {
		if calls++; calls == 2 {
			panic("provoked")
		}
		if calls == 3 {
			return agreement.Errorf(agreement.CodeStore, "disk full")
		}
		return nil
	}
	newTestNode(t, cfg, c, mem).start(t)
	eventually(t, "the others arrive", func() bool { return mem.taken() == 3 })
}

func TestGossipValidation(t *testing.T) {
	ring := newTestRing(t)
	cfg := testConfig("a")
	cfg.Members = []string{ring.Address()}
	a := newTestNode(t, cfg, newTestRing(t), newMemory()).start(t)
	cfg = testConfig("b")
	_, cfg.Bootstrap = a.Self()
	b := newTestNode(t, cfg, ring, newMemory()).start(t)
	eventually(t, "connected", func() bool { return a.connectedTo(b) && b.connectedTo(a) })
	g := a.live.Load().gossip
	now := time.Now()
	record := func(ring *keys.Ring, change func(*affiliatev1.AffiliateRecord)) []byte {
		known, _ := b.Affiliate(b.address())
		rec := proto.CloneOf(known)
		rec.Address, rec.AccountKey = ring.Address(), ring.AccountKey()
		rec.Sequence += 1_000_000
		change(rec)
		s, err := ring.SignRecord(rec)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := proto.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	same := func(*affiliatev1.AffiliateRecord) {}
	forged := record(b.ring, same)
	forged[len(forged)-1] ^= 1
	records := map[string]struct {
		data []byte
		want pubsub.ValidationResult
	}{
		"good":          {record(b.ring, same), pubsub.ValidationAccept},
		"forged":        {forged, pubsub.ValidationReject},
		"garbage":       {[]byte("garbage"), pubsub.ValidationReject},
		"oversize":      {make([]byte, helloLimit+1), pubsub.ValidationReject},
		"other network": {record(b.ring, func(r *affiliatev1.AffiliateRecord) { r.Network = "x" }), pubsub.ValidationReject},
		"bad peer id":   {record(b.ring, func(r *affiliatev1.AffiliateRecord) { r.PeerId = "x" }), pubsub.ValidationReject},
		"expired":       {record(b.ring, func(r *affiliatev1.AffiliateRecord) { r.ExpiresUnix = now.Unix() - 1 }), pubsub.ValidationIgnore},
		"no member":     {record(newTestRing(t), same), pubsub.ValidationIgnore},
		"older":         {record(b.ring, func(r *affiliatev1.AffiliateRecord) { r.Sequence = 1 }), pubsub.ValidationIgnore},
	}
	for name, c := range records {
		m := &pubsub.Message{Message: &pb.Message{Data: c.data}}
		if got := g.validateRecord(t.Context(), b.id, m); got != c.want {
			t.Errorf("record %s: %v", name, got)
		}
	}
	mail := func(change func(*affiliatev1.Mail)) []byte {
		m := mailTo(t, b.ring, 10)
		change(m)
		raw, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	mails := map[string]struct {
		data []byte
		want pubsub.ValidationResult
	}{
		"good":     {mail(func(*affiliatev1.Mail) {}), pubsub.ValidationAccept},
		"garbage":  {[]byte{0xff}, pubsub.ValidationReject},
		"no tag":   {mail(func(m *affiliatev1.Mail) { m.Tag = nil }), pubsub.ValidationReject},
		"empty":    {mail(func(m *affiliatev1.Mail) { m.Sealed = nil }), pubsub.ValidationReject},
		"oversize": {mail(func(m *affiliatev1.Mail) { m.Sealed = make([]byte, GossipLimit) }), pubsub.ValidationReject},
		"late":     {mail(func(m *affiliatev1.Mail) { m.ExpiresUnix = now.Unix() - 1 }), pubsub.ValidationIgnore},
		"for ever": {mail(func(m *affiliatev1.Mail) { m.ExpiresUnix = 1 << 62 }), pubsub.ValidationIgnore},
		"negative": {mail(func(m *affiliatev1.Mail) { m.ExpiresUnix = -1 << 63 }), pubsub.ValidationIgnore},
	}
	for name, c := range mails {
		m := &pubsub.Message{Message: &pb.Message{Data: c.data}}
		if got := g.validateMail(t.Context(), b.id, m); got != c.want {
			t.Errorf("mail %s: %v", name, got)
		}
		if got := g.validateMail(t.Context(), "a stranger", m); got != pubsub.ValidationIgnore {
			t.Errorf("mail %s of a stranger: %v", name, got)
		}
	}
}

func TestGossipRate(t *testing.T) {
	g := &gossip{meters: map[peer.ID]*meter{}}
	now := time.Unix(1000, 0)
	passed := 0
	for range 2 * mailBurst {
		if g.allow("p", now) {
			passed++
		}
	}
	if passed != mailBurst {
		t.Errorf("%d mails at once", passed)
	}
	if !g.allow("q", now) || !g.allow("p", now.Add(time.Second)) {
		t.Error("a peer pays for another, or for ever")
	}
}

// gossipStreams are the streams on which a node gossips with another, in one
// direction.
func (n *testNode) gossipStreams(other *testNode, dir network.Direction) []network.Stream {
	return slices.DeleteFunc(n.live.Load().gossip.host.streams(other.id), func(s network.Stream) bool { return s.Stat().Direction != dir })
}

// When its stream to a peer ends libp2p forgets what the peer subscribes to,
// and after a few failures it opens no other.
func TestGossipGoesOnAfterItsStreamsEnd(t *testing.T) {
	for _, dir := range []network.Direction{network.DirOutbound, network.DirInbound} {
		t.Run(dir.String(), func(t *testing.T) {
			t.Parallel()
			a, b := pair(t)
			for i := range 6 {
				eventually(t, fmt.Sprint("both gossip, after ", i), func() bool {
					return a.gossipsWith(1) && b.gossipsWith(1) && len(a.gossipStreams(b, dir)) == 1
				})
				for _, s := range a.gossipStreams(b, dir) {
					_ = s.Reset()
				}
				eventually(t, "the stream has ended", func() bool { return !a.gossipsWith(1) || !b.gossipsWith(1) })
			}
		})
	}
}
