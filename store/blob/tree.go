package blob

import (
	"encoding/binary"
	"math/bits"

	"lukechampine.com/blake3/guts"

	"github.com/affiliate-node/affiliate/agreement"
)

// GroupSize is the length in bytes of every group of a payload but the last:
// what a leaf of the tree stands for, and the least that is verified alone.
const GroupSize = 64 << 10

const (
	leafSize       = 32
	chunksInGroup  = GroupSize / guts.ChunkSize
	bufferSize     = guts.MaxSIMD * guts.ChunkSize // what guts compresses at once
	buffersInGroup = GroupSize / bufferSize
)

// A Hasher computes the BLAKE3-256 of what is written to it, and on the way
// the leaves: the chaining value of each group of GroupSize bytes. It is
// BLAKE3's own tree, so the root is the plain hash. Besides its leaves (32
// bytes for 64 KiB) it holds one group.
type Hasher struct {
	group  [GroupSize]byte
	filled int
	leaves Leaves
	last   guts.Node // of the last whole group
	tree   subtrees
	size   int64
}

// NewHasher returns a Hasher that nothing was written to.
func NewHasher() *Hasher { return new(Hasher) }

// Write adds bytes. It never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	n := len(p)
	h.size += int64(n)
	if h.filled > 0 {
		taken := copy(h.group[h.filled:], p)
		h.filled += taken
		p = p[taken:]
		if h.filled < GroupSize {
			return n, nil
		}
		h.add(h.group[:])
		h.filled = 0
	}
	for len(p) >= GroupSize {
		h.add(p[:GroupSize])
		p = p[GroupSize:]
	}
	h.filled = copy(h.group[:], p)
	return n, nil
}

// add takes one whole group.
func (h *Hasher) add(group []byte) {
	h.last = groupNode((*[GroupSize]byte)(group), GroupSize, int64(len(h.leaves)/leafSize))
	h.push(guts.ChainingValue(h.last))
}

func (h *Hasher) push(cv [8]uint32) {
	h.leaves = appendLeaf(h.leaves, cv)
	h.tree.push(cv)
}

// Size returns how many bytes were written.
func (h *Hasher) Size() int64 { return h.size }

// Sum returns the hash and the leaves of all that was written; of a payload
// of one group there are none. The Hasher is used up.
func (h *Hasher) Sum() (root agreement.Hash, leaves Leaves) {
	groups := int64(len(h.leaves) / leafSize)
	if h.filled > 0 || groups == 0 {
		h.last = groupNode(&h.group, h.filled, groups)
		groups++
		if groups > 1 {
			h.push(guts.ChainingValue(h.last))
		}
	}
	if groups == 1 {
		return rootOf(h.last), nil
	}
	return rootOf(h.tree.root()), h.leaves
}

// groupNode compresses the first size bytes of a group, which is the index-th
// of its payload.
func groupNode(group *[GroupSize]byte, size int, index int64) guts.Node {
	var nodes [buffersInGroup]guts.Node
	counter, n := uint64(index)*chunksInGroup, 0 //nolint:gosec // an index isn't negative
	for start := 0; n == 0 || start < size; start += bufferSize {
		buf := (*[bufferSize]byte)(group[start:])
		nodes[n] = guts.CompressBuffer(buf, min(bufferSize, size-start), &guts.IV, counter, 0)
		counter += guts.MaxSIMD
		n++
	}
	switch n {
	case 1:
		return nodes[0]
	case 2:
		return parent(nodes[0], nodes[1])
	case 3:
		return parent(parent(nodes[0], nodes[1]), nodes[2])
	default:
		return parent(parent(nodes[0], nodes[1]), parent(nodes[2], nodes[3]))
	}
}

func parent(left, right guts.Node) guts.Node {
	return guts.ParentNode(guts.ChainingValue(left), guts.ChainingValue(right), &guts.IV, 0)
}

func rootOf(n guts.Node) agreement.Hash {
	n.Flags |= guts.FlagRoot
	out := guts.WordsToBytes(guts.CompressNode(n))
	return agreement.Hash(out[:leafSize])
}

// subtrees merges leaves as they come from the left. The newest waits apart,
// because whether two merge into the root shows only when no other follows.
type subtrees struct {
	newest  [8]uint32
	waiting [64][8]uint32 // by height: a whole subtree without its right sibling
	count   uint64        // leaves in waiting; its bits say which heights are taken
	begun   bool
}

func (t *subtrees) push(leaf [8]uint32) {
	if t.begun {
		t.merge(t.newest)
	}
	t.newest, t.begun = leaf, true
}

func (t *subtrees) merge(cv [8]uint32) {
	height := 0
	for ; t.count>>height&1 == 1; height++ {
		cv = guts.ChainingValue(guts.ParentNode(t.waiting[height], cv, &guts.IV, 0))
	}
	t.waiting[height] = cv
	t.count++
}

// root merges all leaves, two at least. It leaves t as it was.
func (t *subtrees) root() (n guts.Node) {
	right := t.newest
	for rest := t.count; rest != 0; rest &= rest - 1 {
		n = guts.ParentNode(t.waiting[bits.TrailingZeros64(rest)], right, &guts.IV, 0)
		right = guts.ChainingValue(n)
	}
	return n
}

func appendLeaf(b []byte, cv [8]uint32) []byte {
	for _, word := range cv {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b
}

func leafWords(b []byte) (cv [8]uint32) {
	for i := range cv {
		cv[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return cv
}
