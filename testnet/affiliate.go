package testnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
)

// callTimeout ends one ordinary call to an affiliate.
const callTimeout = 30 * time.Second

// Affiliate is one of the testnet's affiliates: its daemon, and what the
// outside knows of it. Every call goes through package client to the daemon's
// socket, as an application's would.
type Affiliate struct {
	*Process

	Home, Config, Socket string
	Address              string
	AccountKey           []byte
	PeerID               string
	Listen               []string // multiaddrs without the peer id

	api *client.Client
}

// dial makes the client, once. The daemon's socket must be there.
func (a *Affiliate) dial() error {
	if a.api != nil {
		return nil
	}
	api, err := client.Dial(a.Socket)
	if err != nil {
		return err
	}
	a.api = api
	return nil
}

func (a *Affiliate) status(ctx context.Context) (*affiliatev1.GetStatusResponse, error) {
	return call(ctx, a.api.Node.GetStatus, &affiliatev1.GetStatusRequest{})
}

func (a *Affiliate) publish(ctx context.Context, module []byte) (*affiliatev1.PublishContractResponse, error) {
	return call(ctx, a.api.Contracts.PublishContract, &affiliatev1.PublishContractRequest{Module: module})
}

func (a *Affiliate) vet(ctx context.Context, hash, note string) (*affiliatev1.Contract, error) {
	return call(ctx, a.api.Contracts.VetContract, &affiliatev1.VetContractRequest{Contract: hash, Note: note})
}

func (a *Affiliate) propose(ctx context.Context, req *affiliatev1.ProposeRequest) (*affiliatev1.Agreement, error) {
	return call(ctx, a.api.Agreements.Propose, req)
}

func (a *Affiliate) agreement(ctx context.Context, id string) (*affiliatev1.Agreement, error) {
	return call(ctx, a.api.Agreements.GetAgreement, &affiliatev1.GetAgreementRequest{AgreementId: id})
}

func (a *Affiliate) approve(ctx context.Context, id string) error {
	_, err := call(ctx, a.api.Agreements.Approve, &affiliatev1.ApproveRequest{AgreementId: id})
	return err
}

func (a *Affiliate) reject(ctx context.Context, id, reason string) error {
	_, err := call(ctx, a.api.Agreements.Reject, &affiliatev1.RejectRequest{AgreementId: id, Reason: reason})
	return err
}

func (a *Affiliate) why(ctx context.Context, id string) (*affiliatev1.WhyResponse, error) {
	return call(ctx, a.api.Agreements.Why, &affiliatev1.WhyRequest{AgreementId: id})
}

func (a *Affiliate) record(ctx context.Context, scope, name string) (*affiliatev1.Record, error) {
	return call(ctx, a.api.Records.GetRecord, &affiliatev1.GetRecordRequest{ScopeId: scope, Name: name})
}

func (a *Affiliate) search(ctx context.Context, query string) ([]*affiliatev1.SearchResult, error) {
	res, err := call(ctx, a.api.Records.Search, &affiliatev1.SearchRequest{Query: query})
	return res.GetResults(), err
}

// object reads a whole object, of at most limit bytes.
func (a *Affiliate) object(ctx context.Context, contentHash string, limit int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	content := &limitedBuffer{limit: limit}
	_, err := a.api.GetObject(ctx, contentHash, content, nil)
	return content.Bytes(), err
}

// limitedBuffer refuses what goes over its limit.
type limitedBuffer struct {
	bytes.Buffer
	limit int
}

// Write takes all of p or nothing.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, fmt.Errorf("the object is larger than %d bytes", b.limit)
	}
	return b.Buffer.Write(p)
}

// watch passes every event after a sequence number to fn until the stream
// ends.
func (a *Affiliate) watch(ctx context.Context, after uint64, fn func(*affiliatev1.Event)) error {
	req := &affiliatev1.WatchRequest{After: after, Follow: true}
	return a.api.Watch(ctx, req, func(e *affiliatev1.Event) error {
		fn(e)
		return nil
	})
}

func call[Req, Res any](ctx context.Context,
	method func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), req *Req,
) (*Res, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := method(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// codeOf is the stable code of an error that an affiliate answered with.
func codeOf(err error) agreement.Code {
	var e *agreement.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
