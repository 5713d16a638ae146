package agreement

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// one is an agreement at one of three affiliates, p (who proposes), a and b,
// with the wall clock and the chain's time in step.
type one struct {
	t   *testing.T
	now time.Time
	s   State
}

var day0 = time.Unix(1_700_000_000, 0)

func newOne(t *testing.T, self string, lifetime time.Duration) *one {
	o := &one{t: t, now: day0}
	opening := Opening{
		ID: UUID{1}, Self: self, Terms: Hash{2}, Contract: Hash{3}, Scope: UUID{4},
		Participants: []Party{{"p", "OWNER"}, {"a", "SERVICER"}, {"b", "INVESTOR"}},
		Deadline:     day0.Add(lifetime), AckWithin: time.Hour,
	}
	if self == "p" {
		o.do(Submitted{opening})
		o.do(results)
		o.do(BodyPrepared{o.body(1)})
		return o
	}
	offered := o.body(1)
	o.do(Proposed{Opening: opening, Stated: results.Results, Offered: &offered})
	o.do(DataReady{})
	o.do(results)
	o.do(Decided{Approve})
	return o
}

var results = Executed{Records: []RecordResult{{Function: "f", Record: "r", Outcome: Pass, Output: "hash"}}, Results: Hash{5}}

// A condition that failed ends the agreement by its own name: there is no
// record that it could be told by.
func TestConditionFails(t *testing.T) {
	failed := []RecordResult{{Function: "within_limits", Outcome: Fail, Code: "TOO_MUCH", Message: "300 is more than 200", Fuel: 9}}
	want := "condition within_limits failed: TOO_MUCH 300 is more than 200"
	proposer := &one{t: t, now: day0}
	proposer.do(Submitted{Opening{Self: "p", Participants: []Party{{"p", "OWNER"}, {"a", "SERVICER"}}, Deadline: day0.Add(time.Hour)}})
	effects := proposer.do(Executed{Records: failed, Results: Hash{5}})
	if proposer.wantPhase(FailedPhase); proposer.s.Code != CodeContractFail || proposer.s.Message != want {
		t.Errorf("%s %s", proposer.s.Code, proposer.s.Message)
	}
	if !slices.ContainsFunc(effects, func(e Effect) bool { return e.Notice.Kind == "executed" && e.Notice.Text == "within_limits FAIL" }) {
		t.Errorf("no notice of it among %v", effects)
	}
	if x := Explain(proposer.s); x.Summary != "Failed: CONTRACT_FAIL: "+want {
		t.Error(x.Summary)
	}
}

// body is the body of a round, which lives for two minutes.
func (o *one) body(round uint32) Body {
	return Body{Round: round, Digest: Hash{9, byte(round)}, Timeout: o.now.Add(2 * time.Minute).UnixNano()}
}

func (o *one) do(e Event) []Effect {
	o.t.Helper()
	next, effects, err := Step(o.s, o.now, e)
	if err != nil {
		o.t.Fatalf("%T: %v", e, err)
	}
	o.s = next
	return effects
}

// pass lets time pass, and everything that it causes.
func (o *one) pass(d time.Duration) []Effect {
	o.now = o.now.Add(d)
	return append(o.do(BlockTime{o.now}), o.do(Tick{})...)
}

func (o *one) wantPhase(want Phase) {
	o.t.Helper()
	if o.s.Phase != want {
		o.t.Fatalf("phase %s (%s %s), want %s", o.s.Phase, o.s.Code, o.s.Message, want)
	}
}

