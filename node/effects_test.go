package node

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/store"
)

// TestTerminalEvent says which errors end an effect, and as what.
func TestTerminalEvent(t *testing.T) {
	now, long := time.Now(), time.Now().Add(-effectLifetime-time.Hour)
	bad := agreement.Errorf(agreement.CodeBadMessage, "no")
	away := agreement.Errorf(agreement.CodePeerUnreachable, "away")
	disk := agreement.Errorf(agreement.CodeStore, "full")
	raw := errors.New("a time-out, say")
	for _, c := range []struct {
		what    string
		kind    agreement.EffectKind
		final   bool
		created time.Time
		err     error
		want    agreement.Event
	}{
		{"refused", agreement.SendAssent, false, now, bad, agreement.Undeliverable{To: "a", Kind: agreement.SendAssent, Code: agreement.CodeBadMessage, Text: "no"}},
		{"away", agreement.SendAssent, false, long, away, nil},
		{"away for too long", agreement.SendRejection, true, long, away, agreement.Undeliverable{To: "a", Kind: agreement.SendRejection, Code: agreement.CodePeerUnreachable, Text: "away"}},
		{"no code", agreement.SendAssent, false, long, raw, nil},
		{"no code for too long", agreement.SendRejection, true, long, raw, agreement.Undeliverable{To: "a", Kind: agreement.SendRejection, Code: agreement.CodeInternal, Text: raw.Error()}},
		{"no room on the disk", agreement.SendProposal, false, now, disk, nil},
		{"the endpoint of another chain", agreement.DoDecide, false, now, agreement.Errorf(agreement.CodeChainMismatch, "other"), nil},
		{"no room on the disk", agreement.DoExecute, false, now, disk, nil},
		{"fetch", agreement.DoFetch, false, now, bad, agreement.Declined{Code: agreement.CodeBadMessage, Reason: "no"}},
		{"decide", agreement.DoDecide, false, now, bad, agreement.Declined{Code: agreement.CodeBadMessage, Reason: "no"}},
		{"execute", agreement.DoExecute, false, now, bad, agreement.Aborted{Code: agreement.CodeBadMessage, Text: "no"}},
		{"prepare", agreement.DoPrepare, false, now, bad, agreement.Aborted{Code: agreement.CodeBadMessage, Text: "no"}},
		{"broadcast", agreement.DoBroadcast, false, now, bad, agreement.BroadcastRefused{Code: agreement.CodeBadMessage, Text: "no"}},
		{"index, ever", agreement.DoIndex, false, long, bad, nil},
	} {
		s := agreement.State{Phase: agreement.Assented}
		if c.final {
			s.Phase = agreement.FailedPhase
		}
		got, ok := terminalEvent(c.kind, s, &store.Effect{To: "a", Created: c.created}, c.err)
		if got != c.want || ok != (c.want != nil) {
			t.Errorf("%s of %s: %#v, want %#v", c.what, c.kind, got, c.want)
		}
	}
	e, _ := terminalEvent(agreement.DoFetch, agreement.State{}, &store.Effect{}, agreement.Errorf(agreement.CodeBadMessage, "%s", strings.Repeat("x", 1<<20)))
	if d, ok := e.(agreement.Declined); !ok || len(d.Reason) > maxReason {
		t.Errorf("a text of %d bytes", len(d.Reason))
	}
}

