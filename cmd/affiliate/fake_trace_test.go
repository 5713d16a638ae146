package main

import (
	"context"
	"strings"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// fakeTrace is what the fake node traces; of the agreement that fails, by
// another engine and with another result.
func fakeTrace(id string) *affiliatev1.Trace {
	const pass, fail = affiliatev1.Outcome_OUTCOME_PASS, affiliatev1.Outcome_OUTCOME_FAIL
	hash := func(digit string) string { return strings.Repeat(digit, 64) }
	t := &affiliatev1.Trace{
		Version: 1, AgreementId: completes, Network: "chain-1", Affiliate: lender, Engine: "wazero v1, rules 1", Platform: "linux/amd64",
		ContractHash: hash("a"), ContractName: "loan", ContractVersion: "1.0.0", ModuleHash: hash("b"), TermsDigest: hash("c"), Time: at(10),
		Values: []*affiliatev1.TracedValue{
			{Kind: "input", Name: "terms", Size: 46, ContentHash: hash("1"), ChainHash: "aW4=", MediaType: "application/json", Content: []byte(`{"amount":"250000.00"}`)},
			{Kind: "existing", Name: "plan", Size: 3, ContentHash: hash("2"), ChainHash: "b2xk", MediaType: "application/pdf", Content: []byte("\x00\x01\x02")},
			{Kind: "context", Name: "invoker", Size: 42, ContentHash: hash("3"), Content: []byte(lender)},
		},
		Functions: []*affiliatev1.TracedFunction{
			{Name: "within_limits", Condition: true, Outcome: pass, Fuel: 700, CallCount: 1, Calls: []*affiliatev1.HostCall{
				{Function: "affiliate.size", Value: "terms", Args: []uint64{0, 66160, 5}, Result: 46, Fuel: 600},
			}},
			{
				Name: "originate", Record: "loan", Outcome: pass, Fuel: 1234567, Log: []string{"250000.00 in 360 months", "done\x1b[2J"}, CallCount: 12_000,
				Calls: []*affiliatev1.HostCall{
					{Function: "affiliate.read", Value: "terms", Args: []uint64{0, 66160, 5, 70000, 0, 46}, Result: 46, Fuel: 1000},
					{Function: "affiliate.output", Args: []uint64{71000, 60}, Fuel: 1234000},
				},
				Output: &affiliatev1.TracedValue{Kind: "record", Name: "loan", Size: 2 << 20, ContentHash: hash("4"), ChainHash: "aGFzaA==", MediaType: "application/json", Content: []byte(`{"months":360}`)},
			},
			{Name: "audit", Record: "audit", Outcome: fail, Code: "NO_AUDITOR", Message: "nobody audits", Fuel: 99},
		},
		ResultsDigest: hash("d"),
		Statements: []*affiliatev1.TracedStatement{
			{Address: lender, Name: "Lender", Kind: "attestation", Same: true},
			{Address: investor, Name: "Investor", Kind: "divergence", Difference: "function originate: fuel: 1234568 stated, 1234567 reached", Engine: "wazero v2, rules 1, linux/arm64"},
			{Address: "tp1x", Kind: "rejection", Reason: "REJECTED: too much"},
			{Address: "tp1y", Name: "Servicer", Kind: "none"},
		},
	}
	if id == fails {
		t.Engine, t.Platform, t.Affiliate, t.Statements = "wazero v2, rules 1", "linux/arm64", investor, nil
		t.Functions[1].Calls[1].Fuel++
		t.Functions[1].Fuel++
	}
	return t
}

func (f *fakeNode) TraceAgreement(_ context.Context, r *connect.Request[affiliatev1.TraceAgreementRequest]) (*connect.Response[affiliatev1.Trace], error) {
	if known(r.Msg.GetAgreementId()) != nil {
		return nil, refuse(agreement.Errorf(agreement.CodeNotFound, "agreement %s can't be traced here: this node lacks the input terms", r.Msg.GetAgreementId()).
			WithHint("trace it on the node of a party that has it"))
	}
	t := fakeTrace(r.Msg.GetAgreementId())
	for _, v := range t.Values {
		if !r.Msg.GetContent() {
			v.Content = nil
		}
	}
	for _, f := range t.Functions {
		if f.Output != nil && !r.Msg.GetContent() {
			f.Output.Content = nil
		}
	}
	return connect.NewResponse(t), nil
}
