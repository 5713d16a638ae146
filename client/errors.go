package client

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// Refusal is the cause of an *agreement.Error that a node sent: the category
// as the node sees it, and the id under which its log has the error.
type Refusal struct {
	Category      agreement.Category
	CorrelationID string
	err           error
}

// Error gives what came over the wire.
func (r *Refusal) Error() string { return r.err.Error() }

// Unwrap returns the error of the protocol.
func (r *Refusal) Unwrap() error { return r.err }

// CategoryOf says what to do about an error that a Client returned: the
// node's own word where it sent one.
func CategoryOf(err error) agreement.Category {
	var r *Refusal
	if errors.As(err, &r) && r.Category != "" {
		return r.Category
	}
	return agreement.CategoryOf(agreement.CodeOf(err))
}

// translator turns errors of the protocol into *agreement.Error, for every
// kind of call.
type translator struct{ socket string }

// WrapUnary translates what a call with one answer returns.
func (t translator) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		return res, t.translate(ctx, err)
	}
}

// WrapStreamingClient translates what the stream's methods return.
func (t translator) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		return stream{next(ctx, spec), ctx, t}
	}
}

// WrapStreamingHandler leaves servers alone.
func (t translator) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

type stream struct {
	connect.StreamingClientConn
	ctx context.Context //nolint:containedctx // of this one call, as in the protocol's own streams
	t   translator
}

func (s stream) Send(m any) error    { return s.t.translate(s.ctx, s.StreamingClientConn.Send(m)) }
func (s stream) Receive(m any) error { return s.t.translate(s.ctx, s.StreamingClientConn.Receive(m)) }
func (s stream) CloseRequest() error {
	return s.t.translate(s.ctx, s.StreamingClientConn.CloseRequest())
}

// translate leaves nil and io.EOF, which is how streams end, alone.
func (t translator) translate(ctx context.Context, err error) error {
	var own *agreement.Error
	var wire *connect.Error
	var op *net.OpError
	switch {
	case err == nil, errors.Is(err, io.EOF) && !errors.As(err, &wire), errors.As(err, &own):
		return err
	case errors.As(err, &op) && op.Op == "dial" && ctx.Err() == nil:
		return noDaemon(t.socket, err)
	case !errors.As(err, &wire):
		return agreement.Errorf(agreement.CodeInternal, "talking to the node: %w", err)
	case ctx.Err() != nil:
		return t.givenUp(ctx.Err())
	case connect.IsWireError(err):
		return t.fromNode(wire)
	}
	return t.broken(wire)
}

// givenUp is what the end of the caller's own context makes of a call.
func (t translator) givenUp(cause error) error {
	if errors.Is(cause, context.DeadlineExceeded) {
		return agreement.Errorf(CodeTimeout, "the node at %s did not answer in time: %w", t.socket, cause).
			WithHint("see what it is doing with: affiliate status")
	}
	return agreement.Errorf(CodeCanceled, "the call was given up: %w", cause)
}

// fromNode makes the node's own error: its code and hint from the detail, its
// text from the message.
func (t translator) fromNode(wire *connect.Error) error {
	if wire.Code() == connect.CodeDeadlineExceeded { // its clock ran out a moment before ours
		return t.givenUp(context.DeadlineExceeded)
	}
	if wire.Code() == connect.CodeCanceled { // not by us: it is stopping
		return agreement.Errorf(CodeNoDaemon, "the node at %s ended the call: it is stopping", t.socket)
	}
	cause := &Refusal{err: wire}
	e := &agreement.Error{Code: codeOf(wire.Code()), Text: wire.Message(), Err: cause}
	for _, d := range wire.Details() {
		v, err := d.Value()
		detail, ok := v.(*affiliatev1.ErrorDetail)
		if err != nil || !ok || detail.GetCode() == "" {
			continue
		}
		e.Code, e.Hint = agreement.Code(detail.GetCode()), detail.GetHint()
		cause.Category, cause.CorrelationID = agreement.Category(detail.GetCategory()), detail.GetCorrelationId()
	}
	e.Text = strings.TrimPrefix(e.Text, string(e.Code)+": ")
	return e
}

// broken handles what went wrong on this side of the wire.
func (t translator) broken(wire *connect.Error) error {
	switch {
	case wire.Code() == connect.CodeUnavailable || cutOff(wire):
		return agreement.Errorf(CodeNoDaemon, "the connection to the node at %s broke: %w", t.socket, wire.Unwrap()).
			WithHint("the node may have stopped; see its log, then: affiliate start")
	case wire.Code() == connect.CodeDeadlineExceeded:
		return t.givenUp(context.DeadlineExceeded)
	case wire.Code() == connect.CodeCanceled:
		return t.givenUp(context.Canceled)
	case wire.Code() == connect.CodeResourceExhausted:
		return agreement.Errorf(agreement.CodeTooLarge, "the node's answer is too large: %w", wire)
	}
	return agreement.Errorf(codeOf(wire.Code()), "talking to the node at %s: %w", t.socket, wire)
}

// cutOff recognises a connection that ended in the middle of an answer.
func cutOff(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.Contains(err.Error(), io.ErrUnexpectedEOF.Error()) // which the protocol's reader doesn't wrap
}

// codeOf translates for a node that sent no detail.
func codeOf(c connect.Code) agreement.Code {
	switch c {
	case connect.CodeInvalidArgument, connect.CodeOutOfRange, connect.CodeUnimplemented:
		return agreement.CodeBadRequest
	case connect.CodeNotFound:
		return agreement.CodeNotFound
	case connect.CodeFailedPrecondition:
		return agreement.CodeWrongPhase
	case connect.CodePermissionDenied, connect.CodeUnauthenticated:
		return agreement.CodeNotAuthorized
	case connect.CodeResourceExhausted:
		return agreement.CodeTooLarge
	default:
		return agreement.CodeInternal
	}
}
