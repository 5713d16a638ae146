package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

func fakeAgreement(id string) *affiliatev1.Agreement {
	g := &affiliatev1.Agreement{
		AgreementId: id, ScopeId: "scope1abc", SessionId: "session1abc", ContractHash: strings.Repeat("ab", 32), ContractName: "loan",
		Proposer: lender, Phase: "complete", Created: at(10), Updated: at(11), Deadline: at(59), Height: 43, TxHash: "CD34", Final: true,
		Participants: []*affiliatev1.Participant{
			{Address: lender, Name: "Lender", Role: "ORIGINATOR", Delivered: true, Attested: true, Cosigned: true, Acknowledged: true},
			{Address: investor, Name: "Investor", Role: "INVESTOR", Delivered: true, Attested: true, Cosigned: true},
		},
		Records: []*affiliatev1.RecordResult{
			{Function: "originate", Record: "loan", Outcome: affiliatev1.Outcome_OUTCOME_PASS, OutputHash: "aGFzaA==", Fuel: 1234567},
			{Function: "audit", Record: "audit", Outcome: affiliatev1.Outcome_OUTCOME_SKIP},
		},
	}
	g.Values = []*affiliatev1.Value{
		{Kind: "input", Name: "terms", ContentHash: strings.Repeat("cd", 32), MediaType: "application/json", Size: 46},
		{Kind: "record", Name: "loan", ContentHash: strings.Repeat("ef", 32), MediaType: "application/pdf", Size: 300 << 10},
	}
	if id == fails {
		g.Phase, g.Code, g.Message, g.Height, g.TxHash, g.Records = "failed", "REJECTED", "Investor: too much", 0, "", nil
		g.Participants[1] = &affiliatev1.Participant{Address: investor, Name: "Investor", Role: "INVESTOR", Delivered: true, Refused: "REJECTED"}
	}
	return g
}

func fakeEvents(id string) []*affiliatev1.Event {
	events := []*affiliatev1.Event{
		{Sequence: 1, Time: at(10), AgreementId: id, Step: 1, Kind: "proposed", Text: "the application proposed the agreement", Phase: "collecting"},
		{Sequence: 2, Time: at(11), AgreementId: id, Step: 2, Kind: "delivered", Peer: investor, Phase: "collecting"},
	}
	if id == fails {
		return append(events, &affiliatev1.Event{Sequence: 3, Time: at(12), AgreementId: id, Kind: "failed", Code: "REJECTED", Text: "too much\x1b[2J", Peer: investor, Phase: "failed"})
	}
	return append(events, &affiliatev1.Event{Sequence: 3, Time: at(12), AgreementId: id, Step: 10, Kind: "complete", Phase: "complete"})
}

// Propose shows what it was sent in the agreement's fields.
func (f *fakeNode) Propose(_ context.Context, r *connect.Request[affiliatev1.ProposeRequest]) (*connect.Response[affiliatev1.Agreement], error) {
	m := r.Msg
	if m.GetContract() == "unknown" {
		return nil, refuse(agreement.Errorf(agreement.CodeUnknownContract, "there is no contract %q here", m.GetContract()).WithHint("see: affiliate contract list"))
	}
	if m.GetContract() == "lost" {
		return nil, refuse(agreement.Errorf(agreement.CodeChainUnreachable, "the chain can't be reached"))
	}
	g := fakeAgreement(m.GetAgreementId())
	var sent []string
	for _, p := range m.GetParties() {
		sent = append(sent, p.GetRole()+"="+p.GetAddress())
	}
	for _, in := range m.GetInputs() {
		value := fmt.Sprintf("%q", in.GetContent())
		if in.GetContentHash() != "" {
			value = fmt.Sprintf("stored:%d bytes", len(f.objects[in.GetContentHash()]))
		}
		sent = append(sent, fmt.Sprintf("%s:%s=%s", in.GetName(), in.GetMediaType(), value))
	}
	sent = append(sent, "scope="+m.GetScopeId(), "lifetime="+m.GetLifetime().AsDuration().String(), "data_access="+strings.Join(m.GetDataAccess(), ","), "value_owner="+m.GetValueOwner())
	if m.GetUnvetted() {
		sent = append(sent, "unvetted")
	}
	g.ContractName = strings.Join(sent, " ")
	return connect.NewResponse(g), nil
}

func known(id string) error {
	if id == completes || id == fails {
		return nil
	}
	return refuse(agreement.Errorf(agreement.CodeNotFound, "there is no agreement %s", id).WithHint("see: affiliate agreement list"))
}

func (f *fakeNode) GetAgreement(_ context.Context, r *connect.Request[affiliatev1.GetAgreementRequest]) (*connect.Response[affiliatev1.Agreement], error) {
	return connect.NewResponse(fakeAgreement(r.Msg.GetAgreementId())), known(r.Msg.GetAgreementId())
}

func (f *fakeNode) ListAgreements(_ context.Context, r *connect.Request[affiliatev1.ListAgreementsRequest]) (*connect.Response[affiliatev1.ListAgreementsResponse], error) {
	res := &affiliatev1.ListAgreementsResponse{}
	for _, id := range []string{completes, fails} {
		if g := fakeAgreement(id); r.Msg.GetPhase() == "" || r.Msg.GetPhase() == g.GetPhase() {
			res.Agreements = append(res.Agreements, g)
		}
	}
	return connect.NewResponse(res), nil
}