func count(effects []Effect, kind EffectKind) int {
	n := 0
	for _, e := range effects {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// An assent may take days. Until the last one is there no round is used up, and
// then one is enough.
func TestAssentMayTakeDays(t *testing.T) {
	o := newOne(t, "p", 7*24*time.Hour)
	o.do(AssentReceived{From: "a", Results: results.Results, Round: 1})
	for range 6 * 24 {
		if asked := o.pass(time.Hour); len(asked) > 0 {
			t.Fatalf("while b decides, the proposer wants %v", asked)
		}
	}
	effects := o.do(AssentReceived{From: "b", Results: results.Results}) // its body has timed out
	o.wantPhase(Preparing)
	if !slices.Contains(effects, Effect{Kind: DoPrepare, Round: 2}) {
		t.Fatalf("no new round: %v", effects)
	}
	o.do(BodyPrepared{o.body(2)})
	o.do(CosignatureReceived{From: "a", Round: 2})
	o.do(CosignatureReceived{From: "b", Round: 2})
	o.wantPhase(Broadcasting)
}

// Where a co-signature stays out, rounds go on until the deadline, not for less.
func TestRoundsLastUntilTheDeadline(t *testing.T) {
	for _, lifetime := range []time.Duration{10 * time.Minute, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour} {
		o := newOne(t, "p", lifetime)
		o.do(AssentReceived{From: "a", Results: results.Results, Round: 1})
		o.do(AssentReceived{From: "b", Results: results.Results})
		for !o.s.Phase.Final() {
			if o.s.Phase == Preparing {
				last, _ := o.s.Body()
				o.do(BodyPrepared{o.body(last.Round + 1)})
				o.do(CosignatureReceived{From: "a", Round: last.Round + 1})
			}
			o.pass(time.Minute)
		}
		if early := o.s.Deadline - o.now.UnixMilli(); o.s.Code != CodeExpired || early > 0 {
			t.Errorf("%s: ended %s, %s before the deadline", lifetime, o.s.Code, time.Duration(early)*time.Millisecond)
		}
	}
}

// A party that takes a request of a round that is over is back: the next round
// doesn't wait.
func TestReturningPartyHastensTheRound(t *testing.T) {
	o := newOne(t, "p", 24*time.Hour)
	o.do(AssentReceived{From: "a", Results: results.Results, Round: 1})
	o.do(AssentReceived{From: "b", Results: results.Results})
	o.do(BodyPrepared{o.body(2)})
	o.do(Delivered{To: "a", Kind: SendCosignRequest})
	o.do(CosignatureReceived{From: "a", Round: 2})
	o.pass(3 * time.Minute)
	o.do(Delivered{To: "a", Kind: SendCosignRequest}) // who has signed says nothing new
	if o.s.NextRound <= o.now.UnixMilli() {
		t.Fatal("a party that has signed hastens the round")
	}
	o.do(Delivered{To: "b", Kind: SendCosignRequest})
	if effects := o.do(Tick{}); count(effects, DoPrepare) != 1 {
		t.Fatalf("the returning party waits until %s: %v", time.UnixMilli(o.s.NextRound), effects)
	}
}

// While the chain is away, one broadcast is tried on; more don't pile up.
func TestBroadcastsDontPileUp(t *testing.T) {
	o := newOne(t, "p", 24*time.Hour)
	o.do(AssentReceived{From: "a", Results: results.Results, Round: 1})
	if n := count(o.do(AssentReceived{From: "b", Results: results.Results, Round: 1}), DoBroadcast); n != 1 {
		t.Fatalf("%d broadcasts at first", n)
	}
	for range 1000 {
		o.now = o.now.Add(10 * time.Second)
		if effects := o.do(Tick{}); len(effects) > 0 {
			t.Fatalf("before the first broadcast has ended: %v", effects)
		}
	}
	o.do(BroadcastAccepted{TxHash: "tx"})
	o.now = o.now.Add(rebroadcastAfter)
	if n := count(o.do(Tick{}), DoBroadcast); n != 1 {
		t.Errorf("%d broadcasts %s after the mempool took it", n, rebroadcastAfter)
	}
	o.wantPhase(Broadcasting)
}

// A party takes one body a round: what a proposer can make it do is bounded.
func TestOneBodyARound(t *testing.T) {
	o := newOne(t, "a", 24*time.Hour)
	o.wantPhase(Assented)
	offer := func(round uint32, b byte) (Body, int) {
		body := Body{Round: round, Digest: Hash{b}, Timeout: o.now.UnixNano()}
		return body, count(o.do(CosignRequested{body}), DoCheckBody)
	}
	if _, n := offer(1, 20); n != 0 {
		t.Error("the first round is offered again")
	}
	second, n := offer(2, 21)
	if n != 1 {
		t.Fatal("the second round isn't looked at")
	}
	o.do(BodyChecked{Body: second, Code: CodeExpired})
	for b := range byte(10) {
		if _, n := offer(2, 30+b); n != 0 {
			t.Fatal("the second round is looked at again")
		}
	}
	if _, n := offer(MaxRounds+1, 22); n != 0 {
		t.Error("a round beyond the last is looked at")
	}
	if third, n := offer(3, 23); n != 1 {
		t.Error("the third round isn't looked at")
	} else {
		o.do(BodyChecked{Body: third})
	}
	if len(o.s.Bodies) != 2 {
		t.Errorf("%d bodies are signed", len(o.s.Bodies))
	}
}

// If the assent can't leave, the proposer is told, and doesn't wait for it.
func TestUndeliverableAssentIsNoSilence(t *testing.T) {
	o := newOne(t, "a", 24*time.Hour)
	effects := o.do(Undeliverable{To: "p", Kind: SendAssent, Code: CodeChainRefused, Text: "no account"})
	o.wantPhase(Closing)
	if !slices.Contains(effects, Effect{Kind: SendRejection, To: "p"}) {
		t.Errorf("no word to the proposer: %v", effects)
	}
}

// Nor if the co-signature can't, unless its body has only timed out.
func TestUndeliverableCosignature(t *testing.T) {
	o := newOne(t, "a", 24*time.Hour)
	o.do(Undeliverable{To: "p", Kind: SendCosignature, Code: CodeExpired})
	o.wantPhase(Assented)
	effects := o.do(Undeliverable{To: "p", Kind: SendCosignature, Code: CodeMissingRecord, Text: "the record has changed"})
	o.wantPhase(Closing)
	if !slices.Contains(effects, Effect{Kind: SendRejection, To: "p"}) {
		t.Errorf("no word to the proposer: %v", effects)
	}
}

// What the chain and the index have is complete, whether or not the proposer
// can be reached to hear of it.
func TestPartyCompletesWithoutTheProposer(t *testing.T) {
	o := newOne(t, "a", 24*time.Hour)
	body, _ := o.s.Body()
	o.do(Committed{Body: body.Digest, Height: 7, TxHash: "tx", Records: map[string]string{"r": "hash"}})
	effects := o.do(Indexed{})
	o.wantPhase(Complete)
	if !slices.Contains(effects, Effect{Kind: SendAcknowledgement, To: "p"}) {
		t.Errorf("no acknowledgement: %v", effects)
	}
	if effects := o.do(Undeliverable{To: "p", Kind: SendAcknowledgement, Code: CodePeerUnreachable}); len(effects) != 1 {
		t.Errorf("afterwards: %v", effects)
	}
	o.wantPhase(Complete)
}

// A refusal counts once, whatever code it has or hasn't.
func TestRefusalCountsOnce(t *testing.T) {
	o := newOne(t, "p", 24*time.Hour)
	o.do(RejectionReceived{From: "b"})
	o.wantPhase(FailedPhase)
	for range 3 {
		if effects := o.do(RejectionReceived{From: "b"}); len(effects) > 0 {
			t.Fatalf("the same refusal again: %v", effects)
		}
	}
}

// A contract that isn't vetted is not run: the agreement waits, and neither a
// person's approval of it nor anything that comes too early changes that.
func TestUnvettedContractWaits(t *testing.T) {
	o := &one{t: t, now: day0}
	offered := o.body(1)
	o.do(Proposed{Opening: Opening{
		ID: UUID{1}, Self: "a", Contract: Hash{3}, Participants: []Party{{"p", "OWNER"}, {"a", "SERVICER"}},
		Deadline: day0.Add(time.Hour), AckWithin: time.Hour,
	}, Stated: results.Results, Offered: &offered})
	o.do(NotVetted{})
	o.wantPhase(Vetting)
	for _, early := range []Event{DataReady{}, results, Decided{Approve}, NotVetted{}} {
		if effects := o.do(early); len(effects) > 0 {
			t.Errorf("%T has effects %v", early, effects)
		}
	}
	_, _, err := Step(o.s, o.now, Approved{})
	if CodeOf(err) != CodeNotVetted {
		t.Errorf("approved: %v", err)
	}
	if x := Explain(o.s); !strings.Contains(x.Summary, o.s.Contract.String()) || !slices.Contains(x.Actions, "affiliate contract vet "+o.s.Contract.String()) {
		t.Errorf("explained as %+v", x)
	}

	waiting := o.s
	for name, end := range map[string]func() []Effect{
		"deadline":  func() []Effect { return o.pass(time.Hour) },
		"rejected":  func() []Effect { return o.do(Declined{Code: CodeRejected, Reason: "no"}) },
		"cancelled": func() []Effect { return o.do(CancellationReceived{From: "p", Code: CodeCancelled}) },
	} {
		o.s, o.now = waiting, day0
		end()
		if o.s.Phase != FailedPhase || len(o.s.Bodies) > 0 {
			t.Errorf("%s: %s, %d bodies", name, o.s.Phase, len(o.s.Bodies))
		}
	}

	o.s, o.now = waiting, day0
	if effects := o.do(Vetted{}); count(effects, DoFetch) != 1 {
		t.Errorf("vetted: %v", effects)
	}
	if effects := o.do(Vetted{}); len(effects) > 0 {
		t.Errorf("vetted again: %v", effects)
	}
	o.do(DataReady{})
	o.wantPhase(Verifying)
	o.do(NotVetted{}) // the consent was taken back just then
	o.wantPhase(Vetting)
	o.do(Vetted{})
	o.do(DataReady{})
	o.do(results)
	o.do(Decided{Approve})
	o.wantPhase(Assented)
}
