package agreement

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a network of affiliates and a chain, without any I/O: every message
// and every effect is an item that the test may carry out now, later or twice.
type world struct {
	t        *rapid.T
	now      time.Time // everybody's wall clock
	nodes    []*simNode
	work     []item
	blocks   []block
	mempool  []Body
	chainNow time.Time

	verdicts []Verdict
	fails    bool // the contract returns FAIL
	diverges int  // node whose result differs, or -1

	log func(node int, e Event, s State, effects []Effect) // of every transition; may be nil
}

type simNode struct {
	name  string
	state State
	seen  map[string]bool // ids of messages that were applied
	next  int             // blocks taken in
}

// item is a pending effect of a node, or a message under way to it.
type item struct {
	node    int
	effect  *Effect
	message Event
	id      string // of a message
}

type block struct {
	time time.Time
	body []Body
}

func newWorld(t *rapid.T, parties int) *world {
	start := time.Unix(1_700_000_000, 0)
	w := &world{t: t, now: start, chainNow: start, diverges: -1}
	var participants []Party
	for i := range parties {
		name := fmt.Sprintf("tp1party%d", i)
		w.nodes = append(w.nodes, &simNode{name: name, seen: map[string]bool{}})
		participants = append(participants, Party{Address: name, Role: "OWNER"})
		w.verdicts = append(w.verdicts, Approve)
	}
	w.apply(0, Submitted{w.opening(0, participants)})
	return w
}

func (w *world) opening(self int, participants []Party) Opening {
	return Opening{
		ID: UUID{1}, Self: w.nodes[self].name, Terms: Hash{2}, Contract: Hash{3}, Scope: UUID{4},
		Participants: participants, Deadline: time.Unix(1_700_000_000, 0).Add(10 * time.Minute), AckWithin: time.Hour,
	}
}

// apply is the driver: state and effects change together.
func (w *world) apply(node int, e Event) {
	n := w.nodes[node]
	before := n.state
	next, effects, err := Step(n.state, w.now, e)
	if err != nil {
		return
	}
	if before.Phase.Final() && next.Phase != before.Phase {
		w.t.Fatalf("%s left the final phase %s for %s on %T", n.name, before.Phase, next.Phase, e)
	}
	w.checkWayOut(next)
	n.state = next
	if w.log != nil && len(effects) > 0 {
		w.log(node, e, next, effects)
	}
	for _, eff := range effects {
		if eff.Kind != Notify {
			w.work = append(w.work, item{node: node, effect: &eff})
		}
	}
}

// checkWayOut wants a deadline on every phase that isn't final.
func (w *world) checkWayOut(s State) {
	busy := s.Phase == Indexing // ends by this node's own work, which is retried
	if s.Phase != None && !s.Phase.Final() && !busy && s.NextTick().IsZero() && s.NextBlockTime().IsZero() {
		w.t.Fatalf("phase %s has no deadline", s.Phase)
	}
}

// carryOut does one item. An effect may be repeated, as after a crash between
// doing it and writing that down.
func (w *world) carryOut(it item) {
	if it.message != nil {
		w.deliver(it)
		return
	}
	e, n := *it.effect, w.nodes[it.node]
	if e.Kind.IsSend() {
		w.send(it.node, e)
		return
	}
	switch e.Kind {
	case DoExecute:
		w.apply(it.node, w.execute(it.node))
	case DoPrepare:
		body := Body{Round: e.Round, Timeout: w.chainNow.Add(2 * time.Minute).UnixNano()}
		body.Digest = sha256.Sum256(fmt.Append(nil, body.Round, body.Timeout))
		w.apply(it.node, BodyPrepared{body})
	case DoFetch:
		w.apply(it.node, DataReady{})
	case DoDecide:
		w.apply(it.node, Decided{w.verdicts[it.node]})
	case DoCheckBody:
		if n.state.Offered == nil {
			return
		}
		checked := BodyChecked{Body: *n.state.Offered}
		if w.chainNow.UnixNano() > checked.Body.Timeout {
			checked.Code = CodeExpired
		}
		w.apply(it.node, checked)
	case DoBroadcast:
		w.broadcast(it.node)
	case DoIndex:
		w.apply(it.node, Indexed{})
	}
}

func (w *world) execute(node int) Event {
	r := RecordResult{Function: "f", Record: "r", Outcome: Pass, Output: "hash"}
	if w.fails {
		r = RecordResult{Function: "f", Record: "r", Outcome: Fail, Code: "NO"}
	}
	if node == w.diverges {
		r.Output = "other"
	}
	records := []RecordResult{r}
	return Executed{Records: records, Results: AttestationDigest("net", UUID{1}, Hash{3}, Hash{2}, records)}
}

