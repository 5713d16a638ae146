package node

import (
	"cmp"
	"context"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store"
)

// mayReplace refuses another object in the place of one that an open agreement
// needs: its parties fetch it by its name.
func (n *Node) mayReplace(o store.Object) error {
	all, err := n.needs(o)
	for _, one := range all {
		if one.open() {
			return agreement.Errorf(agreement.CodeInUse, "object %s is damaged, and agreement %s that needs it is open", o.ID, one.state.ID).
				WithHint("wait until it has ended, and repair again; or restore a backup")
		}
	}
	return err
}

// replaceFromHere puts a good sealing that is here in a damaged one's place, if
// there is one that nobody else can read.
func (n *Node) replaceFromHere(ctx context.Context, o store.Object) (bool, error) {
	others, err := n.store.ObjectsByContent(o.ContentHash)
	if err != nil {
		return false, err
	}
	for _, other := range others {
		if sameSet(other.Audience, o.Audience) {
			return true, n.replaceBy(ctx, o, other.ID)
		}
	}
	return false, nil
}

// replaceBy puts another sealing of its content in a damaged object's place.
func (n *Node) replaceBy(ctx context.Context, o store.Object, id agreement.Hash) error {
	if _, err := n.store.Object(o.ID); err == nil {
		return nil // somebody has put it again: there are two now
	}
	n.log.Info("a damaged object is replaced by another one of its content", "content", o.ContentHash, "object", id, "instead_of", o.ID)
	return n.replace(ctx, o, id, "damaged, and replaced by another sealing of its content")
}

// replace purges an object in favour of another sealing of its content, and
// leaves a signed tombstone.
func (n *Node) replace(ctx context.Context, o store.Object, by agreement.Hash, why string) error {
	stone, err := n.tombstone(o, why, time.Now())
	if err != nil {
		return err
	}
	return n.store.Replace(ctx, o.ID, by, stone)
}

// purge removes an object at once, and leaves a signed tombstone.
func (n *Node) purge(ctx context.Context, o store.Object, why string) error {
	stone, err := n.tombstone(o, why, time.Now())
	if err != nil {
		return err
	}
	return n.store.Purge(ctx, o.ID, stone)
}

// refRepair keeps what was fetched for a repair until it is sealed anew.
const refRepair = "repair"

// repairWithin is how long what was fetched for a repair is kept, should the
// node end before it is used.
const repairWithin = 24 * time.Hour

// fetchOther gets a content as the peer has sealed it, and seals it anew for
// those who could read the damaged object: what a function made, every party
// seals for itself.
func (n *Node) fetchOther(ctx context.Context, from string, o store.Object) error {
	refs, err := n.store.References(o.ID)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return agreement.Errorf(agreement.CodeNotFound, "nothing keeps object %s", o.ID)
	}
	ref, err := n.host.FindContent(ctx, from, o.ContentHash)
	if err != nil {
		return err
	}
	r, err := n.checkedRef(ref)
	if err == nil && r.content != o.ContentHash {
		err = agreement.Errorf(agreement.CodeBadMessage, "asked for content %s, and got %s", o.ContentHash, r.content)
	}
	if err != nil {
		return err
	}
	if r.id == o.ID { // only its description is damaged
		if err := n.fetch(ctx, from, r, refs[0].Name, o.Audience); err != nil {
			return err
		}
		return n.store.Hold(ctx, o.ID, refs[0].Name, refs[0].Until) // as it was
	}
	if err := n.fetch(ctx, from, r, refRepair, []string{n.ring.Address()}); err != nil {
		return err
	}
	if err := n.store.Hold(ctx, r.id, refRepair, time.Now().Add(repairWithin)); err != nil {
		return err
	}
	id, err := n.sealedAnew(ctx, r.id, o, refs[0])
	if err == nil {
		err = n.replaceBy(ctx, o, id)
	}
	if err != nil {
		return err
	}
	return n.store.ReleaseObject(ctx, r.id, refRepair)
}

// sealedAnew seals the content of one object for the readers of another one.
func (n *Node) sealedAnew(ctx context.Context, id agreement.Hash, o store.Object, by store.Reference) (agreement.Hash, error) {
	fetched, err := n.store.Object(id)
	if err != nil {
		return agreement.Hash{}, err
	}
	content, err := n.open(ctx, fetched)
	if err != nil {
		return agreement.Hash{}, err
	}
	defer content.Close()
	ref, err := n.sealAs(ctx, content, sealing{
		mediaType: cmp.Or(o.MediaType, fetched.MediaType), owner: by.Name, until: by.Until, audience: o.Audience, fresh: true,
	})
	if err != nil {
		return agreement.Hash{}, err
	}
	return agreement.Hash(ref.ObjectId), nil
}
