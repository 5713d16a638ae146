package agreement

import "fmt"

func (t *turn) submitted(e Submitted) error {
	if t.s.Phase != None {
		return nil
	}
	if err := t.open(e.Opening, Executing); err != nil {
		return err
	}
	t.notify(Notice{Step: 1, Kind: "submitted", Text: t.s.ContractName})
	t.notify(Notice{Step: 3, Kind: "stored", Text: "inputs sealed in this node's store"})
	t.do(DoExecute, 0)
	return nil
}

func (t *turn) applyAsProposer(e Event) error {
	switch e := e.(type) {
	case BodyPrepared:
		t.bodyPrepared(e.Body)
	case AssentReceived:
		return t.assentReceived(e)
	case CosignatureReceived:
		t.cosignatureReceived(e)
	case RejectionReceived:
		text := e.Reason
		if e.Code != CodeRejected {
			text = fmt.Sprintf("%s: %s", e.Code, e.Reason)
		}
		t.refused(e.From, e.Code, CodeRejected, text)
	case DivergenceReceived:
		t.refused(e.From, CodeDiverged, CodeDiverged, e.Text)
	case BroadcastAccepted:
		t.broadcastAccepted(e)
	case BroadcastRefused:
		t.broadcastRefused(e)
	case AcknowledgementReceived:
		t.acknowledged(e.From)
	case CancelRequested:
		return t.cancelRequested(e.Reason)
	default:
		return Errorf(CodeWrongPhase, "%T doesn't concern the proposer of an agreement", e)
	}
	return nil
}

func (t *turn) executedAsProposer(failure RecordResult, failed bool) {
	t.me(func(p *Participant) { p.Attested = true })
	if failed {
		// The parties get the proposal all the same: each runs the contract and
		// sees for itself why nothing goes on chain.
		t.toOthers(SendProposal, 0)
		t.fail(CodeContractFail, failureText(failure), t.s.Self)
		return
	}
	t.s.Phase = Preparing
	t.do(DoPrepare, 1)
}

func (t *turn) bodyPrepared(b Body) {
	last, _ := t.s.Body()
	if t.s.Phase != Preparing || b.Round != last.Round+1 {
		return
	}
	t.s.Bodies = append(t.s.Bodies, b)
	t.s.NextRound = 0
	t.s.Phase = Collecting
	switch {
	case len(t.s.Others()) == 0:
		t.broadcast()
	case b.Round == 1:
		t.toOthers(SendProposal, 1)
	default:
		t.toOthers(SendCosignRequest, b.Round)
	}
}

func (t *turn) assentReceived(e AssentReceived) error {
	if e.Results != t.s.Results {
		t.refused(e.From, CodeDiverged, CodeDiverged, because("its attestation is for another result", e.Difference))
		return nil
	}
	known := t.s.each(e.From, func(p *Participant) {
		if !p.Attested {
			t.notify(Notice{Step: 5, Kind: "result_received", Peer: e.From})
		}
		p.Delivered, p.Attested, p.Cosigned = true, true, max(p.Cosigned, e.Round)
	})
	if !known {
		return Errorf(CodeNotAuthorized, "%s has no part in the agreement", e.From)
	}
	t.advance()
	return nil
}

func (t *turn) cosignatureReceived(e CosignatureReceived) {
	t.s.each(e.From, func(p *Participant) { p.Cosigned = max(p.Cosigned, e.Round) })
	t.advance()
}

// advance broadcasts once all have attested and co-signed the newest body. A
// party that took longer to assent than the body lives makes a new round
// necessary, in which nobody has to decide anything again.
func (t *turn) advance() {
	body, ok := t.s.Body()
	if t.s.Phase != Collecting || !ok || !t.s.all(func(p Participant) bool { return p.Attested }) {
		return
	}
	switch {
	case t.s.all(func(p Participant) bool { return p.Cosigned == body.Round }):
		t.broadcast()
	case body.Round == 1:
		t.newRound()
	}
}

func (t *turn) newRound() {
	body, _ := t.s.Body()
	switch {
	case body.Round >= MaxRounds:
		t.callOff(CodeExpired, fmt.Sprintf("no complete set of co-signatures in %d rounds", MaxRounds), t.s.Self)
	case t.now >= t.s.Deadline:
		t.callOff(CodeExpired, "the deadline has passed before the transaction was in a block", t.s.Self)
	default:
		t.s.Phase = Preparing
		t.do(DoPrepare, body.Round+1)
	}
}

func (t *turn) broadcast() {
	body, _ := t.s.Body()
	t.s.Phase = Broadcasting
	t.s.BroadcastAt = 0
	t.do(DoBroadcast, body.Round)
}

func (t *turn) broadcastAccepted(e BroadcastAccepted) {
	if t.s.Phase != Broadcasting {
		return
	}
	t.s.BroadcastAt = t.now
	if t.s.TxHash == e.TxHash {
		return
	}
	t.s.TxHash = e.TxHash
	t.notify(Notice{Step: 6, Kind: "broadcast", Text: "transaction " + e.TxHash})
}

func (t *turn) broadcastRefused(e BroadcastRefused) {
	if t.s.Phase != Broadcasting {
		return
	}
	// A refusal isn't proof: the same bytes may reach a block by another way.
	// Only the chain's time ends the wait, see blockTime.
	if e.Code == CodeExpired {
		t.notify(Notice{Kind: "body_expired", Code: e.Code, Text: e.Text})
		return
	}
	t.close(e.Code, e.Text, "")
}

// refused ends the agreement for everybody, because one party won't have it.
func (t *turn) refused(from string, reason, code Code, text string) {
	if reason == "" {
		reason = CodeRejected // or it would count as no refusal
	}
	t.s.each(from, func(p *Participant) {
		if p.Refused == "" {
			p.Delivered, p.Refused, p.Reason = true, reason, text
			t.notify(Notice{Step: 5, Kind: "refusal_received", Peer: from, Code: reason, Text: text})
		}
	})
	switch t.s.Phase {
	case Executing, Preparing, Collecting:
		t.callOff(code, text, from)
	}
}

// callOff ends the agreement and tells everybody who has heard of it. The
// proposer hasn't signed yet (or its bodies have timed out), so nothing can
// commit.
func (t *turn) callOff(code Code, text, cause string) {
	t.fail(code, text, cause)
	if len(t.s.Bodies) > 0 {
		t.toOthers(SendCancellation, 0)
	}
}

func (t *turn) cancelRequested(reason string) error {
	switch t.s.Phase {
	case Executing, Preparing, Collecting:
		t.callOff(CodeCancelled, reason, t.s.Self)
		return nil
	case Broadcasting:
		return Errorf(CodeWrongPhase, "too late to cancel: the transaction is on its way to the chain")
	}
	return Errorf(CodeWrongPhase, "too late to cancel: the agreement is %s", t.s.Phase)
}

func (t *turn) acknowledged(from string) {
	t.s.each(from, func(p *Participant) {
		if !p.Acknowledged {
			p.Acknowledged = true
			t.notify(Notice{Step: 10, Kind: "acknowledgement_received", Peer: from})
		}
	})
	t.completeIfAcknowledged()
}

func (t *turn) completeIfAcknowledged() {
	if t.s.Phase == Acknowledging && t.s.all(func(p Participant) bool { return p.Acknowledged }) {
		t.complete("")
	}
}
