package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/store"
)

const (
	// maxHeader bounds the header of a sealed object: some 1.6 KB a reader.
	maxHeader = 256 << 10
	// sealOverhead bounds what sealing adds to a payload: 16 bytes a 64 KiB chunk and a nonce.
	sealOverhead = 1 << 20
	// inlineLimit is the largest sealed payload that travels inside a proposal.
	inlineLimit = 32 << 10
	// inlineTotal bounds all of them together, so that a proposal fits into gossip.
	inlineTotal = 128 << 10
)

// objectRef is a checked ObjectRef.
type objectRef struct {
	content, id agreement.Hash
	size        int64
	sealed      int64
	mediaType   string
}

func objectOf(r *affiliatev1.ObjectRef) (objectRef, error) {
	content, err := agreement.HashFromBytes(r.GetContentHash())
	if err != nil {
		return objectRef{}, fmt.Errorf("content hash: %w", err)
	}
	id, err := agreement.HashFromBytes(r.GetObjectId())
	if err != nil {
		return objectRef{}, fmt.Errorf("object id: %w", err)
	}
	if r.GetSize() < 0 || r.GetSealedSize() < r.GetSize() || len(r.GetMediaType()) > 255 {
		return objectRef{}, fmt.Errorf("impossible size or media type")
	}
	return objectRef{content, id, r.GetSize(), r.GetSealedSize(), r.GetMediaType()}, nil
}

func refOf(o store.Object) *affiliatev1.ObjectRef {
	return &affiliatev1.ObjectRef{
		ContentHash: o.ContentHash[:], ObjectId: o.ID[:], Size: o.Size, SealedSize: o.SealedSize, MediaType: o.MediaType,
	}
}

// recipients finds the encryption keys of an audience, and whose they are. Every
// one of required must be known; of the others, those that have no node are left
// out: nobody could send to them.
func (n *Node) recipients(audience, required []string) (keys, readers []string, err error) {
	keys = []string{n.ring.Recipient()}
	for _, address := range audience {
		if address == n.ring.Address() {
			readers = append(readers, address)
			continue
		}
		rec, ok := n.host.Affiliate(address)
		if !ok && slices.Contains(required, address) {
			return nil, nil, agreement.Errorf(agreement.CodeUnknownParty, "no affiliate record of %s is known here", address).
				WithHint("its node must have been seen once: check `affiliate peers`, and members and bootstrap under [p2p]")
		}
		if ok {
			keys, readers = append(keys, rec.Recipient), append(readers, address)
		}
	}
	return keys, readers, nil
}

// seal puts content into the store, sealed to an audience.
func (n *Node) seal(ctx context.Context, content []byte, mediaType, owner string, audience, required []string) (*affiliatev1.ObjectRef, error) {
	return n.sealFrom(ctx, bytes.NewReader(content), mediaType, owner, audience, required)
}

// sealFrom is seal for content that is read while it is sealed.
func (n *Node) sealFrom(ctx context.Context, content io.Reader, mediaType, owner string, audience, required []string) (*affiliatev1.ObjectRef, error) {
	return n.sealAs(ctx, content, sealing{mediaType: mediaType, owner: owner, audience: audience, required: required})
}

// sealing is for whom and for what a content is sealed.
type sealing struct {
	mediaType string
	owner     string    // reference that keeps the object
	until     time.Time // of the reference; zero: until it is released
	audience  []string
	required  []string // of the audience: who must be able to open it
	fresh     bool     // a sealing that is there already won't do
}

// sealAs seals a content that is read meanwhile. Where its owner keeps one
// already that the audience can open, that is the object: the second payload
// goes when the hash is known. It doesn't ask for room on the disk, which its
// callers do before they take work in.
func (n *Node) sealAs(ctx context.Context, content io.Reader, as sealing) (*affiliatev1.ObjectRef, error) {
	recipients, readers, err := n.recipients(as.audience, as.required)
	if err != nil {
		return nil, err
	}
	draft := n.store.DraftUnderWay(ctx)
	defer draft.Discard()
	header, plain, err := keys.SealTo(draft, recipients)
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	hash := newContentHash()
	defer hash.stop()
	size, err := io.CopyBuffer(writers{plain, hash}, bounded(content, n.cfg.MaxObjectSize), make([]byte, contentBlock))
	if err == nil {
		err = plain.Close()
	}
	if err != nil {
		return nil, err
	}
	sum := hash.sum()
	if !as.fresh {
		if there, err := n.sealedFor(ctx, sum, as, readers); err != nil || there != nil {
			return there, err
		}
	}
	o, err := draft.Keep(ctx, store.Object{
		ContentHash: sum, Size: size, MediaType: as.mediaType,
		Audience: readers, Owner: as.owner, Created: time.Now(), Header: header,
	}, as.until)
	if err != nil {
		return nil, err
	}
	return refOf(o), nil
}

