package node

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestReachTriesOneAtATime wants one attempt at a time for who is away, at
// growing intervals, and everything at once when there is an answer.
func TestReachTriesOneAtATime(t *testing.T) {
	unreachable := agreement.Errorf(agreement.CodePeerUnreachable, "no")
	synctest.Test(t, func(t *testing.T) {
		r := newReach()
		for range 5 { // at once: nothing is known yet
			if err := r.begin("a"); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			r.end("a", unreachable)
		}
		var attempts []time.Duration
		for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(100 * time.Millisecond) {
			err := r.begin("a")
			if err != nil {
				if !agreement.Retryable(err) {
					t.Fatal(err)
				}
				continue
			}
			attempts = append(attempts, time.Since(start))
			if r.begin("a") == nil {
				t.Fatal("a second attempt at the same time")
			}
			time.Sleep(time.Second)
			r.end("a", unreachable)
		}
		if n := len(attempts); n < 5 || n > 9 || attempts[0] > awayFirst+100*time.Millisecond {
			t.Errorf("attempts after %s", attempts)
		}
		if err := r.begin("b"); err != nil {
			t.Errorf("another peer: %v", err)
		}
		r.back("a")
		if err := r.begin("a"); err != nil {
			t.Errorf("a peer that was seen: %v", err)
		}
	})
	r := newReach()
	for name, answer := range map[string]error{"taken": nil, "refused": agreement.Errorf(agreement.CodeBackpressure, "full")} {
		r.end("a", unreachable)
		r.end("a", answer)
		if err := r.begin("a"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(r.away) > 0 {
		t.Errorf("%d are remembered", len(r.away))
	}
}

// TestPeersFaultsEndNothing tries again where a peer says that it has trouble
// of its own, or says nothing that can be understood.
func TestPeersFaultsEndNothing(t *testing.T) {
	for _, c := range []struct {
		err  error
		want agreement.Code
	}{
		{nil, ""},
		{errors.New("a stream that was reset"), agreement.CodePeerUnreachable},
		{agreement.Errorf(agreement.CodeInternal, "internal error"), agreement.CodeBackpressure},
		{fmt.Errorf("fetching: %w", agreement.Errorf(agreement.CodeStore, "the disk is full")), agreement.CodeBackpressure},
		{agreement.Errorf(agreement.CodeNotFound, "no object"), agreement.CodeNotFound},
		{agreement.Errorf(agreement.CodeBadMessage, "no"), agreement.CodeBadMessage},
	} {
		if got := ofPeer(c.err); codeOrNone(got) != c.want {
			t.Errorf("%v becomes %v", c.err, got)
		}
	}
}
