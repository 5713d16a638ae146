package p2p

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// Limits of gossip.
const (
	// maxGossip bounds a message on the wire: libp2p drops what is larger
	// without a word, so GossipLimit is checked before and is far below.
	maxGossip       = 2 * GossipLimit
	gossipOutbound  = 256 // messages queued to one peer
	gossipValidate  = 256 // messages queued for validation
	recordsBuffer   = 1024
	mailBuffer      = 32
	maxQueued       = 1024    // mails waiting for the node
	maxQueuedBytes  = 8 << 20 // and their size together
	gossipTimeout   = 10 * time.Second
	mailRate        = 50 // gossiped mails a second that one peer may pass on
	mailBurst       = 1000
	maxMailLifetime = 8 * 24 * time.Hour // keepers take seven days; clocks differ
)

// gossip spreads affiliate records and mail for affiliates that no stream
// reaches. It may lose messages; nothing rests on it.
//
// Messages carry neither author nor signature: who sends a mail is nobody
// else's business, a record is signed by its affiliate and a mail inside its
// seal. A message's id is its hash, so equal ones collapse.
type gossip struct {
	l          *live
	host       *gossipHost
	ps         *pubsub.PubSub
	records    *pubsub.Topic
	mail       *pubsub.Topic
	recordsSub *pubsub.Subscription
	mailSub    *pubsub.Subscription
	queue      chan *affiliatev1.Mail

	mu     sync.Mutex
	queued int                // guarded by mu; bytes in queue
	meters map[peer.ID]*meter // guarded by mu; mail passed on by each peer
}

func recordsTopic(network string) string { return "/affiliate/" + network + "/records/1" }
func mailTopic(network string) string    { return "/affiliate/" + network + "/mail/1" }

func newGossip(l *live) (*gossip, error) {
	host, err := newGossipHost(l.ctx, l.net, func(ctx context.Context, id peer.ID) error {
		_, err := l.sessions.await(ctx, id, l.times.hello)
		return err
	})
	if err != nil {
		return nil, err
	}
	g := &gossip{l: l, host: host, queue: make(chan *affiliatev1.Mail, maxQueued), meters: map[peer.ID]*meter{}}
	records, mail := recordsTopic(l.cfg.Network), mailTopic(l.cfg.Network)
	g.ps, err = pubsub.NewGossipSub(l.ctx, host,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor(), pubsub.WithMessageIdFn(messageID),
		pubsub.WithFloodPublish(true), pubsub.WithPeerExchange(false), pubsub.WithGossipSubParams(pubsub.DefaultGossipSubParams()),
		pubsub.WithMaxMessageSize(maxGossip), pubsub.WithMaxControlMessageSize(maxGossip/2),
		pubsub.WithPeerOutboundQueueSize(gossipOutbound), pubsub.WithValidateQueueSize(gossipValidate),
		pubsub.WithSubscriptionFilter(pubsub.NewAllowlistSubscriptionFilter(records, mail)),
		pubsub.WithPeerFilter(func(id peer.ID, _ string) bool { return l.sessions.admitted(id) }),
		pubsub.WithLogger(l.log), pubsub.WithRPCLogger(l.log),
	)
	if err != nil {
		return nil, err
	}
	if g.records, g.recordsSub, err = join(g.ps, records, g.validateRecord, recordsBuffer); err != nil {
		return nil, err
	}
	g.mail, g.mailSub, err = join(g.ps, mail, g.validateMail, mailBuffer)
	return g, err
}

func join(ps *pubsub.PubSub, name string, validate pubsub.ValidatorEx, buffer int) (*pubsub.Topic, *pubsub.Subscription, error) {
	if err := ps.RegisterTopicValidator(name, validate); err != nil {
		return nil, nil, err
	}
	topic, err := ps.Join(name)
	if err != nil {
		return nil, nil, err
	}
	sub, err := topic.Subscribe(pubsub.WithBufferSize(buffer))
	return topic, sub, err
}

// tend sees to it that gossip goes on with an admitted peer. libp2p opens its
// stream to a peer once, and again after a few failures, no more; and when that
// stream ends it forgets what the peer subscribes to, which the peer, whose own
// stream is well, has no reason to repeat. Renewing only one of the two streams
// would make the other side forget.
func (g *gossip) tend(id peer.ID) {
	if !slices.Contains(g.ps.ListPeers(""), id) {
		if err := g.host.meet(id); err != nil {
			g.l.log.Warn("gossip can't be told of a peer", "peer", id.String(), "error", err)
		}
		return
	}
	if !slices.Contains(g.mail.ListPeers(), id) && g.host.renew(id, g.l.times.renewGossip) {
		g.l.log.Debug("asking for a peer's gossip anew", "peer", id.String())
	}
}

// messageID is the hash of topic and content.
func messageID(m *pb.Message) string {
	h := sha256.New()
	h.Write([]byte(m.GetTopic()))
	h.Write([]byte{0})
	h.Write(m.GetData())
	return string(h.Sum(nil))
}

// count notes what became of a message.
func (g *gossip) count(topic string, r pubsub.ValidationResult) pubsub.ValidationResult {
	name := map[pubsub.ValidationResult]string{
		pubsub.ValidationAccept: "accepted", pubsub.ValidationReject: "rejected", pubsub.ValidationIgnore: "ignored",
	}[r]
	g.l.metrics.gossip.WithLabelValues(topic, name).Inc()
	return r
}

// judge ignores a message that makes a judgement panic.
func (g *gossip) judge(f func(peer.ID, *pubsub.Message) pubsub.ValidationResult, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	result := pubsub.ValidationIgnore
	_ = g.l.safely("gossip", func() error { result = f(from, m); return nil })
	return result
}

