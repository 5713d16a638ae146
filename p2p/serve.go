package p2p

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
	"unicode"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
)

// call is one stream being served.
type call struct {
	stream  network.Stream
	in      *bufio.Reader
	session *session
	from    string // address of the peer; empty in a hello
	busy    bool   // the peer is over its quota: refuse, do no work
}

// serve runs a handler: shutdown, deadline, admission, membership, quota,
// memory, work; a reset on any error.
func (l *live) serve(proto protocol.ID, s network.Stream, handle func(context.Context, *call) error) {
	if !l.enter() {
		_ = s.ResetWithError(network.StreamShutdown)
		return
	}
	defer l.work.Done()
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.ResetWithError(network.StreamShutdown) })
	defer stop()

	err := l.safely(string(proto), func() error { return l.serveAdmitted(ctx, proto, s, handle) })
	if err == nil {
		l.metrics.streams.WithLabelValues(string(proto), "ok").Inc()
		_ = s.Close()
		return
	}
	l.metrics.streams.WithLabelValues(string(proto), "failed").Inc()
	l.log.Debug("stream failed", "protocol", string(proto), "peer", s.Conn().RemotePeer().String(), "error", err)
	_ = s.ResetWithError(resetCode(err))
}

// safely turns a panic into an error, so that no peer can end the process by
// what it sends.
func (l *live) safely(what string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("a handler panicked", "handler", what, "panic", p, "stack", string(debug.Stack()))
			err = agreement.Errorf(agreement.CodeInternal, "the handler of %s panicked", what)
		}
	}()
	return f()
}

// serveAdmitted checks who asks, and how much, before the handler works.
func (l *live) serveAdmitted(ctx context.Context, proto protocol.ID, s network.Stream, handle func(context.Context, *call) error) (err error) {
	if err := s.SetDeadline(time.Now().Add(l.times.request)); err != nil {
		return err
	}
	c := &call{stream: s, in: bufio.NewReader(s)}
	if c.session, err = l.sessionFor(ctx, proto, s); err != nil {
		return err
	}
	c.from = c.session.who()
	if proto != protoHello && !l.table.member(c.from) {
		return agreement.Errorf(agreement.CodeNotAMember, "%s is not a member", c.from)
	}
	m := c.session.meters[proto]
	if m.enter(time.Now()) {
		defer m.leave()
	} else {
		c.busy = true
		l.metrics.streams.WithLabelValues(string(proto), "busy").Inc()
	}
	return handle(ctx, c)
}

// sessionFor returns the session of a stream's peer, admitted unless the
// stream is the hello itself.
func (l *live) sessionFor(ctx context.Context, proto protocol.ID, s network.Stream) (*session, error) {
	id := s.Conn().RemotePeer()
	if proto != protoHello {
		return l.sessions.await(ctx, id, l.times.hello)
	}
	if session, ok := l.sessions.get(id); ok {
		return session, nil
	}
	return nil, agreement.Errorf(agreement.CodePeerUnreachable, "peer %s is not connected any more", id)
}

// resetCode tells the peer's libp2p why a stream was reset. A peer that hasn't
// been introduced in time isn't told that it is no member: it would give up for
// good what it sends, and only one of the two was slow.
func resetCode(err error) network.StreamErrorCode {
	switch agreement.CodeOf(err) {
	case agreement.CodeBackpressure:
		return network.StreamRateLimited
	case agreement.CodeNotAMember:
		return network.StreamGated
	case agreement.CodeTooLarge, agreement.CodeBadMessage:
		return network.StreamProtocolViolation
	}
	if errors.Is(err, errFrame) {
		return network.StreamProtocolViolation
	}
	return network.StreamNoError
}

// read reads one frame of the request, its memory reserved before.
func (c *call) read(m proto.Message, limit int) error {
	size, err := frameSize(c.in, limit)
	if err != nil {
		return err
	}
	scope := c.stream.Scope()
	if err := scope.ReserveMemory(size, network.ReservationPriorityMedium); err != nil {
		return agreement.Errorf(agreement.CodeBackpressure, "no memory for a frame of %d bytes: %w", size, err)
	}
	defer scope.ReleaseMemory(size)
	return readBody(c.in, m, size)
}

// errBusy is how a peer over its quota is refused.
func errBusy() error {
	return agreement.Errorf(agreement.CodeBackpressure, "too many requests at once").WithHint("wait a moment")
}

// refusal is what a peer is told of an error: its code, and its text where it
// was made for others to read.
func refusal(err error) (code, reason string) {
	var e *agreement.Error
	if !errors.As(err, &e) {
		return string(agreement.CodeInternal), "internal error"
	}
	return string(e.Code), oneLine(e.Text, maxReason)
}

