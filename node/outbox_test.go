package node

import (
	"bytes"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestMailIsSealedForTodaysKeys sends the same bytes at every attempt, until the
// recipient has other keys: then it couldn't open them.
func TestMailIsSealedForTodaysKeys(t *testing.T) {
	proposer, rotated := newRing(t), newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", proposer)
	e := proposed(n, nil)
	e.Participants[0].Address = proposer.Address()
	if _, err := n.apply(t.Context(), e.ID, e, mail(t, n, "proposal")); err != nil {
		t.Fatal(err)
	}
	s, err := n.apply(t.Context(), e.ID, agreement.Declined{Code: agreement.CodeRejected, Reason: "no"}, cause{})
	if err != nil {
		t.Fatal(err)
	}
	task, _, _ := n.queue.next(classSend)
	seal := func() []byte {
		m, err := n.sealed(t.Context(), s, task.effect)
		if err != nil {
			t.Fatal(err)
		}
		return m.Sealed
	}
	first := seal()
	if !bytes.Equal(seal(), first) {
		t.Error("the second attempt sends other bytes")
	}
	st := bare(t).store // another start, with the proposer's newer record
	net := &network{t: t}
	net.must(st.SaveAffiliate(proposer.Address(), net.recordWith(proposer, rotated)))
	n.host = net.hostOf(n, st)
	second := seal()
	if bytes.Equal(second, first) || !bytes.Equal(seal(), second) {
		t.Error("the mail isn't sealed anew, once")
	}
	stored, err := n.store.Effects()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range stored {
		if e.Seq == task.effect.Seq && !bytes.Equal(e.Arg, task.effect.Arg) {
			t.Error("the new seal isn't stored")
		}
	}
}

func TestRounds(t *testing.T) {
	for _, round := range []uint32{0, 1, 50, 1<<32 - 1} {
		if got := decodeRound(encodeRound(round)); got != round {
			t.Errorf("%d becomes %d", round, got)
		}
	}
	if decodeRound([]byte{1, 2}) != 0 {
		t.Error("half a round is one")
	}
}
