package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/p2p"
	"github.com/affiliate-node/affiliate/store"
)

const (
	// mailLifetime is how long others may keep a message for an absent affiliate.
	mailLifetime = 7 * 24 * time.Hour
	// gossipEvery says at which attempts a message that no stream could carry
	// goes out by gossip: the first, then every eighth.
	gossipEvery = 8
)

// doSend delivers one message. It is built, signed and sealed once; every
// attempt sends the same stored bytes.
func (n *Node) doSend(ctx context.Context, s agreement.State, e *store.Effect) (agreement.Event, map[string][]byte, error) {
	kind := agreement.EffectKind(e.Kind)
	mail, err := n.sealed(ctx, s, e)
	if err != nil {
		return nil, nil, err
	}
	err = n.sendStream(ctx, e.To, mail)
	if err == nil {
		return agreement.Delivered{To: e.To, Kind: kind, Via: "stream"}, nil, nil
	}
	if agreement.CodeOf(err) == agreement.CodePeerUnreachable && e.Attempts%gossipEvery == 0 {
		n.gossip(ctx, *e, mail)
	}
	return nil, nil, err
}

func (n *Node) sendStream(ctx context.Context, to string, mail *affiliatev1.Mail) error {
	if err := n.reach.begin(to); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	err := ofPeer(n.host.Send(ctx, to, mail))
	n.reach.end(to, err)
	return err
}

// gossip is the other way to a peer that no stream reaches. It may lose the
// message and says nothing when it does, so the effect stays pending.
func (n *Node) gossip(ctx context.Context, e store.Effect, mail *affiliatev1.Mail) {
	if proto.Size(mail) > p2p.GossipLimit {
		return
	}
	if err := n.host.Gossip(ctx, mail); err != nil {
		n.log.Debug("gossip didn't take a message", "to", e.To, "error", err)
		return
	}
	n.log.Info("no stream reaches the peer; the message went out by gossip", "agreement", e.Agreement,
		"to", e.To, "message", agreement.EffectKind(e.Kind).String())
}

// ofPeer is what asking a peer brought. Neither an error without a code nor a
// fault of the peer's own is an answer that could end an agreement.
func ofPeer(err error) error {
	var known *agreement.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &known):
		return agreement.Errorf(agreement.CodePeerUnreachable, "%w", err)
	case known.Code == agreement.CodeInternal || known.Code == agreement.CodeStore || known.Code == agreement.CodeDiskFull:
		return agreement.Errorf(agreement.CodeBackpressure, "the peer has trouble of its own: %w", known)
	}
	return err
}

// sealed returns the effect's mail, and stores it when it is new: also when the
// recipient has other keys now than it was sealed for.
func (n *Node) sealed(ctx context.Context, s agreement.State, e *store.Effect) (*affiliatev1.Mail, error) {
	mail := &affiliatev1.Mail{}
	rec, ok := n.host.Affiliate(e.To)
	if len(e.Sealed) > 0 && (!ok || sealedFor(e.Arg, rec)) {
		return mail, proto.Unmarshal(e.Sealed, mail)
	}
	if !ok {
		return nil, agreement.Errorf(agreement.CodePeerUnreachable, "no affiliate record of %s is known here", e.To)
	}
	message, err := n.message(ctx, s, *e)
	if err != nil {
		return nil, err
	}
	signed, err := n.ring.SignMessage(message)
	if err != nil {
		return nil, fmt.Errorf("signing a message: %w", err)
	}
	mail, err = keys.SealMail(signed, rec.Recipient, rec.MailboxKey, time.Now().Add(mailLifetime))
	if err != nil {
		return nil, fmt.Errorf("sealing a message: %w", err)
	}
	if e.Sealed, err = proto.Marshal(mail); err != nil {
		return nil, err
	}
	e.Arg = withKeys(e.Arg, rec)
	return mail, n.store.UpdateEffect(ctx, *e)
}

// message builds what an effect says.
func (n *Node) message(ctx context.Context, s agreement.State, e store.Effect) (*affiliatev1.Message, error) {
	m := &affiliatev1.Message{
		Network: n.cfg.Network, From: n.ring.Address(), To: e.To, AgreementId: s.ID[:], SentUnixMs: time.Now().UnixMilli(),
	}
	round := decodeRound(e.Arg)
	switch agreement.EffectKind(e.Kind) {
	case agreement.SendProposal:
		p, err := n.proposal(ctx, s, round)
		m.Content = &affiliatev1.Message_Proposal{Proposal: p}
		return m, err
	case agreement.SendAssent:
		a, err := n.assent(ctx, s, round)
		m.Content = &affiliatev1.Message_Assent{Assent: a}
		return m, err
	case agreement.SendCosignature:
		c, err := n.cosignature(ctx, s, round)
		if err == nil && c == nil {
			err = agreement.Errorf(agreement.CodeExpired, "the body of round %d has timed out before it was signed", round)
		}
		m.Content = &affiliatev1.Message_Cosignature{Cosignature: &affiliatev1.Cosignature{Cosignature: c}}
		return m, err
	case agreement.SendCosignRequest:
		b, err := n.body(s, round)
		m.Content = &affiliatev1.Message_CosignRequest{CosignRequest: &affiliatev1.CosignRequest{Body: b}}
		return m, err
	case agreement.SendDivergence:
		d, err := n.divergence(s)
		m.Content = &affiliatev1.Message_Divergence{Divergence: d}
		return m, err
	case agreement.SendRejection:
		m.Content = &affiliatev1.Message_Rejection{Rejection: &affiliatev1.Rejection{Code: string(s.Code), Reason: short(s.Message)}}
	case agreement.SendCancellation:
		m.Content = &affiliatev1.Message_Cancellation{Cancellation: &affiliatev1.Cancellation{
			Code: string(s.Code), Reason: short(s.Message), Cause: s.Cause,
		}}
	case agreement.SendAcknowledgement:
		m.Content = &affiliatev1.Message_Acknowledgement{Acknowledgement: &affiliatev1.Acknowledgement{
			TermsDigest: s.Terms[:], Height: s.Height, TxHash: s.TxHash,
		}}
	default:
		return nil, fmt.Errorf("effect %d is no message", e.Kind)
	}
	return m, nil
}

