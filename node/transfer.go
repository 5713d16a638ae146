package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/store"
	"github.com/affiliate-node/affiliate/store/blob"
)

// contentBlock is how much content is sealed at once, in bytes.
const contentBlock = 256 << 10

// fetch takes a sealed object in from a peer: every part of it is verified as
// it arrives, and it is kept once it has proved to hold the content that it is
// said to hold. What a broken connection has cut off goes on where it ended.
func (n *Node) fetch(ctx context.Context, from string, r objectRef, owner string, audience []string) error {
	leaves, err := n.fetchLeaves(ctx, from, r)
	if err != nil {
		return err
	}
	tree, err := blob.NewTree(r.id, r.sealed, leaves)
	if err != nil {
		return err
	}
	peer := &peerSource{n: n, from: from, ref: r}
	first, err := peer.Open(ctx, r.id, 0, r.sealed) // for the header
	if err != nil {
		return err
	}
	peer.ready = first
	payload := &resumed{ctx: ctx, tree: tree, peer: peer}
	defer payload.Close()
	header, err := n.openable(ctx, from, r.id, peer.header)
	if err != nil {
		return err
	}
	return n.takeIn(ctx, r, header, payload, owner, audience)
}

// openable is the header that came with an object, or another one where that is
// for an identity that is forgotten.
func (n *Node) openable(ctx context.Context, from string, id agreement.Hash, header []byte) ([]byte, error) {
	if agreement.CodeOf(n.ring.Opens(header)) != agreement.CodeNotAuthorized {
		return header, nil
	}
	header, err := n.host.FetchHeader(ctx, from, id)
	if err != nil {
		return nil, fmt.Errorf("asking for the header of object %s for the current identity: %w", id, err)
	}
	return header, nil
}

func (n *Node) fetchLeaves(ctx context.Context, from string, r objectRef) (blob.Leaves, error) {
	want := blob.LeavesSize(r.sealed)
	if want == 0 {
		return nil, nil
	}
	resp, body, err := n.host.FetchLeaves(ctx, from, r.id)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if resp.GetLeaves() != want {
		return nil, agreement.Errorf(agreement.CodeDamaged, "object %s came with %d bytes of leaves instead of %d", r.id, resp.GetLeaves(), want)
	}
	leaves := make([]byte, want)
	if _, err := io.ReadFull(body, leaves); err != nil {
		return nil, agreement.Errorf(agreement.CodePeerUnreachable, "reading the leaves of object %s: %w", r.id, err)
	}
	return leaves, nil
}

// takeIn stores a sealed object that came from a peer, while checking both
// that it is what its name says and that it holds what it should.
func (n *Node) takeIn(ctx context.Context, r objectRef, header []byte, payload io.Reader, owner string, audience []string) error {
	draft := n.store.DraftUnderWay(ctx)
	defer draft.Discard()
	content, err := n.ring.Open(header, io.TeeReader(payload, draft))
	if err != nil {
		return agreement.Errorf(agreement.CodeDamaged, "opening object %s: %w", r.id, err)
	}
	c := newChecked(content, r.content, r.size, func() error { return nil })
	defer c.Close()
	if _, err := io.CopyBuffer(io.Discard, c, make([]byte, contentBlock)); err != nil {
		return fmt.Errorf("taking in object %s: %w", r.id, err)
	}
	if header, _, err = n.ring.Rewrap(header); err != nil { // its sealer may not know the latest identity
		return err
	}
	o, err := draft.Keep(ctx, store.Object{
		ContentHash: r.content, Size: r.size, MediaType: r.mediaType,
		Audience: audience, Owner: owner, Created: time.Now(), Header: header,
	}, time.Time{})
	if err == nil && o.ID != r.id {
		err = agreement.Errorf(agreement.CodeDamaged, "object %s arrived with other bytes", r.id)
	}
	return err
}

// peerSource reads an object's payload from a peer.
type peerSource struct {
	n      *Node
	from   string
	ref    objectRef
	header []byte        // of the first answer
	ready  io.ReadCloser // that answer's payload, for whoever asks for its beginning
}

// Open asks the peer for the payload from an offset on.
func (p *peerSource) Open(ctx context.Context, id agreement.Hash, offset, _ int64) (io.ReadCloser, error) {
	if p.ready != nil && offset == 0 {
		r := p.ready
		p.ready = nil
		return r, nil
	}
	resp, body, err := p.n.host.Fetch(ctx, p.from, id, offset)
	if err != nil {
		return nil, err
	}
	if err := checkAnswer(resp, p.ref); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	p.header = resp.Header
	return body, nil
}

func checkAnswer(resp *affiliatev1.FetchObjectResponse, r objectRef) error {
	if len(resp.Header) > maxHeader {
		return agreement.Errorf(agreement.CodeTooLarge, "an object's header has %d bytes, the limit is %d", len(resp.Header), maxHeader)
	}
	if size := resp.GetRef().GetSealedSize(); size != r.sealed {
		return agreement.Errorf(agreement.CodeDamaged, "object %s has %d bytes there instead of %d", r.id, size, r.sealed)
	}
	return nil
}