// sealedFor finds a sealing that the same owner keeps for at least the same
// readers, nil where there is none. What others keep is never used: that it is
// here is none of these readers' business.
func (n *Node) sealedFor(ctx context.Context, content agreement.Hash, as sealing, readers []string) (*affiliatev1.ObjectRef, error) {
	objects, err := n.store.ObjectsByContent(content)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if o.MediaType != as.mediaType || !containsAll(o.Audience, readers) {
			continue
		}
		refs, err := n.store.References(o.ID)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(refs, func(r store.Reference) bool { return r.Name == as.owner }) {
			continue
		}
		if err := n.store.Hold(ctx, o.ID, as.owner, as.until); !errors.Is(err, agreement.ErrNotFound) { // purged meanwhile
			return refOf(o), err
		}
	}
	return nil, nil
}

// maxHeld is the largest content that is held in memory, in bytes: what a
// contract reads, and its module. Larger objects only pass through.
const maxHeld = 64 << 20

// content opens this node's own copy, by the hash of what it must contain, and
// holds all of it.
func (n *Node) content(ctx context.Context, hash agreement.Hash) ([]byte, string, error) {
	r, o, err := n.contentReader(ctx, hash)
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	if o.Size > maxHeld {
		return nil, "", agreement.Errorf(agreement.CodeTooLarge, "content %s has %d bytes; a contract reads at most %d", hash, o.Size, maxHeld).
			WithHint("put it with `affiliate object put`, and give the contract its hash")
	}
	content := bytes.NewBuffer(make([]byte, 0, o.Size+bytes.MinRead))
	_, err = content.ReadFrom(r)
	return content.Bytes(), o.MediaType, err
}

// contentReader opens this node's own copy for reading. The end comes only
// after all of it has proved to be what its hash says.
func (n *Node) contentReader(ctx context.Context, hash agreement.Hash) (io.ReadCloser, store.Object, error) {
	objects, err := n.store.ObjectsByContent(hash)
	if err != nil {
		return nil, store.Object{}, err
	}
	if len(objects) == 0 {
		return nil, store.Object{}, n.missing(hash)
	}
	for _, o := range objects {
		var r io.ReadCloser
		if r, err = n.open(ctx, o); err == nil {
			return r, o, nil
		}
	}
	return nil, store.Object{}, err
}

// open unseals one stored object.
func (n *Node) open(ctx context.Context, o store.Object) (io.ReadCloser, error) {
	payload, err := n.stored(ctx, o.ID, 0)
	if err != nil {
		return nil, err
	}
	content, err := n.ring.Open(o.Header, payload)
	if err != nil {
		return nil, errors.Join(err, payload.Close())
	}
	return newChecked(content, o.ContentHash, o.Size, payload.Close), nil
}

// payload holds a sealed payload in memory, which its caller has found to be
// small.
func (n *Node) payload(ctx context.Context, o store.Object) ([]byte, error) {
	r, err := n.stored(ctx, o.ID, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	payload := make([]byte, o.SealedSize)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, fmt.Errorf("reading object %s: %w", o.ID, err)
	}
	return payload, nil
}

func (n *Node) unseal(header, payload []byte, want agreement.Hash, size int64) ([]byte, error) {
	content, err := n.ring.Unseal(header, payload, size)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeDamaged, "opening an object: %w", err)
	}
	if sha256.Sum256(content) != want {
		return nil, agreement.Errorf(agreement.CodeDamaged, "an object doesn't hold the content %s that it is named for", want)
	}
	return content, nil
}

