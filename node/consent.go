package node

import (
	"context"
	"fmt"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/chainclient"
)

// doPrepare serialises the transaction body for a round, once and for all.
func (n *Node) doPrepare(ctx context.Context, s agreement.State, round uint32) (agreement.Event, map[string][]byte, error) {
	t, err := n.termsOf(s)
	if err != nil {
		return nil, nil, err
	}
	w, err := t.write(s.Records)
	if err != nil {
		return nil, nil, err
	}
	timeout, err := n.chain.NewTimeout(ctx)
	if err != nil {
		return nil, nil, err
	}
	raw, err := n.chain.BuildBody(w, timeout)
	if err != nil {
		return nil, nil, err
	}
	body := agreement.Body{Round: round, Digest: digestOf(raw), Timeout: timeout.UnixNano()}
	return agreement.BodyPrepared{Body: body}, map[string][]byte{named(blobBody, round): raw}, nil
}

// checkBody compares an offered body with the one that this node would write,
// byte for byte. A body that has timed out is CodeExpired.
func (n *Node) checkBody(ctx context.Context, s agreement.State, b agreement.Body) error {
	t, err := n.termsOf(s)
	if err != nil {
		return err
	}
	raw, err := n.store.Blob(s.ID, named(blobBody, b.Round))
	if err != nil {
		return err
	}
	if digestOf(raw) != b.Digest {
		return agreement.Errorf(agreement.CodeBodyMismatch, "round %d offers two bodies", b.Round)
	}
	w, err := t.write(s.Records)
	if err != nil {
		return err
	}
	chain, err := n.chain.Status(ctx)
	if err != nil {
		return err
	}
	timeout, err := n.chain.CheckBody(raw, w, chain.BlockTime)
	if err != nil && agreement.CodeOf(err) != agreement.CodeExpired {
		return err
	}
	// Of an expired body too: the state waits for the chain's time to pass it.
	if !timeout.Equal(time.Unix(0, b.Timeout)) {
		return agreement.Errorf(agreement.CodeBodyMismatch, "the body's timeout isn't the one that the message states")
	}
	return err
}

// doDecide checks the body before it asks the policy: whoever is asked
// decides on something that holds. A body that has timed out meanwhile is no
// obstacle, the proposer will offer another.
func (n *Node) doDecide(ctx context.Context, s agreement.State) (agreement.Event, map[string][]byte, error) {
	if s.Offered == nil {
		return nil, nil, agreement.Errorf(agreement.CodeBadMessage, "the proposal brings no transaction body")
	}
	if err := n.checkBody(ctx, s, *s.Offered); err != nil && agreement.CodeOf(err) != agreement.CodeExpired {
		return nil, nil, err
	}
	return agreement.Decided{Verdict: n.cfg.Policy.decide(s.Contract, s.ContractName, s.Proposer)}, nil, nil
}

// doCheckBody checks the body of a later round. Nobody is asked: this
// affiliate has assented to exactly these messages.
func (n *Node) doCheckBody(ctx context.Context, s agreement.State) (agreement.Event, map[string][]byte, error) {
	if s.Offered == nil {
		return agreement.BodyChecked{}, nil, nil // overtaken
	}
	err := n.checkBody(ctx, s, *s.Offered)
	if err != nil && mayPass(err) {
		return nil, nil, err
	}
	e := agreement.BodyChecked{Body: *s.Offered}
	if err != nil {
		e.Code, e.Reason = agreement.CodeOf(err), err.Error()
	}
	return e, nil, nil
}

// doBroadcast brings the transaction to the chain. Its bytes are stored before
// they leave: whatever happens, the same bytes go out again.
func (n *Node) doBroadcast(ctx context.Context, s agreement.State, round uint32) (agreement.Event, map[string][]byte, error) {
	body, ok := s.Body()
	if s.Phase != agreement.Broadcasting || !ok || body.Round != round {
		return agreement.BroadcastAccepted{TxHash: s.TxHash}, nil, nil // overtaken
	}
	tx, err := n.store.Blob(s.ID, named(blobTx, round))
	hash := chainclient.TxHash(tx)
	if err != nil {
		if tx, hash, err = n.assemble(ctx, s, round); err != nil {
			return nil, nil, err
		}
		if err := n.saveBlobs(ctx, s.ID, map[string][]byte{named(blobTx, round): tx}); err != nil {
			return nil, nil, err
		}
	}
	if err := n.chain.Broadcast(ctx, tx); err != nil {
		return nil, nil, err
	}
	return agreement.BroadcastAccepted{TxHash: hash}, nil, nil
}

func (n *Node) assemble(ctx context.Context, s agreement.State, round uint32) ([]byte, string, error) {
	t, err := n.termsOf(s)
	if err != nil {
		return nil, "", err
	}
	body, err := n.body(s, round)
	if err != nil {
		return nil, "", err
	}
	signers, err := t.signers()
	if err != nil {
		return nil, "", err
	}
	var cosigs []chainclient.Cosignature
	for _, address := range signers[1:] {
		raw, err := n.store.Blob(s.ID, named(blobCosignature, round, address))
		if err != nil {
			return nil, "", fmt.Errorf("the co-signature of %s: %w", address, err)
		}
		if len(raw) != accountKeySize+signatureSize {
			return nil, "", agreement.Errorf(agreement.CodeDamaged, "the stored co-signature of %s has %d bytes", address, len(raw))
		}
		cosigs = append(cosigs, chainclient.Cosignature{
			Address: address, AccountKey: raw[:accountKeySize], Signature: raw[accountKeySize:],
		})
	}
	chain, err := n.chain.Status(ctx)
	if err != nil {
		return nil, "", err
	}
	if err := n.reserve(ctx, s, time.Unix(0, body.TimeoutUnixNs), chain.BlockTime); err != nil {
		return nil, "", err
	}
	return n.chain.Assemble(ctx, body.BodyBytes, signers, cosigs)
}

const (
	accountKeySize = 33
	signatureSize  = 64
)
