package agreement

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of the life cycle.
const (
	// MaxRounds bounds how often co-signatures are asked for.
	MaxRounds = 50
	// rebroadcastAfter is when a transaction that is in no block goes out again:
	// a mempool forgets its contents when its node restarts.
	rebroadcastAfter = 10 * time.Second
	// nextRoundAfter is the first wait between rounds; it doubles each time.
	nextRoundAfter = 30 * time.Second
	// maxRoundWait caps it, unless the rounds wouldn't last until the deadline.
	maxRoundWait = time.Hour
)

// ErrUnknown is what an event gets that comes before the agreement's terms.
var ErrUnknown = errors.New("the agreement isn't known here yet")

// Step is the whole life cycle: what an agreement becomes, and what has to be
// done, when e happens at the wall-clock time now. It is pure: the same
// arguments give the same answer, and s isn't changed. Events that are late,
// repeated or out of order change nothing. An error means that the event was
// refused; an *Error is meant for the caller's eyes.
func Step(s State, now time.Time, e Event) (State, []Effect, error) {
	t := &turn{s: s, now: now.UnixMilli()}
	t.s.Participants = slices.Clone(s.Participants)
	t.s.Bodies = slices.Clone(s.Bodies)
	if err := t.apply(e); err != nil {
		return s, nil, err
	}
	if len(t.out) > 0 {
		t.s.Updated = t.now
	}
	return t.s, t.out, nil
}

// turn is one call of Step at work.
type turn struct {
	s   State
	now int64 // unix milliseconds
	out []Effect
}

func (t *turn) apply(e Event) error {
	switch e := e.(type) {
	case Submitted:
		return t.submitted(e)
	case Proposed:
		return t.proposed(e)
	case Lost:
		return t.lost(e)
	}
	if t.s.Phase == None {
		return ErrUnknown
	}
	switch e := e.(type) {
	case Executed:
		t.executed(e)
	case Aborted:
		t.aborted(e)
	case Delivered:
		t.delivered(e)
	case Undeliverable:
		t.undeliverable(e)
	case Committed:
		t.committed(e)
	case TxFailed:
		t.txFailed(e)
	case BlockTime:
		t.blockTime(e.Time.UnixNano())
	case Tick:
		t.tick()
	case Indexed:
		t.indexed()
	case Recalled:
		return t.recalled(e)
	default:
		if t.s.Proposing() && t.s.Missed == nil {
			return t.applyAsProposer(e)
		}
		return t.applyAsParty(e)
	}
	return nil
}

// open fills the state from the terms.
func (t *turn) open(o Opening, phase Phase) error {
	if len(o.Participants) == 0 {
		return Errorf(CodeBadRequest, "an agreement needs at least one party")
	}
	t.s = State{
		Version: StateVersion, ID: o.ID, Self: o.Self, Proposer: o.Participants[0].Address,
		Phase: phase, Terms: o.Terms, Contract: o.Contract, ContractName: o.ContractName,
		Scope: o.Scope, NewScope: o.NewScope, Created: t.now,
		Deadline: o.Deadline.UnixMilli(), AckWithin: o.AckWithin.Milliseconds(),
	}
	for _, p := range o.Participants {
		t.s.Participants = append(t.s.Participants, Participant{Party: p})
	}
	return nil
}

func (t *turn) executed(e Executed) {
	proposing := t.s.Phase == Executing
	if !proposing && t.s.Phase != Verifying {
		return
	}
	t.s.Records, t.s.Results = e.Records, e.Results
	failure, failed := Failed(e.Records)
	text := summarise(e.Records)
	t.notify(Notice{Step: 4, Kind: "executed", Text: text})
	switch {
	case t.s.Missed != nil:
		t.madeAnew()
	case proposing:
		t.executedAsProposer(failure, failed)
	case e.Results != t.s.Stated:
		t.send(SendDivergence, t.s.Proposer, 0)
		t.fail(CodeDiverged, because("this node's result differs from the proposer's", e.Difference), t.s.Self)
	case failed:
		t.me(func(p *Participant) { p.Attested = true })
		t.send(SendAssent, t.s.Proposer, 0)
		t.fail(CodeContractFail, failureText(failure), t.s.Proposer)
	default:
		t.s.Phase = Checking
		t.do(DoDecide, 0)
	}
}

func because(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + ": " + reason
}

func summarise(records []RecordResult) string {
	parts := make([]string, 0, len(records))
	for _, r := range records {
		parts = append(parts, cmp.Or(r.Record, r.Function)+" "+r.Outcome.String())
	}
	return strings.Join(parts, ", ")
}

