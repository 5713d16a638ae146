package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/exec"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/p2p"
	"github.com/affiliate-node/affiliate/store"
)

const (
	// refreshTimeout bounds how long a proposal waits for newer records of
	// those who haven't vetted its contract by the older ones.
	refreshTimeout = 3 * time.Second
	// maxModules is how many modules that proposals name for one contract are
	// looked at, and maxHolders how many affiliates are asked for it.
	maxModules, maxHolders = 4, 8
)

// What an affiliate says of a contract.
const (
	saysNothing = iota // no valid record, not what it vets, or not all of it
	saysVetted
	saysNot
)

func saysOf(rec *affiliatev1.AffiliateRecord, contract agreement.Hash, now time.Time) int {
	v := rec.GetVetting()
	switch {
	case v == nil || now.Unix() >= rec.ExpiresUnix:
		return saysNothing
	case slices.ContainsFunc(v.Contracts, func(h []byte) bool { return string(h) == string(contract[:]) }):
		return saysVetted
	case v.More:
		return saysNothing
	}
	return saysNot
}

// notVettedBy lists those of some affiliates who say what they have vetted, and
// not this contract.
func (n *Node) notVettedBy(contract agreement.Hash, addresses []string) []string {
	var out []string
	for _, a := range addresses {
		rec, _ := n.host.Affiliate(a)
		if a != n.ring.Address() && saysOf(rec, contract, time.Now()) == saysNot {
			out = append(out, a)
		}
	}
	return out
}

