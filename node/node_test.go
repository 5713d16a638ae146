package node

import (
	"bytes"
	"crypto/sha256"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/chainclient"
)

var approve = Policy{Default: "approve"}

// loan is a request by node 0, with everybody in a role.
func (net *network) loan() *affiliatev1.ProposeRequest {
	application, err := os.ReadFile("../examples/loan/testdata/application.json")
	net.must(err)
	return &affiliatev1.ProposeRequest{
		Contract: "loan", Parties: net.parties(), Inputs: []*affiliatev1.ProposedInput{
			{Name: "application", Source: &affiliatev1.ProposedInput_Content{Content: application}},
			{Name: "document", Source: &affiliatev1.ProposedInput_Content{Content: []byte("%PDF-1.7 a note")}, MediaType: "application/pdf"},
		},
	}
}

func (net *network) parties() []*affiliatev1.Party {
	roles := []string{"ORIGINATOR", "SERVICER", "INVESTOR"}
	var out []*affiliatev1.Party
	for i, role := range roles {
		out = append(out, &affiliatev1.Party{Address: net.nodes[min(i, len(net.nodes)-1)].ring.Address(), Role: role})
	}
	return out
}

func (net *network) propose(node int, req *affiliatev1.ProposeRequest) agreement.ID {
	net.t.Helper()
	s, err := net.nodes[node].propose(net.t.Context(), req)
	net.must(err)
	return s.ID
}

