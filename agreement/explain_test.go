package agreement

import (
	"strings"
	"testing"
	"time"
)

// Everybody learns who ended an agreement, and what is left to do.
func TestExplainFailure(t *testing.T) {
	for _, c := range []struct {
		self, cause   string
		code          Code
		summary, todo string
	}{
		{"p", "a", CodeRejected, "Failed: REJECTED by a: no", "ask a, then propose again"},
		{"a", "a", CodeRejected, "Failed: REJECTED by this affiliate: no", "nothing: p may propose again"},
		{"b", "a", CodeRejected, "Failed: REJECTED by a: no", "nothing: p may propose again"},
		{"p", "p", CodeCancelled, "Failed: CANCELLED by this affiliate: no", "nothing: propose again if it is wanted after all"},
		{"a", "p", CodeCancelled, "Failed: CANCELLED by p: no", "nothing: p may propose again"},
		{"p", "p", CodeExpired, "Failed: EXPIRED: no", "ask the affiliates that were waited for, then propose again"},
		{"p", "p", CodeContractFail, "Failed: CONTRACT_FAIL: no", "change the request and propose again"},
		{"p", "p", CodeChainRefused, "Failed: CHAIN_REFUSED: no", "ask this node's operator: see the log"},
		{"p", "p", CodePeerUnreachable, "Failed: PEER_UNREACHABLE: no", "propose again later"},
	} {
		x := Explain(State{Phase: FailedPhase, Self: c.self, Proposer: "p", Cause: c.cause, Code: c.code, Message: "no"})
		if x.Summary != c.summary || len(x.Actions) != 1 || x.Actions[0] != c.todo {
			t.Errorf("%s of %s at %s: %q, %q", c.code, c.cause, c.self, x.Summary, x.Actions)
		}
	}
}

// Who waits for a body's timeout learns how long that takes.
func TestExplainClosing(t *testing.T) {
	until := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	x := Explain(State{Phase: Closing, Code: CodeRejected, Bodies: []Body{{Round: 1, Timeout: until.UnixNano()}}})
	if !strings.Contains(x.Summary, "until 03:04:05 of the chain's time") {
		t.Error(x.Summary)
	}
}

// Whoever hears of a divergence, the two between whom it is and others, learns
// whose trace to compare with its own.
func TestExplainDivergence(t *testing.T) {
	for _, c := range []struct{ self, cause, other string }{{"p", "a", "a"}, {"a", "a", "p"}, {"b", "a", "a"}} {
		s := State{ID: UUID{1}, Phase: FailedPhase, Self: c.self, Proposer: "p", Cause: c.cause, Code: CodeDiverged, Message: "function f: fuel: 7 stated, 8 reached"}
		todo := strings.Join(Explain(s).Actions, "\n")
		for _, want := range []string{"affiliate agreement trace " + s.ID.String() + " --output json", "have " + c.other + " do the same", "affiliate agreement trace-diff"} {
			if !strings.Contains(todo, want) {
				t.Errorf("%s isn't told %q: %s", c.self, want, todo)
			}
		}
	}
}
