package node

import (
	"cmp"
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// hashArgument parses the content hash of a request.
func hashArgument(s string) (agreement.Hash, error) {
	hash, err := agreement.ParseHash(s)
	if err != nil {
		return hash, agreement.Errorf(agreement.CodeBadRequest, "content hash: %w", err)
	}
	return hash, nil
}

// GrantObject lets another affiliate open a content.
func (a objectAPI) GrantObject(ctx context.Context, req *connect.Request[affiliatev1.GrantObjectRequest]) (*connect.Response[affiliatev1.GrantObjectResponse], error) {
	hash, err := hashArgument(req.Msg.ContentHash)
	if err == nil {
		err = a.n.grant(ctx, hash, req.Msg.Address)
	}
	return connect.NewResponse(&affiliatev1.GrantObjectResponse{}), err
}

// RevokeObject takes that back, for what hasn't been fetched.
func (a objectAPI) RevokeObject(ctx context.Context, req *connect.Request[affiliatev1.RevokeObjectRequest]) (*connect.Response[affiliatev1.RevokeObjectResponse], error) {
	hash, err := hashArgument(req.Msg.ContentHash)
	if err == nil {
		err = a.n.revoke(ctx, hash, req.Msg.Address)
	}
	return connect.NewResponse(&affiliatev1.RevokeObjectResponse{}), err
}

// ListReaders says who may open a content, and why.
func (a objectAPI) ListReaders(_ context.Context, req *connect.Request[affiliatev1.ListReadersRequest]) (*connect.Response[affiliatev1.ListReadersResponse], error) {
	hash, err := hashArgument(req.Msg.ContentHash)
	if err != nil {
		return nil, err
	}
	readers, err := a.n.readers(hash)
	if err != nil {
		return nil, err
	}
	out := &affiliatev1.ListReadersResponse{}
	for _, r := range readers {
		out.Readers = append(out.Readers, &affiliatev1.Reader{Address: r.Address, Name: a.n.nameOf(r.Address), Why: r.Why})
	}
	return connect.NewResponse(out), nil
}

// DeleteObject gives up what this affiliate itself has put or pinned.
func (a objectAPI) DeleteObject(ctx context.Context, req *connect.Request[affiliatev1.DeleteObjectRequest]) (*connect.Response[affiliatev1.DeleteObjectResponse], error) {
	hash, err := hashArgument(req.Msg.ContentHash)
	if err == nil {
		err = a.n.forget(ctx, hash)
	}
	return connect.NewResponse(&affiliatev1.DeleteObjectResponse{}), err
}

// PinObject keeps a content.
func (a objectAPI) PinObject(ctx context.Context, req *connect.Request[affiliatev1.PinObjectRequest]) (*connect.Response[affiliatev1.PinObjectResponse], error) {
	hash, err := hashArgument(req.Msg.ContentHash)
	if err != nil {
		return nil, err
	}
	until := time.Time{}
	if t := req.Msg.Until; t != nil {
		if until = t.AsTime(); t.CheckValid() != nil {
			return nil, agreement.Errorf(agreement.CodeBadRequest, "the pin would end at an impossible time")
		}
	}
	return connect.NewResponse(&affiliatev1.PinObjectResponse{}), a.n.pin(ctx, hash, cmp.Or(req.Msg.Label, "pin"), until)
}