// maxResumes is how often in a row a transfer goes on after a break without
// having got anywhere.
const maxResumes = 3

// resumed reads a payload from a peer, verified, and asks again for what a
// broken connection has cut off.
type resumed struct {
	ctx    context.Context //nolint:containedctx // it bounds the whole transfer
	tree   *blob.Tree
	peer   *peerSource
	in     io.ReadCloser
	at     int64
	breaks int
}

// Read gives the next bytes.
func (r *resumed) Read(p []byte) (int, error) {
	for {
		if r.in == nil {
			in, err := r.tree.Open(r.ctx, r.peer, r.at, -1)
			if err != nil {
				return 0, err
			}
			r.in = in
		}
		k, err := r.in.Read(p)
		if k > 0 {
			r.at += int64(k)
			r.breaks = 0
			return k, nil
		}
		if err == nil || err == io.EOF || agreement.CodeOf(err) != agreement.CodePeerUnreachable || r.ctx.Err() != nil {
			return 0, err
		}
		if r.breaks++; r.breaks > maxResumes {
			return 0, err
		}
		_ = r.in.Close() // it is broken
		r.in = nil
	}
}

// Close ends the transfer.
func (r *resumed) Close() error {
	if r.peer.ready != nil {
		_ = r.peer.ready.Close() // nobody wants it
	}
	if r.in != nil {
		return r.in.Close()
	}
	return nil
}

// checked reads content and ends only when it is the content that its hash
// says. It has to be closed.
type checked struct {
	in    io.Reader
	hash  *contentHash
	want  agreement.Hash
	left  int64 // bytes
	close func() error
}

func newChecked(in io.Reader, want agreement.Hash, size int64, closes func() error) *checked {
	return &checked{in: in, hash: newContentHash(), want: want, left: size, close: closes}
}

// Read gives the next bytes.
func (c *checked) Read(p []byte) (int, error) {
	k, err := c.in.Read(p)
	if c.left -= int64(k); c.left >= 0 {
		_, _ = c.hash.Write(p[:k]) // never fails
	}
	if c.left < 0 || err == io.EOF && (c.left != 0 || c.hash.sum() != c.want) {
		return 0, agreement.Errorf(agreement.CodeDamaged, "an object doesn't hold the content %s that it is named for", c.want)
	}
	return k, err
}

// Close closes what is under the content.
func (c *checked) Close() error {
	c.hash.stop()
	return c.close()
}

// contentHash hashes in a goroutine of its own, beside the one that seals or
// opens. What fits into one block is hashed without. It takes up to 1 MiB.
type contentHash struct {
	hash        hash.Hash
	block       []byte // that is being filled
	full, empty chan []byte
	done        chan struct{} // nil until the goroutine begins
	stopped     bool
}

func newContentHash() *contentHash { return &contentHash{hash: sha256.New()} }

// begin starts the goroutine.
func (h *contentHash) begin() {
	const blocks = 3 // besides the one that is being filled
	h.full, h.empty, h.done = make(chan []byte, blocks), make(chan []byte, blocks), make(chan struct{})
	for range blocks {
		h.empty <- make([]byte, 0, contentBlock)
	}
	go func() {
		defer close(h.done)
		for b := range h.full {
			_, _ = h.hash.Write(b) // never fails
			h.empty <- b[:0]
		}
	}()
}

// Write adds to the content. It never fails.
func (h *contentHash) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && !h.stopped {
		if len(h.block) == contentBlock {
			if h.done == nil {
				h.begin()
			}
			h.full <- h.block
			h.block = <-h.empty
		}
		k := min(len(p), contentBlock-len(h.block))
		h.block = append(h.block, p[:k]...)
		p = p[k:]
	}
	return n, nil
}

// stop ends the goroutine; it may be called again.
func (h *contentHash) stop() {
	if h.done != nil && !h.stopped {
		close(h.full)
		<-h.done
	}
	h.stopped = true
}

// sum ends the content and returns its hash.
func (h *contentHash) sum() agreement.Hash {
	h.stop()
	_, _ = h.hash.Write(h.block) // never fails
	h.block = nil
	return agreement.Hash(h.hash.Sum(nil))
}

// writers writes to the hash first, which then works while the other seals.
type writers struct {
	sealed io.Writer
	hash   *contentHash
}

// Write writes to both.
func (w writers) Write(p []byte) (int, error) {
	_, _ = w.hash.Write(p) // never fails
	return w.sealed.Write(p)
}

// bounded is a reader that fails beyond a number of bytes.
func bounded(r io.Reader, most int64) io.Reader {
	return io.MultiReader(io.LimitReader(r, most), &beyond{r, most})
}

type beyond struct {
	r    io.Reader
	most int64
}

// Read fails if there is anything left.
func (b *beyond) Read([]byte) (int, error) {
	var one [1]byte
	if _, err := io.ReadFull(b.r, one[:]); err != nil {
		return 0, err
	}
	return 0, agreement.Errorf(agreement.CodeTooLarge, "the object is larger than the limit of %d bytes", b.most).
		WithHint("raise max_object_size under [store] on every affiliate, or make it smaller")
}
