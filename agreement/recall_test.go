package agreement

import (
	"slices"
	"testing"
	"time"
)

// lostOne is an agreement that an affiliate signed and lost.
func lostOne(t *testing.T, self string) *one {
	t.Helper()
	o := &one{t: t, now: day0}
	effects := o.do(Lost{
		Opening: Opening{ID: ID{1}, Self: self, Scope: UUID{2}, Participants: []Party{{Address: "p"}, {Address: "b"}}, Deadline: o.now.Add(24 * time.Hour)},
		Missed:  Missed{Height: 7, TxHash: "AA", Records: map[string]string{"terms": "hash"}},
	})
	o.wantPhase(Recalling)
	if count(effects, DoRecall) != 1 {
		t.Fatalf("%v", effects)
	}
	return o
}

func recalledOpening(self string) Opening {
	return Opening{ID: ID{1}, Self: self, Scope: UUID{2}, Contract: Hash{3}, Participants: []Party{{Address: "p"}, {Address: "b"}}, Deadline: time.Unix(1, 0)}
}

func madeHere(hash string) Executed {
	return Executed{Records: []RecordResult{{Function: "f", Record: "terms", Outcome: Pass, Output: hash}}, Results: Hash{8}}
}

// TestRecall goes from the terms to the index without a word to anybody, also
// for who had proposed it.
func TestRecall(t *testing.T) {
	for _, self := range []string{"b", "p"} {
		o := lostOne(t, self)
		o.do(Recalled{recalledOpening(self)})
		o.wantPhase(Fetching)
		var sent []Effect
		for _, e := range []Event{NotVetted{}, Vetted{}, DataReady{}, madeHere("hash"), Indexed{}} {
			sent = append(sent, o.do(e)...)
		}
		o.wantPhase(Complete)
		if o.s.Height != 7 || o.s.TxHash != "AA" {
			t.Errorf("height %d, transaction %s", o.s.Height, o.s.TxHash)
		}
		if slices.ContainsFunc(sent, func(e Effect) bool { return e.Kind.IsSend() }) {
			t.Errorf("something is sent: %v", sent)
		}
	}
}

// TestRecallEnds holds what is made anew against the chain, and gives up in
// time; what others say meanwhile changes nothing.
func TestRecallEnds(t *testing.T) {
	o := lostOne(t, "b")
	if _, _, err := Step(o.s, o.now, Recalled{Opening{ID: ID{1}, Self: "b", Scope: UUID{9}, Participants: []Party{{Address: "p"}, {Address: "b"}}}}); CodeOf(err) != CodeBadMessage {
		t.Errorf("another scope: %v", err)
	}
	if _, _, err := Step(o.s, o.now, Recalled{recalledOpening("x")}); CodeOf(err) != CodeBadMessage {
		t.Errorf("for another affiliate: %v", err)
	}
	o.do(Committed{Height: 9})
	o.do(Recalled{recalledOpening("b")})
	o.do(CancellationReceived{From: "p", Code: CodeCancelled})
	o.wantPhase(Fetching)
	o.do(DataReady{})
	o.do(madeHere("another"))
	o.wantPhase(FailedPhase)
	if o.s.Code != CodeCommittedMismatch {
		t.Errorf("failed with %s", o.s.Code)
	}
	o = lostOne(t, "b")
	if o.s.HasTerms() {
		t.Error("an agreement that was lost has terms")
	}
	if o.pass(25 * time.Hour); o.s.Phase != FailedPhase || o.s.Code != CodeExpired {
		t.Errorf("after its time it is %s, %s", o.s.Phase, o.s.Code)
	}
	o = lostOne(t, "b")
	o.do(Recalled{recalledOpening("b")})
	if effects := o.do(Aborted{Code: CodeExecution}); o.s.Phase != FailedPhase || count(effects, SendRejection) != 0 {
		t.Errorf("%s, %v", o.s.Phase, effects)
	}
}

// TestRestoredProposerFollows: a proposer whose backup is older than its
// broadcast gives up what it believes nobody can have broadcast. The chain says
// otherwise, and it follows.
func TestRestoredProposerFollows(t *testing.T) {
	o := newOne(t, "p", time.Hour)
	o.do(AssentReceived{From: "a", Results: results.Results, Round: 1})
	backup := o.s
	o.do(AssentReceived{From: "b", Results: results.Results, Round: 1})
	o.wantPhase(Broadcasting)
	o.s = backup
	o.do(CancelRequested{Reason: "it isn't wanted"})
	o.wantPhase(FailedPhase)
	effects := o.do(Committed{Body: Hash{9, 1}, Height: 7, TxHash: "AA", Records: map[string]string{"r": "hash"}})
	o.wantPhase(Indexing)
	if o.s.Code != "" || count(effects, DoIndex) != 1 {
		t.Errorf("code %q, effects %v", o.s.Code, effects)
	}
	o.do(Indexed{}) // the others have acknowledged to what was lost
	o.wantPhase(Complete)

	o.s = backup
	o.do(AssentReceived{From: "b", Results: results.Results, Round: 1})
	o.do(Committed{Body: Hash{9, 1}, Height: 7, TxHash: "AA", Records: map[string]string{"r": "hash"}})
	o.do(Indexed{})
	o.wantPhase(Acknowledging)
}