// broadcast checks what matters most: nothing reaches the chain that a party
// didn't sign.
func (w *world) broadcast(node int) {
	s := w.nodes[node].state
	if s.Phase != Broadcasting {
		return
	}
	body, _ := s.Body()
	for _, n := range w.nodes {
		if !n.state.signed(body.Digest) {
			w.t.Fatalf("broadcast without the signature of %s", n.name)
		}
	}
	if w.chainNow.UnixNano() > body.Timeout {
		w.apply(node, BroadcastRefused{Code: CodeExpired})
		return
	}
	w.mempool = append(w.mempool, body)
	w.apply(node, BroadcastAccepted{TxHash: body.Digest.String()})
}

func (w *world) send(from int, e Effect) {
	s := w.nodes[from].state
	to := slices.IndexFunc(w.nodes, func(n *simNode) bool { return n.name == e.To })
	var m Event
	switch e.Kind {
	case SendProposal:
		_, failed := Failed(s.Records)
		p := Proposed{Opening: w.opening(to, parties(s)), Stated: s.Results, StatedFail: failed}
		if len(s.Bodies) > 0 {
			p.Offered = &s.Bodies[0]
		}
		m = p
	case SendAssent:
		m = AssentReceived{From: s.Self, Results: s.Results, Round: e.Round}
	case SendDivergence:
		m = DivergenceReceived{From: s.Self, Text: "differs"}
	case SendRejection:
		m = RejectionReceived{From: s.Self, Code: s.Code, Reason: s.Message}
	case SendCosignRequest:
		m = CosignRequested{s.Bodies[e.Round-1]}
	case SendCosignature:
		m = CosignatureReceived{From: s.Self, Round: e.Round}
	case SendCancellation:
		m = CancellationReceived{From: s.Self, Code: s.Code, Reason: s.Message, Cause: s.Cause}
	case SendAcknowledgement:
		m = AcknowledgementReceived{From: s.Self}
	}
	id := fmt.Sprint(s.Self, e.To, e.Kind, e.Round)
	w.work = append(w.work, item{node: to, message: m, id: id})
	w.apply(from, Delivered{To: e.To, Kind: e.Kind, Via: "stream"})
}

func parties(s State) []Party {
	var out []Party
	for _, p := range s.Participants {
		out = append(out, p.Party)
	}
	return out
}

// deliver applies a message once; one that comes before its proposal waits.
func (w *world) deliver(it item) {
	n := w.nodes[it.node]
	if n.seen[it.id] {
		return
	}
	if _, first := it.message.(Proposed); !first && n.state.Phase == None {
		w.work = append(w.work, it)
		return
	}
	n.seen[it.id] = true
	w.apply(it.node, it.message)
}

// newBlock commits what is in the mempool and hasn't timed out.
func (w *world) newBlock(after time.Duration) {
	w.chainNow = w.chainNow.Add(after)
	b := block{time: w.chainNow}
	for _, body := range w.mempool {
		if body.Timeout >= w.chainNow.UnixNano() && w.committed() == nil {
			b.body = append(b.body, body)
		}
	}
	w.mempool = nil
	w.blocks = append(w.blocks, b)
}

func (w *world) committed() *Body {
	for _, b := range w.blocks {
		if len(b.body) > 0 {
			return &b.body[0]
		}
	}
	return nil
}

func (w *world) takeBlock(node int) bool {
	n := w.nodes[node]
	if n.next == len(w.blocks) {
		return false
	}
	b := w.blocks[n.next]
	n.next++
	for _, body := range b.body {
		w.apply(node, Committed{Body: body.Digest, Height: int64(n.next), TxHash: "tx", Records: map[string]string{"r": "hash"}})
	}
	w.apply(node, BlockTime{b.time})
	return true
}

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
	for range 10_000 {
		open := slices.ContainsFunc(w.nodes, func(n *simNode) bool { return n.state.Phase != None && !n.state.Phase.Final() })
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
		}
		w.fails = rapid.IntRange(0, 9).Draw(rt, "fails") == 0
		if rapid.IntRange(0, 9).Draw(rt, "diverges") == 0 {
			w.diverges = rapid.IntRange(0, parties-1).Draw(rt, "who")
			if parties == 1 || w.fails {
				w.diverges = -1
			}
		}
		for range rapid.IntRange(0, 150).Draw(rt, "steps") {
			w.randomStep()
		}
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
