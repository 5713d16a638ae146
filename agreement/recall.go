package agreement

import (
	"fmt"
	"slices"
)

// lost begins to bring an agreement back. Where an older store was restored in
// the middle of it, what is there of it is used, whatever had become of it.
func (t *turn) lost(e Lost) error {
	switch {
	case t.s.Phase == None:
		if err := t.open(e.Opening, Recalling); err != nil {
			return err
		}
		t.s.Proposer = "" // the terms will say
		t.s.Missed = &e.Missed
		t.notifyLost()
		t.do(DoRecall, 0)
	case t.s.Height == 0 && t.s.Missed == nil:
		t.s.Missed, t.s.Deadline = &e.Missed, e.Deadline.UnixMilli()
		t.s.Code, t.s.Message, t.s.Cause = "", "", ""
		t.notifyLost()
		if len(t.s.Records) > 0 {
			t.madeAnew()
			return nil
		}
		t.s.Phase = Fetching
		t.send(DoFetch, t.s.Proposer, 0)
	}
	return nil
}

// neverBroadcast reports whether a proposer that has yet to broadcast a body
// finds it on the chain. Nobody else could have done so: an older store was
// restored since, and the acknowledgements went to what was lost.
func (t *turn) neverBroadcast(body Hash) bool {
	last, _ := t.s.Body()
	return t.s.Proposing() && last.Digest == body && t.s.Phase != Broadcasting && t.s.Phase != Closing
}

func (t *turn) notifyLost() {
	t.notify(Notice{Kind: "lost", Text: fmt.Sprintf("height %d, transaction %s: signed by this affiliate, and this node doesn't know of that; it is brought back",
		t.s.Missed.Height, t.s.Missed.TxHash)})
}

// recalled goes on as a party does, with the terms.
func (t *turn) recalled(e Recalled) error {
	if t.s.Phase != Recalling {
		return nil
	}
	if e.ID != t.s.ID || e.Self != t.s.Self || e.Scope != t.s.Scope || !slices.ContainsFunc(e.Participants, func(p Party) bool { return p.Address == t.s.Self }) {
		return Errorf(CodeBadMessage, "the terms are another agreement's")
	}
	missed, created, deadline := t.s.Missed, t.s.Created, t.s.Deadline
	if err := t.open(e.Opening, Fetching); err != nil {
		return err
	}
	t.s.Missed, t.s.Created, t.s.Deadline = missed, created, deadline
	t.notify(Notice{Step: 2, Kind: "recalled", Peer: t.s.Proposer, Text: t.s.ContractName})
	t.send(DoFetch, t.s.Proposer, 0)
	return nil
}

// madeAnew holds records that were made again against the chain.
func (t *turn) madeAnew() {
	if !sameRecords(t.s.Records, t.s.Missed.Records) {
		t.fail(CodeCommittedMismatch, "the chain holds other hashes than the records that these terms make here", "")
		return
	}
	t.s.Height, t.s.TxHash = t.s.Missed.Height, t.s.Missed.TxHash
	t.s.Phase = Indexing
	t.do(DoIndex, 0)
}
