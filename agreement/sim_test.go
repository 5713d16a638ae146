package agreement

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
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
	fails    bool         // the contract returns FAIL
	diverges int          // node whose result differs, or -1
	unvetted map[int]bool // nodes whose people haven't vetted the contract yet

	signed  map[string]map[Hash]bool                           // what each has signed at any time
	log     func(node int, e Event, s State, effects []Effect) // of every transition; may be nil
	trouble func(what string) bool                             // whether something goes wrong now; nil: nothing does
}

func (w *world) wrong(what string) bool { return w.trouble != nil && w.trouble(what) }

type simNode struct {
	name  string
	state State
	seen  map[string]bool // ids of messages that were applied
	next  int             // blocks taken in
	past  []backup

	restored bool // from one of them
}

// backup is all that a node had at some time.
type backup struct {
	state   State
	seen    map[string]bool
	next    int
	effects []item
}

// backUp keeps what a node has now.
func (w *world) backUp(node int) {
	n := w.nodes[node]
	own := slices.DeleteFunc(slices.Clone(w.work), func(it item) bool { return it.node != node || it.effect == nil })
	n.past = append(n.past, backup{n.state, maps.Clone(n.seen), n.next, own})
}

// restore takes a node back to a backup.
func (w *world) restore(node int, b backup) {
	n := w.nodes[node]
	n.state, n.seen, n.next, n.restored = b.state, maps.Clone(b.seen), b.next, true
	w.work = slices.DeleteFunc(w.work, func(it item) bool { return it.node == node && it.effect != nil })
	w.work = append(w.work, b.effects...)
}

// item is a pending effect of a node, or a message under way to it.
type item struct {
	node    int
	effect  *Effect
	message Event
	id      string // of a message
	tries   int    // of a message that comes before its proposal
	body    Hash   // that a message has a signature of
}

type block struct {
	time   time.Time
	body   []Body
	failed []Body // in the block, and without effect
}

func newWorld(t *rapid.T, parties int) *world {
	start := time.Unix(1_700_000_000, 0)
	w := &world{t: t, now: start, chainNow: start, diverges: -1, unvetted: map[int]bool{}, signed: map[string]map[Hash]bool{}}
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
	w.checkFinal(n, before, next, e)
	w.checkWayOut(next)
	n.state = next
	for _, b := range next.Bodies {
		if w.signed[n.name] == nil {
			w.signed[n.name] = map[Hash]bool{}
		}
		w.signed[n.name][b.Digest] = true
	}
	if w.log != nil && len(effects) > 0 {
		w.log(node, e, next, effects)
	}
	for _, eff := range effects {
		if eff.Kind != Notify {
			w.work = append(w.work, item{node: node, effect: &eff})
		}
	}
}

// checkFinal wants a final phase to stay, but where an older backup was
// restored: such a node may give up what it doesn't know to have broadcast, and
// then it follows the chain.
func (w *world) checkFinal(n *simNode, before, next State, e Event) {
	if !before.Phase.Final() || next.Phase == before.Phase {
		return
	}
	_, committed := e.(Committed)
	_, lost := e.(Lost)
	if lost || committed && n.restored && before.Phase == FailedPhase {
		return
	}
	w.t.Fatalf("%s left the final phase %s for %s on %T", n.name, before.Phase, next.Phase, e)
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
		if w.nodes[it.node].name != n.state.Proposer && w.unvetted[it.node] {
			w.t.Fatal("executed what isn't vetted")
		}
		w.apply(it.node, w.execute(it.node))
	case DoPrepare:
		body := Body{Round: e.Round, Timeout: w.chainNow.Add(2 * time.Minute).UnixNano()}
		body.Digest = sha256.Sum256(fmt.Append(nil, body.Round, body.Timeout))
		w.apply(it.node, BodyPrepared{body})
	case DoFetch:
		if w.unvetted[it.node] {
			w.apply(it.node, NotVetted{})
			w.work = append(w.work, item{node: it.node, message: Vetted{}, id: "vet"})
			return
		}
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
	case DoRecall:
		w.recall(it)
	}
}

