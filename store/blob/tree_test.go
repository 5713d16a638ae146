package blob

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"lukechampine.com/blake3"
	"lukechampine.com/blake3/bao"
	"lukechampine.com/blake3/guts"
	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

// noise returns bytes that repeat nowhere.
func noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// boundaries are the sizes at which the tree changes its form, and those
// beside them.
func boundaries() (sizes []int) {
	for _, at := range []int{
		0, 64, 1 << 10, 2 << 10, 8 << 10, 15 << 10, 16 << 10, 17 << 10, 31 << 10, 32 << 10, 48 << 10, 63 << 10, GroupSize,
		GroupSize + 1<<10, GroupSize + 16<<10, 2 * GroupSize, 3 * GroupSize, 4 * GroupSize, 5 * GroupSize, 7 * GroupSize,
		8 * GroupSize, 9 * GroupSize, 15 * GroupSize, 16 * GroupSize, 17 * GroupSize, 33 * GroupSize,
	} {
		for _, by := range []int{-64, -2, -1, 0, 1, 2, 63, 65} {
			if at+by >= 0 {
				sizes = append(sizes, at+by)
			}
		}
	}
	return sizes
}

func TestRootIsPlainBLAKE3(t *testing.T) {
	t.Parallel()
	b := noise(34 * GroupSize)
	for _, size := range boundaries() {
		root, leaves := Sum(b[:size])
		if want := agreement.Hash(blake3.Sum256(b[:size])); root != want {
			t.Errorf("%d bytes: the root is %s, BLAKE3 gives %s", size, root, want)
		}
		if err := CheckLeaves(root, int64(size), leaves); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// However the bytes come, the root and the leaves are the same.
func TestHasherIsIncremental(t *testing.T) {
	t.Parallel()
	b := noise(12 * GroupSize)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(0, len(b)).Draw(t, "size")
		h := NewHasher()
		for at := 0; at < size; {
			n := rapid.OneOf(rapid.IntRange(0, 2000), rapid.IntRange(GroupSize-1, GroupSize+1), rapid.IntRange(0, size)).Draw(t, "write")
			n = min(n, size-at)
			_, _ = h.Write(b[at : at+n])
			at += n
		}
		if h.Size() != int64(size) {
			t.Fatalf("the size is %d", h.Size())
		}
		root, leaves := h.Sum()
		wantRoot, wantLeaves := Sum(b[:size])
		if root != wantRoot || !bytes.Equal(leaves, wantLeaves) {
			t.Fatalf("%d bytes in pieces have another hash or other leaves", size)
		}
	})
}

// The leaves are those that another implementation of the tree, which writes
// it parents first, has at its bottom.
func TestLeavesAreBaos(t *testing.T) {
	t.Parallel()
	b := noise(34 * GroupSize)
	for _, size := range boundaries() {
		outboard, root := bao.EncodeBuf(b[:size], 6, true)
		if got := binary.LittleEndian.Uint64(outboard); got != uint64(size) {
			t.Fatalf("the encoding begins with %d", got)
		}
		want, rest := bottom(outboard[8:], Groups(int64(size)))
		gotRoot, got := Sum(b[:size])
		if len(rest) != 0 || gotRoot != root || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d bytes of leaves differ from %d", size, len(got), len(want))
		}
	}
}

// bottom takes the leaves of a subtree of so many groups out of an encoding.
func bottom(b []byte, groups int64) (leaves, rest []byte) {
	if groups <= 1 {
		return nil, b
	}
	left := int64(1)
	for left*2 < groups {
		left *= 2
	}
	node, rest := b[:2*leafSize], b[2*leafSize:]
	for i, n := range []int64{left, groups - left} {
		below := node[i*leafSize : (i+1)*leafSize]
		if n > 1 {
			below, rest = bottom(rest, n)
		}
		leaves = append(leaves, below...)
	}
	return leaves, rest
}

