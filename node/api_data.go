package node

import (
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/store"
)

// recordAPI implements RecordService.
type recordAPI struct{ n *Node }

// GetRecord returns the current record of a name, with its content.
func (a recordAPI) GetRecord(ctx context.Context, req *connect.Request[affiliatev1.GetRecordRequest]) (*connect.Response[affiliatev1.Record], error) {
	scope, err := chainclient.ParseScope(req.Msg.ScopeId)
	if err != nil {
		return nil, err
	}
	r, err := a.n.store.Record(scope, req.Msg.Name)
	if err != nil {
		return nil, missingRecord(err, scope, req.Msg.Name)
	}
	out := viewRecord(r)
	if out.Content, _, err = a.n.content(ctx, r.Content); err != nil {
		return nil, err
	}
	return connect.NewResponse(out), nil
}

// GetRecordHistory lists all that a record has been, newest first.
func (a recordAPI) GetRecordHistory(_ context.Context, req *connect.Request[affiliatev1.GetRecordHistoryRequest]) (*connect.Response[affiliatev1.GetRecordHistoryResponse], error) {
	scope, err := chainclient.ParseScope(req.Msg.ScopeId)
	if err != nil {
		return nil, err
	}
	history, err := a.n.store.RecordHistory(scope, req.Msg.Name)
	if err != nil {
		return nil, missingRecord(err, scope, req.Msg.Name)
	}
	out := &affiliatev1.GetRecordHistoryResponse{}
	for _, r := range history {
		out.Records = append(out.Records, viewRecord(r))
	}
	return connect.NewResponse(out), nil
}

func missingRecord(err error, scope agreement.UUID, name string) error {
	if !errors.Is(err, agreement.ErrNotFound) {
		return err
	}
	return agreement.Errorf(agreement.CodeNotFound, "no record %q of scope %s is held here", name, chainclient.ScopeAddress(scope)).
		WithHint("only parties of an agreement hold its records; `affiliate search` finds what is held")
}

// Search asks the index.
func (a recordAPI) Search(ctx context.Context, req *connect.Request[affiliatev1.SearchRequest]) (*connect.Response[affiliatev1.SearchResponse], error) {
	found, err := a.n.index.Search(ctx, req.Msg.Query, limitOf(req.Msg.Limit, 20, 1000))
	if err != nil {
		return nil, err
	}
	out := &affiliatev1.SearchResponse{}
	for _, e := range found {
		out.Results = append(out.Results, &affiliatev1.SearchResult{
			ScopeId: chainclient.ScopeAddress(e.Scope), Record: e.Record, AgreementId: e.Agreement.String(), Fields: e.Fields,
		})
	}
	return connect.NewResponse(out), nil
}

func viewRecord(r store.Record) *affiliatev1.Record {
	return &affiliatev1.Record{
		ScopeId: chainclient.ScopeAddress(r.Scope), Name: r.Name, SessionId: chainclient.SessionAddress(r.Scope, r.Agreement),
		AgreementId: r.Agreement.String(), ContractHash: r.Contract.String(), Hash: r.Hash, Salt: r.Salt,
		MediaType: r.MediaType, ContentHash: r.Content.String(), Height: r.Height,
		BlockTime: timestamppb.New(r.BlockTime), TxHash: r.TxHash,
	}
}

// objectAPI implements ObjectService.
type objectAPI struct{ n *Node }

// PutObject seals content for this affiliate alone; a proposal that names it
// seals it to the parties.
func (a objectAPI) PutObject(ctx context.Context, in *connect.ClientStream[affiliatev1.PutObjectRequest]) (*connect.Response[affiliatev1.PutObjectResponse], error) {
	if err := a.n.store.Room(ctx); err != nil {
		return nil, err
	}
	content := &putStream{in: in}
	mediaType, err := content.begin()
	if err != nil {
		return nil, err
	}
	ref, err := a.n.sealFrom(ctx, content, mediaType, refPut, []string{a.n.ring.Address()}, nil)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&affiliatev1.PutObjectResponse{
		ContentHash: agreement.Hash(ref.ContentHash).String(), Size: ref.Size,
	}), nil
}

// objectChunk is how much of an object one message of GetObject carries, in bytes.
const objectChunk = 256 << 10

// putStream reads the content of a PutObject.
type putStream struct {
	in   *connect.ClientStream[affiliatev1.PutObjectRequest]
	rest []byte
}

// begin takes the first message, which says what kind of content it is.
func (p *putStream) begin() (mediaType string, err error) {
	if !p.in.Receive() {
		return "", p.in.Err()
	}
	p.rest = p.in.Msg().Data
	return p.in.Msg().MediaType, nil
}

// Read gives the next bytes.
func (p *putStream) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if !p.in.Receive() {
			if err := p.in.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		p.rest = p.in.Msg().Data
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// GetObject opens content that this affiliate holds. A stream that ends with
// an error didn't carry the content whole.
func (a objectAPI) GetObject(ctx context.Context, req *connect.Request[affiliatev1.GetObjectRequest], out *connect.ServerStream[affiliatev1.GetObjectResponse]) error {
	hash, err := agreement.ParseHash(req.Msg.ContentHash)
	if err != nil {
		return agreement.Errorf(agreement.CodeBadRequest, "content hash: %w", err)
	}
	content, o, err := a.n.contentReader(ctx, hash)
	if err != nil {
		return err
	}
	defer content.Close()
	msg := &affiliatev1.GetObjectResponse{Size: o.Size, MediaType: o.MediaType}
	block := make([]byte, objectChunk)
	for first := true; ; first = false {
		n, err := io.ReadFull(content, block)
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return err
		}
		if msg.Data = block[:n]; n > 0 || first {
			if err := out.Send(msg); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
		msg = &affiliatev1.GetObjectResponse{}
	}
}

// nodeAPI implements NodeService.
type nodeAPI struct{ n *Node }

// GetStatus says how the node is, and what is wrong.
func (a nodeAPI) GetStatus(ctx context.Context, _ *connect.Request[affiliatev1.GetStatusRequest]) (*connect.Response[affiliatev1.GetStatusResponse], error) {
	s, err := a.n.status(ctx)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(s), nil
}

// ListPeers lists the members that this node knows.
func (a nodeAPI) ListPeers(context.Context, *connect.Request[affiliatev1.ListPeersRequest]) (*connect.Response[affiliatev1.ListPeersResponse], error) {
	out := &affiliatev1.ListPeersResponse{}
	for _, p := range a.n.host.Peers() {
		out.Peers = append(out.Peers, viewPeer(p))
	}
	return connect.NewResponse(out), nil
}

// GetKeys shows the public halves of this affiliate's keys.
func (a nodeAPI) GetKeys(context.Context, *connect.Request[affiliatev1.GetKeysRequest]) (*connect.Response[affiliatev1.GetKeysResponse], error) {
	peerID, _ := a.n.host.Self()
	return connect.NewResponse(&affiliatev1.GetKeysResponse{
		Address: a.n.ring.Address(), AccountKey: a.n.ring.AccountKey(), Recipient: a.n.ring.Recipient(), PeerId: peerID,
	}), nil
}

func unixOrNil(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
