package p2p

import (
	"context"
	"slices"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	ma "github.com/multiformats/go-multiaddr"
)

// gater keeps away peers that were refused a moment ago, and strangers while
// there are many. Whether a stranger is a member shows in its hello: a new
// member's key can't be known before.
type gater struct {
	sessions *sessions
	blocked  func(peer.ID) bool // nil: none
}

func (g *gater) allowed(id peer.ID) bool {
	return g.blocked == nil || !g.blocked(id)
}

// InterceptPeerDial is asked before dialing.
func (g *gater) InterceptPeerDial(id peer.ID) bool { return g.allowed(id) }

// InterceptAddrDial is asked for every address.
func (g *gater) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

// InterceptAccept is asked before the other side's key is known.
func (g *gater) InterceptAccept(network.ConnMultiaddrs) bool {
	return g.sessions.strangers() < maxStrangers
}

// InterceptSecured is asked when the key is known.
func (g *gater) InterceptSecured(dir network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	if !g.allowed(id) {
		return false
	}
	return dir == network.DirOutbound || !g.sessions.isRefused(id, time.Now())
}

// InterceptUpgraded is asked last.
func (g *gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// gossipHost is the host that gossip sees. It hears of peers only what it is
// told, and there is no stream, in or out, before the peer is admitted: gossip
// would otherwise send mail to whoever subscribes in the seconds before a hello
// is due.
type gossipHost struct {
	host.Host
	ctx   context.Context // of the run; handlers have none
	await func(context.Context, peer.ID) error
	bus   event.Bus // of gossip alone
	news  event.Emitter
}

func newGossipHost(ctx context.Context, h host.Host, await func(context.Context, peer.ID) error) (*gossipHost, error) {
	g := &gossipHost{Host: h, ctx: ctx, await: await, bus: eventbus.NewBus()}
	var err error
	g.news, err = g.bus.Emitter(new(event.EvtPeerProtocolsUpdated))
	return g, err
}

// EventBus is where gossip hears of peers.
func (g *gossipHost) EventBus() event.Bus { return g.bus }

// meet tells gossip of a peer.
func (g *gossipHost) meet(id peer.ID) error {
	return g.news.Emit(event.EvtPeerProtocolsUpdated{Peer: id, Added: pubsub.GossipSubDefaultProtocols})
}

// renew ends the streams to and from a peer, so that both sides open others and
// begin with what they subscribe to. It spares them all while one is younger
// than age.
func (g *gossipHost) renew(id peer.ID, age time.Duration) bool {
	streams := g.streams(id)
	if slices.ContainsFunc(streams, func(s network.Stream) bool { return time.Since(s.Stat().Opened) < age }) {
		return false
	}
	for _, s := range streams {
		_ = s.Reset()
	}
	return len(streams) > 0
}

// streams are those on which gossip goes on with a peer, either way.
func (g *gossipHost) streams(id peer.ID) (all []network.Stream) {
	for _, conn := range g.Network().ConnsToPeer(id) {
		for _, s := range conn.GetStreams() {
			if slices.Contains(pubsub.GossipSubDefaultProtocols, s.Protocol()) {
				all = append(all, s)
			}
		}
	}
	return all
}

// NewStream waits for the peer's admission.
func (g *gossipHost) NewStream(ctx context.Context, id peer.ID, protos ...protocol.ID) (network.Stream, error) {
	if err := g.await(ctx, id); err != nil {
		return nil, err
	}
	return g.Host.NewStream(network.WithNoDial(ctx, "gossip"), id, protos...)
}

// SetStreamHandler waits for the peer's admission before the handler.
func (g *gossipHost) SetStreamHandler(proto protocol.ID, handle network.StreamHandler) {
	g.Host.SetStreamHandler(proto, func(s network.Stream) {
		if err := g.await(g.ctx, s.Conn().RemotePeer()); err != nil {
			_ = s.ResetWithError(network.StreamGated)
			return
		}
		handle(s)
	})
}
