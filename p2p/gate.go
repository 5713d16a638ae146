package p2p

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
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

// gossipHost is the host that gossip sees: no stream, in or out, before the
// peer is admitted. Gossip would otherwise send mail to whoever subscribes in
// the seconds before a hello is due.
type gossipHost struct {
	host.Host
	await func(context.Context, peer.ID) error
	ctx   context.Context // of the run; handlers have none
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
