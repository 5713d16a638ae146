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
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// closeOnDone gives a stream ctx's deadline and resets it when ctx ends. The
// function it returns closes the stream after success and resets it after an
// error.
func closeOnDone(ctx context.Context, s network.Stream) func(error) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = s.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	return func(err error) {
		stop()
		if err != nil {
			_ = s.Reset()
			return
		}
		_ = s.Close()
	}
}

// peerError gives an error of a stream its code: what a reset says, or that
// the peer can't be reached.
func peerError(err error) error {
	var known *agreement.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, errFrame) {
		return agreement.Errorf(agreement.CodeBadMessage, "reading the peer's answer: %w", err)
	}
	var reset *network.StreamError
	if errors.As(err, &reset) && reset.Remote {
		switch reset.ErrorCode {
		case network.StreamRateLimited, network.StreamResourceLimitExceeded:
			return agreement.Errorf(agreement.CodeBackpressure, "the peer is busy: %w", err)
		case network.StreamGated:
			return agreement.Errorf(agreement.CodeNotAMember, "the peer doesn't take us for a member: %w", err)
		case network.StreamProtocolViolation:
			return agreement.Errorf(agreement.CodeBadMessage, "the peer found our request malformed: %w", err)
		}
	}
	var closed *network.ConnError
	if errors.As(err, &closed) && closed.Remote && closed.ErrorCode == network.ConnGated {
		return agreement.Errorf(agreement.CodeNotAMember, "the peer doesn't take us for a member: %w", err)
	}
	return agreement.Errorf(agreement.CodePeerUnreachable, "talking to the peer: %w", err)
}

// running returns the running network.
func (h *Host) running() (*live, error) {
	if l := h.live.Load(); l != nil {
		return l, nil
	}
	return nil, agreement.Errorf(agreement.CodePeerUnreachable, "the network is not running")
}

// reach returns the session of an affiliate, connecting to it if needed.
func (l *live) reach(ctx context.Context, address string) (peer.ID, *session, error) {
	a, ok := l.table.get(address)
	if !ok {
		return "", nil, agreement.Errorf(agreement.CodePeerUnreachable, "no affiliate record of %s is known", address).
			WithHint("it comes by itself once that affiliate or one that knows it is reached; see `affiliate peers`")
	}
	if a.peer == l.id {
		return "", nil, agreement.Errorf(agreement.CodeInternal, "sending to ourselves")
	}
	if !l.table.member(address) {
		return "", nil, agreement.Errorf(agreement.CodeNotAMember, "%s is not a member", address)
	}
	s, ok := l.sessions.get(a.peer)
	if !ok || !s.isAdmitted() {
		if !time.Now().Before(a.expires()) {
			return "", nil, agreement.Errorf(agreement.CodePeerUnreachable, "%s was last heard of before %s, when its record expired", address, a.expires().UTC().Format(time.RFC3339))
		}
		if err := l.connect(ctx, peer.AddrInfo{ID: a.peer, Addrs: a.addrs}); err != nil {
			return "", nil, agreement.Errorf(agreement.CodePeerUnreachable, "connecting to %s: %w", address, err)
		}
		if s, ok = l.sessions.get(a.peer); !ok {
			return "", nil, agreement.Errorf(agreement.CodePeerUnreachable, "connecting to %s: the connection closed", address)
		}
	}
	if who := s.who(); who != address {
		return "", nil, agreement.Errorf(agreement.CodePeerUnreachable, "the node of %s belongs to %q", address, who)
	}
	return a.peer, s, nil
}

// open opens a stream to an admitted peer. libp2p negotiates lazily, so the
// first read may still say that the peer doesn't speak the protocol.
func (l *live) open(ctx context.Context, id peer.ID, proto protocol.ID) (network.Stream, error) {
	s, err := l.net.NewStream(network.WithNoDial(ctx, string(proto)), id, proto)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodePeerUnreachable, "opening a stream: %w", err)
	}
	return s, nil
}