// TestAgreements runs agreements between honest nodes on a real chain.
func TestAgreements(t *testing.T) {
	net := newNetwork(t, approve, approve, Policy{Default: "ask", Rules: []Rule{{Contract: "loan", Action: "approve"}}})
	first := net.propose(0, net.loan())
	states := net.settled(first)
	for i, s := range states {
		if s.Phase != agreement.Complete {
			t.Fatalf("node %d: %s %s %s", i, s.Phase, s.Code, s.Message)
		}
		net.sameRecords(i, s)
	}
	scope := chainclient.ScopeAddress(states[0].Scope)

	t.Run("existing records, approved by a person", func(t *testing.T) {
		id := net.propose(1, payment(net, scope, "P-0001"))
		net.until("the question", func() bool { return net.phase(2, id) == agreement.Deciding })
		net.canBeRead(2, id, map[string]string{"input payment": "P-0001", "existing terms": "L-2026-0001", "record balance": "P-0001"})
		_, err := net.nodes[2].apply(t.Context(), id, agreement.Approved{}, cause{})
		net.must(err)
		for i, s := range net.settled(id) {
			if s.Phase != agreement.Complete {
				t.Fatalf("node %d: %s %s %s", i, s.Phase, s.Code, s.Message)
			}
		}
	})
	t.Run("another body while a person decides", func(t *testing.T) {
		var again *affiliatev1.Message // the proposal to node 2
		net.tamper = func(_ int, m *affiliatev1.Message) {
			if m.GetProposal() != nil && m.To == net.nodes[2].ring.Address() {
				again = proto.CloneOf(m)
			}
		}
		id := net.propose(1, payment(net, scope, "P-0003"))
		net.until("the question", func() bool { return net.phase(2, id) == agreement.Deciding })
		net.tamper = nil
		again.GetProposal().Body.BodyBytes = net.otherBody(again.GetProposal(), func(w *chainclient.Write) { w.ContractName = "other" })
		net.must(net.hand(1, again))
		net.until("the message to be taken in", func() bool { left, err := net.nodes[2].store.Inbox(); return err == nil && len(left) == 0 })
		_, err := net.nodes[2].apply(t.Context(), id, agreement.Approved{}, cause{})
		net.must(err)
		for i, s := range net.settled(id) {
			if s.Phase != agreement.Complete {
				t.Fatalf("node %d: %s %s %s", i, s.Phase, s.Code, s.Message)
			}
		}
	})
	t.Run("two at once on one record", func(t *testing.T) {
		ids := []agreement.ID{net.propose(1, payment(net, scope, "P-0004")), net.propose(1, payment(net, scope, "P-0005"))}
		net.until("both questions", func() bool {
			return net.phase(2, ids[0]) == agreement.Deciding && net.phase(2, ids[1]) == agreement.Deciding
		})
		for _, id := range ids {
			_, err := net.nodes[2].apply(t.Context(), id, agreement.Approved{}, cause{})
			net.must(err)
		}
		complete := 0
		for _, id := range ids { // the second would undo the first
			states := net.settled(id)
			if states[0].Phase == agreement.Complete {
				complete++
			}
			for i, s := range states {
				if s.Phase != states[0].Phase || s.Phase != agreement.Complete && !strings.Contains(s.Message, "balance") {
					t.Errorf("node %d: %s %s %s", i, s.Phase, s.Code, s.Message)
				}
			}
		}
		if complete != 1 {
			t.Errorf("%d of two are complete", complete)
		}
	})
	t.Run("rejected by a person", func(t *testing.T) {
		id := net.propose(1, payment(net, scope, "P-0002"))
		net.until("the question", func() bool { return net.phase(2, id) == agreement.Deciding })
		_, err := net.nodes[2].apply(t.Context(), id, agreement.Declined{Code: agreement.CodeRejected, Reason: "not yet"}, cause{})
		net.must(err)
		net.allFailed(id, agreement.CodeRejected)
	})
	t.Run("the contract fails", func(t *testing.T) {
		req := net.loan()
		application := bytes.Replace(req.Inputs[0].GetContent(), []byte("25000000"), []byte("0"), 1)
		req.Inputs[0].Source = &affiliatev1.ProposedInput_Content{Content: application}
		id := net.propose(0, req)
		net.allFailed(id, agreement.CodeContractFail)
		for i, n := range net.nodes { // the condition alone, at every party
			s, err := n.state(id)
			net.must(err)
			if len(s.Records) != 1 || s.Records[0].Function != "within_limits" || s.Records[0].Record != "" || s.Records[0].Code != "LOAN_PRINCIPAL_INVALID" || s.Records[0].Fuel == 0 {
				t.Errorf("node %d: %+v", i, s.Records)
			}
			if !strings.HasPrefix(s.Message, "condition within_limits failed: LOAN_PRINCIPAL_INVALID ") {
				t.Errorf("node %d: %s", i, s.Message)
			}
		}
	})
	t.Run("an input that breaks its schema", func(t *testing.T) {
		req := net.loan()
		req.Inputs[0].Source = &affiliatev1.ProposedInput_Content{Content: []byte(`{"loan_id":"L-9","principal":0}`)}
		if _, err := net.nodes[0].propose(t.Context(), req); agreement.CodeOf(err) != agreement.CodeSchema {
			t.Errorf("%v; want it refused at once", err)
		}
	})
	t.Run("the same id again", func(t *testing.T) {
		req := net.loan()
		req.AgreementId = first.String()
		s, err := net.nodes[0].propose(t.Context(), req)
		if err != nil || s.ID != first || s.Phase != agreement.Complete {
			t.Fatalf("got %s %s, %v", s.ID, s.Phase, err)
		}
		req.Inputs[0].Source = &affiliatev1.ProposedInput_Content{Content: []byte(`{}`)}
		if _, err := net.nodes[0].propose(t.Context(), req); agreement.CodeOf(err) != agreement.CodeInUse {
			t.Fatalf("another request with the same id: %v", err)
		}
	})
}

func payment(net *network, scope, id string) *affiliatev1.ProposeRequest {
	input, err := os.ReadFile("../examples/payment/testdata/payment.json")
	net.must(err)
	input = bytes.Replace(input, []byte("P-0001"), []byte(id), 1)
	return &affiliatev1.ProposeRequest{
		Contract: "payment", ScopeId: scope, Parties: net.parties(),
		Inputs: []*affiliatev1.ProposedInput{{Name: "payment", Source: &affiliatev1.ProposedInput_Content{Content: input}}},
	}
}

// sameRecords wants the records of an agreement held, open and on chain.
func (net *network) sameRecords(node int, s agreement.State) {
	net.t.Helper()
	n := net.nodes[node]
	onChain, err := n.chain.Scope(net.t.Context(), s.Scope)
	net.must(err)
	for _, r := range s.Records {
		held, err := n.store.Record(s.Scope, r.Record)
		net.must(err)
		content, _, err := n.content(net.t.Context(), held.Content)
		net.must(err)
		if got := agreement.Commitment(held.Salt, content); got != onChain.Records[r.Record].Hash {
			net.t.Fatalf("node %d: record %s hashes to %s, on chain is %s", node, r.Record, got, onChain.Records[r.Record].Hash)
		}
	}
}

