package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/api/affiliate/v1/affiliatev1connect"
)

// maxRequest bounds a unary request, in bytes; larger contents go through PutObject.
const maxRequest = 32 << 20

// Handler serves the whole API. Who may reach it decides who may use it: it is
// meant for a Unix socket of mode 0600.
func (n *Node) Handler() http.Handler {
	mux := http.NewServeMux()
	opts := []connect.HandlerOption{
		connect.WithReadMaxBytes(maxRequest), connect.WithInterceptors(errorInterceptor{n.log}),
	}
	mux.Handle(affiliatev1connect.NewNodeServiceHandler(nodeAPI{n}, opts...))
	mux.Handle(affiliatev1connect.NewContractServiceHandler(contractAPI{n}, opts...))
	mux.Handle(affiliatev1connect.NewAgreementServiceHandler(agreementAPI{n}, opts...))
	mux.Handle(affiliatev1connect.NewRecordServiceHandler(recordAPI{n}, opts...))
	mux.Handle(affiliatev1connect.NewObjectServiceHandler(objectAPI{n}, opts...))
	mux.Handle(affiliatev1connect.NewStoreServiceHandler(newStoreAPI(n), opts...))
	mux.Handle(affiliatev1connect.NewKeyServiceHandler(keyAPI{n}, opts...))
	return mux
}

// errorInterceptor gives every error its code, category, hint and a
// correlation id, and logs it once.
type errorInterceptor struct{ log *slog.Logger }

// WrapUnary implements connect.Interceptor.
func (i errorInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		resp, err := next(ctx, req)
		return resp, i.translate(req.Spec().Procedure, err)
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (i errorInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return i.translate(conn.Spec().Procedure, next(ctx, conn))
	}
}

// WrapStreamingClient implements connect.Interceptor; a server has no clients.
func (i errorInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i errorInterceptor) translate(procedure string, err error) error {
	var already *connect.Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return connect.NewError(connect.CodeCanceled, err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	}
	known := &agreement.Error{Code: agreement.CodeInternal, Text: err.Error(), Err: err}
	errors.As(err, &known)
	if known.Code == agreement.CodeInternal && errors.Is(err, agreement.ErrNotFound) {
		known = agreement.Errorf(agreement.CodeNotFound, "%w", err)
	}
	category := agreement.CategoryOf(known.Code)
	correlation := correlationID()
	i.log.Info("a request was refused", "procedure", procedure, "code", known.Code, "error", err, "correlation_id", correlation)
	out := connect.NewError(connectCode(known.Code, category), errors.New(known.Text))
	detail, detailErr := connect.NewErrorDetail(&affiliatev1.ErrorDetail{
		Code: string(known.Code), Category: string(category), Hint: known.Hint, CorrelationId: correlation,
	})
	if detailErr == nil {
		out.AddDetail(detail)
	}
	return out
}

func connectCode(c agreement.Code, category agreement.Category) connect.Code {
	switch {
	case c == agreement.CodeNotFound, c == agreement.CodeUnknownContract:
		return connect.CodeNotFound
	case c == agreement.CodeWrongPhase:
		return connect.CodeFailedPrecondition
	case category == agreement.FixRequest:
		return connect.CodeInvalidArgument
	case category == agreement.Retry:
		return connect.CodeUnavailable
	case category == agreement.AskPeer:
		return connect.CodeFailedPrecondition
	}
	return connect.CodeInternal
}

func correlationID() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return hex.EncodeToString(b)
}