// Send hands a mail to an affiliate over a stream of its own, connecting to it
// if needed. Nil means that the affiliate has stored it. Errors:
// CodePeerUnreachable (retryable), CodeTooLarge above MailLimit, or the code
// with which the peer refused.
func (h *Host) Send(ctx context.Context, to string, m *affiliatev1.Mail) error {
	err := h.send(ctx, to, m)
	result := "ok"
	if err != nil {
		result = string(agreement.CategoryOf(agreement.CodeOf(err)))
	}
	h.metrics.sends.WithLabelValues(result).Inc()
	return err
}

func (h *Host) send(ctx context.Context, to string, m *affiliatev1.Mail) error {
	if size := proto.Size(m); size > MailLimit {
		return agreement.Errorf(agreement.CodeTooLarge, "a mail of %d bytes, the limit is %d", size, MailLimit)
	}
	l, err := h.running()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, l.times.request)
	defer cancel()
	id, session, err := l.reach(ctx, to)
	if err != nil {
		return err
	}
	select {
	case session.sending <- struct{}{}:
		defer func() { <-session.sending }()
	case <-session.gone:
		return agreement.Errorf(agreement.CodePeerUnreachable, "sending to %s: the connection closed", to)
	case <-ctx.Done():
		return agreement.Errorf(agreement.CodePeerUnreachable, "sending to %s: %w", to, ctx.Err())
	}
	s, err := l.open(ctx, id, protoMail)
	if err != nil {
		return err
	}
	done := closeOnDone(ctx, s)
	err = deliver(s, m)
	done(err)
	return err
}

// deliver writes a mail and reads its receipt. A receipt is read even when the
// mail could not be written: a peer may refuse before it has read all of it.
func deliver(s network.Stream, m *affiliatev1.Mail) error {
	writeErr := writeFrame(s, m, MailLimit)
	endRequest(s)
	var receipt affiliatev1.Receipt
	if err := readFrame(bufio.NewReader(s), &receipt, receiptLimit); err != nil {
		return peerError(errors.Join(err, writeErr))
	}
	if receipt.Stored {
		return nil
	}
	return refused(receipt.Code, receipt.Reason)
}

// Fetch asks an affiliate for an object's payload from an offset on. The
// reader gives exactly the bytes that the response announces or an error; the
// caller checks them against the object's hash and closes the reader. Errors:
// CodePeerUnreachable (retryable), or the code with which the peer refused.
func (h *Host) Fetch(ctx context.Context, from string, id agreement.Hash, offset int64) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	return h.fetch(ctx, from, &affiliatev1.FetchObjectRequest{ObjectId: id[:], Offset: offset})
}

// FetchLeaves asks for the leaves of an object's tree of hashes, by which any part
// of its payload is verified, like Fetch.
func (h *Host) FetchLeaves(ctx context.Context, from string, id agreement.Hash) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	return h.fetch(ctx, from, &affiliatev1.FetchObjectRequest{ObjectId: id[:], Leaves: true})
}

// FetchHeader asks for an object's header, wrapped for the recipient that this
// affiliate has announced last: the object was sealed to an earlier one.
func (h *Host) FetchHeader(ctx context.Context, from string, id agreement.Hash) ([]byte, error) {
	response, body, err := h.fetch(ctx, from, &affiliatev1.FetchObjectRequest{ObjectId: id[:], Header: true})
	if err != nil {
		return nil, err
	}
	return response.GetHeader(), body.Close() // nothing follows
}

// FetchContract asks an affiliate for the module of a contract that it has
// vetted, like Fetch. What the response says of the object is the peer's claim,
// its size too.
func (h *Host) FetchContract(ctx context.Context, from string, contract agreement.Hash) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	return h.fetch(ctx, from, &affiliatev1.FetchObjectRequest{ContractHash: contract[:]})
}