func failureText(r RecordResult) string {
	if r.Record == "" {
		return fmt.Sprintf("condition %s failed: %s %s", r.Function, r.Code, r.Message)
	}
	return fmt.Sprintf("%s: %s (function %s)", r.Code, r.Message, r.Function)
}

// aborted ends the agreement because this node can't do its part.
func (t *turn) aborted(e Aborted) {
	switch t.s.Phase {
	case Executing:
		t.fail(e.Code, e.Text, t.s.Self)
	case Preparing:
		t.callOff(e.Code, e.Text, t.s.Self)
	case Fetching, Vetting, Verifying, Checking, Deciding, Recalling:
		t.decline(e.Code, e.Text)
	}
}

func (t *turn) delivered(e Delivered) {
	switch e.Kind {
	case SendProposal:
		if t.s.each(e.To, func(p *Participant) { p.Delivered = true }) {
			t.notify(Notice{Step: 2, Kind: "proposal_delivered", Peer: e.To, Text: "by " + e.Via})
		}
	case SendCosignRequest:
		t.hasten(e.To)
	}
}

// hasten starts the next round when the party that the last one lacked is back:
// it has just taken a request that was waiting for it.
func (t *turn) hasten(party string) {
	body, _ := t.s.Body()
	lacked := slices.ContainsFunc(t.s.Participants, func(p Participant) bool {
		return p.Address == party && p.Cosigned < body.Round
	})
	if t.s.Phase == Collecting && lacked && t.s.NextRound > t.now {
		t.s.NextRound = t.now
	}
}

func (t *turn) undeliverable(e Undeliverable) {
	t.notify(Notice{Kind: "undeliverable", Peer: e.To, Code: e.Code, Text: e.Kind.String() + ": " + e.Text})
	switch {
	case e.Kind == SendProposal && (t.s.Phase == Collecting || t.s.Phase == Preparing):
		t.s.each(e.To, func(p *Participant) { p.Refused, p.Reason = e.Code, e.Text })
		t.callOff(CodePeerRefused, fmt.Sprintf("%s refuses the proposal: %s", e.To, e.Text), e.To)
	case t.s.Phase == Assented && (e.Kind == SendAssent || e.Kind == SendCosignature && e.Code != CodeExpired):
		// The reason may be this node's own: without a word the proposer waits in vain.
		t.send(SendRejection, t.s.Proposer, 0)
		t.giveUp(e.Code, e.Text, "")
	}
}

// committed is the chain's word: it outranks every other.
func (t *turn) committed(e Committed) {
	if t.s.Phase == Indexing || t.s.Phase == Acknowledging || t.s.Phase == Complete || t.s.Height != 0 || t.s.Missed != nil {
		return
	}
	if !t.s.Signed(e.Body) {
		t.notify(Notice{Kind: "foreign_transaction", Code: CodeCommittedMismatch,
			Text: "transaction " + e.TxHash + " uses this agreement's session, but this node didn't sign it"})
		return
	}
	if t.neverBroadcast(e.Body) {
		t.s.Missed = &Missed{Height: e.Height, TxHash: e.TxHash, Records: e.Records}
	}
	t.s.Height, t.s.TxHash = e.Height, e.TxHash
	t.notify(Notice{Step: 8, Kind: "committed", Text: fmt.Sprintf("height %d, transaction %s", e.Height, e.TxHash)})
	if !sameRecords(t.s.Records, e.Records) {
		t.fail(CodeCommittedMismatch, "the chain holds other hashes than this node attested", "")
		return
	}
	t.s.Code, t.s.Message, t.s.Cause = "", "", ""
	t.s.Phase = Indexing
	t.do(DoIndex, 0)
}

func sameRecords(own []RecordResult, chain map[string]string) bool {
	passed := 0
	for _, r := range own {
		if r.Outcome != Pass {
			continue
		}
		passed++
		if chain[r.Record] != r.Output {
			return false
		}
	}
	return passed == len(chain)
}

// txFailed waits for the bodies to time out: a failed transaction doesn't
// prove that another one with the same body can't commit.
func (t *turn) txFailed(e TxFailed) {
	if !t.s.Signed(e.Body) {
		return
	}
	switch t.s.Phase {
	case Broadcasting, Assented:
		t.close(CodeChainRefused, fmt.Sprintf("transaction %s failed in block %d: %s", e.TxHash, e.Height, e.Text), "")
	}
}