func (net *network) allFailed(id agreement.ID, code agreement.Code) {
	net.t.Helper()
	for i, s := range net.settled(id) {
		if s.Phase != agreement.FailedPhase || s.Code != code {
			net.t.Fatalf("node %d: %s %s %s, want failed %s", i, s.Phase, s.Code, s.Message, code)
		}
	}
}

// TestDishonestProposer lets node 0 lie in its proposals. Whatever the lie,
// the other node signs nothing and says why.
func TestDishonestProposer(t *testing.T) {
	net := newNetwork(t, approve, approve) // node 1 holds two roles
	for _, c := range []struct {
		name string
		lie  func(net *network, p *affiliatev1.Proposal)
		want agreement.Code // at the victim
	}{
		{"another body", func(net *network, p *affiliatev1.Proposal) {
			p.Body.BodyBytes = net.otherBody(p, func(w *chainclient.Write) { w.Records[0].Output = agreement.AbsentHash() })
		}, agreement.CodeBodyMismatch},
		{"a value owner that the terms don't name", func(net *network, p *affiliatev1.Proposal) {
			p.Body.BodyBytes = net.otherBody(p, func(w *chainclient.Write) { w.ValueOwner = net.nodes[0].ring.Address() })
		}, agreement.CodeBodyMismatch},
		{"an expired body said to live for years", func(net *network, p *affiliatev1.Proposal) {
			p.Body.TimeoutUnixNs = time.Now().Add(-time.Hour).UnixNano()
			p.Body.BodyBytes = net.otherBody(p, func(*chainclient.Write) {})
			p.Body.TimeoutUnixNs = time.Now().AddDate(9, 0, 0).UnixNano()
		}, agreement.CodeBodyMismatch},
		{"bytes that are no body", func(_ *network, p *affiliatev1.Proposal) { p.Body.BodyBytes = []byte("body") }, agreement.CodeBodyMismatch},
		{"another result", func(net *network, p *affiliatev1.Proposal) {
			net.restate(p, func(_ *affiliatev1.Terms, records []*affiliatev1.RecordResult) {
				records[0].OutputHash = agreement.AbsentHash()
			})
		}, agreement.CodeDiverged},
		{"the same record with a unit of fuel more", func(net *network, p *affiliatev1.Proposal) {
			net.restate(p, func(_ *affiliatev1.Terms, records []*affiliatev1.RecordResult) { records[0].Fuel++ })
		}, agreement.CodeDiverged},
		{"a wrong hash of an input", func(net *network, p *affiliatev1.Proposal) {
			net.restate(p, func(t *affiliatev1.Terms, _ []*affiliatev1.RecordResult) { t.Inputs[0].Hash = agreement.AbsentHash() })
		}, agreement.CodeBadMessage},
		{"an input too many", func(net *network, p *affiliatev1.Proposal) {
			net.restate(p, func(t *affiliatev1.Terms, _ []*affiliatev1.RecordResult) {
				extra := proto.CloneOf(t.Inputs[0])
				extra.Name = "extra"
				t.Inputs = append(t.Inputs, extra)
			})
		}, agreement.CodeUnexpectedInput},
		{"a scope that doesn't exist", func(net *network, p *affiliatev1.Proposal) {
			net.restate(p, func(t *affiliatev1.Terms, _ []*affiliatev1.RecordResult) { t.NewScope = false })
		}, agreement.CodeNotFound},
		{"another contract", func(net *network, p *affiliatev1.Proposal) {
			net.restate(p, func(t *affiliatev1.Terms, _ []*affiliatev1.RecordResult) {
				payment, err := net.nodes[0].findContract("payment")
				net.must(err)
				t.ContractHash = payment.Hash[:]
			})
		}, agreement.CodeBadModule},
	} {
		t.Run(c.name, func(t *testing.T) {
			net.t = t
			net.tamper = func(_ int, m *affiliatev1.Message) {
				if p := m.GetProposal(); p != nil {
					c.lie(net, p)
				}
			}
			id := net.propose(0, net.loan())
			net.until("the answer", func() bool { return net.phase(1, id).Final() })
			s, err := net.nodes[1].state(id)
			net.must(err)
			if s.Phase != agreement.FailedPhase || s.Code != c.want || len(s.Bodies) > 0 {
				t.Fatalf("%s %s (%s), signed %d bodies; want %s", s.Phase, s.Code, s.Message, len(s.Bodies), c.want)
			}
			net.until("the proposer's end", func() bool { return net.phase(0, id).Final() })
		})
	}
}

