package agreement

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// randomStep does one thing that can happen.
func (w *world) randomStep() {
	switch k := rapid.IntRange(0, 19).Draw(w.t, "what"); {
	case k < 13 && len(w.work) > 0:
		i := rapid.IntRange(0, len(w.work)-1).Draw(w.t, "item")
		it := w.work[i]
		if rapid.IntRange(0, 4).Draw(w.t, "again") > 0 {
			w.work = slices.Delete(w.work, i, i+1)
		} else if it.effect != nil && !it.effect.Kind.IsSend() {
			return // an effect's event is applied once: its row goes in the same transaction
		}
		w.carryOut(it)
	case k < 15:
		w.newBlock(time.Duration(rapid.IntRange(1, 40).Draw(w.t, "seconds")) * time.Second)
	case k < 18:
		w.takeBlock(rapid.IntRange(0, len(w.nodes)-1).Draw(w.t, "node"))
	case k == 18:
		w.now = w.now.Add(time.Duration(rapid.IntRange(1, 400).Draw(w.t, "seconds")) * time.Second)
		w.apply(rapid.IntRange(0, len(w.nodes)-1).Draw(w.t, "node"), Tick{})
	default:
		w.person(rapid.IntRange(0, len(w.nodes)-1).Draw(w.t, "node"))
	}
}

// person decides or cancels, where there is something to decide.
func (w *world) person(node int) {
	switch rapid.IntRange(0, 9).Draw(w.t, "person") {
	case 0:
		w.apply(node, CancelRequested{Reason: "no more"})
	case 1:
		w.apply(node, Declined{Code: CodeRejected, Reason: "no"})
	default:
		w.apply(node, Approved{})
	}
}

// settle lets everything happen that is under way, and time pass.
func (w *world) settle() {
	for range 20_000 {
		open := slices.ContainsFunc(w.nodes, func(n *simNode) bool {
			return n.state.Phase != None && !n.state.Phase.Final() || n.next < len(w.blocks)
		})
		if !open && len(w.work) == 0 {
			return
		}
		if len(w.work) > 0 {
			it := w.work[0]
			w.work = w.work[1:]
			w.carryOut(it)
			continue
		}
		w.newBlock(7 * time.Second)
		w.now = w.now.Add(7 * time.Second)
		for i := range w.nodes {
			for w.takeBlock(i) {
				continue
			}
			w.apply(i, Tick{})
		}
	}
	w.t.Fatalf("the agreement doesn't end: %s", w.phases())
}

func (w *world) phases() string {
	out := ""
	for _, n := range w.nodes {
		out += fmt.Sprintf(" %s:%s(%s)", n.name, n.state.Phase, n.state.Code)
	}
	return out
}

// checkEnd wants one outcome, and that it is the chain's.
func (w *world) checkEnd() {
	want := FailedPhase
	if w.committed() != nil {
		want = Complete
	}
	for _, n := range w.nodes {
		if n.state.Phase == None && want == FailedPhase {
			continue // it ended before anybody was told
		}
		if n.state.Phase != want {
			w.t.Fatalf("on chain: %v, yet%s", w.committed() != nil, w.phases())
		}
		if want == FailedPhase && n.state.Code == "" {
			w.t.Fatalf("%s failed without a code", n.name)
		}
	}
	if want == Complete && (w.fails || w.diverges >= 0) {
		w.t.Fatal("committed what not all parties reached")
	}
}

// TestAgreementEndsTheSameEverywhere shuffles, repeats and delays everything
// that can happen, for one to five parties, and then lets things settle.
func TestAgreementEndsTheSameEverywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		parties := rapid.IntRange(1, 5).Draw(rt, "parties")
		w := newWorld(rt, parties)
		for i := range w.verdicts {
			if rapid.IntRange(0, 5).Draw(rt, "verdict") == 0 {
				w.verdicts[i] = Verdict(rapid.IntRange(int(Ask), int(Reject)).Draw(rt, "which"))
			}
			w.unvetted[i] = rapid.IntRange(0, 5).Draw(rt, "vetted later") == 0
		}
		w.fails = rapid.IntRange(0, 9).Draw(rt, "fails") == 0
		if rapid.IntRange(0, 9).Draw(rt, "diverges") == 0 {
			w.diverges = rapid.IntRange(0, parties-1).Draw(rt, "who")
			if parties == 1 || w.fails {
				w.diverges = -1
			}
		}
		if rapid.IntRange(0, 1).Draw(rt, "with trouble") == 1 {
			w.trouble = func(what string) bool { return rapid.IntRange(0, 19).Draw(rt, what) == 0 }
		}
		restored := -1
		if parties > 1 && rapid.IntRange(0, 3).Draw(rt, "restores a backup") == 0 {
			restored = rapid.IntRange(0, parties-1).Draw(rt, "who restores")
		}
		for range rapid.IntRange(0, 150).Draw(rt, "steps") {
			if restored >= 0 {
				w.backUp(restored)
			}
			w.randomStep()
		}
		if restored >= 0 {
			if past := w.nodes[restored].past; len(past) > 0 {
				w.restore(restored, past[rapid.IntRange(0, len(past)-1).Draw(rt, "which backup")])
			}
		}
		w.trouble = nil
		w.settle()
		w.checkEnd()
	})
}

// TestUndisturbedAgreementCommits keeps the property test honest: where
// nothing disturbs, everything commits.
func TestUndisturbedAgreementCommits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, rapid.IntRange(1, 5).Draw(rt, "parties"))
		w.settle()
		w.checkEnd()
		if w.committed() == nil {
			rt.Fatalf("nothing committed:%s", w.phases())
		}
	})
}
