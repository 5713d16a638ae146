package agreement

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden conversations instead of comparing")

// TestConversation plays agreements step by step and compares what every node
// does with a golden text: a change of behaviour shows as a difference that a
// reviewer can read. `go test ./agreement -run Conversation -rewrite` renews it.
func TestConversation(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*world)
	}{
		{"agreed", func(*world) {}},
		{"rejected", func(w *world) { w.verdicts[2] = Reject }},
		{"vetted-late", func(w *world) { w.unvetted[1] = true }},
		{"contract-fails", func(w *world) { w.fails = true }},
		{"diverged", func(w *world) { w.diverges = 1 }},
	} {
		t.Run(c.name, func(t *testing.T) { golden(t, c.name, converse(t, c.prepare)) })
	}
}

// converse settles a world of three parties and writes down every transition.
func converse(t *testing.T, prepare func(*world)) string {
	var out strings.Builder
	// One run of one check: the world draws nothing while it settles.
	rapid.Check(t, func(rt *rapid.T) {
		out.Reset()
		w := newWorld(rt, 3)
		prepare(w)
		phases := make([]Phase, 3)
		w.work = nil
		first := w.nodes[0].state
		w.nodes[0].state = State{}
		w.log = func(node int, e Event, s State, effects []Effect) {
			fmt.Fprintf(&out, "%s  %s  %s -> %s\n", w.nodes[node].name, eventName(e), phases[node], s.Phase)
			phases[node] = s.Phase
			for _, eff := range effects {
				fmt.Fprintf(&out, "    %s\n", describe(eff))
			}
		}
		w.apply(0, Submitted{w.opening(0, parties(first))})
		w.settle()
		w.checkEnd()
	})
	return out.String()
}

func eventName(e Event) string { return strings.TrimPrefix(fmt.Sprintf("%T", e), "agreement.") }

func describe(e Effect) string {
	if e.Kind != Notify {
		return strings.TrimSpace(fmt.Sprintf("%s %s", e.Kind, e.To))
	}
	n := e.Notice
	step := "      "
	if n.Step > 0 {
		step = fmt.Sprintf("step %-2d", n.Step)
	}
	return strings.TrimRight(fmt.Sprintf("%s %s %s %s", step, n.Kind, n.Peer, n.Code), " ")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "conversation", name+".txt")
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Fatalf("the conversation %s has changed; got:\n%s", name, got)
	}
}