func (t *turn) blockTime(ns int64) {
	if at := t.s.NextBlockTime(); at.IsZero() || ns <= at.UnixNano() {
		return
	}
	switch t.s.Phase {
	case Closing:
		t.fail(t.s.Code, t.s.Message, t.s.Cause)
	case Broadcasting:
		t.notify(Notice{Kind: "body_expired", Code: CodeExpired, Text: "in no block before its timeout"})
		t.newRound()
	case Collecting:
		t.s.NextRound = t.now + t.roundWait().Milliseconds()
	}
}

// roundWait grows with the rounds, and more where the deadline is far: the
// rounds that are left last until then.
func (t *turn) roundWait() time.Duration {
	body, _ := t.s.Body()
	left := time.Duration(t.s.Deadline-t.now) * time.Millisecond / time.Duration(max(1, MaxRounds-int(body.Round)))
	return min(nextRoundAfter<<min(body.Round, 20), max(left, maxRoundWait))
}

func (t *turn) tick() {
	if at := t.s.NextTick(); at.IsZero() || t.now < at.UnixMilli() {
		return
	}
	switch t.s.Phase {
	case Broadcasting:
		t.broadcast()
	case Acknowledging:
		t.complete("not acknowledged by " + strings.Join(t.missing(func(p Participant) bool { return p.Acknowledged }), ", "))
	case Executing, Preparing, Collecting:
		if t.now < t.s.Deadline {
			t.newRound()
			return
		}
		silent := t.missing(func(p Participant) bool { return p.Attested })
		text := "the deadline has passed"
		if len(silent) > 0 {
			text += " without an answer from " + strings.Join(silent, ", ")
		}
		t.callOff(CodeExpired, text, t.s.Self)
	case Fetching, Vetting, Verifying, Checking, Deciding, Assented, Recalling:
		t.giveUp(CodeExpired, "the deadline has passed", t.s.Self)
	}
}

func (t *turn) indexed() {
	if t.s.Phase != Indexing {
		return
	}
	t.me(func(p *Participant) { p.Acknowledged = true })
	t.notify(Notice{Step: 9, Kind: "indexed", Text: summarise(t.s.Records)})
	if t.s.Missed != nil {
		t.complete("brought back after it was lost here")
		return
	}
	t.notify(Notice{Step: 10, Kind: "acknowledged", Peer: t.s.Self})
	if !t.s.Proposing() {
		// The acknowledgement is in the outbox; whether the proposer can be
		// reached changes nothing here any more.
		t.send(SendAcknowledgement, t.s.Proposer, 0)
		t.complete("")
		return
	}
	t.s.Phase = Acknowledging
	t.s.AckDeadline = t.now + t.s.AckWithin
	t.completeIfAcknowledged()
}

// complete ends the agreement well; remark says what is left open, if anything.
func (t *turn) complete(remark string) {
	t.s.Phase = Complete
	t.notify(Notice{Kind: "complete", Text: remark})
}

func (t *turn) fail(code Code, text, cause string) {
	t.s.Phase = FailedPhase
	t.s.Code, t.s.Message, t.s.Cause = code, text, cause
	t.notify(Notice{Kind: "failed", Peer: cause, Code: code, Text: text})
}

// close gives up on a body that is signed: the agreement ends when the
// chain's time has passed its timeout, one way or the other.
func (t *turn) close(code Code, text, cause string) {
	t.s.Phase = Closing
	t.s.Code, t.s.Message, t.s.Cause = code, text, cause
	t.notify(Notice{Kind: "closing", Peer: cause, Code: code, Text: text})
	if t.s.Proposing() {
		t.toOthers(SendCancellation, 0)
	}
}

// giveUp fails at once where nothing was signed, and closes where it was.
func (t *turn) giveUp(code Code, text, cause string) {
	if len(t.s.Bodies) > 0 {
		t.close(code, text, cause)
		return
	}
	t.fail(code, text, cause)
}

func (t *turn) missing(done func(Participant) bool) []string {
	var out []string
	for _, p := range t.s.Participants {
		if p.Address != t.s.Self && !done(p) && !slices.Contains(out, p.Address) {
			out = append(out, p.Address)
		}
	}
	return out
}

func (t *turn) me(f func(*Participant)) { t.s.each(t.s.Self, f) }

func (t *turn) notify(n Notice) { t.out = append(t.out, Effect{Kind: Notify, Notice: n}) }

func (t *turn) do(kind EffectKind, round uint32) {
	t.out = append(t.out, Effect{Kind: kind, Round: round})
}

func (t *turn) send(kind EffectKind, to string, round uint32) {
	t.out = append(t.out, Effect{Kind: kind, To: to, Round: round})
}

func (t *turn) toOthers(kind EffectKind, round uint32) {
	for _, to := range t.s.Others() {
		t.send(kind, to, round)
	}
}
