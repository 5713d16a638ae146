package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/store"
)

// agreementAPI implements AgreementService.
type agreementAPI struct{ n *Node }

// Propose starts an agreement.
func (a agreementAPI) Propose(ctx context.Context, req *connect.Request[affiliatev1.ProposeRequest]) (*connect.Response[affiliatev1.Agreement], error) {
	s, err := a.n.propose(ctx, req.Msg)
	return a.answer(s, err)
}

// GetAgreement returns one agreement.
func (a agreementAPI) GetAgreement(_ context.Context, req *connect.Request[affiliatev1.GetAgreementRequest]) (*connect.Response[affiliatev1.Agreement], error) {
	s, err := a.n.knownAgreement(req.Msg.AgreementId)
	if err != nil {
		return nil, err
	}
	out := a.n.view(s)
	if out.Values, err = a.n.values(s); err != nil {
		return nil, err
	}
	return connect.NewResponse(out), nil
}

// ListAgreements pages through agreements, ordered by id.
func (a agreementAPI) ListAgreements(_ context.Context, req *connect.Request[affiliatev1.ListAgreementsRequest]) (*connect.Response[affiliatev1.ListAgreementsResponse], error) {
	var after agreement.ID
	if req.Msg.After != "" {
		var err error
		if after, err = agreement.ParseUUID(req.Msg.After); err != nil {
			return nil, agreement.Errorf(agreement.CodeBadRequest, "after: %w", err)
		}
	}
	if phase := req.Msg.Phase; phase != "" && !slices.Contains(agreement.PhaseNames(), phase) {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "there is no phase %q", phase).
			WithHint("the phases are %s", strings.Join(agreement.PhaseNames(), ", "))
	}
	ids, err := a.n.store.Agreements(after, req.Msg.Phase, limitOf(req.Msg.Limit, 100, 1000))
	if err != nil {
		return nil, err
	}
	out := &affiliatev1.ListAgreementsResponse{}
	for _, id := range ids {
		s, err := a.n.state(id)
		if err != nil {
			return nil, err
		}
		out.Agreements = append(out.Agreements, a.n.view(s))
	}
	return connect.NewResponse(out), nil
}

func limitOf(asked int32, usual, most int) int {
	if asked <= 0 {
		return usual
	}
	return min(int(asked), most)
}

// Approve is a person's yes to an agreement that waits for it.
func (a agreementAPI) Approve(ctx context.Context, req *connect.Request[affiliatev1.ApproveRequest]) (*connect.Response[affiliatev1.Agreement], error) {
	return a.applied(ctx, req.Msg.AgreementId, agreement.Approved{})
}

// Reject is a person's no.
func (a agreementAPI) Reject(ctx context.Context, req *connect.Request[affiliatev1.RejectRequest]) (*connect.Response[affiliatev1.Agreement], error) {
	reason := req.Msg.Reason
	if reason == "" {
		reason = "rejected without a reason"
	}
	return a.applied(ctx, req.Msg.AgreementId, agreement.Declined{Code: agreement.CodeRejected, Reason: short(reason)})
}

// Cancel takes an own proposal back while that is possible.
func (a agreementAPI) Cancel(ctx context.Context, req *connect.Request[affiliatev1.CancelRequest]) (*connect.Response[affiliatev1.Agreement], error) {
	reason := req.Msg.Reason
	if reason == "" {
		reason = "cancelled by its proposer"
	}
	return a.applied(ctx, req.Msg.AgreementId, agreement.CancelRequested{Reason: short(reason)})
}

func (a agreementAPI) applied(ctx context.Context, id string, e agreement.Event) (*connect.Response[affiliatev1.Agreement], error) {
	s, err := a.n.knownAgreement(id)
	if err != nil {
		return nil, err
	}
	if s.Proposing() {
		if _, ok := e.(agreement.CancelRequested); !ok {
			return nil, agreement.Errorf(agreement.CodeWrongPhase, "this affiliate proposed the agreement: there is nothing to decide").
				WithHint("take it back with `affiliate agreement cancel`")
		}
	}
	s, err = a.n.apply(ctx, s.ID, e, cause{})
	return a.answer(s, err)
}