// recall gets the terms from another one that has the agreement from the chain.
func (w *world) recall(it item) {
	for i, n := range w.nodes {
		if i != it.node && n.state.Height > 0 {
			w.apply(it.node, Recalled{w.opening(it.node, parties(n.state))})
			return
		}
	}
	w.work = append(w.work, it) // it is tried again
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
		if !w.signed[n.name][body.Digest] {
			w.t.Fatalf("broadcast without the signature of %s", n.name)
		}
	}
	if w.chainNow.UnixNano() > body.Timeout {
		w.apply(node, BroadcastRefused{Code: CodeExpired})
		return
	}
	w.mempool = append(w.mempool, body)
	if w.wrong("refused by one node, and taken by another") {
		w.apply(node, BroadcastRefused{Code: CodeChainRefused})
		return
	}
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
	if w.wrong("undeliverable") {
		w.apply(from, Undeliverable{To: e.To, Kind: e.Kind, Code: CodePeerRefused, Text: "no"})
		return
	}
	id := fmt.Sprint(s.Self, e.To, e.Kind, e.Round)
	it := item{node: to, message: m, id: id}
	if i := slices.IndexFunc(s.Bodies, func(b Body) bool { return b.Round == e.Round }); i >= 0 && (e.Kind == SendAssent || e.Kind == SendCosignature) {
		it.body = s.Bodies[i].Digest
	}
	w.work = append(w.work, it)
	w.apply(from, Delivered{To: e.To, Kind: e.Kind, Via: "stream"})
}

func parties(s State) []Party {
	var out []Party
	for _, p := range s.Participants {
		out = append(out, p.Party)
	}
	return out
}

// deliver applies a message once; one that comes before its proposal waits,
// and is dropped when that is too long.
func (w *world) deliver(it item) {
	n := w.nodes[it.node]
	if n.seen[it.id] {
		return
	}
	if _, first := it.message.(Proposed); !first && n.state.Phase == None {
		if it.tries++; it.tries < 200 {
			w.work = append(w.work, it)
		}
		return
	}
	n.seen[it.id] = true
	if it.body != (Hash{}) && !n.state.Signed(it.body) {
		return // a signature of another body, which a node refuses
	}
	if _, ok := it.message.(Vetted); ok {
		w.unvetted[it.node] = false
	}
	w.apply(it.node, it.message)
}

// newBlock commits what is in the mempool and hasn't timed out.
func (w *world) newBlock(after time.Duration) {
	w.chainNow = w.chainNow.Add(after)
	b := block{time: w.chainNow}
	var again []Body
	for _, body := range w.mempool {
		switch {
		case body.Timeout < w.chainNow.UnixNano() || w.committed() != nil || len(b.body) > 0:
		case w.wrong("fails in a block, and may pass in the next"):
			b.failed, again = append(b.failed, body), append(again, body)
		default:
			b.body = append(b.body, body)
		}
	}
	w.mempool = again
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
	for _, body := range b.failed {
		w.apply(node, TxFailed{Body: body.Digest, Height: int64(n.next), TxHash: "tx", Text: "no"})
	}
	for _, body := range b.body {
		records := map[string]string{"r": "hash"}
		if n.state.Signed(body.Digest) {
			w.apply(node, Committed{Body: body.Digest, Height: int64(n.next), TxHash: "tx", Records: records})
			continue
		}
		opening := w.opening(node, parties(w.nodes[(node+1)%len(w.nodes)].state))
		opening.Deadline = w.now.Add(7 * 24 * time.Hour)
		w.apply(node, Lost{Opening: opening, Missed: Missed{Height: int64(n.next), TxHash: "tx", Records: records}})
	}
	w.apply(node, BlockTime{b.time})
	return true
}