// maxReason bounds free text in a message, in bytes.
const maxReason = 1024

// short bounds a text, and leaves no part of a character: a message with one
// can't be encoded.
func short(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxReason)], "")
}

func (n *Node) attestation(id agreement.ID) (*affiliatev1.Attestation, error) {
	return n.attestationOf(id, n.ring.Address())
}

// attestationOf is what a participant attested, as far as this node has it.
func (n *Node) attestationOf(id agreement.ID, address string) (*affiliatev1.Attestation, error) {
	raw, err := n.store.Blob(id, named(blobAttestation, address))
	if err != nil {
		return nil, err
	}
	a := &affiliatev1.Attestation{}
	return a, proto.Unmarshal(raw, a)
}

// body is the transaction body of a round that the state names as signed. What
// gets a signature goes through here: no other bytes leave, whatever is stored.
func (n *Node) body(s agreement.State, round uint32) (*affiliatev1.Body, error) {
	for _, b := range s.Bodies {
		if b.Round != round {
			continue
		}
		raw, err := n.store.Blob(s.ID, named(blobBody, round))
		if err != nil {
			return nil, err
		}
		if digestOf(raw) != b.Digest {
			return nil, agreement.Errorf(agreement.CodeBodyMismatch, "the stored body of round %d isn't the one that was checked", round)
		}
		return &affiliatev1.Body{BodyBytes: raw, TimeoutUnixNs: b.Timeout, Round: round}, nil
	}
	return nil, fmt.Errorf("agreement %s has no body of round %d", s.ID, round)
}

// proposal carries small sealed objects with it; the rest is fetched.
func (n *Node) proposal(ctx context.Context, s agreement.State, round uint32) (*affiliatev1.Proposal, error) {
	t, err := n.termsOf(s)
	if err != nil {
		return nil, err
	}
	att, err := n.attestation(s.ID)
	if err != nil {
		return nil, err
	}
	p := &affiliatev1.Proposal{Terms: t.raw, Attestation: att}
	if round > 0 {
		if p.Body, err = n.body(s, round); err != nil {
			return nil, err
		}
	}
	total := int64(0)
	for _, in := range append(t.Inputs, t.Existing...) {
		size := in.Object.SealedSize
		if size > inlineLimit || total+size > inlineTotal {
			continue
		}
		o, err := n.sealedObject(ctx, agreement.Hash(in.Object.ObjectId))
		if err != nil {
			return nil, err
		}
		total += size + int64(len(o.Header))
		p.Objects = append(p.Objects, o)
	}
	return p, nil
}

func (n *Node) assent(ctx context.Context, s agreement.State, round uint32) (*affiliatev1.Assent, error) {
	att, err := n.attestation(s.ID)
	if err != nil {
		return nil, err
	}
	a := &affiliatev1.Assent{Attestation: att}
	if round > 0 {
		a.Cosignature, err = n.cosignature(ctx, s, round)
	}
	return a, err
}

// cosignature signs the body of a round, unless it has timed out or wasn't
// recorded as signed: the state says so before the signature exists.
func (n *Node) cosignature(ctx context.Context, s agreement.State, round uint32) (*affiliatev1.CosignatureBytes, error) {
	b, err := n.body(s, round)
	if err != nil {
		return nil, err
	}
	chain, err := n.chain.Status(ctx)
	if err != nil {
		return nil, err
	}
	if chain.BlockTime.UnixNano() >= b.TimeoutUnixNs {
		return nil, nil
	}
	if err := n.reserve(ctx, s, time.Unix(0, b.TimeoutUnixNs), chain.BlockTime); err != nil {
		return nil, err
	}
	sig, err := n.chain.Cosign(ctx, b.BodyBytes)
	if err != nil {
		return nil, err
	}
	digest := digestOf(b.BodyBytes)
	return &affiliatev1.CosignatureBytes{BodyDigest: digest[:], AccountKey: n.ring.AccountKey(), Signature: sig}, nil
}

func (n *Node) sealedObject(ctx context.Context, id agreement.Hash) (*affiliatev1.SealedObject, error) {
	o, err := n.store.Object(id)
	if err != nil {
		return nil, err
	}
	payload, err := n.payload(ctx, o)
	if err != nil {
		return nil, err
	}
	return &affiliatev1.SealedObject{Ref: refOf(o), Header: o.Header, Payload: payload}, nil
}

// PeerConnected sends at once what waits for a peer, and fetches what it has.
func (n *Node) PeerConnected(address string) {
	n.reach.back(address)
	n.queue.hurry(address)
}
