package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/api/affiliate/v1/affiliatev1connect"
)

// Ids and addresses that the scripts know.
const (
	lender    = "tp1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnenln70"
	investor  = "tp1v3jkvemgd94xkmrddehhqutjwd682anhjudyhx"
	completes = "11111111-1111-4111-8111-111111111111" // an agreement that goes well
	fails     = "22222222-2222-4222-8222-222222222222" // one that a party rejects
	maxObject = 3 << 20                                // bytes that the fake accepts
)

// away is a contract that another affiliate has.
var away = strings.Repeat("0123456789abcdef", 4)

// fakeNode answers like a node, from a script's point of view; it shows what
// the commands send, and how they show what comes back.
type fakeNode struct {
	affiliatev1connect.UnimplementedNodeServiceHandler
	affiliatev1connect.UnimplementedContractServiceHandler
	affiliatev1connect.UnimplementedAgreementServiceHandler
	affiliatev1connect.UnimplementedRecordServiceHandler
	affiliatev1connect.UnimplementedObjectServiceHandler
	affiliatev1connect.UnimplementedStoreServiceHandler
	affiliatev1connect.UnimplementedKeyServiceHandler
	objects map[string][]byte
}

// serveFake serves a fake node at a socket until stop is called.
func serveFake(socket string) (stop func() error, err error) {
	f := &fakeNode{objects: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.Handle(affiliatev1connect.NewNodeServiceHandler(f))
	mux.Handle(affiliatev1connect.NewContractServiceHandler(f))
	mux.Handle(affiliatev1connect.NewAgreementServiceHandler(f))
	mux.Handle(affiliatev1connect.NewRecordServiceHandler(f))
	mux.Handle(affiliatev1connect.NewObjectServiceHandler(f))
	mux.Handle(affiliatev1connect.NewStoreServiceHandler(f))
	mux.Handle(affiliatev1connect.NewKeyServiceHandler(f))
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go s.Serve(l) //nolint:errcheck // ends with Close
	return s.Close, nil
}

// refuse is how a node sends an *agreement.Error.
func refuse(e *agreement.Error) error {
	ce := connect.NewError(connect.CodeFailedPrecondition, e)
	d, err := connect.NewErrorDetail(&affiliatev1.ErrorDetail{
		Code: string(e.Code), Category: string(agreement.CategoryOf(e.Code)), Hint: e.Hint, CorrelationId: "c0ffee",
	})
	if err == nil {
		ce.AddDetail(d)
	}
	return ce
}

func at(second int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC))
}

func (f *fakeNode) GetStatus(context.Context, *connect.Request[affiliatev1.GetStatusRequest]) (*connect.Response[affiliatev1.GetStatusResponse], error) {
	return connect.NewResponse(&affiliatev1.GetStatusResponse{
		Name: "Lender", Address: lender, Version: "0.1.0", Started: at(5),
		Chain: &affiliatev1.ChainStatus{
			ChainId: "chain-1", Height: 42, BlockTime: at(6), Endpoint: "http://127.0.0.1:26657",
			Error: "dial tcp 127.0.0.1:26657: connection refused", AccountNumber: 7,
		},
		Network:    &affiliatev1.NetworkStatus{PeerId: "12D3KooWA", Listen: []string{"/ip4/127.0.0.1/tcp/4100"}, Peers: 1, Known: 2, KeptMail: 3},
		Agreements: map[string]int64{"complete": 12, "executing": 1, "failed": 0}, PendingEffects: 2, OldestPending: at(7),
		ContractEngine: "wazero v1", Problems: []string{"the chain can't be reached since 03:04"},
	}), nil
}

func (f *fakeNode) ListPeers(context.Context, *connect.Request[affiliatev1.ListPeersRequest]) (*connect.Response[affiliatev1.ListPeersResponse], error) {
	return connect.NewResponse(&affiliatev1.ListPeersResponse{Peers: []*affiliatev1.Peer{
		{Address: investor, Name: "Investor\x1b[31m", PeerId: "12D3KooWB", Connected: true, RecordExpires: at(8), Latency: durationpb.New(1234567)},
		{Address: lender, PeerId: "12D3KooWC"},
	}}), nil
}

