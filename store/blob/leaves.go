package blob

import (
	"lukechampine.com/blake3"
	"lukechampine.com/blake3/guts"

	"github.com/affiliate-node/affiliate/agreement"
)

// Leaves are the chaining values of a payload's groups, 32 bytes each, from
// the left. A payload of one group has none: its group is checked against the
// root.
type Leaves []byte

// Sum returns the hash and the leaves of a payload that is in memory.
func Sum(payload []byte) (root agreement.Hash, leaves Leaves) {
	if len(payload) <= GroupSize {
		return blake3.Sum256(payload), nil
	}
	h := NewHasher()
	_, _ = h.Write(payload) // never fails
	return h.Sum()
}

// Groups returns how many groups a payload of size bytes has, one at least.
func Groups(size int64) int64 {
	if size == 0 {
		return 1
	}
	return (size-1)/GroupSize + 1
}

// LeavesSize returns the length in bytes of the leaves of a payload of size
// bytes.
func LeavesSize(size int64) int64 {
	if groups := Groups(size); groups > 1 {
		return groups * leafSize
	}
	return 0
}

// A Tree is what is known of a payload before any of it was read: its hash,
// its size, and leaves that are proved to be those under this hash.
type Tree struct {
	id     agreement.Hash
	size   int64
	leaves Leaves
}

// NewTree proves leaves, which it keeps, against the hash of a payload of
// size bytes. Leaves that aren't its leaves are CodeDamaged. The proof takes
// about 3 ms for a payload of 1 GiB.
func NewTree(id agreement.Hash, size int64, leaves Leaves) (*Tree, error) {
	if err := CheckLeaves(id, size, leaves); err != nil {
		return nil, err
	}
	return &Tree{id: id, size: size, leaves: leaves}, nil
}

// CheckLeaves proves leaves, as NewTree does.
func CheckLeaves(id agreement.Hash, size int64, leaves Leaves) error {
	if size < 0 {
		return agreement.Errorf(agreement.CodeDamaged, "object %s has a size of %d bytes", id, size)
	}
	if want := LeavesSize(size); int64(len(leaves)) != want {
		return agreement.Errorf(agreement.CodeDamaged, "object %s of %d bytes has %d bytes of leaves instead of %d", id, size, len(leaves), want)
	}
	if len(leaves) == 0 {
		return nil
	}
	var t subtrees
	for b := leaves; len(b) > 0; b = b[leafSize:] {
		t.push(leafWords(b))
	}
	if root := rootOf(t.root()); root != id {
		return agreement.Errorf(agreement.CodeDamaged, "the leaves of object %s have the root %s", id, root)
	}
	return nil
}

// ID returns the hash of the payload.
func (t *Tree) ID() agreement.Hash { return t.id }

// Size returns the length of the payload in bytes.
func (t *Tree) Size() int64 { return t.size }

// groupSize returns the length of a group.
func (t *Tree) groupSize(index int64) int64 { return min(GroupSize, t.size-index*GroupSize) }

// CheckGroup checks the index-th group, from 0, of the payload: its length
// and its bytes. What doesn't fit is CodeDamaged; the error names the object
// and the place.
func (t *Tree) CheckGroup(index int64, group []byte) error {
	if index < 0 || index >= Groups(t.size) {
		return agreement.Errorf(agreement.CodeBadRequest, "object %s has no group %d", t.id, index)
	}
	if want := t.groupSize(index); int64(len(group)) != want {
		return t.damaged(index, "it has %d bytes instead of %d", len(group), want)
	}
	if len(t.leaves) == 0 {
		if blake3.Sum256(group) != t.id {
			return t.damaged(index, "its hash is another")
		}
		return nil
	}
	cv := guts.ChainingValue(groupNode(wholeGroup(group), len(group), index))
	if cv != leafWords(t.leaves[index*leafSize:]) {
		return t.damaged(index, "its hash is another")
	}
	return nil
}

// wholeGroup gives the last group the room that compressing it takes.
func wholeGroup(group []byte) *[GroupSize]byte {
	if len(group) == GroupSize {
		return (*[GroupSize]byte)(group)
	}
	var b [GroupSize]byte
	copy(b[:], group)
	return &b
}

func (t *Tree) damaged(index int64, format string, args ...any) error {
	e := agreement.Errorf(agreement.CodeDamaged, format, args...)
	e.Text = agreement.Errorf(agreement.CodeDamaged, "object %s is damaged at byte %d (group %d): ", t.id, index*GroupSize, index).Text + e.Text
	return e
}
