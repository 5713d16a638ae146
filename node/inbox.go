package node

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/store"
)

const (
	// unknownWait is how long a message waits whose proposal hasn't come yet.
	unknownWait = 10 * time.Minute
	// unknownRetry is how often it is looked at meanwhile.
	unknownRetry = 2 * time.Second
	// unknownTries bounds what is tried for a message whose agreement has ended,
	// or isn't known, and for one that this node fails to read.
	unknownTries = 20
)

// HandleMail stores a message durably; only then is it acknowledged. What it
// means is found out afterwards. The refusals are those that concern no
// agreement's state, so that the sender learns of them at once.
func (n *Node) HandleMail(ctx context.Context, _ string, m *affiliatev1.Mail) error {
	signed, err := n.ring.OpenMail(m)
	if err != nil {
		return agreement.Errorf(agreement.CodeBadMessage, "the mail can't be opened: %w", err)
	}
	message, id, err := n.checkMessage(signed)
	if err != nil {
		return err
	}
	if p := message.GetProposal(); p != nil {
		t, err := n.checkProposal(message, p)
		if err != nil {
			return err
		}
		if err := n.checkRoom(ctx, &t); err != nil {
			return err
		}
	}
	if waiting, size := n.queue.mailOf(message.From); waiting >= store.MaxInboxMessages/inboxShare || size >= store.MaxInboxBytes/inboxShare {
		return agreement.Errorf(agreement.CodeBackpressure, "%d messages of %s wait here already", waiting, message.From)
	}
	fresh, err := n.store.PutMail(ctx, id, signed)
	if err != nil {
		return agreement.Errorf(agreement.CodeBackpressure, "the mail can't be stored now: %w", err)
	}
	if fresh {
		n.queue.add(mailTask(store.InboxMail{ID: id, Signed: signed}, message.From))
	}
	return nil
}

// What one affiliate may take up here, as a part of the whole, so that it
// leaves room for others.
const (
	inboxShare = 4 // of the inbox
	openShare  = 2 // of the open agreements
)

// checkRoom refuses an id that is taken, and new agreements when too many are
// open: what is running completes.
func (n *Node) checkRoom(ctx context.Context, t *terms) error {
	s, err := n.state(t.id)
	if err != nil {
		return err
	}
	if s.Phase != agreement.None {
		if s.Terms != t.digest {
			return agreement.Errorf(agreement.CodeInUse, "the id %s stands for other terms here", t.id)
		}
		return nil
	}
	if err := n.store.Room(ctx); err != nil { // how full the disk is, isn't told
		return agreement.Errorf(agreement.CodeBackpressure, "this affiliate takes no new agreements now: it has no room for their data")
	}
	if theirs := n.timers.openOf(t.Proposer); theirs >= max(1, n.cfg.MaxOpen/openShare) {
		return agreement.Errorf(agreement.CodeBackpressure, "%d agreements that %s proposed are open here, which is its limit", theirs, t.Proposer)
	}
	open, err := n.openAgreements()
	if err != nil || open < int64(n.cfg.MaxOpen) {
		return err
	}
	return agreement.Errorf(agreement.CodeBackpressure, "%d agreements are open here, which is the limit", open)
}

func (n *Node) openAgreements() (int64, error) {
	counts, err := n.store.CountPhases()
	if err != nil {
		return 0, err
	}
	open := int64(0)
	for phase, count := range counts {
		if phase != agreement.Complete.String() && phase != agreement.FailedPhase.String() {
			open += count
		}
	}
	return open, nil
}

// checkMessage verifies signature, network, recipient and membership.
func (n *Node) checkMessage(signed []byte) (*affiliatev1.Message, agreement.Hash, error) {
	m, id, err := keys.VerifyMessage(n.cfg.Prefix, signed)
	if err != nil {
		return nil, id, err
	}
	if m.Network != n.cfg.Network {
		return nil, id, agreement.Errorf(agreement.CodeWrongNetwork, "the message is for network %q, this is %q", m.Network, n.cfg.Network)
	}
	if m.To != n.ring.Address() {
		return nil, id, agreement.Errorf(agreement.CodeNotAuthorized, "the message is for another affiliate")
	}
	if _, known := n.host.Affiliate(m.From); !known {
		return nil, id, agreement.Errorf(agreement.CodeNotAMember, "%s isn't known here", m.From)
	}
	return m, id, nil
}

