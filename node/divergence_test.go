package node

import (
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// partners are two nodes with an agreement in which b reaches another result
// than a has stated.
type partners struct {
	t     *testing.T
	a, b  *Node
	terms terms
	id    agreement.ID
	mails int // that brought events
}

func newPartners(t *testing.T) *partners {
	p := &partners{t: t, a: bare(t), b: bare(t)}
	m := sampleTerms()
	m.Proposer = p.a.ring.Address()
	m.Parties = []*affiliatev1.Party{{Address: p.a.ring.Address(), Role: "ORIGINATOR"}, {Address: p.b.ring.Address(), Role: "SERVICER"}}
	m.Owners = m.Parties
	p.terms = readTerms(t, m)
	p.id = p.terms.id
	return p
}

func (p *partners) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *partners) apply(n *Node, e agreement.Event, blobs map[string][]byte) agreement.State {
	p.t.Helper()
	p.mails++
	c := mail(p.t, n, strconv.Itoa(p.mails))
	c.blobs = blobs
	s, err := n.apply(p.t.Context(), p.id, e, c)
	p.must(err)
	return s
}

func (p *partners) opening(n *Node) agreement.Opening {
	o, err := p.terms.opening(n.ring.Address(), n.cfg.AckWithin)
	p.must(err)
	return o
}

func (p *partners) digest(results []agreement.RecordResult) agreement.Hash {
	return agreement.AttestationDigest(testChain, p.id, p.terms.contract, p.terms.digest, results)
}

// attested are the documents that hold a node's attestation.
func (p *partners) attested(n *Node, results []agreement.RecordResult) map[string][]byte {
	a, err := n.attest(&p.terms, results)
	p.must(err)
	raw, err := proto.Marshal(a)
	p.must(err)
	return map[string][]byte{named(blobAttestation, n.ring.Address()): raw}
}

// run lets both execute, and returns where b stands then.
func (p *partners) run(stated, reached []agreement.RecordResult) agreement.State {
	p.apply(p.a, agreement.Submitted{Opening: p.opening(p.a)}, map[string][]byte{blobTerms: p.terms.raw})
	p.apply(p.a, agreement.Executed{Records: stated, Results: p.digest(stated)}, p.attested(p.a, stated))

	blobs := p.attested(p.a, stated)
	blobs[blobTerms] = p.terms.raw
	p.apply(p.b, agreement.Proposed{Opening: p.opening(p.b), Stated: p.digest(stated), Offered: &agreement.Body{Round: 1}}, blobs)
	s := p.apply(p.b, agreement.DataReady{}, nil)
	difference, err := p.b.differenceFromProposer(s, reached)
	p.must(err)
	return p.apply(p.b, agreement.Executed{Records: reached, Results: p.digest(reached), Difference: difference}, p.attested(p.b, reached))
}

// report is what b sends to a.
func (p *partners) report(s agreement.State) *affiliatev1.Message {
	d, err := p.b.divergence(s)
	p.must(err)
	return &affiliatev1.Message{
		From: p.b.ring.Address(), To: p.a.ring.Address(), AgreementId: p.id[:],
		Content: &affiliatev1.Message_Divergence{Divergence: d},
	}
}

func results(fuel uint64) []agreement.RecordResult {
	return []agreement.RecordResult{
		{Function: "originate", Record: "terms", Outcome: agreement.Pass, Output: "aGFzaA==", Fuel: 5, Inputs: []agreement.NamedHash{{Name: "in", Hash: "h", Type: "T"}}},
		{Function: "plan", Record: "schedule", Outcome: agreement.Pass, Output: "aGFzaA==", Fuel: fuel},
	}
}

// TestDivergenceTellsBoth wants that either party learns where the results
// part, and that the report alone says what was executed, by what.
func TestDivergenceTellsBoth(t *testing.T) {
	p := newPartners(t)
	s := p.run(results(7), results(8))
	const where = "function plan: fuel: 7 stated, 8 reached"
	if s.Phase != agreement.FailedPhase || s.Code != agreement.CodeDiverged || s.Message != "this node's result differs from the proposer's: "+where {
		t.Errorf("b is %s: %s %s", s.Phase, s.Code, s.Message)
	}
	m := p.report(s)
	d := m.GetDivergence()
	if d.Function != "plan" || d.Record != "schedule" || d.Field != "fuel" || d.Stated.GetFuel() != 7 || d.Reached.GetFuel() != 8 ||
		agreement.Hash(d.ContractHash) != p.terms.contract || d.Engine != p.b.engineName() || !strings.Contains(d.Engine, "rules ") ||
		len(d.Attestation.GetRecords()) != 2 || d.Attestation.Records[0].Inputs[0].Hash != "h" {
		t.Errorf("the report: %v", d)
	}
	before, err := p.a.state(p.id)
	p.must(err)
	e, blobs, err := p.a.eventOf(t.Context(), before, m)
	p.must(err)
	if got := e.(agreement.DivergenceReceived).Text; got != where {
		t.Errorf("a reads: %s", got)
	}
	if blobs[named(blobRefusal, p.b.ring.Address())] == nil {
		t.Error("the report isn't kept")
	}
	for self, s := range map[string]agreement.State{
		p.a.ring.Address(): {ID: p.id, Phase: agreement.FailedPhase, Code: agreement.CodeDiverged, Self: p.a.ring.Address(), Proposer: p.a.ring.Address(), Cause: p.b.ring.Address()},
		p.b.ring.Address(): s,
	} {
		other := p.a.ring.Address()
		if self == other {
			other = p.b.ring.Address()
		}
		todo := strings.Join(agreement.Explain(s).Actions, "\n")
		for _, want := range []string{"affiliate agreement trace " + p.id.String(), "have " + other, "affiliate agreement trace-diff"} {
			if !strings.Contains(todo, want) {
				t.Errorf("%s isn't told %q: %s", self, want, todo)
			}
		}
	}
}

// TestDivergenceReportsAreNotBelieved compares what was signed, whatever else a
// report says; one without a signature ends the agreement all the same.
func TestDivergenceReportsAreNotBelieved(t *testing.T) {
	p := newPartners(t)
	s := p.run(results(7), results(8))
	before, err := p.a.state(p.id)
	p.must(err)
	for what, c := range map[string]struct {
		lie  func(*affiliatev1.Divergence)
		want string
	}{
		"another place":    {func(d *affiliatev1.Divergence) { d.Function, d.Field, d.Stated = "originate", "output", nil }, "function plan: fuel: 7 stated, 8 reached"},
		"another engine":   {func(d *affiliatev1.Divergence) { d.Engine = "mine" }, "8 reached (its engine is mine, the proposer's "},
		"no attestation":   {func(d *affiliatev1.Divergence) { d.Attestation = nil }, "its report can't be used: BAD_MESSAGE"},
		"a forged one":     {func(d *affiliatev1.Divergence) { d.Attestation.Records[0].Fuel++ }, "its report can't be used: BAD_SIGNATURE"},
		"the same results": {func(d *affiliatev1.Divergence) { d.Attestation, err = p.b.attest(&p.terms, results(7)); p.must(err) }, "its report has no difference in it"},
		"an endless text":  {func(d *affiliatev1.Divergence) { d.Engine = strings.Repeat("ü", maxReason) }, "(its engine is üüü"},
	} {
		m := p.report(s)
		c.lie(m.GetDivergence())
		e, _, err := p.a.eventOf(t.Context(), before, m)
		p.must(err)
		if got := e.(agreement.DivergenceReceived).Text; !strings.Contains(got, c.want) || len(got) > maxReason {
			t.Errorf("%s: %s", what, got)
		}
	}
}
