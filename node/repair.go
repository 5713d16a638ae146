package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store"
	"github.com/affiliate-node/affiliate/store/blob"
)

// verified is an object as a walk over all has found it, told when it has been
// read and again when it has been repaired.
type verified struct {
	Object   agreement.Hash
	Content  agreement.Hash
	Size     int64  // bytes of payload
	Problem  error  // nil: it is whole
	Repaired bool   // it was damaged, and isn't any more
	Source   string // address of who gave the good copy
}

// verifySummary is what a walk over all has found.
type verifySummary struct {
	Objects, Bytes int64 // that were read
	Damaged        int64 // objects, those found earlier among them
	Repaired       int64 // of these
	Strays         int64 // payloads that belonged to no object, removed
}

// verify reads every object: whether its bytes are what its name says, and
// whether what they hold is what its content hash says. With repair, what is
// damaged is fetched from affiliates that have it. report, which may be nil,
// hears of each object.
func (n *Node) verify(ctx context.Context, repair bool, report func(verified)) (verifySummary, error) {
	if report == nil {
		report = func(verified) {}
	}
	var damaged []store.Object
	v, err := n.store.Verify(ctx, func(o store.Object, problem error) {
		if problem == nil {
			problem = n.verifyContent(ctx, o)
		}
		if agreement.CodeOf(problem) == agreement.CodeDamaged && problem != nil {
			damaged = append(damaged, o)
		}
		report(verified{Object: o.ID, Content: o.ContentHash, Size: o.SealedSize, Problem: problem})
	})
	out := verifySummary{Objects: v.Objects, Bytes: v.Bytes, Damaged: int64(len(damaged)), Strays: v.Strays}
	if err != nil || !repair {
		return out, err
	}
	for _, o := range damaged {
		from, err := n.repair(ctx, o.ID)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if err == nil {
			out.Repaired++
		}
		report(verified{Object: o.ID, Content: o.ContentHash, Size: o.SealedSize, Problem: err, Repaired: err == nil, Source: from})
	}
	return out, nil
}

// verifyContent opens an object whose payload is whole. What is sealed to
// others can't be opened, and isn't wrong.
func (n *Node) verifyContent(ctx context.Context, o store.Object) error {
	r, err := n.open(ctx, o)
	if agreement.CodeOf(err) == agreement.CodeNotAuthorized {
		return nil
	}
	if err != nil {
		return fmt.Errorf("object %s: %w", o.ID, err)
	}
	defer r.Close()
	if _, err := io.CopyBuffer(io.Discard, r, make([]byte, contentBlock)); err != nil {
		return fmt.Errorf("object %s: %w", o.ID, err)
	}
	return nil
}

// repair fetches a damaged object from an affiliate that has it, or another
// sealing of its content, and says from whom. One whose bytes are those that
// its name says can't be repaired so.
func (n *Node) repair(ctx context.Context, id agreement.Hash) (from string, err error) {
	_, why := n.store.Object(id)
	if why == nil {
		return "", agreement.Errorf(agreement.CodeDamaged, "object %s has the bytes of its name, but they don't hold what they should", id).
			WithHint("restore a backup, or ask who has sealed it for another sealing")
	}
	if agreement.CodeOf(why) != agreement.CodeDamaged {
		return "", why
	}
	o, err := n.quarantined(ctx, id)
	if err != nil {
		return "", err
	}
	err = agreement.Errorf(agreement.CodeDamaged, "%w, and no other affiliate may have it", why).
		WithHint("restore a backup")
	if o.SealedSize > 0 {
		if from, err = n.fromAny(ctx, o, err, n.fetchAgain); err == nil || ctx.Err() != nil {
			return from, err
		}
	}
	// Now it is another object: not while somebody fetches it by its name.
	if busy := n.mayReplace(o); busy != nil {
		return "", busy
	}
	if replaced, err := n.replaceFromHere(ctx, o); replaced || err != nil {
		return n.ring.Address(), err
	}
	return n.fromAny(ctx, o, err, n.fetchOther)
}

// fromAny tries a way to repair an object with every affiliate that may have
// it, and says with which it went well, or why it didn't with the last; nobody is
// the error where there is none.
func (n *Node) fromAny(ctx context.Context, o store.Object, nobody error, try func(context.Context, string, store.Object) error) (from string, err error) {
	err = nobody
	for _, peer := range n.copies(o) {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err = n.reach.begin(peer); err == nil {
			err = ofPeer(try(ctx, peer, o))
			n.reach.end(peer, err)
		}
		if err == nil {
			n.log.Info("a damaged object is repaired", "object", o.ID, "from", peer)
			return peer, nil
		}
		n.log.Info("an affiliate doesn't repair a damaged object", "object", o.ID, "peer", peer, "error", err)
	}
	return "", err
}