func (f *fakeNode) Approve(_ context.Context, r *connect.Request[affiliatev1.ApproveRequest]) (*connect.Response[affiliatev1.Agreement], error) {
	return nil, refuse(agreement.Errorf(agreement.CodeWrongPhase, "agreement %s is complete; there is nothing to approve", r.Msg.GetAgreementId()))
}

func (f *fakeNode) Reject(_ context.Context, r *connect.Request[affiliatev1.RejectRequest]) (*connect.Response[affiliatev1.Agreement], error) {
	g := fakeAgreement(fails)
	g.Message = "Lender: " + r.Msg.GetReason()
	return connect.NewResponse(g), nil
}

func (f *fakeNode) Why(_ context.Context, r *connect.Request[affiliatev1.WhyRequest]) (*connect.Response[affiliatev1.WhyResponse], error) {
	return connect.NewResponse(&affiliatev1.WhyResponse{
		Agreement: fakeAgreement(r.Msg.GetAgreementId()), Summary: "Investor rejected it: too much.",
		WaitingFor: []string{"nobody"}, Actions: []string{"talk to Investor, then propose again"}, History: fakeEvents(r.Msg.GetAgreementId()),
	}), nil
}

func (f *fakeNode) Watch(_ context.Context, r *connect.Request[affiliatev1.WatchRequest], s *connect.ServerStream[affiliatev1.Event]) error {
	id := r.Msg.GetAgreementId()
	if id == "" {
		id = completes
	}
	for _, e := range fakeEvents(id) {
		if e.GetSequence() > r.Msg.GetAfter() {
			if err := s.Send(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func fakeRecord() *affiliatev1.Record {
	content := []byte(`{"amount":"250000.00","borrower":"anna smith"}`)
	sum := sha256.Sum256(content)
	return &affiliatev1.Record{
		ScopeId: "scope1abc", Name: "loan", SessionId: "session1abc", AgreementId: completes, ContractHash: strings.Repeat("ab", 32),
		Hash: "aGFzaA==", Salt: []byte("salt"), Content: content, MediaType: "application/json", ContentHash: hex.EncodeToString(sum[:]),
		Height: 43, BlockTime: at(20), TxHash: "CD34",
	}
}

func (f *fakeNode) GetRecord(_ context.Context, r *connect.Request[affiliatev1.GetRecordRequest]) (*connect.Response[affiliatev1.Record], error) {
	if r.Msg.GetName() != "loan" {
		return nil, refuse(agreement.Errorf(agreement.CodeNotFound, "scope %s has no record %q that this affiliate holds", r.Msg.GetScopeId(), r.Msg.GetName()))
	}
	return connect.NewResponse(fakeRecord()), nil
}

func (f *fakeNode) GetRecordHistory(context.Context, *connect.Request[affiliatev1.GetRecordHistoryRequest]) (*connect.Response[affiliatev1.GetRecordHistoryResponse], error) {
	second, first := fakeRecord(), fakeRecord()
	second.Height, second.Hash, second.BlockTime = 50, "bmV3", at(30)
	return connect.NewResponse(&affiliatev1.GetRecordHistoryResponse{Records: []*affiliatev1.Record{second, first}}), nil
}

func (f *fakeNode) Search(_ context.Context, r *connect.Request[affiliatev1.SearchRequest]) (*connect.Response[affiliatev1.SearchResponse], error) {
	if strings.HasPrefix(r.Msg.GetQuery(), `"`) {
		return nil, refuse(agreement.Errorf(agreement.CodeBadRequest, "the query has a quote that doesn't end"))
	}
	return connect.NewResponse(&affiliatev1.SearchResponse{Results: []*affiliatev1.SearchResult{
		{ScopeId: "scope1abc", Record: "loan", AgreementId: completes, Fields: map[string]string{"borrower": "anna smith", "amount": "250000.00"}},
	}}), nil
}

func (f *fakeNode) PutObject(_ context.Context, s *connect.ClientStream[affiliatev1.PutObjectRequest]) (*connect.Response[affiliatev1.PutObjectResponse], error) {
	var b bytes.Buffer
	for s.Receive() {
		b.Write(s.Msg().GetData())
		if b.Len() > maxObject {
			return nil, refuse(agreement.Errorf(agreement.CodeTooLarge, "the object is larger than 3MiB").WithHint("the limit is store.max_object_size"))
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b.Bytes())
	f.objects[hex.EncodeToString(sum[:])] = b.Bytes()
	return connect.NewResponse(&affiliatev1.PutObjectResponse{ContentHash: hex.EncodeToString(sum[:]), Size: int64(b.Len())}), nil
}

// GetObject sends other bytes for the hash that is all "d": a damaged store.
func (f *fakeNode) GetObject(_ context.Context, r *connect.Request[affiliatev1.GetObjectRequest], s *connect.ServerStream[affiliatev1.GetObjectResponse]) error {
	content, ok := f.objects[r.Msg.GetContentHash()]
	if r.Msg.GetContentHash() == strings.Repeat("d", 64) {
		content, ok = []byte("damaged"), true
	}
	if !ok {
		return refuse(agreement.Errorf(agreement.CodeNotFound, "there is no object %s here", r.Msg.GetContentHash()))
	}
	if err := s.Send(&affiliatev1.GetObjectResponse{Size: int64(len(content)), MediaType: "text/plain"}); err != nil {
		return err
	}
	for len(content) > 0 {
		n := min(len(content), 64<<10)
		if err := s.Send(&affiliatev1.GetObjectResponse{Data: content[:n]}); err != nil {
			return err
		}
		content = content[n:]
	}
	return nil
}
