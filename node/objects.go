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

	"lukechampine.com/blake3"

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
	if int64(len(content)) > n.cfg.MaxObjectSize {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "an object has %d bytes, the limit is %d", len(content), n.cfg.MaxObjectSize).
			WithHint("raise max_object_size under [store] on every affiliate, or make it smaller")
	}
	recipients, readers, err := n.recipients(audience, required)
	if err != nil {
		return nil, err
	}
	header, payload, err := keys.Seal(content, recipients)
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	o := store.Object{
		ID: blake3.Sum256(payload), ContentHash: sha256.Sum256(content),
		Size: int64(len(content)), SealedSize: int64(len(payload)), MediaType: mediaType,
		Audience: readers, Owner: owner, Created: time.Now(), Header: header,
	}
	if err := n.store.PutObject(ctx, o, bytes.NewReader(payload)); err != nil {
		return nil, err
	}
	return refOf(o), nil
}

// content opens this node's own copy, by the hash of what it must contain.
func (n *Node) content(hash agreement.Hash) ([]byte, string, error) {
	objects, err := n.store.ObjectsByContent(hash)
	if err != nil {
		return nil, "", err
	}
	if len(objects) == 0 {
		return nil, "", agreement.Errorf(agreement.CodeNotFound, "content %s: %w", hash, agreement.ErrNotFound).
			WithHint("an affiliate holds what it has put itself, and the data of agreements that it takes part in")
	}
	var last error
	for _, o := range objects {
		content, err := n.open(o)
		if err == nil {
			return content, o.MediaType, nil
		}
		last = err
	}
	return nil, "", last
}

// open unseals one stored object and checks what it contains.
func (n *Node) open(o store.Object) ([]byte, error) {
	payload, err := n.payload(o)
	if err != nil {
		return nil, err
	}
	return n.unseal(o.Header, payload, o.ContentHash, o.Size)
}

func (n *Node) payload(o store.Object) ([]byte, error) {
	r, err := n.store.Payload(o.ID, 0)
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
		if containsAll(o.Audience, readers) {
			return refOf(o), nil
		}
	}
	content, mediaType, err := n.content(hash)
	if err != nil {
		return nil, err
	}
	return n.seal(ctx, content, mediaType, owner, audience, required)
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// held reports whether this node has a content in a sealing that the reader may
// open. To know its hash isn't enough: the proposer's contract gets to see the
// content, and what comes of that is told to the proposer.
func (n *Node) held(content agreement.Hash, reader string) (bool, error) {
	objects, err := n.store.ObjectsByContent(content)
	return slices.ContainsFunc(objects, func(o store.Object) bool { return slices.Contains(o.Audience, reader) }), err
}

// obtain makes sure that this node holds a content that the peer may read too:
// its own copy, or a verified one from the peer.
func (n *Node) obtain(ctx context.Context, from string, ref *affiliatev1.ObjectRef, owner string, audience []string) error {
	r, err := n.checkedRef(ref)
	if err != nil {
		return err
	}
	if have, err := n.held(r.content, from); err != nil || have {
		return err
	}
	if err := n.reach.begin(from); err != nil {
		return err
	}
	header, payload, err := n.fetch(ctx, from, r)
	err = ofPeer(err)
	n.reach.end(from, err)
	if err != nil {
		return err
	}
	return n.takeIn(ctx, r, header, payload, owner, audience)
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

// fetch asks a peer for a sealed object. What arrives isn't checked.
func (n *Node) fetch(ctx context.Context, from string, r objectRef) (header, payload []byte, err error) {
	resp, body, err := n.host.Fetch(ctx, from, r.id, 0)
	if err != nil {
		return nil, nil, err
	}
	defer body.Close()
	payload, err = readPayload(resp, body, r)
	if err != nil {
		return nil, nil, fmt.Errorf("fetching object %s from %s: %w", r.id, from, err)
	}
	return resp.Header, payload, nil
}

func readPayload(resp *affiliatev1.FetchObjectResponse, body io.Reader, r objectRef) ([]byte, error) {
	if len(resp.Header) > maxHeader {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "an object's header has %d bytes, the limit is %d", len(resp.Header), maxHeader)
	}
	payload := make([]byte, r.sealed)
	if _, err := io.ReadFull(body, payload); err != nil {
		return nil, agreement.Errorf(agreement.CodePeerUnreachable, "reading an object: %w", err)
	}
	return payload, nil
}

// takeIn stores a sealed object that came from a peer, after checking both
// that it is what its name says and that it holds what it should.
func (n *Node) takeIn(ctx context.Context, r objectRef, header, payload []byte, owner string, audience []string) error {
	if blake3.Sum256(payload) != r.id {
		return agreement.Errorf(agreement.CodeDamaged, "object %s arrived with other bytes", r.id)
	}
	if _, err := n.unseal(header, payload, r.content, r.size); err != nil {
		return err
	}
	return n.store.PutObject(ctx, store.Object{
		ID: r.id, ContentHash: r.content, Size: r.size, SealedSize: int64(len(payload)), MediaType: r.mediaType,
		Audience: audience, Owner: owner, Created: time.Now(), Header: header,
	}, bytes.NewReader(payload))
}

// OpenObject serves a sealed object to a peer of its audience. To everybody
// else it doesn't exist.
func (n *Node) OpenObject(_ context.Context, from string, id agreement.Hash, offset int64) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	o, err := n.store.Object(id)
	if errors.Is(err, agreement.ErrNotFound) || (err == nil && !slices.Contains(o.Audience, from)) {
		return nil, nil, agreement.Errorf(agreement.CodeNotFound, "no object %s", id)
	}
	if err != nil {
		return nil, nil, err
	}
	r, err := n.store.Payload(id, offset)
	if err != nil {
		return nil, nil, err
	}
	return &affiliatev1.FetchObjectResponse{Header: o.Header, Ref: refOf(o)}, r, nil
}
