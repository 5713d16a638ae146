package store

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/dgraph-io/badger/v4"
	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// Payload reads the sealed bytes of an object from offset on. Every group of
// blob.GroupSize bytes is verified before any of it is handed out, and nothing
// more is held in memory than a few, or a payload of up to 128 KiB. An
// offset beyond the end is CodeBadRequest. Wrong bytes are CodeDamaged with
// object and place, and put the object into quarantine.
func (s *Store) Payload(ctx context.Context, id agreement.Hash, offset int64) (io.ReadCloser, error) {
	o, version, err := s.object(id)
	if err != nil {
		return nil, err
	}
	return s.payload(ctx, o, version, offset)
}

// payload reads the payload of an object whose description has that version.
func (s *Store) payload(ctx context.Context, o Object, version uint64, offset int64) (io.ReadCloser, error) {
	if offset < 0 || offset > o.SealedSize {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "offset %d is outside object %s of %d bytes", offset, o.ID, o.SealedSize)
	}
	if !o.large() {
		b, err := s.smallPayload(o, version)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(b[offset:])), nil
	}
	tree, err := s.tree(o)
	if err != nil {
		return nil, s.suspect(o.ID, version, err)
	}
	in, err := tree.Open(ctx, s.home, offset, -1)
	if err != nil {
		return nil, s.suspect(o.ID, version, err)
	}
	return &payload{in, s, o.ID, version}, nil
}

// tree returns the tree by which the payload of an object is verified.
func (s *Store) tree(o Object) (*blob.Tree, error) {
	leaves, err := s.Leaves(o.ID)
	if err != nil {
		return nil, err
	}
	return blob.NewTree(o.ID, o.SealedSize, leaves)
}

// smallPayload reads a payload that lies in Badger.
func (s *Store) smallPayload(o Object, version uint64) ([]byte, error) {
	b, err := s.copyOf(payloadKey(o.ID))
	switch {
	case errors.Is(err, badger.ErrKeyNotFound) && o.SealedSize > 0:
		return nil, s.suspect(o.ID, version, agreement.Errorf(agreement.CodeDamaged, "object %s is damaged at byte 0: its payload of %d bytes is gone", o.ID, o.SealedSize))
	case errors.Is(err, errDecode):
		return nil, s.suspect(o.ID, version, agreement.Errorf(agreement.CodeDamaged, "object %s is damaged at byte 0: its payload can't be read: %w", o.ID, err))
	case err != nil && !errors.Is(err, badger.ErrKeyNotFound):
		return nil, readError(err, "the payload of object %s", o.ID)
	}
	s.touched(int64(len(b)))
	if blake3.Sum256(b) != o.ID {
		return nil, s.suspect(o.ID, version, s.place(o, b))
	}
	return b, nil
}

// place finds the first wrong group of a payload that isn't what it was.
func (s *Store) place(o Object, b []byte) error {
	tree, err := s.tree(o)
	for i := int64(0); err == nil && i < blob.Groups(o.SealedSize); i++ {
		from := min(i*blob.GroupSize, int64(len(b)))
		err = tree.CheckGroup(i, b[from:min(from+blob.GroupSize, int64(len(b)))])
	}
	if err == nil {
		err = wrongHash(blake3.Sum256(b))
	}
	return err
}

// Leaves returns the leaves of an object's tree, by which its groups are
// verified; nil for a payload of one group.
func (s *Store) Leaves(id agreement.Hash) (blob.Leaves, error) {
	b, err := s.copyOf(leavesKey(id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, readError(err, "the tree of object %s", id)
	}
	return b, nil
}

// payload puts an object into quarantine once it proves to be damaged.
type payload struct {
	io.ReadCloser
	s       *Store
	id      agreement.Hash
	version uint64
}

// Read gives the next bytes, which have been verified.
func (p *payload) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	return n, p.s.suspect(p.id, p.version, err)
}

// suspect puts an object into quarantine if that is what the error means.
func (s *Store) suspect(id agreement.Hash, version uint64, err error) error {
	if err == nil || agreement.CodeOf(err) != agreement.CodeDamaged {
		return err
	}
	return s.quarantine(id, version, err)
}