// quarantined is what is known of a damaged object. Where its description can't
// be read either, that is its content, and who should be able to read that.
func (n *Node) quarantined(ctx context.Context, id agreement.Hash) (store.Object, error) {
	page, err := n.store.ObjectsAfter(before(id))
	if err != nil {
		return store.Object{}, err
	}
	if len(page) == 0 || page[0].ID != id {
		return store.Object{}, agreement.Errorf(agreement.CodeNotFound, "no object %s", id)
	}
	o := page[0]
	if !o.ContentHash.IsZero() {
		return o, nil
	}
	if o.ContentHash, err = n.store.ContentOf(ctx, id); err != nil {
		return o, err
	}
	all, err := n.needs(o)
	o.Audience = []string{n.ring.Address()}
	for _, one := range all {
		o.Audience = append(o.Audience, one.audience...)
	}
	slices.Sort(o.Audience)
	o.Audience = slices.Compact(o.Audience)
	return o, err
}

// before is the hash before another.
func before(h agreement.Hash) agreement.Hash {
	for i := len(h) - 1; i >= 0; i-- {
		h[i]--
		if h[i] != 0xff {
			break
		}
	}
	return h
}

// copies lists the affiliates that may have an object, those that are connected
// first.
func (n *Node) copies(o store.Object) []string {
	connected := map[string]int{}
	for _, p := range n.host.Peers() {
		if p.Connected {
			connected[p.Address] = 1
		}
	}
	out := slices.DeleteFunc(slices.Clone(o.Audience), func(a string) bool { return a == n.ring.Address() })
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(connected[b], connected[a]) })
	return out
}

// fetchAgain puts an object back with the peer's bytes, which are verified part
// by part against its name. Header and references stay what they are here.
func (n *Node) fetchAgain(ctx context.Context, from string, o store.Object) error {
	r := objectRef{o.ContentHash, o.ID, o.Size, o.SealedSize, o.MediaType}
	leaves, err := n.fetchLeaves(ctx, from, r)
	if err != nil {
		return err
	}
	tree, err := blob.NewTree(r.id, r.sealed, leaves)
	if err != nil {
		return err
	}
	payload := &resumed{ctx: ctx, tree: tree, peer: &peerSource{n: n, from: from, ref: r}}
	defer payload.Close()
	draft := n.store.DraftUnderWay(ctx)
	defer draft.Discard()
	if got, err := io.CopyBuffer(draft, io.LimitReader(payload, r.sealed), make([]byte, contentBlock)); err != nil || got != r.sealed {
		return cmp.Or(err, error(agreement.Errorf(agreement.CodeDamaged, "object %s came with %d bytes instead of %d", r.id, got, r.sealed)))
	}
	until, err := n.ownerUntil(o)
	if err != nil {
		return err
	}
	_, err = draft.Keep(ctx, o, until)
	return err
}

// ownerUntil is how long the reference lasts that an object was put for; one
// that isn't there any more isn't to come back for long.
func (n *Node) ownerUntil(o store.Object) (time.Time, error) {
	refs, err := n.store.References(o.ID)
	for _, r := range refs {
		if r.Name == o.Owner {
			return r.Until, err
		}
	}
	return time.Now(), err
}

// maxRepairs bounds the damaged objects that are remembered.
const maxRepairs = 1024

// repairs are the objects that a read has found damaged: each is fetched once.
type repairs struct {
	due chan agreement.Hash

	mu    sync.Mutex
	asked map[agreement.Hash]bool // guarded by mu
}

func newRepairs() *repairs {
	return &repairs{due: make(chan agreement.Hash, maxRepairs), asked: map[agreement.Hash]bool{}}
}

// want asks for a repair, unless it has been asked for.
func (r *repairs) want(id agreement.Hash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked[id] || len(r.asked) == maxRepairs {
		return
	}
	r.asked[id] = true
	r.due <- id // there is room for all that are asked for
}

// repaired lets an object be asked for again.
func (r *repairs) repaired(id agreement.Hash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.asked, id)
}

// keepRepairing repairs in the background what reads find damaged.
func (n *Node) keepRepairing(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-n.repairs.due:
			n.repairQuietly(ctx, id)
		}
	}
}

func (n *Node) repairQuietly(ctx context.Context, id agreement.Hash) {
	if _, err := n.store.Object(id); err == nil || errors.Is(err, agreement.ErrNotFound) {
		n.repairs.repaired(id) // somebody else did, or it was purged
		return
	}
	_, err := n.repair(ctx, id)
	if err == nil {
		n.repairs.repaired(id)
	} else if ctx.Err() == nil {
		n.log.Warn("a damaged object couldn't be repaired; `affiliate store verify --repair` tries again", "object", id, "error", err)
	}
}

// suspect asks for a repair if a read found an object damaged at rest.
func (n *Node) suspect(id agreement.Hash, err error) error {
	if err != nil && agreement.CodeOf(err) == agreement.CodeDamaged {
		n.repairs.want(id)
	}
	return err
}

// stored reads an object's payload, and has it repaired if it is damaged.
func (n *Node) stored(ctx context.Context, id agreement.Hash, offset int64) (io.ReadCloser, error) {
	r, err := n.store.Payload(ctx, id, offset)
	if err != nil {
		return nil, n.suspect(id, err)
	}
	return suspected{r, n, id}, nil
}

type suspected struct {
	io.ReadCloser
	n  *Node
	id agreement.Hash
}

// Read gives the next bytes.
func (s suspected) Read(p []byte) (int, error) {
	k, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.n.suspect(s.id, err)
	}
	return k, err
}