// TestEndedAgreementsLeaveNoWork drops what nobody waits for any more, and
// still tells others of the end.
func TestEndedAgreementsLeaveNoWork(t *testing.T) {
	failed := agreement.State{Phase: agreement.FailedPhase, Code: agreement.CodeExpired}
	fails := agreement.State{Phase: agreement.FailedPhase, Code: agreement.CodeContractFail}
	complete := agreement.State{Phase: agreement.Complete}
	for kind := agreement.DoExecute; kind < agreement.Notify; kind++ {
		if kind.String() == "" {
			continue
		}
		if isVoid(kind, agreement.State{Phase: agreement.Closing}) {
			t.Errorf("%s of an open agreement is void", kind)
		}
		tells := kind == agreement.SendAssent || kind == agreement.SendDivergence || kind == agreement.SendRejection ||
			kind == agreement.SendCancellation || kind == agreement.SendAcknowledgement
		if isVoid(kind, failed) == tells || isVoid(kind, complete) == tells {
			t.Errorf("%s of an agreement that has ended: void %v", kind, isVoid(kind, failed))
		}
		if isVoid(kind, fails) == (tells || kind == agreement.SendProposal) {
			t.Errorf("%s of a contract that fails: void %v", kind, isVoid(kind, fails))
		}
	}

	n := bare(t)
	e := proposed(n, nil)
	if _, err := n.apply(t.Context(), e.ID, e, mail(t, n, "proposal")); err != nil {
		t.Fatal(err)
	}
	task, _, ok := n.queue.next(classData)
	if !ok || task.peer != "tp1proposer" {
		t.Fatalf("no fetch from the proposer: %+v", task)
	}
	if _, err := n.apply(t.Context(), e.ID, agreement.Declined{Code: agreement.CodeRejected}, cause{}); err != nil {
		t.Fatal(err)
	}
	n.carryOut(t.Context(), task)
	left, err := n.store.Effects()
	if err != nil || len(left) != 1 || agreement.EffectKind(left[0].Kind) != agreement.SendRejection {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestFaultyMailIsDroppedInTheEnd wants that a message whose reading faults
// doesn't come back for ever.
func TestFaultyMailIsDroppedInTheEnd(t *testing.T) {
	n := bare(t)
	c := mail(t, n, "poison")
	again := mailTask(store.InboxMail{ID: c.mail}, "a")
	for tries := range unknownTries {
		if left, err := n.store.Inbox(); err != nil || len(left) != 1 {
			t.Fatalf("after %d tries %d are left, %v", tries, len(left), err)
		}
		func() {
			defer n.catch(t.Context(), again)
			panic("a fault")
		}()
		for waiting := range n.queue.all {
			again = waiting
		}
	}
	if left, err := n.store.Inbox(); err != nil || len(left) > 0 {
		t.Errorf("%d are left in the end, %v", len(left), err)
	}
}

// TestWaitFor says how long a message is worth another look.
func TestWaitFor(t *testing.T) {
	n := bare(t)
	e := proposed(n, nil)
	if _, err := n.apply(t.Context(), e.ID, e, mail(t, n, "proposal")); err != nil {
		t.Fatal(err)
	}
	open := &affiliatev1.Message{AgreementId: e.ID[:]}
	unknown := &affiliatev1.Message{AgreementId: make([]byte, 16)}
	for _, c := range []struct {
		what  string
		m     *affiliatev1.Message
		err   error
		tries int
		waits bool
	}{
		{"before its proposal", unknown, agreement.ErrUnknown, 10, true},
		{"its proposal never comes", unknown, agreement.ErrUnknown, int(unknownWait / unknownRetry), false},
		{"wrong", open, agreement.Errorf(agreement.CodeBadSignature, "no"), 0, false},
		{"the chain is away", open, agreement.Errorf(agreement.CodeChainUnreachable, "no"), 1000, true},
		{"the disk is full", open, agreement.Errorf(agreement.CodeStore, "no"), 1000, true},
		{"the chain is away, and nothing waits", unknown, agreement.Errorf(agreement.CodeChainUnreachable, "no"), unknownTries, false},
		{"out of time", open, errors.New("deadline exceeded"), 1, true},
		{"out of time again and again", open, errors.New("deadline exceeded"), unknownTries, false},
		{"nothing was read", nil, errors.New("deadline exceeded"), 1, true},
	} {
		if got := n.waitFor(c.m, c.err, c.tries); (got > 0) != c.waits || got > 2*retryMost {
			t.Errorf("%s: %s", c.what, got)
		}
	}
}

// TestReasonsCanBeSent wants that a reason in any language can be put into a
// message, however long it is.
func TestReasonsCanBeSent(t *testing.T) {
	for _, s := range []string{"", "no", strings.Repeat("ж", maxReason), strings.Repeat("x", maxReason-1) + "ж", "\xff\xfe"} {
		got := short(s)
		if !utf8.ValidString(got) || len(got) > maxReason || len(s) > 4 && len(got) < maxReason-3 {
			t.Errorf("%d bytes become %d", len(s), len(got))
		}
		if _, err := proto.Marshal(&affiliatev1.Rejection{Reason: got}); err != nil {
			t.Error(err)
		}
	}
}

func TestStatedCode(t *testing.T) {
	for text, want := range map[string]agreement.Code{
		"DIVERGED": agreement.CodeDiverged, "SOMETHING_NEW_2": "SOMETHING_NEW_2", "": agreement.CodeRejected,
		"no such": agreement.CodeRejected, "\x1b[2J": agreement.CodeRejected, strings.Repeat("A", maxCode+1): agreement.CodeRejected,
	} {
		if got := statedCode(text, agreement.CodeRejected); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// TestRoomIsShared keeps one affiliate from taking up all places: of open
// agreements, and of the inbox.
func TestRoomIsShared(t *testing.T) {
	greedy, modest := newRing(t), newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", greedy, modest)
	for i := range n.cfg.MaxOpen / openShare {
		n.timers.set(agreement.State{ID: agreement.ID{1, byte(i)}, Proposer: greedy.Address(), Phase: agreement.Deciding})
	}
	ask := func(proposer string) error {
		return n.checkRoom(t.Context(), &terms{Terms: &affiliatev1.Terms{Proposer: proposer}, id: agreement.ID{2}})
	}
	if err := ask(greedy.Address()); agreement.CodeOf(err) != agreement.CodeBackpressure {
		t.Errorf("one more of the greedy: %v", err)
	}
	if err := ask(modest.Address()); err != nil {
		t.Errorf("one of the modest: %v", err)
	}
	n.timers.set(agreement.State{ID: agreement.ID{1, 0}, Proposer: greedy.Address(), Phase: agreement.FailedPhase})
	if err := ask(greedy.Address()); err != nil {
		t.Errorf("after one has ended: %v", err)
	}

	for range store.MaxInboxMessages / inboxShare {
		n.queue.add(mailTask(store.InboxMail{}, greedy.Address()))
	}
	if err := n.HandleMail(t.Context(), "", letter(t, greedy, n)); agreement.CodeOf(err) != agreement.CodeBackpressure {
		t.Errorf("one more message of the greedy: %v", err)
	}
	if err := n.HandleMail(t.Context(), "", letter(t, modest, n)); err != nil {
		t.Errorf("a message of the modest: %v", err)
	}
	if waiting, _ := n.queue.mailOf(modest.Address()); waiting != 1 {
		t.Errorf("%d messages of the modest wait", waiting)
	}
}

// letter is a message to a node, of an agreement that it doesn't know.
func letter(t *testing.T, from *keys.Ring, to *Node) *affiliatev1.Mail {
	t.Helper()
	id := agreement.NewUUID()
	signed, err := from.SignMessage(&affiliatev1.Message{
		Network: testChain, From: from.Address(), To: to.ring.Address(), AgreementId: id[:],
		Content: &affiliatev1.Message_Acknowledgement{Acknowledgement: &affiliatev1.Acknowledgement{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := keys.SenderOf(signed); got != from.Address() {
		t.Errorf("the sender is %q", got)
	}
	m, err := keys.SealMail(signed, to.ring.Recipient(), to.ring.MailboxKey().PublicKey().Bytes(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return m
}
