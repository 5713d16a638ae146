package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
)

// live is a Host while it runs. Every goroutine that it starts, and every
// handler that calls into the node, is counted in work.
type live struct {
	*Host
	ctx       context.Context
	net       host.Host
	sessions  *sessions
	connector *connector
	announcer *announcer
	gossip    *gossip
	greeting  atomic.Pointer[affiliatev1.SignedAffiliateRecord] // the own record for whom we don't know yet

	mu      sync.Mutex
	closing bool // guarded by mu; no work starts any more
	work    sync.WaitGroup
}

// Run listens and takes part in the network until ctx ends. An address that
// can't be listened on is CodeInUse or CodeBadRequest.
func (h *Host) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &live{Host: h, ctx: ctx, sessions: newSessions()}
	l.connector = newConnector(l)
	l.announcer = newAnnouncer(l)
	var err error
	if l.net, err = l.newLibp2p(); err != nil {
		return agreement.Errorf(agreement.CodeInternal, "starting libp2p: %w", err)
	}
	defer l.close(cancel)
	if err := l.start(); err != nil {
		return err
	}
	h.live.Store(l)
	defer h.live.Store(nil)
	l.announcer.renew()
	close(h.ready)
	h.log.Info("listening", "peer", h.id.String(), "addresses", fmt.Sprint(l.addrs()))

	l.spawn(l.connector.run)
	l.spawn(l.announcer.run)
	l.spawn(l.gossip.readRecords)
	l.spawn(l.gossip.readMail)
	l.spawn(l.gossip.deliver)
	l.spawn(l.watchAddrs)
	<-ctx.Done()
	return nil
}

// newLibp2p makes a host that doesn't listen yet. QUIC is dialed first, TCP
// after a moment; relays, NAT traversal, AutoNAT and mDNS are off: affiliates
// are servers.
func (l *live) newLibp2p() (host.Host, error) {
	conns, err := connmgr.NewConnManager(connsLow, connsHigh, connmgr.WithGracePeriod(connsGrace))
	if err != nil {
		return nil, err
	}
	var limitOpts []rcmgr.Option
	metrics := libp2p.DisableMetrics()
	if l.reg != nil {
		metrics = libp2p.PrometheusRegisterer(l.reg)
	} else {
		limitOpts = append(limitOpts, rcmgr.WithMetricsDisabled())
	}
	resources, err := newResourceManager(limitOpts...)
	if err != nil {
		return nil, err
	}
	opts := []libp2p.Option{
		libp2p.Identity(l.key), libp2p.UserAgent("affiliate/" + l.cfg.Version),
		libp2p.Transport(libp2pquic.NewTransport), libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()), // or a port in use would pass unnoticed
		libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.ForceReachabilityPublic(), libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.ConnectionManager(conns), libp2p.ResourceManager(resources), libp2p.WithDialTimeout(l.times.dial),
		libp2p.ConnectionGater(&gater{sessions: l.sessions, blocked: l.blocked}), metrics,
	}
	if len(l.announce) > 0 {
		opts = append(opts, libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return slices.Clone(l.announce) }))
	}
	return libp2p.New(opts...)
}

// start joins gossip, sets the handlers and listens on every address.
func (l *live) start() error {
	var err error
	if l.gossip, err = newGossip(l); err != nil {
		return agreement.Errorf(agreement.CodeInternal, "starting gossip: %w", err)
	}
	l.net.Network().Notify(&network.NotifyBundle{ConnectedF: l.connected, DisconnectedF: l.disconnected})
	l.handle(protoHello, l.serveHello)
	l.handle(protoRecords, l.serveRecords)
	l.handle(protoMail, l.serveMail)
	l.handle(protoObject, l.serveObject)
	l.handle(protoKept, l.serveKept)
	for _, a := range l.listen {
		if err := l.net.Network().Listen(a); err != nil {
			return listenError(a, err)
		}
	}
	return nil
}

// listenError says what to do about an address that can't be listened on.
func listenError(a ma.Multiaddr, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "address already in use") {
		return agreement.Errorf(agreement.CodeInUse, "p2p.listen: %s is in use by another program: %w", a, err).
			WithHint("stop the other program, or set another port in p2p.listen")
	}
	return agreement.Errorf(agreement.CodeBadRequest, "p2p.listen: listening on %s: %w", a, err).
		WithHint("p2p.listen takes addresses of this machine, such as /ip4/0.0.0.0/udp/4040/quic-v1")
}

// close ends everything and waits for it.
func (l *live) close(cancel context.CancelFunc) {
	cancel()
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	if err := l.net.Close(); err != nil {
		l.log.Debug("closing libp2p", "error", err)
	}
	l.work.Wait()
}

// enter counts work that has begun, false when none may begin any more.
func (l *live) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	l.work.Add(1)
	return true
}

// spawn runs f in a goroutine that Run waits for.
func (l *live) spawn(f func()) {
	if !l.enter() {
		return
	}
	go func() {
		defer l.work.Done()
		f()
	}()
}

// addrs are the addresses that others are told, at most as many as a record
// takes, loopback last.
func (l *live) addrs() []ma.Multiaddr {
	addrs := slices.Clone(l.net.Addrs())
	slices.SortStableFunc(addrs, func(a, b ma.Multiaddr) int {
		switch la, lb := manet.IsIPLoopback(a), manet.IsIPLoopback(b); {
		case la == lb:
			return 0
		case la:
			return 1
		}
		return -1
	})
	return addrs[:min(len(addrs), keys.MaxAddrs)]
}

// watchAddrs announces addresses that have changed.
func (l *live) watchAddrs() {
	sub, err := l.net.EventBus().Subscribe(new(event.EvtLocalAddressesUpdated))
	if err != nil {
		l.log.Warn("changes of addresses are announced late", "error", err)
		return
	}
	defer sub.Close()
	for {
		select {
		case <-l.ctx.Done():
			return
		case _, ok := <-sub.Out():
			if !ok {
				return
			}
			l.announcer.soon()
		}
	}
}

// handle serves a protocol.
func (l *live) handle(proto protocol.ID, serve func(context.Context, *call) error) {
	l.net.SetStreamHandler(proto, func(s network.Stream) { l.serve(proto, s, serve) })
}

// describe adds to p what only the running network knows.
func (l *live) describe(id peer.ID, p *Peer) {
	s, ok := l.sessions.get(id)
	p.Connected = ok && s.isAdmitted() && (p.Address == "" || s.who() == p.Address)
	if p.Connected {
		p.Latency = l.net.Peerstore().LatencyEWMA(id)
	} else {
		p.LastError = l.sessions.noted(id)
	}
}

// sleep waits, false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
