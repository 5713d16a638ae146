package agreement

import "slices"

func (t *turn) proposed(e Proposed) error {
	if t.s.Phase != None {
		return nil
	}
	if err := t.open(e.Opening, Fetching); err != nil {
		return err
	}
	if t.s.Proposing() || !slices.Contains(t.s.Others(), t.s.Proposer) {
		return Errorf(CodeBadMessage, "a proposal must come from another affiliate")
	}
	t.s.Stated, t.s.StatedFail = e.Stated, e.StatedFail
	if e.Offered != nil {
		t.offered(*e.Offered)
	}
	t.s.each(t.s.Proposer, func(p *Participant) { p.Delivered, p.Attested = true, true })
	t.me(func(p *Participant) { p.Delivered = true })
	t.notify(Notice{Step: 2, Kind: "proposal_received", Peer: t.s.Proposer, Text: t.s.ContractName})
	t.send(DoFetch, t.s.Proposer, 0)
	return nil
}

func (t *turn) applyAsParty(e Event) error {
	switch e := e.(type) {
	case DataReady:
		t.dataReady()
	case NotVetted:
		t.notVetted()
	case Vetted:
		t.vetted()
	case Decided:
		t.decided(e.Verdict)
	case Approved:
		return t.approved()
	case Declined:
		return t.declined(e)
	case CosignRequested:
		t.cosignRequested(e.Body)
	case BodyChecked:
		t.bodyChecked(e)
	case CancellationReceived:
		return t.cancellationReceived(e)
	case CancelRequested:
		return Errorf(CodeWrongPhase, "only the proposer can cancel an agreement").
			WithHint("reject it instead, while it waits for a decision")
	default:
		return Errorf(CodeWrongPhase, "%T doesn't concern a party that didn't propose", e)
	}
	return nil
}

func (t *turn) dataReady() {
	if t.s.Phase != Fetching {
		return
	}
	t.s.Phase = Verifying
	t.notify(Notice{Step: 3, Kind: "stored", Text: "sealed data is in this node's store"})
	t.send(DoExecute, t.s.Proposer, 0)
}

// notVetted lets the agreement wait, at most until its deadline: whether this
// affiliate runs a contract at all is for its people to say.
func (t *turn) notVetted() {
	if t.s.Phase != Fetching && t.s.Phase != Verifying {
		return
	}
	t.s.Phase = Vetting
	t.notify(Notice{Kind: "vetting_needed", Code: CodeNotVetted, Text: "contract " + t.s.Contract.String() + " isn't vetted here"})
}

// vetted begins again with fetching, which costs nothing where all is there.
func (t *turn) vetted() {
	if t.s.Phase != Vetting {
		return
	}
	t.s.Phase = Fetching
	t.notify(Notice{Kind: "vetted", Peer: t.s.Self})
	t.send(DoFetch, t.s.Proposer, 0)
}

func (t *turn) decided(v Verdict) {
	if t.s.Phase != Checking {
		return
	}
	switch v {
	case Approve:
		t.assent()
	case Reject:
		t.decline(CodeRejected, "this affiliate's policy rejects it")
	default:
		t.s.Phase = Deciding
		t.notify(Notice{Kind: "approval_needed", Text: "waits for approve or reject"})
	}
}

func (t *turn) approved() error {
	switch t.s.Phase {
	case Deciding:
	case Vetting:
		return Errorf(CodeNotVetted, "contract %s isn't vetted here: it hasn't run, so there is no result to approve", t.s.Contract).
			WithHint("affiliate contract vet %s; then the agreement goes on by itself", t.s.Contract)
	default:
		return Errorf(CodeWrongPhase, "there is nothing to approve: the agreement is %s", t.s.Phase)
	}
	t.notify(Notice{Kind: "approved", Peer: t.s.Self})
	t.assent()
	return nil
}

// assent records the body as signed before the signature exists.
func (t *turn) assent() {
	t.s.Phase = Assented
	var round uint32
	if t.s.Offered != nil {
		round = t.s.Offered.Round
		t.s.Bodies = append(t.s.Bodies, *t.s.Offered)
		t.s.Offered = nil
	}
	t.me(func(p *Participant) { p.Attested, p.Cosigned = true, round })
	t.notify(Notice{Step: 5, Kind: "result_sent", Peer: t.s.Proposer})
	t.send(SendAssent, t.s.Proposer, round)
}

func (t *turn) declined(e Declined) error {
	switch t.s.Phase {
	case Fetching, Vetting, Verifying, Checking, Deciding:
		t.decline(e.Code, e.Reason)
		return nil
	}
	return Errorf(CodeWrongPhase, "too late to reject: the agreement is %s", t.s.Phase)
}

func (t *turn) decline(code Code, reason string) {
	if t.s.Missed != nil { // nobody waits for a word
		t.fail(code, reason, t.s.Self)
		return
	}
	t.me(func(p *Participant) { p.Refused, p.Reason = code, reason })
	t.fail(code, reason, t.s.Self)
	t.send(SendRejection, t.s.Proposer, 0)
}

// cosignRequested takes one body a round, and no round again: what a proposer
// can make a party do and keep is bounded.
func (t *turn) cosignRequested(b Body) {
	if t.s.Phase != Assented || t.s.Signed(b.Digest) || b.Round > MaxRounds {
		return
	}
	if last, _ := t.s.Body(); b.Round <= max(last.Round, t.s.OfferedRound) {
		return
	}
	t.offered(b)
	t.do(DoCheckBody, b.Round)
}

func (t *turn) offered(b Body) { t.s.Offered, t.s.OfferedRound = &b, b.Round }

func (t *turn) bodyChecked(e BodyChecked) {
	if t.s.Phase != Assented || t.s.Offered == nil || t.s.Offered.Digest != e.Body.Digest {
		return
	}
	t.s.Offered = nil
	switch e.Code {
	case "":
		t.s.Bodies = append(t.s.Bodies, e.Body)
		t.me(func(p *Participant) { p.Cosigned = e.Body.Round })
		t.notify(Notice{Step: 5, Kind: "cosigned_again", Peer: t.s.Proposer})
		t.send(SendCosignature, t.s.Proposer, e.Body.Round)
	case CodeExpired:
		t.notify(Notice{Kind: "body_expired", Code: e.Code, Text: e.Reason})
	default:
		t.me(func(p *Participant) { p.Refused, p.Reason = e.Code, e.Reason })
		t.send(SendRejection, t.s.Proposer, 0)
		t.giveUp(e.Code, e.Reason, t.s.Proposer)
	}
}

func (t *turn) cancellationReceived(e CancellationReceived) error {
	if e.From != t.s.Proposer {
		return Errorf(CodeNotAuthorized, "only the proposer can cancel an agreement")
	}
	if t.s.Missed != nil { // the chain has it
		return nil
	}
	switch t.s.Phase {
	case Fetching, Vetting, Verifying, Checking, Deciding, Assented:
		t.s.each(e.Cause, func(p *Participant) { p.Refused, p.Reason = e.Code, e.Reason })
		t.giveUp(e.Code, e.Reason, e.Cause)
	}
	return nil
}