// Why explains an agreement.
func (a agreementAPI) Why(_ context.Context, req *connect.Request[affiliatev1.WhyRequest]) (*connect.Response[affiliatev1.WhyResponse], error) {
	s, err := a.n.knownAgreement(req.Msg.AgreementId)
	if err != nil {
		return nil, err
	}
	x := agreement.Explain(s)
	out := &affiliatev1.WhyResponse{
		Agreement: a.n.view(s), Summary: x.Summary, WaitingFor: x.WaitingFor, Actions: x.Actions,
	}
	out.WaitingFor = append(out.WaitingFor, a.n.unvetted(s)...)
	out.WaitingFor = append(out.WaitingFor, a.n.troubles(s.ID)...)
	events, err := a.n.store.EventsAfter(0, &s.ID, 1000)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		out.History = append(out.History, viewEvent(e))
	}
	return connect.NewResponse(out), nil
}

// unvetted says which of those who are waited for haven't vetted the contract,
// as far as they tell.
func (n *Node) unvetted(s agreement.State) []string {
	if s.Phase != agreement.Collecting {
		return nil
	}
	var silent, out []string
	for _, p := range s.Participants {
		if !p.Attested && !slices.Contains(silent, p.Address) {
			silent = append(silent, p.Address)
		}
	}
	for _, a := range n.notVettedBy(s.Contract, silent) {
		out = append(out, fmt.Sprintf("%s hasn't vetted contract %s", n.namesOf([]string{a}), s.Contract))
	}
	return out
}

// troubles says what this node keeps trying for an agreement, and what the
// last attempt brought.
func (n *Node) troubles(id agreement.ID) []string {
	var out []string
	for _, e := range n.queue.of(id) {
		if e.LastError == "" {
			continue
		}
		next := "the next is under way"
		if time.Until(e.NotBefore) > 0 {
			next = "next at " + e.NotBefore.UTC().Format(time.RFC3339)
		}
		what := strings.TrimSpace(agreement.EffectKind(e.Kind).String() + " " + e.To)
		out = append(out, fmt.Sprintf("%s: attempt %d: %s; %s", what, e.Attempts, strings.Join(strings.Fields(e.LastError), " "), next))
	}
	return out
}

// watchPage bounds how many events are read at once.
const watchPage = 256

// Watch streams the durable event log.
func (a agreementAPI) Watch(ctx context.Context, req *connect.Request[affiliatev1.WatchRequest], out *connect.ServerStream[affiliatev1.Event]) error {
	var only *agreement.ID
	if req.Msg.AgreementId != "" {
		s, err := a.n.knownAgreement(req.Msg.AgreementId)
		if err != nil {
			return err
		}
		only = &s.ID
	}
	after := req.Msg.After
	if after == 0 && req.Msg.Subscription != "" {
		var err error
		if after, err = a.n.store.Cursor(subscriptionCursor(req.Msg.Subscription)); err != nil {
			return err
		}
	}
	for {
		seen := a.n.store.LastEvent()
		events, err := a.n.store.EventsAfter(after, only, watchPage)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := out.Send(viewEvent(e)); err != nil {
				return err
			}
			after = e.Sequence
		}
		if len(events) > 0 {
			continue
		}
		if !req.Msg.Follow {
			return nil
		}
		after = max(after, seen)
		if err := a.n.store.WaitEvents(ctx, after); err != nil {
			return err
		}
	}
}

// maxSubscription bounds the name of a subscription, in bytes.
const maxSubscription = 64

func subscriptionCursor(name string) string { return "subscription/" + name }

