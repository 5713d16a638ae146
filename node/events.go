package node

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// eventOf checks a message against its agreement, and says what it means.
func (n *Node) eventOf(ctx context.Context, s agreement.State, m *affiliatev1.Message) (agreement.Event, map[string][]byte, error) {
	switch c := m.Content.(type) {
	case *affiliatev1.Message_Assent:
		return n.assentEvent(ctx, s, m.From, c.Assent)
	case *affiliatev1.Message_Cosignature:
		round, blobs, err := n.checkCosignature(ctx, s, m.From, c.Cosignature.GetCosignature())
		return agreement.CosignatureReceived{From: m.From, Round: round}, blobs, err
	case *affiliatev1.Message_CosignRequest:
		if m.From != s.Proposer || c.CosignRequest.GetBody() == nil {
			return nil, nil, agreement.Errorf(agreement.CodeNotAuthorized, "only the proposer asks for co-signatures")
		}
		return cosignEvent(s, c.CosignRequest.Body)
	case *affiliatev1.Message_Rejection:
		return agreement.RejectionReceived{From: m.From, Code: statedCode(c.Rejection.Code, agreement.CodeRejected), Reason: short(c.Rejection.Reason)},
			evidence(m, blobRefusal), nil
	case *affiliatev1.Message_Divergence:
		text, err := n.readDivergence(s, m.From, c.Divergence)
		return agreement.DivergenceReceived{From: m.From, Text: text}, evidence(m, blobRefusal), err
	case *affiliatev1.Message_Cancellation:
		return agreement.CancellationReceived{
			From: m.From, Code: statedCode(c.Cancellation.Code, agreement.CodeCancelled),
			Reason: short(c.Cancellation.Reason), Cause: short(c.Cancellation.Cause),
		}, evidence(m, blobCancelled), nil
	case *affiliatev1.Message_Acknowledgement:
		if string(c.Acknowledgement.TermsDigest) != string(s.Terms[:]) {
			return nil, nil, agreement.Errorf(agreement.CodeBadMessage, "the acknowledgement is for other terms")
		}
		return agreement.AcknowledgementReceived{From: m.From}, nil, nil
	}
	return nil, nil, agreement.Errorf(agreement.CodeBadMessage, "a message of a kind that this version doesn't know")
}

// maxCode bounds a code that a peer states, in bytes.
const maxCode = 40

// statedCode is a peer's code, if it has the form of one.
func statedCode(text string, otherwise agreement.Code) agreement.Code {
	if text == "" || len(text) > maxCode || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		return otherwise
	}
	return agreement.Code(text)
}

// cosignEvent never replaces the bytes of a body that this node has signed.
func cosignEvent(s agreement.State, body *affiliatev1.Body) (agreement.Event, map[string][]byte, error) {
	b := offered(body)
	if last, ok := s.Body(); ok && b.Round <= last.Round {
		return nil, nil, agreement.Errorf(agreement.CodeBadMessage, "round %d has been before", b.Round)
	}
	return agreement.CosignRequested{Body: b}, map[string][]byte{named(blobBody, b.Round): body.BodyBytes}, nil
}

// evidence keeps what a peer said, for `affiliate why`.
func evidence(m *affiliatev1.Message, name string) map[string][]byte {
	raw, err := proto.Marshal(m)
	if err != nil {
		return nil
	}
	return map[string][]byte{named(name, m.From): raw}
}

func (n *Node) assentEvent(ctx context.Context, s agreement.State, from string, a *affiliatev1.Assent) (agreement.Event, map[string][]byte, error) {
	t, err := n.termsOf(s)
	if err != nil {
		return nil, nil, err
	}
	digest, results, err := n.checkAttestation(&t, from, a.GetAttestation())
	if err != nil {
		return nil, nil, err
	}
	round, blobs := uint32(0), map[string][]byte{}
	if a.Cosignature != nil {
		if round, blobs, err = n.checkCosignature(ctx, s, from, a.Cosignature); err != nil {
			return nil, nil, err
		}
	}
	if blobs[named(blobAttestation, from)], err = proto.Marshal(a.Attestation); err != nil {
		return nil, nil, err
	}
	return agreement.AssentReceived{From: from, Results: digest, Round: round, Difference: differenceText(s.Records, results)}, blobs, nil
}

// checkCosignature verifies a co-signature against a body that this node
// proposed, and returns that body's round.
func (n *Node) checkCosignature(ctx context.Context, s agreement.State, from string, c *affiliatev1.CosignatureBytes) (uint32, map[string][]byte, error) {
	if c == nil || len(c.AccountKey) != accountKeySize || len(c.Signature) != signatureSize {
		return 0, nil, agreement.Errorf(agreement.CodeBadMessage, "a co-signature needs a key of %d and a signature of %d bytes", accountKeySize, signatureSize)
	}
	for _, b := range s.Bodies {
		if string(b.Digest[:]) != string(c.BodyDigest) {
			continue
		}
		body, err := n.body(s, b.Round)
		if err != nil {
			return 0, nil, err
		}
		if err := n.chain.VerifyCosignature(ctx, body.BodyBytes, from, c.AccountKey, c.Signature); err != nil {
			return 0, nil, err
		}
		return b.Round, map[string][]byte{named(blobCosignature, b.Round, from): slices.Concat(c.AccountKey, c.Signature)}, nil
	}
	return 0, nil, agreement.Errorf(agreement.CodeBadMessage, "the co-signature is for a body that this node didn't propose")
}