// checkProposal checks all that a proposal shows by itself.
func (n *Node) checkProposal(m *affiliatev1.Message, p *affiliatev1.Proposal) (terms, error) {
	t, err := parseTerms(p.Terms)
	if err != nil {
		return terms{}, err
	}
	if string(t.AgreementId) != string(m.AgreementId) || t.Network != n.cfg.Network || t.Proposer != m.From {
		return terms{}, agreement.Errorf(agreement.CodeBadMessage, "the terms aren't the message's")
	}
	signers, err := t.signers()
	if err != nil {
		return terms{}, err
	}
	if !slices.Contains(signers, n.ring.Address()) {
		return terms{}, agreement.Errorf(agreement.CodeNotAuthorized, "this affiliate has no part in the agreement")
	}
	if err := t.checkTime(time.Now(), n.cfg.MaxLifetime); err != nil {
		return terms{}, err
	}
	_, results, err := n.checkAttestation(&t, t.Proposer, p.Attestation)
	if err != nil {
		return terms{}, err
	}
	if _, failed := agreement.Failed(results); failed == (p.Body != nil) {
		return terms{}, agreement.Errorf(agreement.CodeBadMessage, "a proposal has a transaction body exactly when its outcome isn't FAIL")
	}
	if p.Body != nil && p.Body.Round != 1 {
		return terms{}, agreement.Errorf(agreement.CodeBadMessage, "a proposal brings the body of round 1")
	}
	return t, nil
}

// HandleGossip takes mail for this affiliate, and keeps mail for others
// within the store's quota.
func (n *Node) HandleGossip(ctx context.Context, m *affiliatev1.Mail) error {
	if n.ring.Recognises(m) {
		return n.HandleMail(ctx, "", m)
	}
	if err := n.store.Room(ctx); err != nil {
		return err
	}
	return n.store.KeepMail(ctx, m)
}

// ListMail and ClaimMail serve kept mail; the store checks the claim token.
func (n *Node) ListMail(_ context.Context, after []byte) ([]*affiliatev1.Mail, error) {
	return n.store.KeptMail(after, keptPage)
}

// keptPage bounds one answer to ListMail.
const keptPage = 256

// ClaimMail hands kept mail out to whoever has the token.
func (n *Node) ClaimMail(ctx context.Context, mailbox, token []byte) (*affiliatev1.Mail, error) {
	return n.store.ClaimMail(ctx, mailbox, token)
}

// interpret finds out what a stored message means, and consumes it. What can't
// be told now waits; nothing is dropped without a line in the log.
func (n *Node) interpret(ctx context.Context, t task) {
	m, _, err := n.checkMessage(t.mail.Signed)
	if err == nil {
		err = n.dispatch(ctx, m, t.mail.ID)
	}
	if err == nil || stopping(ctx) {
		return
	}
	if wait := n.waitFor(m, err, t.tries); wait > 0 {
		t.tries++
		t.at = time.Now().Add(wait)
		n.queue.add(t)
		return
	}
	n.log.Warn("a message was not applied", "from", m.GetFrom(), "code", agreement.CodeOf(err), "error", err)
	n.dropMail(ctx, t.mail.ID)
}

func (n *Node) dropMail(ctx context.Context, id agreement.Hash) {
	ctx, cancel := saving(ctx)
	defer cancel()
	if err := n.store.DropMail(ctx, id); err != nil && !errors.Is(err, store.ErrStale) {
		n.log.Error("a message could not be taken out of the inbox", "error", err)
	}
}