// TestHostileMessages are refused at the door, or change nothing.
func TestHostileMessages(t *testing.T) {
	net := newNetwork(t, approve, approve)
	id := net.propose(0, net.loan())
	var proposal *affiliatev1.Message
	net.tamper = func(_ int, m *affiliatev1.Message) {
		if m.GetProposal() != nil && proposal == nil {
			proposal = proto.CloneOf(m)
		}
	}
	net.settled(id)
	for _, c := range []struct {
		name string
		lie  func(m *affiliatev1.Message)
		want agreement.Code
	}{
		{"another network", func(m *affiliatev1.Message) { m.Network = "other" }, agreement.CodeWrongNetwork},
		{"an id that is taken", func(m *affiliatev1.Message) {
			net.restate(m.GetProposal(), func(t *affiliatev1.Terms, _ []*affiliatev1.RecordResult) { t.ContractName = "other" })
		}, agreement.CodeInUse},
		{"terms of another agreement", func(m *affiliatev1.Message) { m.AgreementId = bytes.Repeat([]byte{1}, 16) }, agreement.CodeBadMessage},
		{"an attestation by nobody", func(m *affiliatev1.Message) { m.GetProposal().Attestation.Signature[5] ^= 1 }, agreement.CodeBadSignature},
		{"no attestation", func(m *affiliatev1.Message) { m.GetProposal().Attestation = nil }, agreement.CodeBadMessage},
		{"garbage for terms", func(m *affiliatev1.Message) { m.GetProposal().Terms = []byte("terms") }, agreement.CodeBadMessage},
		{"no body", func(m *affiliatev1.Message) { m.GetProposal().Body = nil }, agreement.CodeBadMessage},
		{"a later round", func(m *affiliatev1.Message) { m.GetProposal().Body.Round = 2 }, agreement.CodeBadMessage},
		{"expired", func(m *affiliatev1.Message) {
			net.restate(m.GetProposal(), func(t *affiliatev1.Terms, _ []*affiliatev1.RecordResult) { t.DeadlineUnixMs = 1 })
		}, agreement.CodeExpired},
		{"a lifetime of years", func(m *affiliatev1.Message) {
			net.restate(m.GetProposal(), func(t *affiliatev1.Terms, _ []*affiliatev1.RecordResult) {
				t.DeadlineUnixMs += 365 * 24 * time.Hour.Milliseconds()
			})
		}, agreement.CodeBadMessage},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := proto.CloneOf(proposal)
			c.lie(m)
			if err := net.hand(0, m); agreement.CodeOf(err) != c.want {
				t.Fatalf("got %v, want %s", err, c.want)
			}
		})
	}
	if net.phase(1, id) != agreement.Complete {
		t.Fatal("a hostile message changed an agreement")
	}
}

// otherBody is what the proposer would have to bring to the chain for another write.
func (net *network) otherBody(p *affiliatev1.Proposal, change func(*chainclient.Write)) []byte {
	t, err := parseTerms(p.Terms)
	net.must(err)
	w, err := t.write(toResults(p.Attestation.Records))
	net.must(err)
	change(&w)
	raw, err := net.nodes[0].chain.BuildBody(w, time.Unix(0, p.Body.TimeoutUnixNs))
	net.must(err)
	return raw
}

// restate changes a proposal's terms or results, and signs them anew as a
// dishonest proposer can.
func (net *network) restate(p *affiliatev1.Proposal, change func(*affiliatev1.Terms, []*affiliatev1.RecordResult)) {
	t := &affiliatev1.Terms{}
	net.must(proto.Unmarshal(p.Terms, t))
	change(t, p.Attestation.Records)
	raw, err := proto.Marshal(t)
	net.must(err)
	p.Terms = raw
	digest := sha256.Sum256(raw)
	att := agreement.AttestationDigest(testChain, agreement.ID(t.AgreementId), agreement.Hash(t.ContractHash), digest, toResults(p.Attestation.Records))
	p.Attestation.TermsDigest = digest[:]
	p.Attestation.Signature, err = net.nodes[0].ring.Sign(att[:])
	net.must(err)
}
