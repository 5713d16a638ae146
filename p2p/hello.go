package p2p

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// memberTag protects admitted peers from the connection manager.
const memberTag = "member"

// connected is called for every new connection, before its first stream.
func (l *live) connected(_ network.Network, conn network.Conn) {
	s := l.sessions.opened(conn.RemotePeer())
	l.spawn(func() {
		if conn.Stat().Direction == network.DirOutbound {
			l.greet(conn)
			return
		}
		l.awaitGreeting(conn, s)
	})
}

// disconnected is called for every closed connection.
func (l *live) disconnected(_ network.Network, conn network.Conn) {
	id := conn.RemotePeer()
	if !l.sessions.closed(id, func() int { return len(l.net.Network().ConnsToPeer(id)) }) {
		return
	}
	l.net.ConnManager().Unprotect(id, memberTag)
	l.connector.lost(id)
}

// greet introduces this node over a connection that it has opened, and closes
// the connection if either side doesn't want the other.
func (l *live) greet(conn network.Conn) {
	err := l.hello(conn)
	if err == nil {
		return
	}
	id := conn.RemotePeer()
	l.metrics.hellos.WithLabelValues("failed").Inc()
	if agreement.CodeOf(err) == agreement.CodeNotAMember && l.sessions.firstRefusal(id) {
		l.log.Warn("a peer doesn't take this affiliate for a member; its operator can add the address to p2p.members",
			"peer", id.String(), "address", l.ring.Address())
	} else {
		l.log.Debug("introduction failed", "peer", id.String(), "error", err)
	}
	l.sessions.note(id, err)
	_ = conn.CloseWithError(connCode(err))
}

// connCode tells the peer's libp2p why a connection is closed: that it isn't
// wanted, unless one of the two was only too slow. There may be another
// connection, whose mail would be given up for good.
func connCode(err error) network.ConnErrorCode {
	switch agreement.CodeOf(err) {
	case agreement.CodePeerUnreachable, agreement.CodeBackpressure, agreement.CodeInternal:
		return network.ConnNoError
	}
	return network.ConnGated
}

func (l *live) hello(conn network.Conn) error {
	ctx, cancel := context.WithTimeout(l.ctx, l.times.hello)
	defer cancel()
	id := conn.RemotePeer()
	s, err := l.net.NewStream(network.WithNoDial(ctx, "hello"), id, protoHello)
	if err != nil {
		return fmt.Errorf("introducing ourselves: %w", err)
	}
	done := closeOnDone(ctx, s)
	err = l.exchange(ctx, s)
	done(err)
	return err
}

// exchange sends the own record and takes the peer's. The peer may turn out to
// be no member, so it gets the record that doesn't say what is vetted; it asks
// for the other one when it has been admitted.
func (l *live) exchange(ctx context.Context, s network.Stream) error {
	if _, err := l.ownRecord(ctx); err != nil {
		return err
	}
	if err := writeFrame(s, &affiliatev1.HelloRequest{Record: l.greeting.Load()}, helloLimit); err != nil {
		return fmt.Errorf("introducing ourselves: %w", peerError(err))
	}
	endRequest(s)
	var response affiliatev1.HelloResponse
	if err := readFrame(bufio.NewReader(s), &response, helloLimit); err != nil {
		if agreement.CodeOf(peerError(err)) == agreement.CodeNotAMember {
			return agreement.Errorf(agreement.CodeNotAMember, "the peer refuses this affiliate").
				WithHint("ask its operator to add this affiliate's address to p2p.members")
		}
		return fmt.Errorf("waiting for the peer's record: %w", peerError(err))
	}
	return l.introduce(s.Conn(), response.Record)
}