func (f *fakeNode) GetKeys(context.Context, *connect.Request[affiliatev1.GetKeysRequest]) (*connect.Response[affiliatev1.GetKeysResponse], error) {
	return connect.NewResponse(&affiliatev1.GetKeysResponse{Address: lender, AccountKey: []byte{2, 3}, Recipient: "age1pqexample", PeerId: "12D3KooWA"}), nil
}

func contractOf(module []byte) *affiliatev1.Contract {
	sum := sha256.Sum256(module)
	return &affiliatev1.Contract{
		Hash: hex.EncodeToString(sum[:]), Name: "loan", Version: "1.0.0", SpecificationId: "contractspec1abc",
		Manifest: []byte(`{"abi":1,"name":"loan"}`), Vetted: true, VettedSince: at(9), ModuleHash: sum[:4], ModuleSize: int64(len(module)),
	}
}

func (f *fakeNode) PublishContract(_ context.Context, r *connect.Request[affiliatev1.PublishContractRequest]) (*connect.Response[affiliatev1.PublishContractResponse], error) {
	if !strings.HasPrefix(string(r.Msg.GetModule()), "\x00asm") {
		return nil, refuse(agreement.Errorf(agreement.CodeBadModule, "the module is damaged: it doesn't start like WebAssembly").WithHint("build it again"))
	}
	return connect.NewResponse(&affiliatev1.PublishContractResponse{Contract: contractOf(r.Msg.GetModule()), TxHash: "AB12"}), nil
}

func (f *fakeNode) ListContracts(context.Context, *connect.Request[affiliatev1.ListContractsRequest]) (*connect.Response[affiliatev1.ListContractsResponse], error) {
	second := contractOf([]byte("\x00asm2"))
	second.Name, second.Version, second.Vetted, second.VettedSince = "payment", "0.2", false, nil
	third := proto.CloneOf(second)
	third.Version, third.Vetted, third.Pinned = "0.3", true, true
	return connect.NewResponse(&affiliatev1.ListContractsResponse{Contracts: []*affiliatev1.Contract{contractOf([]byte("\x00asm")), second, third}}), nil
}

func (f *fakeNode) GetContract(_ context.Context, r *connect.Request[affiliatev1.GetContractRequest]) (*connect.Response[affiliatev1.Contract], error) {
	if r.Msg.GetContract() == away && r.Msg.GetFetch() {
		return connect.NewResponse(proposedContract()), nil
	}
	if r.Msg.GetContract() != "loan" {
		return nil, refuse(agreement.Errorf(agreement.CodeUnknownContract, "there is no contract %q here", r.Msg.GetContract()).WithHint("see: affiliate contract list"))
	}
	return connect.NewResponse(contractOf([]byte("\x00asm"))), nil
}

// proposedContract isn't vetted yet.
func proposedContract() *affiliatev1.Contract {
	k := contractOf([]byte("\x00asm"))
	k.Hash, k.Vetted, k.VettedSince = away, false, nil
	k.Manifest = []byte(`{"abi":1,"name":"loan","roles":[{"role":"OWNER"},{"role":"INVESTOR"}],
		"functions":[{"name":"originate","role":"OWNER","record":{"name":"terms","type":"example.Terms"}},
		{"name":"audit\u001b[2J","role":"INVESTOR","record":{"name":"audit","type":"example.Audit"}}]}`)
	return k
}

func (f *fakeNode) VetContract(_ context.Context, r *connect.Request[affiliatev1.VetContractRequest]) (*connect.Response[affiliatev1.Contract], error) {
	k := proposedContract()
	k.Hash, k.Vetted, k.VettedSince, k.VettingNote = r.Msg.GetContract(), true, at(9), r.Msg.GetNote()
	return connect.NewResponse(k), nil
}

func (f *fakeNode) UnvetContract(_ context.Context, r *connect.Request[affiliatev1.UnvetContractRequest]) (*connect.Response[affiliatev1.Contract], error) {
	k := proposedContract()
	k.Pinned = r.Msg.GetContract() == "pinned"
	k.Vetted = k.Pinned
	return connect.NewResponse(k), nil
}