// checkPeersVetted refuses a proposal to those of whom it is known that they
// wouldn't run it. They are asked before: what is known may be some minutes old.
func (n *Node) checkPeersVetted(ctx context.Context, t *terms, name string) error {
	signers, err := t.signers()
	if err != nil {
		return err
	}
	doubtful := n.notVettedBy(t.contract, signers)
	if len(doubtful) == 0 {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	var asked sync.WaitGroup
	for _, a := range doubtful {
		asked.Go(func() {
			if err := n.host.Refresh(soon, a); err != nil {
				n.log.Debug("asking for a newer record", "of", a, "error", err)
			}
		})
	}
	asked.Wait()
	if doubtful = n.notVettedBy(t.contract, doubtful); len(doubtful) == 0 {
		return nil
	}
	return agreement.Errorf(agreement.CodePeerNotVetted, "the contract %q (%s) isn't vetted by %s", name, t.contract, n.namesOf(doubtful)).
		WithHint("ask for `affiliate contract vet %s` there, or propose with --unvetted: then the agreement waits for it until its deadline", t.contract)
}

// namesOf is a list of affiliates for people.
func (n *Node) namesOf(addresses []string) string {
	var out []string
	for _, a := range addresses {
		out = append(out, strings.TrimSpace(n.nameOf(a)+" "+a))
	}
	return strings.Join(out, ", ")
}

// contractByHash returns the contract of a hash: it is here, a proposal that
// waits has brought it, or a member that has vetted it gives it.
func (n *Node) contractByHash(ctx context.Context, hash agreement.Hash) (store.Contract, error) {
	known, err := n.store.Contract(hash)
	if !errors.Is(err, agreement.ErrNotFound) {
		return known, err
	}
	var failures []error
	proposed, err := n.proposedWith(hash)
	if err != nil {
		return store.Contract{}, err
	}
	for _, t := range proposed {
		c, err := n.proposedContract(ctx, &t)
		if err == nil {
			row := storedContract(c)
			return row, n.store.PutContract(ctx, row)
		}
		failures = append(failures, fmt.Errorf("%s, which %s proposed with it: %w", t.id, t.Proposer, err))
	}
	for _, from := range n.holders(hash) {
		row, err := n.contractOf(ctx, from, hash)
		if err == nil {
			return row, n.store.PutContract(ctx, row)
		}
		failures = append(failures, fmt.Errorf("%s: %w", from, err))
	}
	if err := ctx.Err(); err != nil {
		return store.Contract{}, err
	}
	n.log.Info("a contract wasn't found", "contract", hash, "errors", errors.Join(failures...))
	return store.Contract{}, agreement.Errorf(agreement.CodeUnknownContract,
		"contract %s isn't here, and none of the affiliates that could be asked gave it (%d sources tried)", hash, len(failures)).
		WithHint("check the hash; the affiliate that proposes it must have vetted it and be connected (`affiliate peers`)")
}

// proposedWith returns the terms of agreements that wait and name the contract,
// one for each module that they say it has.
func (n *Node) proposedWith(contract agreement.Hash) ([]terms, error) {
	var out []terms
	for _, phase := range []agreement.Phase{agreement.Vetting, agreement.Fetching} {
		for s, err := range n.inPhase(phase) {
			if err != nil {
				return nil, err
			}
			if s.Contract != contract || len(out) == maxModules {
				continue
			}
			t, err := n.termsOf(s)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(out, func(o terms) bool { return string(o.Module.ContentHash) == string(t.Module.ContentHash) }) {
				out = append(out, t)
			}
		}
	}
	return out, nil
}

func (n *Node) proposedContract(ctx context.Context, t *terms) (*exec.Contract, error) {
	audience, err := t.audience()
	if err != nil {
		return nil, err
	}
	return n.fetchContract(ctx, []string{t.Proposer}, t, audience)
}

// holders lists the connected affiliates that may give a contract: first those
// who say that they have vetted it, then those who don't say.
func (n *Node) holders(contract agreement.Hash) []string {
	rank := func(p p2p.Peer) int {
		rec, _ := n.host.Affiliate(p.Address)
		switch saysOf(rec, contract, time.Now()) {
		case saysVetted:
			return 0
		case saysNothing:
			return 1
		}
		return 2
	}
	peers := slices.DeleteFunc(n.host.Peers(), func(p p2p.Peer) bool { return !p.Connected || p.Address == "" })
	slices.SortStableFunc(peers, func(a, b p2p.Peer) int { return cmp.Compare(rank(a), rank(b)) })
	var out []string
	for _, p := range peers[:min(len(peers), maxHolders)] {
		out = append(out, p.Address)
	}
	return out
}

// contractOf asks one affiliate for a contract. Nothing of what it gives is
// stored before it has turned out to be that.
func (n *Node) contractOf(ctx context.Context, from string, hash agreement.Hash) (store.Contract, error) {
	ctx, cancel := context.WithTimeout(ctx, effectTimeout)
	defer cancel()
	resp, body, err := n.host.FetchContract(ctx, from, hash)
	if err != nil {
		return store.Contract{}, err
	}
	defer body.Close()
	r, err := n.checkedRef(resp.Ref)
	if err != nil {
		return store.Contract{}, err
	}
	if r.size > maxHeld {
		return store.Contract{}, agreement.Errorf(agreement.CodeTooLarge, "a module of %d bytes; at most %d are held", r.size, maxHeld)
	}
	if err := checkAnswer(resp, r); err != nil {
		return store.Contract{}, err
	}
	payload := make([]byte, r.sealed)
	if _, err := io.ReadFull(body, payload); err != nil {
		return store.Contract{}, agreement.Errorf(agreement.CodePeerUnreachable, "reading contract %s of %s: %w", hash, from, err)
	}
	if blake3.Sum256(payload) != r.id {
		return store.Contract{}, agreement.Errorf(agreement.CodeDamaged, "the module arrived with other bytes")
	}
	header, err := n.openable(ctx, from, r.id, resp.Header)
	if err != nil {
		return store.Contract{}, err
	}
	wasm, err := n.unseal(header, payload, r.content, r.size)
	if err != nil {
		return store.Contract{}, err
	}
	c, err := n.engine.Load(ctx, wasm)
	if err != nil {
		return store.Contract{}, err
	}
	if c.Hash != hash {
		return store.Contract{}, agreement.Errorf(agreement.CodeBadModule, "the module makes contract %s", c.Hash)
	}
	r.mediaType = mediaWasm
	err = n.takeIn(ctx, r, header, bytes.NewReader(payload), contractOwner(hash), []string{n.ring.Address(), from})
	return storedContract(c), err
}

// OpenContract serves the module of a contract that this affiliate has vetted
// to any member. One that was only proposed here doesn't exist for others.
func (n *Node) OpenContract(ctx context.Context, from string, contract agreement.Hash) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	_, err := n.store.Vetting(contract)
	var c store.Contract
	if err == nil {
		c, err = n.store.Contract(contract)
	}
	if errors.Is(err, agreement.ErrNotFound) {
		return nil, nil, agreement.Errorf(agreement.CodeNotFound, "no contract %s", contract)
	}
	if err != nil {
		return nil, nil, err
	}
	id, err := n.moduleFor(ctx, from, c)
	if err != nil {
		return nil, nil, err
	}
	return n.OpenObject(ctx, from, id, 0)
}

// moduleFor finds a sealing of a contract's module that an affiliate can open.
// Where there is none, the module is sealed once more, to all who are known now:
// so the sealings of one module don't grow with who asks for it.
func (n *Node) moduleFor(ctx context.Context, reader string, c store.Contract) (agreement.Hash, error) {
	objects, err := n.store.ObjectsByContent(c.Module)
	if err != nil {
		return agreement.Hash{}, err
	}
	for _, o := range objects {
		if slices.Contains(o.Audience, reader) {
			return o.ID, nil
		}
	}
	audience := n.members()
	if len(audience) > keys.MaxReaders || !slices.Contains(audience, reader) {
		audience = []string{n.ring.Address(), reader}
	}
	wasm, _, err := n.content(ctx, c.Module)
	if err != nil {
		return agreement.Hash{}, err
	}
	ref, err := n.seal(ctx, wasm, mediaWasm, contractOwner(c.Hash), audience, []string{reader})
	if err != nil {
		return agreement.Hash{}, err
	}
	return agreement.Hash(ref.ObjectId), nil
}