// serveHello answers a peer that introduces itself.
func (l *live) serveHello(ctx context.Context, c *call) error {
	err := l.answerHello(ctx, c)
	if err != nil {
		l.metrics.hellos.WithLabelValues("refused").Inc()
		id := c.stream.Conn().RemotePeer()
		l.sessions.note(id, err)
		l.sessions.refuse(id, time.Now().Add(l.times.refuse))
		l.log.Debug("introduction refused", "peer", id.String(), "error", err)
		conn := c.stream.Conn()
		code := connCode(err)
		if code == network.ConnGated {
			_ = c.stream.ResetWithError(network.StreamGated) // tells more than the end of the connection
		}
		l.spawn(func() {
			sleep(l.ctx, hangUp)
			_ = conn.CloseWithError(code)
		})
	}
	return err
}

// hangUp is how long a refused peer has to read that it was refused.
const hangUp = 200 * time.Millisecond

func (l *live) answerHello(ctx context.Context, c *call) error {
	if c.busy {
		return errBusy()
	}
	var request affiliatev1.HelloRequest
	if err := c.read(&request, helloLimit); err != nil {
		return frameError(err)
	}
	own, err := l.ownRecord(ctx)
	if err != nil {
		return err
	}
	if err := l.introduce(c.stream.Conn(), request.Record); err != nil {
		return err
	}
	return writeFrame(c.stream, &affiliatev1.HelloResponse{Record: own}, helloLimit)
}

// ownRecord waits until the own record is made, just after listening began.
func (l *live) ownRecord(ctx context.Context) (*affiliatev1.SignedAffiliateRecord, error) {
	select {
	case <-l.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the own record: %w", ctx.Err())
	}
	own, ok := l.table.get(l.ring.Address())
	if !ok {
		return nil, agreement.Errorf(agreement.CodeInternal, "there is no own record")
	}
	s := new(affiliatev1.SignedAffiliateRecord)
	return s, proto.Unmarshal(own.signed, s)
}

// introduce checks a peer's record and admits the peer. The connection proves
// the node key, the record binds it to the account.
func (l *live) introduce(conn network.Conn, signed *affiliatev1.SignedAffiliateRecord) error {
	id := conn.RemotePeer()
	raw, err := proto.Marshal(signed)
	if err != nil {
		return fmt.Errorf("encoding the peer's record: %w", err)
	}
	a, err := l.readRecord(raw, time.Now())
	if err != nil {
		return err
	}
	address := a.record.Address
	switch {
	case a.peer != id:
		return agreement.Errorf(agreement.CodeBadSignature, "the record of %s belongs to node %s, not to %s", address, a.peer, id)
	case address == l.ring.Address():
		return agreement.Errorf(agreement.CodeInUse, "another node runs with this affiliate's account key")
	case !l.table.member(address):
		return agreement.Errorf(agreement.CodeNotAMember, "%s (%s) is not a member", address, a.record.Name).
			WithHint("to let it in, add its address to p2p.members")
	}
	// A newer record may have come by gossip before this one: good enough if
	// it names the same node.
	switch l.learn(a) {
	case putOlder:
		if newer, ok := l.table.get(address); !ok || newer.peer != id {
			return agreement.Errorf(agreement.CodeExpired, "the record of %s is older than one that names another node", address)
		}
	case putNobody:
		return agreement.Errorf(agreement.CodeNotAMember, "no room for %s: %d affiliates are known", address, MaxAffiliates)
	case putNewer, putSame:
	}
	return l.admit(id, address)
}

// admit opens the protocols to a peer.
func (l *live) admit(id peer.ID, address string) error {
	s, ok := l.sessions.get(id)
	if !ok {
		return agreement.Errorf(agreement.CodePeerUnreachable, "peer %s is not connected any more", id)
	}
	first, err := s.admit(address)
	if err != nil || !first {
		return err
	}
	l.metrics.hellos.WithLabelValues("admitted").Inc()
	l.sessions.welcome(id)
	l.net.ConnManager().Protect(id, memberTag)
	l.log.Info("affiliate connected", "address", address, "peer", id.String())
	l.spawn(func() { l.attend(id, s) })
	return nil
}