// FindContent asks an affiliate which object is a sealing of a content that
// this one can read. The answer is the peer's claim.
func (h *Host) FindContent(ctx context.Context, from string, content agreement.Hash) (*affiliatev1.ObjectRef, error) {
	response, body, err := h.fetch(ctx, from, &affiliatev1.FetchObjectRequest{ContentHash: content[:]})
	if err != nil {
		return nil, err
	}
	return response.GetRef(), body.Close() // nothing follows
}

// FetchTerms asks an affiliate for the terms of an agreement that is on chain,
// of at most that many bytes. They are the peer's claim.
func (h *Host) FetchTerms(ctx context.Context, from string, id agreement.ID, most int64) ([]byte, error) {
	response, body, err := h.fetch(ctx, from, &affiliatev1.FetchObjectRequest{AgreementId: id[:]})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	size := response.GetRef().GetSealedSize()
	if size > most {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "the terms of agreement %s have %d bytes, the limit is %d", id, size, most)
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(body, raw); err != nil {
		return nil, peerError(err)
	}
	return raw, nil
}

func (h *Host) fetch(ctx context.Context, from string, request *affiliatev1.FetchObjectRequest) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	l, err := h.running()
	if err != nil {
		return nil, nil, err
	}
	short, cancel := context.WithTimeout(ctx, l.times.request)
	defer cancel()
	peerID, _, err := l.reach(short, from)
	if err != nil {
		return nil, nil, err
	}
	s, err := l.open(short, peerID, protoObject)
	if err != nil {
		return nil, nil, err
	}
	done := closeOnDone(ctx, s)
	p := &payload{stream: s, in: bufio.NewReaderSize(s, copyBuffer), idle: l.times.idle, done: done}
	response, err := p.request(request, l.times.request)
	if err != nil {
		done(err)
		return nil, nil, fmt.Errorf("fetching %x%x%x: %w", request.ObjectId, request.ContractHash, request.AgreementId, err)
	}
	return response, p, nil
}

// payload reads an object's bytes from a stream.
type payload struct {
	stream network.Stream
	in     *bufio.Reader
	left   int64
	idle   time.Duration
	done   func(error)
	closed bool
}

// endRequest says that all of a request was sent. A peer that has answered
// already may have cancelled that direction, which is no error: its answer is
// still to be read, and without one there will be an error.
func endRequest(s network.Stream) { _ = s.CloseWrite() }

func (p *payload) request(r *affiliatev1.FetchObjectRequest, limit time.Duration) (*affiliatev1.FetchObjectResponse, error) {
	if err := p.stream.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, peerError(err)
	}
	if err := writeFrame(p.stream, r, requestLimit); err != nil {
		return nil, peerError(err)
	}
	endRequest(p.stream)
	response := new(affiliatev1.FetchObjectResponse)
	if err := readFrame(p.in, response, responseLimit); err != nil {
		return nil, peerError(err)
	}
	if response.Code != "" {
		return nil, refused(response.Code, response.Reason)
	}
	p.left = response.GetRef().GetSealedSize() - r.Offset
	if r.Leaves {
		p.left = response.GetLeaves()
	}
	if p.left < 0 {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "the peer's object has %d bytes, less than the offset %d", response.GetRef().GetSealedSize(), r.Offset)
	}
	return response, nil
}

// Read gives the next bytes; io.EOF only after all that were announced.
func (p *payload) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	if err := p.stream.SetReadDeadline(time.Now().Add(p.idle)); err != nil {
		return 0, peerError(err)
	}
	n, err := p.in.Read(b[:min(int64(len(b)), p.left)])
	p.left -= int64(n)
	if err != nil && p.left > 0 {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return n, peerError(err)
	}
	return n, nil
}

// Close ends the stream; before the end of the payload it resets it.
func (p *payload) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	if p.left > 0 {
		p.done(io.ErrUnexpectedEOF)
		return nil
	}
	p.done(nil)
	return nil
}
