package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/chainclient"
)

// recallWithin is how long the others are asked for an agreement that was lost.
const recallWithin = 7 * 24 * time.Hour

// blobSource holds the address of who has given the terms of an agreement that
// was lost, and is asked for its data.
const blobSource = "source"

// lost begins to bring an agreement back that the chain has and this affiliate
// has signed, and this node doesn't know of that: its store is an older one.
func (n *Node) lost(ctx context.Context, s agreement.State, b chainclient.Block, c chainclient.Commit) error {
	if s.Phase.Final() { // it was given up, and its data had a time to go
		if _, err := n.store.HoldUntil(ctx, c.Agreement.String(), time.Time{}); err != nil {
			return err
		}
	}
	parts := slices.Clone(c.Parties)
	for _, signer := range c.Signers {
		if !slices.ContainsFunc(parts, func(p agreement.Party) bool { return p.Address == signer }) {
			parts = append(parts, agreement.Party{Address: signer})
		}
	}
	_, err := n.apply(ctx, c.Agreement, agreement.Lost{
		Opening: agreement.Opening{
			ID: c.Agreement, Self: n.ring.Address(), Scope: c.Scope, Participants: parts,
			Deadline: time.Now().Add(recallWithin), AckWithin: n.cfg.AckWithin,
		},
		Missed: agreement.Missed{Height: b.Height, TxHash: c.TxHash, Records: c.Records},
	}, cause{blobs: map[string][]byte{blobBlockTime: blockTimeBlob(b)}})
	return err
}

func blockTimeBlob(b chainclient.Block) []byte { return []byte(b.Time.UTC().Format(time.RFC3339Nano)) }

// doRecall asks the others for the terms, one after another.
func (n *Node) doRecall(ctx context.Context, s agreement.State) (agreement.Event, map[string][]byte, error) {
	var failed error
	for _, other := range s.Others() {
		t, err := n.recall(ctx, other, s)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		opening, err := t.opening(n.ring.Address(), n.cfg.AckWithin)
		if err != nil {
			return nil, nil, err
		}
		return agreement.Recalled{Opening: opening}, map[string][]byte{blobTerms: t.raw, blobSource: []byte(other)}, nil
	}
	return nil, nil, agreement.Errorf(agreement.CodePeerUnreachable, "nobody gives the terms of agreement %s: %w", s.ID, failed)
}

func (n *Node) recall(ctx context.Context, from string, s agreement.State) (terms, error) {
	raw, err := n.host.FetchTerms(ctx, from, s.ID, maxTerms)
	if err != nil {
		return terms{}, err
	}
	t, err := parseTerms(raw)
	if err != nil {
		return terms{}, err
	}
	signers, err := t.signers()
	if err != nil {
		return terms{}, err
	}
	if t.id != s.ID || t.scope != s.Scope || t.Network != n.cfg.Network || !slices.Contains(signers, n.ring.Address()) {
		return terms{}, agreement.Errorf(agreement.CodeBadMessage, "%s gave the terms of another agreement", from)
	}
	return t, nil
}

// sources are whom the data of an agreement is fetched from: its proposer, or,
// where it was lost, first who has given its terms.
func (n *Node) sources(s agreement.State) ([]string, error) {
	if s.Missed == nil {
		return []string{s.Proposer}, nil
	}
	from, err := n.store.Blob(s.ID, blobSource)
	if errors.Is(err, agreement.ErrNotFound) { // the terms were here
		return s.Others(), nil
	}
	others := slices.DeleteFunc(s.Others(), func(other string) bool { return other == string(from) })
	return append([]string{string(from)}, others...), err
}

// obtainFrom is obtain from the first of some that has an object.
func (n *Node) obtainFrom(ctx context.Context, from []string, ref *affiliatev1.ObjectRef, owner string, audience []string) error {
	var failed error
	for _, one := range from {
		err := n.obtain(ctx, one, ref, owner, audience)
		if err == nil {
			return nil
		}
		failed = cmp.Or(failed, err)
	}
	return failed
}

// OpenTerms serves the terms of an agreement that is on chain to its signers.
// For everybody else there is none.
func (n *Node) OpenTerms(_ context.Context, from string, id agreement.ID) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	none := agreement.Errorf(agreement.CodeNotFound, "no agreement %s", id)
	s, err := n.state(id)
	if err != nil {
		return nil, nil, err
	}
	if s.Height == 0 {
		return nil, nil, none
	}
	t, err := n.termsOf(s)
	if err != nil {
		return nil, nil, err
	}
	signers, err := t.signers()
	if err != nil {
		return nil, nil, err
	}
	if !slices.Contains(signers, from) {
		return nil, nil, none
	}
	return &affiliatev1.FetchObjectResponse{Ref: &affiliatev1.ObjectRef{SealedSize: int64(len(t.raw))}}, io.NopCloser(bytes.NewReader(t.raw)), nil
}