// waitFor says after how long a message is worth another look; 0 means never.
// While an agreement is open, what fails for now (the chain is away, say) is
// tried for as long as the agreement lives: the sender was told that it is held.
func (n *Node) waitFor(m *affiliatev1.Message, err error, tries int) time.Duration {
	if errors.Is(err, agreement.ErrUnknown) {
		if time.Duration(tries)*unknownRetry < unknownWait {
			return unknownRetry
		}
		return 0
	}
	var known *agreement.Error
	if errors.As(err, &known) && !mayPass(err) {
		return 0
	}
	id, idErr := agreement.UUIDFromBytes(m.GetAgreementId())
	s, stateErr := n.state(id)
	open := idErr == nil && stateErr == nil && s.Phase != agreement.None && !s.Phase.Final()
	if tries >= unknownTries && (known == nil || !open) {
		return 0
	}
	return backoff(tries + 1)
}

func (n *Node) dispatch(ctx context.Context, m *affiliatev1.Message, mailID agreement.Hash) error {
	id, err := agreement.UUIDFromBytes(m.AgreementId)
	if err != nil {
		return agreement.Errorf(agreement.CodeBadMessage, "agreement id: %w", err)
	}
	if p := m.GetProposal(); p != nil {
		return n.takeProposal(ctx, m, p, mailID)
	}
	s, err := n.state(id)
	if err != nil {
		return err
	}
	if s.Phase == agreement.None {
		return agreement.ErrUnknown
	}
	if !slices.Contains(s.Others(), m.From) {
		return agreement.Errorf(agreement.CodeNotAuthorized, "%s has no part in agreement %s", m.From, id)
	}
	e, blobs, err := n.eventOf(ctx, s, m)
	if err != nil {
		return err
	}
	_, err = n.apply(ctx, id, e, cause{mail: mailID, blobs: blobs})
	return err
}

// takeProposal stores what comes with a proposal, then starts the agreement.
func (n *Node) takeProposal(ctx context.Context, m *affiliatev1.Message, p *affiliatev1.Proposal, mailID agreement.Hash) error {
	t, err := n.checkProposal(m, p)
	if err != nil {
		return err
	}
	defer n.drafting(ctx, t.id)()
	if err := n.takeInline(ctx, &t, p.Objects); err != nil {
		return err
	}
	digest, results, err := n.checkAttestation(&t, t.Proposer, p.Attestation)
	if err != nil {
		return err
	}
	opening, err := t.opening(n.ring.Address(), n.cfg.AckWithin)
	if err != nil {
		return err
	}
	attestation, err := proto.Marshal(p.Attestation)
	if err != nil {
		return err
	}
	blobs := map[string][]byte{blobTerms: t.raw, named(blobAttestation, t.Proposer): attestation}
	_, failed := agreement.Failed(results)
	e := agreement.Proposed{Opening: opening, Stated: digest, StatedFail: failed}
	if p.Body != nil {
		b := offered(p.Body)
		e.Offered = &b
		blobs[named(blobBody, b.Round)] = p.Body.BodyBytes
	}
	_, err = n.apply(ctx, t.id, e, cause{mail: mailID, blobs: blobs})
	return err
}

func offered(b *affiliatev1.Body) agreement.Body {
	return agreement.Body{Round: b.Round, Digest: digestOf(b.BodyBytes), Timeout: b.TimeoutUnixNs}
}

// takeInline stores objects that came inside a proposal, if the terms name them.
func (n *Node) takeInline(ctx context.Context, t *terms, objects []*affiliatev1.SealedObject) error {
	audience, err := t.audience()
	if err != nil {
		return err
	}
	for _, o := range objects {
		r, err := objectOf(o.GetRef())
		if err != nil {
			return agreement.Errorf(agreement.CodeBadMessage, "inline object: %w", err)
		}
		named := slices.ContainsFunc(slices.Concat(t.Inputs, t.Existing), func(in *affiliatev1.InputRef) bool {
			return proto.Equal(in.Object, o.Ref)
		})
		if !named || len(o.Header) > maxHeader {
			return agreement.Errorf(agreement.CodeBadMessage, "the proposal carries an object that its terms don't name")
		}
		have, err := n.holdHeld(ctx, r.content, t.Proposer, t.id.String())
		if err != nil {
			return err
		}
		if have {
			continue
		}
		if err := n.takeIn(ctx, r, o.Header, bytes.NewReader(o.Payload), t.id.String(), audience); err != nil {
			return err
		}
	}
	return nil
}