// share returns a sealing of a content that this node holds which the whole
// audience can open; it seals once more where none is.
func (n *Node) share(ctx context.Context, hash agreement.Hash, owner string, audience, required []string) (*affiliatev1.ObjectRef, error) {
	_, readers, err := n.recipients(audience, required)
	if err != nil {
		return nil, err
	}
	objects, err := n.store.ObjectsByContent(hash)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if !containsAll(o.Audience, readers) {
			continue
		}
		if err := n.store.Hold(ctx, o.ID, owner, time.Time{}); !errors.Is(err, agreement.ErrNotFound) { // purged meanwhile
			return refOf(o), err
		}
	}
	content, o, err := n.contentReader(ctx, hash)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return n.sealFrom(ctx, content, o.MediaType, owner, audience, required)
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// holdHeld keeps a content for one more owner, if this node has it in a sealing
// that the reader may open. To know its hash isn't enough: the proposer's contract
// gets to see the content, and what comes of that is told to the proposer.
func (n *Node) holdHeld(ctx context.Context, content agreement.Hash, reader, owner string) (bool, error) {
	objects, err := n.store.ObjectsByContent(content)
	if err != nil {
		return false, err
	}
	for _, o := range objects {
		if !slices.Contains(o.Audience, reader) {
			continue
		}
		if err := n.store.Hold(ctx, o.ID, owner, time.Time{}); !errors.Is(err, agreement.ErrNotFound) { // purged meanwhile
			return err == nil, err
		}
	}
	return false, nil
}

// obtain makes sure that this node holds a content that the peer may read too:
// its own copy, or a verified one from the peer.
func (n *Node) obtain(ctx context.Context, from string, ref *affiliatev1.ObjectRef, owner string, audience []string) error {
	r, err := n.checkedRef(ref)
	if err != nil {
		return err
	}
	if have, err := n.holdHeld(ctx, r.content, from, owner); err != nil || have {
		return err
	}
	if err := n.reach.begin(from); err != nil {
		return err
	}
	err = ofPeer(n.fetch(ctx, from, r, owner, audience))
	n.reach.end(from, err)
	return err
}

// checkedRef is a peer's word on an object, within the limits that hold here.
func (n *Node) checkedRef(ref *affiliatev1.ObjectRef) (objectRef, error) {
	r, err := objectOf(ref)
	if err != nil {
		return r, agreement.Errorf(agreement.CodeBadMessage, "object: %w", err)
	}
	if r.size > n.cfg.MaxObjectSize || r.sealed > n.cfg.MaxObjectSize+sealOverhead {
		return r, agreement.Errorf(agreement.CodeTooLarge, "an object has %d bytes, the limit here is %d", r.size, n.cfg.MaxObjectSize)
	}
	return r, nil
}

// OpenObject serves a sealed object to a peer of its audience. To everybody
// else it doesn't exist.
func (n *Node) OpenObject(ctx context.Context, from string, id agreement.Hash, offset int64) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	o, err := n.readableBy(from, id)
	if err != nil {
		return nil, nil, err
	}
	r, err := n.stored(ctx, id, offset)
	if err != nil {
		return nil, nil, err
	}
	return &affiliatev1.FetchObjectResponse{Header: o.Header, Ref: refOf(o)}, r, nil
}

// OpenLeaves serves the leaves of a sealed object's tree likewise.
func (n *Node) OpenLeaves(_ context.Context, from string, id agreement.Hash) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	o, err := n.readableBy(from, id)
	if err != nil {
		return nil, nil, err
	}
	leaves, err := n.store.Leaves(id)
	if err != nil {
		return nil, nil, err
	}
	return &affiliatev1.FetchObjectResponse{Header: o.Header, Ref: refOf(o), Leaves: int64(len(leaves))}, io.NopCloser(bytes.NewReader(leaves)), nil
}

// HeaderFor gives the header of an object to a peer of its audience, wrapped for
// the recipient that the peer has announced last. It isn't kept: the peer wraps
// what it takes in for itself.
func (n *Node) HeaderFor(_ context.Context, from string, id agreement.Hash) ([]byte, error) {
	o, err := n.readableBy(from, id)
	if err != nil {
		return nil, err
	}
	recipient, err := n.recipientOf(from)
	if err != nil {
		return nil, err
	}
	return n.ring.Grant(o.Header, recipient)
}

// SealingOf names a sealing of a content to a peer of its audience. To
// everybody else there is none.
func (n *Node) SealingOf(_ context.Context, from string, content agreement.Hash) (*affiliatev1.ObjectRef, error) {
	objects, err := n.store.ObjectsByContent(content)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if slices.Contains(o.Audience, from) {
			return refOf(o), nil
		}
	}
	return nil, agreement.Errorf(agreement.CodeNotFound, "no content %s", content)
}

func (n *Node) readableBy(from string, id agreement.Hash) (store.Object, error) {
	o, err := n.store.Object(id)
	if err != nil && (errors.Is(err, agreement.ErrNotFound) || agreement.CodeOf(err) == agreement.CodeDamaged) ||
		err == nil && !slices.Contains(o.Audience, from) {
		return o, agreement.Errorf(agreement.CodeNotFound, "no object %s", id)
	}
	return o, err
}