// validateRecord rejects only what no honest peer passes on. A record that has
// expired on the way, whose affiliate is a member elsewhere only, or that is
// old news, is no fault of the peer that passed it on.
func (g *gossip) validateRecord(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if from == g.l.id {
		return pubsub.ValidationAccept
	}
	return g.count("records", g.judge(g.judgeRecord, from, m))
}

func (g *gossip) judgeRecord(from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if !g.l.sessions.admitted(from) {
		return pubsub.ValidationIgnore
	}
	a, err := g.l.readRecord(m.Data, time.Now())
	if agreement.CodeOf(err) == agreement.CodeExpired {
		return pubsub.ValidationIgnore
	}
	if err != nil {
		return pubsub.ValidationReject
	}
	if !g.l.table.member(a.record.Address) {
		return pubsub.ValidationIgnore
	}
	if known, ok := g.l.table.get(a.record.Address); ok && known.record.Sequence > a.record.Sequence {
		return pubsub.ValidationIgnore
	}
	m.ValidatorData = a
	return pubsub.ValidationAccept
}

// validateMail rejects what is no mail, and ignores what came too late or too
// often.
func (g *gossip) validateMail(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if from == g.l.id {
		return pubsub.ValidationAccept
	}
	return g.count("mail", g.judge(g.judgeMail, from, m))
}

func (g *gossip) judgeMail(from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	if !g.l.sessions.admitted(from) {
		return pubsub.ValidationIgnore
	}
	if len(m.Data) > GossipLimit {
		return pubsub.ValidationReject
	}
	mail := new(affiliatev1.Mail)
	if err := proto.Unmarshal(m.Data, mail); err != nil || checkMail(mail, true) != nil {
		return pubsub.ValidationReject
	}
	now := time.Now()
	if left := mail.ExpiresUnix - now.Unix(); left <= 0 || left > int64(maxMailLifetime/time.Second) || !g.allow(from, now) {
		return pubsub.ValidationIgnore
	}
	m.ValidatorData = mail
	return pubsub.ValidationAccept
}

// allow applies the mail rate of one peer.
func (g *gossip) allow(from peer.ID, now time.Time) bool {
	g.mu.Lock()
	m, ok := g.meters[from]
	if !ok {
		if len(g.meters) >= maxRemembered {
			clear(g.meters)
		}
		m = &meter{quota: quota{rate: mailRate, burst: mailBurst}}
		g.meters[from] = m
	}
	g.mu.Unlock()
	if !m.enter(now) {
		return false
	}
	m.leave()
	return true
}

// readRecords learns records from gossip.
func (g *gossip) readRecords() {
	for {
		m, err := g.recordsSub.Next(g.l.ctx)
		if err != nil {
			return // only when the run ends
		}
		a, ok := m.ValidatorData.(*affiliate)
		if !ok || m.ReceivedFrom == g.l.id {
			continue
		}
		if g.l.learn(a) == putNewer && a.record.Address == g.l.ring.Address() {
			g.l.announcer.soon() // our own, from before the store was lost: go above it
		}
	}
}

// readMail only queues, so that a slow node doesn't hold up gossip. What
// doesn't fit is lost here; its sender goes on trying.
func (g *gossip) readMail() {
	defer close(g.queue)
	for {
		m, err := g.mailSub.Next(g.l.ctx)
		if err != nil {
			return // only when the run ends
		}
		mail, ok := m.ValidatorData.(*affiliatev1.Mail)
		if !ok || m.ReceivedFrom == g.l.id || !g.reserve(len(mail.Sealed)) {
			continue
		}
		select {
		case g.queue <- mail:
		default:
			g.release(len(mail.Sealed))
		}
	}
}

func (g *gossip) reserve(n int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.queued+n > maxQueuedBytes {
		return false
	}
	g.queued += n
	return true
}

func (g *gossip) release(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queued -= n
}

// deliver hands queued mail to the node.
func (g *gossip) deliver() {
	for mail := range g.queue {
		g.release(len(mail.Sealed))
		if g.l.ctx.Err() != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(g.l.ctx, gossipTimeout)
		if err := g.l.safely("gossip", func() error { return g.l.handler.HandleGossip(ctx, mail) }); err != nil {
			g.l.log.Debug("gossiped mail not taken", "error", err)
		}
		cancel()
	}
}

// Gossip spreads a mail to all connected affiliates, who pass it on and keep
// it for its recipient. Nil means only that it is under way. Errors:
// CodeTooLarge above GossipLimit, CodePeerUnreachable while nobody is there to
// take it.
func (h *Host) Gossip(ctx context.Context, m *affiliatev1.Mail) error {
	if size := proto.Size(m); size > GossipLimit {
		return agreement.Errorf(agreement.CodeTooLarge, "a mail of %d bytes, gossip takes %d", size, GossipLimit)
	}
	if err := checkMail(m, true); err != nil {
		return err
	}
	l, err := h.running()
	if err != nil {
		return err
	}
	data, err := proto.Marshal(m)
	if err != nil {
		return agreement.Errorf(agreement.CodeInternal, "encoding a mail: %w", err)
	}
	if len(l.gossip.mail.ListPeers()) == 0 {
		return agreement.Errorf(agreement.CodePeerUnreachable, "gossiping a mail: no other affiliate is connected")
	}
	if err := l.gossip.mail.Publish(ctx, data); err != nil {
		var known *agreement.Error
		if errors.As(err, &known) {
			return known
		}
		return agreement.Errorf(agreement.CodePeerUnreachable, "gossiping a mail: %w", err)
	}
	return nil
}