// AcknowledgeEvents moves a durable subscription forward; never back.
func (a agreementAPI) AcknowledgeEvents(ctx context.Context, req *connect.Request[affiliatev1.AcknowledgeEventsRequest]) (*connect.Response[affiliatev1.AcknowledgeEventsResponse], error) {
	name := req.Msg.Subscription
	if name == "" || len(name) > maxSubscription {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "a subscription's name has 1 to %d bytes", maxSubscription)
	}
	if last := a.n.store.LastEvent(); req.Msg.Sequence > last {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "there is no event %d yet, the last is %d", req.Msg.Sequence, last)
	}
	at, err := a.n.store.Cursor(subscriptionCursor(name))
	if err == nil && req.Msg.Sequence > at {
		err = a.n.store.SetCursor(ctx, subscriptionCursor(name), req.Msg.Sequence)
	}
	return connect.NewResponse(&affiliatev1.AcknowledgeEventsResponse{}), err
}

func (a agreementAPI) answer(s agreement.State, err error) (*connect.Response[affiliatev1.Agreement], error) {
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(a.n.view(s)), nil
}

func (n *Node) knownAgreement(text string) (agreement.State, error) {
	id, err := agreement.ParseUUID(text)
	if err != nil {
		return agreement.State{}, agreement.Errorf(agreement.CodeBadRequest, "agreement id: %w", err)
	}
	s, err := n.state(id)
	if err == nil && s.Phase == agreement.None {
		err = agreement.Errorf(agreement.CodeNotFound, "no agreement %s", id).
			WithHint("list them with `affiliate agreement list`")
	}
	return s, err
}

// view is an agreement as the API shows it.
func (n *Node) view(s agreement.State) *affiliatev1.Agreement {
	out := &affiliatev1.Agreement{
		AgreementId: s.ID.String(), ScopeId: chainclient.ScopeAddress(s.Scope),
		SessionId: chainclient.SessionAddress(s.Scope, s.ID), ContractHash: s.Contract.String(),
		ContractName: s.ContractName, Proposer: s.Proposer, Phase: s.Phase.String(),
		Code: string(s.Code), Message: s.Message, Records: fromResults(s.Records),
		Created: stamp(s.Created), Updated: stamp(s.Updated), Deadline: stamp(s.Deadline),
		Height: s.Height, TxHash: s.TxHash, Final: s.Phase.Final(),
	}
	onChain := s.Height > 0 // then all have signed, whatever this node heard
	for _, p := range s.Participants {
		out.Participants = append(out.Participants, &affiliatev1.Participant{
			Address: p.Address, Name: n.nameOf(p.Address), Role: string(p.Role), Delivered: p.Delivered || p.Address == s.Self,
			Attested: p.Attested || onChain, Cosigned: p.Cosigned > 0 || onChain, Acknowledged: p.Acknowledged, Refused: string(p.Refused),
		})
	}
	return out
}

func (n *Node) nameOf(address string) string {
	if address == n.ring.Address() {
		return n.cfg.Name
	}
	rec, _ := n.host.Affiliate(address)
	return rec.GetName()
}

func stamp(ms int64) *timestamppb.Timestamp {
	if ms == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMilli(ms))
}

func viewEvent(e store.Event) *affiliatev1.Event {
	return &affiliatev1.Event{
		Sequence: e.Sequence, Time: timestamppb.New(e.Time), AgreementId: e.Agreement.String(),
		Step: int32(e.Step), Kind: e.Kind, Peer: e.Peer, Code: e.Code, Text: e.Text, Phase: e.Phase, //nolint:gosec // 0 to 10
	}
}

// of lists the pending effects of one agreement, oldest first.
func (q *queue) of(id agreement.ID) []store.Effect {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []store.Effect
	for t := range q.all {
		if t.effect != nil && t.effect.Agreement == id {
			out = append(out, *t.effect)
		}
	}
	slices.SortFunc(out, func(a, b store.Effect) int { return a.Created.Compare(b.Created) })
	return out
}