// attend looks after an admitted peer until it is gone.
func (l *live) attend(id peer.ID, s *session) {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	go func() { // ends with s or with attend
		select {
		case <-s.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	address := s.who()
	l.gossip.tend(id)
	l.handler.PeerConnected(address)
	l.announcer.soon()
	if err := l.pullRecords(ctx, id); err != nil {
		l.log.Debug("asking for affiliate records", "from", address, "error", err)
	}
	// Gossip that passed before its mesh had formed, about a second after the
	// connection, is caught by looking again soon.
	var nextPull time.Time
	interval := l.times.pullFirst
	for {
		l.gossip.tend(id)
		l.measure(ctx, id)
		if !time.Now().Before(nextPull) {
			if err := l.pullMail(ctx, id, address); err != nil {
				l.log.Debug("asking for kept mail", "from", address, "error", err)
			}
			nextPull = time.Now().Add(interval)
			interval = min(2*interval, l.times.pullMost)
		}
		if !sleep(ctx, jitter(min(l.times.ping, time.Until(nextPull)))) {
			if l.ctx.Err() == nil {
				l.log.Info("affiliate disconnected", "address", address, "peer", id.String())
			}
			return
		}
	}
}

// measure pings a peer; libp2p's peerstore keeps the average.
func (l *live) measure(ctx context.Context, id peer.ID) {
	ctx, cancel := context.WithTimeout(ctx, l.times.hello)
	defer cancel()
	<-ping.Ping(network.WithNoDial(ctx, "ping"), l.net, id)
}

// awaitGreeting closes a connection whose other side, which opened it, doesn't
// say in time who it is.
func (l *live) awaitGreeting(conn network.Conn, s *session) {
	timer := time.NewTimer(l.times.hello)
	defer timer.Stop()
	select {
	case <-s.admitted:
	case <-s.gone:
	case <-l.ctx.Done():
	case <-timer.C:
		l.metrics.hellos.WithLabelValues("late").Inc()
		late := agreement.Errorf(agreement.CodePeerUnreachable, "the peer didn't say who it is")
		l.sessions.note(conn.RemotePeer(), late)
		_ = conn.CloseWithError(connCode(late))
	}
}

// serveRecords sends every known affiliate record but the peer's own.
func (l *live) serveRecords(_ context.Context, c *call) error {
	if c.busy {
		return errBusy()
	}
	out := &deadlineWriter{c.stream, l.times.idle}
	for _, a := range l.table.all() {
		if a.record.Address == c.from || !time.Now().Before(a.expires()) {
			continue
		}
		var s affiliatev1.SignedAffiliateRecord
		if err := proto.Unmarshal(a.signed, &s); err != nil {
			return err
		}
		if err := writeFrame(out, &s, helloLimit); err != nil {
			return err
		}
	}
	return nil
}

// pullRecords asks a peer which affiliates it knows. Every record is signed by
// its own affiliate, so the peer can hide some but can't make any up.
func (l *live) pullRecords(ctx context.Context, id peer.ID) (err error) {
	ctx, cancel := context.WithTimeout(ctx, l.times.request)
	defer cancel()
	s, err := l.net.NewStream(network.WithNoDial(ctx, "records"), id, protoRecords)
	if err != nil {
		return err
	}
	done := closeOnDone(ctx, s)
	defer func() { done(err) }()
	endRequest(s)
	in := bufio.NewReader(s)
	for range MaxAffiliates {
		var signed affiliatev1.SignedAffiliateRecord
		err := readFrame(in, &signed, helloLimit)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return peerError(err)
		}
		raw, err := proto.Marshal(&signed)
		if err != nil {
			return err
		}
		if a, err := l.readRecord(raw, time.Now()); err == nil { // one bad record must not hide the others
			l.learn(a)
		}
	}
	return nil
}