// refused turns a peer's refusal into an error. What it says is a claim of
// the peer; it is cut to one printable line.
func refused(code, reason string) error {
	valid := code != "" && len(code) <= maxCode
	for _, c := range code {
		valid = valid && (c == '_' || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
	}
	if !valid {
		return agreement.Errorf(agreement.CodePeerRefused, "the peer refused: %s", oneLine(reason, maxReason))
	}
	return agreement.Errorf(agreement.Code(code), "the peer refused: %s", oneLine(reason, maxReason))
}

// oneLine makes a text of others fit for a log: printable, of limited length.
func oneLine(s string, limit int) string {
	s = strings.ToValidUTF8(s[:min(len(s), limit)], "")
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
}

// serveMail takes one mail and answers whether it is stored.
func (l *live) serveMail(ctx context.Context, c *call) error {
	err := l.takeMail(ctx, c)
	receipt := &affiliatev1.Receipt{Stored: err == nil}
	if err != nil {
		if agreement.CodeOf(err) == agreement.CodeInternal {
			l.log.Warn("mail not taken", "from", c.from, "error", err)
		}
		receipt.Code, receipt.Reason = refusal(err)
	}
	return writeFrame(c.stream, receipt, receiptLimit)
}

func (l *live) takeMail(ctx context.Context, c *call) error {
	if c.busy {
		return errBusy()
	}
	m := new(affiliatev1.Mail)
	if err := c.read(m, MailLimit); err != nil {
		return frameError(err)
	}
	if err := checkMail(m, true); err != nil {
		return err
	}
	if !l.ring.Recognises(m) {
		return agreement.Errorf(agreement.CodeBadMessage, "the mail is for another affiliate, or for an older mailbox key")
	}
	ctx, cancel := context.WithTimeout(ctx, l.times.request)
	defer cancel()
	return l.handler.HandleMail(ctx, c.from, m)
}

// frameError gives a peer's malformed frame its code.
func frameError(err error) error {
	var e *agreement.Error
	if errors.As(err, &e) {
		return e
	}
	return agreement.Errorf(agreement.CodeBadMessage, "reading a frame: %w", err)
}

// checkMail holds the parts of a mail to their sizes.
func checkMail(m *affiliatev1.Mail, sealed bool) error {
	switch {
	case len(m.GetMailbox()) != keys.MailboxSize, len(m.GetTag()) != keys.TagSize, len(m.GetClaim()) != keys.ClaimSize,
		sealed == (len(m.GetSealed()) == 0):
		return agreement.Errorf(agreement.CodeBadMessage, "a mail with parts of the wrong size")
	}
	return nil
}

// serveObject sends an object's header, then its payload from the offset.
func (l *live) serveObject(ctx context.Context, c *call) error {
	response, payload, err := l.openObject(ctx, c)
	if err != nil {
		response = new(affiliatev1.FetchObjectResponse)
		response.Code, response.Reason = refusal(err)
		return writeFrame(c.stream, response, responseLimit)
	}
	defer payload.Close()
	if err := writeFrame(c.stream, response, responseLimit); err != nil {
		return err
	}
	_, err = io.CopyBuffer(&deadlineWriter{c.stream, l.times.idle}, payload, make([]byte, copyBuffer))
	return err
}

// copyBuffer is the size of the pieces in which a payload is sent.
const copyBuffer = 64 << 10

func (l *live) openObject(ctx context.Context, c *call) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	if c.busy {
		return nil, nil, errBusy()
	}
	var request affiliatev1.FetchObjectRequest
	if err := c.read(&request, requestLimit); err != nil {
		return nil, nil, frameError(err)
	}
	if len(request.ContractHash) > 0 {
		contract, err := agreement.HashFromBytes(request.ContractHash)
		if err != nil || len(request.ObjectId) > 0 || request.Offset != 0 {
			return nil, nil, agreement.Errorf(agreement.CodeBadMessage, "a malformed request for a contract")
		}
		return l.handler.OpenContract(ctx, c.from, contract)
	}
	if len(request.AgreementId) > 0 {
		id, err := agreement.UUIDFromBytes(request.AgreementId)
		if err != nil || len(request.ObjectId) > 0 || request.Offset != 0 {
			return nil, nil, agreement.Errorf(agreement.CodeBadMessage, "a malformed request for terms")
		}
		return l.handler.OpenTerms(ctx, c.from, id)
	}
	if len(request.ContentHash) > 0 {
		return l.findContent(ctx, c.from, &request)
	}
	id, err := agreement.HashFromBytes(request.ObjectId)
	if err != nil || request.Offset < 0 || request.Offset != 0 && (request.Leaves || request.Header) {
		return nil, nil, agreement.Errorf(agreement.CodeBadMessage, "a request for a malformed object id or offset")
	}
	if request.Header {
		header, err := l.handler.HeaderFor(ctx, c.from, id)
		return &affiliatev1.FetchObjectResponse{Header: header}, http.NoBody, err
	}
	if request.Leaves {
		return l.handler.OpenLeaves(ctx, c.from, id)
	}
	return l.handler.OpenObject(ctx, c.from, id, request.Offset)
}

func (l *live) findContent(ctx context.Context, from string, request *affiliatev1.FetchObjectRequest) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	content, err := agreement.HashFromBytes(request.ContentHash)
	if err != nil || len(request.ObjectId) > 0 || request.Offset != 0 {
		return nil, nil, agreement.Errorf(agreement.CodeBadMessage, "a malformed request for a content")
	}
	ref, err := l.handler.SealingOf(ctx, from, content)
	return &affiliatev1.FetchObjectResponse{Ref: ref}, http.NoBody, err
}

// deadlineWriter gives every write its own deadline, so that a large payload
// may take long and a stalled one may not.
type deadlineWriter struct {
	s    network.Stream
	idle time.Duration
}

func (w *deadlineWriter) Write(b []byte) (int, error) {
	if err := w.s.SetWriteDeadline(time.Now().Add(w.idle)); err != nil {
		return 0, err
	}
	return w.s.Write(b)
}
