package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/api/affiliate/v1/affiliatev1connect"
)

// fakeNode is a node with one agreement, whose events a test adds, and a
// store of objects in memory.
type fakeNode struct {
	affiliatev1connect.UnimplementedNodeServiceHandler
	affiliatev1connect.UnimplementedAgreementServiceHandler
	affiliatev1connect.UnimplementedObjectServiceHandler
	affiliatev1connect.UnimplementedStoreServiceHandler
	getStatus func() (*affiliatev1.GetStatusResponse, error)

	mu      sync.Mutex // guards all below
	events  []*affiliatev1.Event
	changed chan struct{} // closed and replaced when events grow
	phase   string
	final   bool
	objects map[string][]byte
	spoil   bool // GetObject sends damaged content
}

func newFake() *fakeNode {
	return &fakeNode{changed: make(chan struct{}), phase: "collecting", objects: map[string][]byte{}}
}

// serve serves the fake at a socket until the returned function is called.
func (f *fakeNode) serve(t *testing.T, socket string) (stop func()) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(affiliatev1connect.NewNodeServiceHandler(f))
	mux.Handle(affiliatev1connect.NewAgreementServiceHandler(f))
	mux.Handle(affiliatev1connect.NewObjectServiceHandler(f))
	mux.Handle(affiliatev1connect.NewStoreServiceHandler(f))
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go s.Serve(l)
	return func() { s.Close() }
}

func dialFake(t *testing.T, f *fakeNode) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	t.Cleanup(f.serve(t, socket))
	c, err := Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// add appends an event, which moves the agreement to its phase.
func (f *fakeNode) add(phase string, final bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, &affiliatev1.Event{Sequence: uint64(len(f.events) + 1), Phase: phase})
	f.phase, f.final = phase, final
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeNode) after(seq uint64) ([]*affiliatev1.Event, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events[min(int(seq), len(f.events)):], f.changed
}

func (f *fakeNode) GetStatus(context.Context, *connect.Request[affiliatev1.GetStatusRequest]) (*connect.Response[affiliatev1.GetStatusResponse], error) {
	res, err := f.getStatus()
	return connect.NewResponse(res), err
}

func (f *fakeNode) GetAgreement(_ context.Context, r *connect.Request[affiliatev1.GetAgreementRequest]) (*connect.Response[affiliatev1.Agreement], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Msg.GetAgreementId() != "a" {
		return nil, connect.NewError(connect.CodeNotFound, agreement.Errorf(agreement.CodeNotFound, "no such agreement"))
	}
	return connect.NewResponse(&affiliatev1.Agreement{AgreementId: "a", Phase: f.phase, Final: f.final}), nil
}

func (f *fakeNode) Watch(ctx context.Context, r *connect.Request[affiliatev1.WatchRequest], s *connect.ServerStream[affiliatev1.Event]) error {
	for seq := r.Msg.GetAfter(); ; {
		events, changed := f.after(seq)
		for _, e := range events {
			seq = e.GetSequence()
			if err := s.Send(e); err != nil {
				return err
			}
		}
		if !r.Msg.GetFollow() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// maxFake is the largest object that the fake takes, in bytes.
const maxFake = 4 * ChunkSize

func (f *fakeNode) PutObject(_ context.Context, s *connect.ClientStream[affiliatev1.PutObjectRequest]) (*connect.Response[affiliatev1.PutObjectResponse], error) {
	var b bytes.Buffer
	for s.Receive() {
		b.Write(s.Msg().GetData())
		if b.Len() > maxFake {
			return nil, detailed(connect.CodeInvalidArgument, agreement.Errorf(agreement.CodeTooLarge, "too large").WithHint("smaller"))
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := sha256.Sum256(b.Bytes())
	id := hex.EncodeToString(sum[:])
	f.objects[id] = b.Bytes()
	return connect.NewResponse(&affiliatev1.PutObjectResponse{ContentHash: id, Size: int64(b.Len())}), nil
}

func (f *fakeNode) GetObject(_ context.Context, r *connect.Request[affiliatev1.GetObjectRequest], s *connect.ServerStream[affiliatev1.GetObjectResponse]) error {
	f.mu.Lock()
	content, ok := f.objects[r.Msg.GetContentHash()]
	spoil := f.spoil
	f.mu.Unlock()
	if !ok {
		return detailed(connect.CodeNotFound, agreement.Errorf(agreement.CodeNotFound, "no such object"))
	}
	if err := s.Send(&affiliatev1.GetObjectResponse{Size: int64(len(content)), MediaType: "text/plain"}); err != nil {
		return err
	}
	if spoil {
		content = append([]byte("x"), content...)[:len(content)]
	}
	for len(content) > 0 {
		n := min(len(content), ChunkSize)
		if err := s.Send(&affiliatev1.GetObjectResponse{Data: content[:n]}); err != nil {
			return err
		}
		content = content[n:]
	}
	return nil
}

// detailed is an error as a node sends it.
func detailed(code connect.Code, e *agreement.Error) error {
	ce := connect.NewError(code, e)
	d, err := connect.NewErrorDetail(&affiliatev1.ErrorDetail{
		Code: string(e.Code), Category: string(agreement.CategoryOf(e.Code)), Hint: e.Hint, CorrelationId: "id-7",
	})
	if err == nil {
		ce.AddDetail(d)
	}
	return ce
}