func treeOf(t testing.TB, b []byte) *Tree {
	t.Helper()
	id, leaves := Sum(b)
	tree, err := NewTree(id, int64(len(b)), leaves)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func group(b []byte, index int) []byte {
	return b[index*GroupSize : min(len(b), (index+1)*GroupSize)]
}

func TestGroupsAreCheckedAlone(t *testing.T) {
	t.Parallel()
	b := noise(34 * GroupSize)
	for _, size := range boundaries() {
		tree := treeOf(t, b[:size])
		for i := range int(Groups(int64(size))) {
			if err := tree.CheckGroup(int64(i), group(b[:size], i)); err != nil {
				t.Errorf("%d bytes, group %d: %v", size, i, err)
			}
		}
	}
}

func TestWrongGroupsAreRefused(t *testing.T) {
	t.Parallel()
	b := noise(5*GroupSize + 1000)
	tree := treeOf(t, b)
	for name, check := range map[string]error{
		"another's place": tree.CheckGroup(1, group(b, 2)),
		"cut":             tree.CheckGroup(1, group(b, 1)[:GroupSize-1]),
		"longer":          tree.CheckGroup(1, b[GroupSize:2*GroupSize+1]),
		"none":            tree.CheckGroup(1, nil),
		"last, longer":    tree.CheckGroup(5, group(b, 4)),
		"last, cut":       tree.CheckGroup(5, group(b, 5)[:999]),
	} {
		if agreement.CodeOf(check) != agreement.CodeDamaged {
			t.Errorf("%s: %v", name, check)
		}
	}
	for _, index := range []int64{-1, 6, 1 << 40} {
		if err := tree.CheckGroup(index, group(b, 0)); agreement.CodeOf(err) != agreement.CodeBadRequest {
			t.Errorf("group %d: %v", index, err)
		}
	}
}

// A single flipped bit in any byte of a payload, or of its leaves, is found.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 1025, GroupSize, 2*GroupSize + 77} {
		b := noise(size)
		tree := treeOf(t, b)
		step := max(1, size/1500) // any byte, but not all of them in each run
		for at := rand.IntN(step); at < size; at += step {
			i := at / GroupSize
			bit := byte(1) << rand.IntN(8)
			b[at] ^= bit
			if err := tree.CheckGroup(int64(i), group(b, i)); agreement.CodeOf(err) != agreement.CodeDamaged {
				t.Fatalf("%d bytes, byte %d: %v", size, at, err)
			}
			b[at] ^= bit
		}
		for at := range tree.leaves {
			bad := bytes.Clone(tree.leaves)
			bad[at] ^= 1 << rand.IntN(8)
			if err := CheckLeaves(tree.id, tree.size, bad); agreement.CodeOf(err) != agreement.CodeDamaged {
				t.Fatalf("%d bytes, byte %d of the leaves: %v", size, at, err)
			}
		}
	}
}

func TestWrongLeavesAreRefused(t *testing.T) {
	t.Parallel()
	b := noise(4 * GroupSize)
	id, leaves := Sum(b)
	size := int64(len(b))
	swapped := append(bytes.Clone(leaves[leafSize:2*leafSize]), leaves[:leafSize]...)
	swapped = append(swapped, leaves[2*leafSize:]...)
	// Two parents in place of four leaves have the same root in a tree that
	// doesn't know its size.
	parents := Leaves(nil)
	for i := range 2 {
		var s subtrees
		s.push(leafWords(leaves[2*i*leafSize:]))
		s.push(leafWords(leaves[(2*i+1)*leafSize:]))
		parents = appendLeaf(parents, guts.ChainingValue(s.root()))
	}
	for name, err := range map[string]error{
		"none":           CheckLeaves(id, size, nil),
		"one fewer":      CheckLeaves(id, size, leaves[:3*leafSize]),
		"half of one":    CheckLeaves(id, size, leaves[:len(leaves)-16]),
		"one more":       CheckLeaves(id, size, append(bytes.Clone(leaves), leaves[:leafSize]...)),
		"swapped":        CheckLeaves(id, size, swapped),
		"parents":        CheckLeaves(id, size, parents),
		"negative":       CheckLeaves(id, -1, leaves),
		"huge":           CheckLeaves(id, 1<<62, leaves),
		"another object": CheckLeaves(agreement.Hash{1}, size, leaves),
	} {
		if agreement.CodeOf(err) != agreement.CodeDamaged {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever size and leaves come with an object, they are refused, or the
// leaves are its own and its last group doesn't fit another size.
func FuzzLeaves(f *testing.F) {
	b := noise(3*GroupSize + 5)
	id, leaves := Sum(b)
	f.Add(int64(len(b)), []byte(leaves))
	f.Add(int64(0), []byte{})
	f.Add(int64(-1), []byte(leaves[:leafSize]))
	f.Add(int64(1)<<62, []byte(leaves[:2*leafSize]))
	f.Fuzz(func(t *testing.T, size int64, other []byte) {
		tree, err := NewTree(id, size, other)
		if err != nil {
			if agreement.CodeOf(err) != agreement.CodeDamaged {
				t.Fatal(err)
			}
			return
		}
		if len(other) > 0 && !bytes.Equal(other, leaves) {
			t.Fatalf("%x are accepted as leaves", other)
		}
		last := Groups(size) - 1
		got := b[min(int64(len(b)), last*GroupSize):min(int64(len(b)), size)]
		if err := tree.CheckGroup(last, got); (err == nil) != (size == int64(len(b))) {
			t.Fatalf("the last group of %d bytes: %v", size, err)
		}
	})
}
