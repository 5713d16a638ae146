package node

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

func (net *network) trace(node int, id agreement.ID, content bool) (*affiliatev1.Trace, error) {
	req := &affiliatev1.TraceAgreementRequest{AgreementId: id.String(), Content: content}
	res, err := agreementAPI{net.nodes[node]}.TraceAgreement(net.t.Context(), connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func (net *network) mustTrace(node int, id agreement.ID, content bool) *affiliatev1.Trace {
	net.t.Helper()
	out, err := net.trace(node, id, content)
	net.must(err)
	return out
}

// comparable leaves out what differs from node to node.
func comparable(t *affiliatev1.Trace) *affiliatev1.Trace {
	t = proto.CloneOf(t)
	t.Affiliate, t.Statements = "", nil
	return t
}

// TestTraces executes agreements again that went well, that a condition ended,
// and that diverged.
func TestTraces(t *testing.T) {
	net := newNetwork(t, approve, approve)
	id := net.propose(0, net.loan())
	states := net.settled(id)
	if states[1].Phase != agreement.Complete {
		t.Fatalf("%s %s", states[1].Code, states[1].Message)
	}

	t.Run("the parties' are the same", func(t *testing.T) {
		net.t = t
		n := net.nodes[1]
		_, before, err := n.load(id)
		net.must(err)
		events := n.store.LastEvent()
		first, again, other := net.mustTrace(1, id, true), net.mustTrace(1, id, true), net.mustTrace(0, id, true)
		if !proto.Equal(first, again) {
			t.Error("tracing again makes another document")
		}
		if !proto.Equal(comparable(first), comparable(other)) {
			t.Error("the parties' traces differ")
		}
		if _, after, err := n.load(id); err != nil || after != before || n.store.LastEvent() != events {
			t.Error("tracing changed the store")
		}
		net.shows(first, states[1])
		for _, trace := range []*affiliatev1.Trace{first, other} {
			for _, st := range trace.Statements {
				if st.Kind != statedResults || !st.Same || st.Difference != "" || st.Name == "" {
					t.Errorf("at %s: %v", trace.Affiliate, st)
				}
			}
			if len(trace.Statements) != 2 || trace.Statements[0].Address != trace.Affiliate {
				t.Errorf("statements of %s: %v", trace.Affiliate, trace.Statements)
			}
		}
	})
	t.Run("of a condition that fails", func(t *testing.T) {
		net.t = t
		req := net.loan()
		req.Inputs[0].Source = &affiliatev1.ProposedInput_Content{Content: principal(net, req, "0")}
		failing := net.propose(0, req)
		net.allFailed(failing, agreement.CodeContractFail)
		trace := net.mustTrace(1, failing, false)
		f := trace.Functions[len(trace.Functions)-1]
		if len(trace.Functions) != 1 || !f.Condition || f.Name != "within_limits" || f.Outcome != affiliatev1.Outcome_OUTCOME_FAIL ||
			f.Code != "LOAN_PRINCIPAL_INVALID" || f.Output != nil || !trace.Statements[0].Same || !trace.Statements[1].Same {
			t.Errorf("%v, %v", f, trace.Statements)
		}
		for _, v := range trace.Values {
			if len(v.Content) > 0 || v.Size == 0 {
				t.Errorf("%s %s has a content of %d bytes, of %d", v.Kind, v.Name, len(v.Content), v.Size)
			}
		}
	})
	t.Run("of a divergence", func(t *testing.T) {
		net.t = t
		net.tamper = func(_ int, m *affiliatev1.Message) {
			if p := m.GetProposal(); p != nil {
				net.restate(p, func(_ *affiliatev1.Terms, records []*affiliatev1.RecordResult) { records[1].Fuel += 7 })
			}
		}
		diverged := net.propose(0, net.loan())
		net.allFailed(diverged, agreement.CodeDiverged)
		net.tamper = nil
		victim, liar := net.mustTrace(1, diverged, false), net.mustTrace(0, diverged, false)
		if !proto.Equal(comparable(victim), comparable(liar)) {
			t.Error("the parties' traces differ")
		}
		second := victim.Functions[2].Name
		if own, theirs := victim.Statements[0], victim.Statements[1]; !own.Same || theirs.Same || !strings.HasPrefix(theirs.Difference, "function "+second+": fuel: ") {
			t.Errorf("the victim reads %v", victim.Statements)
		}
		if theirs := liar.Statements[1]; theirs.Kind != statedDivergence || !theirs.Same || theirs.Engine != net.nodes[1].engineName() {
			t.Errorf("the liar reads %v", theirs)
		}
		res, err := agreementAPI{net.nodes[1]}.Why(t.Context(), connect.NewRequest(&affiliatev1.WhyRequest{AgreementId: diverged.String()}))
		net.must(err)
		if why := res.Msg.Summary + strings.Join(res.Msg.Actions, "\n"); !strings.Contains(why, second+": fuel: ") || !strings.Contains(why, "affiliate agreement trace "+diverged.String()) {
			t.Error(why)
		}
	})
	t.Run("of what isn't known", func(t *testing.T) {
		if _, err := net.trace(0, agreement.NewUUID(), false); agreement.CodeOf(err) != agreement.CodeNotFound {
			t.Error(err)
		}
	})
	t.Run("one at a time", func(t *testing.T) {
		n := net.nodes[0]
		n.tracing <- struct{}{}
		defer func() { <-n.tracing }()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := n.trace(ctx, states[0], false); err == nil || ctx.Err() == nil {
			t.Error("a second trace ran")
		}
	})
	t.Run("without a vetting", func(t *testing.T) {
		net.must(net.nodes[0].unvet(t.Context(), states[0].Contract))
		if _, err := net.trace(0, id, false); agreement.CodeOf(err) != agreement.CodeNotVetted {
			t.Error(err)
		}
	})
	t.Run("without the data", func(t *testing.T) {
		terms, err := net.nodes[1].termsOf(states[1])
		net.must(err)
		objects, err := net.nodes[1].store.ObjectsByContent(agreement.Hash(terms.Inputs[0].Object.ContentHash))
		net.must(err)
		for _, o := range objects {
			net.must(net.nodes[1].store.Purge(t.Context(), o.ID, nil))
		}
		_, err = net.trace(1, id, false)
		if agreement.CodeOf(err) != agreement.CodeNotFound || !strings.Contains(err.Error(), "lacks the input application (content ") {
			t.Error(err)
		}
	})
}

// principal is the application of a request for another sum.
func principal(net *network, req *affiliatev1.ProposeRequest, sum string) []byte {
	var application map[string]any
	net.must(json.Unmarshal(req.Inputs[0].GetContent(), &application))
	application["principal"] = json.Number(sum)
	raw, err := json.Marshal(application)
	net.must(err)
	return raw
}

// shows wants a trace to have what the agreement has.
func (net *network) shows(trace *affiliatev1.Trace, s agreement.State) {
	net.t.Helper()
	if trace.Version != traceVersion || trace.AgreementId != s.ID.String() || trace.ResultsDigest != s.Results.String() ||
		trace.ContractHash != s.Contract.String() || trace.TermsDigest != s.Terms.String() || !strings.Contains(trace.Engine, "rules ") {
		net.t.Errorf("the trace is of %s, %s, %s, %s, %s", trace.AgreementId, trace.ContractHash, trace.TermsDigest, trace.ResultsDigest, trace.Engine)
	}
	values := map[string]*affiliatev1.TracedValue{}
	for _, v := range trace.Values {
		values[v.Kind+" "+v.Name] = v
		if int64(len(v.Content)) != v.Size || digestOf(v.Content).String() != v.ContentHash {
			net.t.Errorf("%s %s: %d bytes of %d", v.Kind, v.Name, len(v.Content), v.Size)
		}
	}
	if values["input application"] == nil || values["input document"] == nil || values["context parties"] == nil || string(values["context chain_id"].GetContent()) != testChain {
		net.t.Errorf("the values are %v", values)
	}
	functions := trace.Functions
	if len(functions) != len(s.Records)+1 || !functions[0].Condition || functions[0].Record != "" {
		net.t.Fatalf("%d functions, %d records", len(functions), len(s.Records))
	}
	for i, f := range functions[1:] {
		r := s.Records[i]
		if f.Name != r.Function || f.Record != r.Record || f.Fuel != r.Fuel || f.Fuel == 0 || f.Output.GetChainHash() != r.Output ||
			digestOf(f.Output.GetContent()).String() != f.Output.GetContentHash() || len(f.Calls) == 0 || f.CallCount != uint64(len(f.Calls)) {
			net.t.Errorf("%v\nis not %v", f, r)
		}
	}
}
