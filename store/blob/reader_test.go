package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

// inMemory is a source of one payload. It counts what is open.
type inMemory struct {
	payload []byte
	fail    error // in place of the end
	gone    bool
	open    int
}

func (m *inMemory) Open(_ context.Context, _ agreement.Hash, offset, length int64) (io.ReadCloser, error) {
	if m.gone {
		return nil, fmt.Errorf("in memory: %w", agreement.ErrNotFound)
	}
	m.open++
	b := m.payload[min(offset, int64(len(m.payload))):]
	var r io.Reader = bytes.NewReader(b[:min(length, int64(len(b)))])
	if m.fail != nil {
		r = io.MultiReader(r, iotest.ErrReader(m.fail))
	}
	return &counted{Reader: iotest.HalfReader(r), m: m}, nil
}

type counted struct {
	io.Reader
	m *inMemory
}

func (c *counted) Close() error { c.m.open--; return nil }

// get reads a range to its end.
func get(ctx context.Context, tree *Tree, from Source, offset, length int64) (b []byte, err error) {
	r, err := tree.Open(ctx, from, offset, length)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}

func TestRanges(t *testing.T) {
	t.Parallel()
	all := noise(14 * GroupSize)
	rapid.Check(t, func(rt *rapid.T) {
		groups := rapid.IntRange(0, 13).Draw(rt, "groups")
		size := min(groups*GroupSize+rapid.SampledFrom([]int{0, 1, 1000, GroupSize - 1}).Draw(rt, "more"), len(all))
		b := all[:size]
		offset := rapid.IntRange(0, size).Draw(rt, "offset")
		length := rapid.IntRange(-1, size-offset).Draw(rt, "length")
		m := &inMemory{payload: b}
		got, err := get(t.Context(), treeOf(t, b), m, int64(offset), int64(length))
		if length < 0 {
			length = size - offset
		}
		if err != nil || !bytes.Equal(got, b[offset:offset+length]) {
			rt.Fatalf("%d bytes from %d on of %d: got %d bytes, %v", length, offset, size, len(got), err)
		}
		if m.open != 0 {
			rt.Fatal("the source is left open")
		}
	})
}

func TestRangesOutside(t *testing.T) {
	t.Parallel()
	b := noise(1000)
	tree := treeOf(t, b)
	for _, r := range [][2]int64{{-1, 1}, {1001, -1}, {1001, 0}, {0, 1001}, {1000, 1}, {1 << 62, 1 << 62}, {1, 1<<63 - 1}} {
		if _, err := tree.Open(t.Context(), &inMemory{payload: b}, r[0], r[1]); agreement.CodeOf(err) != agreement.CodeBadRequest {
			t.Errorf("%v: %v", r, err)
		}
	}
}

// Damage anywhere ends the reader with the object and the place, and before
// it only right bytes came.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	all := noise(14 * GroupSize)
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, len(all)).Draw(rt, "size")
		b := all[:size]
		tree := treeOf(t, b)
		at := rapid.IntRange(0, size-1).Draw(rt, "place")
		bad := bytes.Clone(b)
		what := rapid.SampledFrom([]string{"flipped", "cut", "longer"}).Draw(rt, "what")
		switch what {
		case "flipped":
			bad[at] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		case "cut":
			bad = bad[:at]
		case "longer":
			bad, at = append(bad, 0), size
		}
		got, err := get(t.Context(), tree, &inMemory{payload: bad}, 0, -1)
		place := fmt.Sprintf("object %s is damaged at byte %d", tree.ID(), at/GroupSize*GroupSize)
		if what == "longer" {
			place = fmt.Sprintf("object %s is damaged at byte %d", tree.ID(), size)
		}
		if agreement.CodeOf(err) != agreement.CodeDamaged || !strings.Contains(err.Error(), place) {
			rt.Fatalf("%s at %d of %d: %v", what, at, size, err)
		}
		if len(got) > at || !bytes.Equal(got, b[:len(got)]) {
			rt.Fatalf("%s at %d of %d: %d bytes came, or wrong ones", what, at, size, len(got))
		}
	})
}

// A range beside the damage is still good.
func TestRangeBesideDamage(t *testing.T) {
	t.Parallel()
	b := noise(9 * GroupSize)
	tree := treeOf(t, b)
	bad := bytes.Clone(b)
	bad[3*GroupSize+7] ^= 1
	for _, r := range [][2]int64{{0, 3 * GroupSize}, {4 * GroupSize, -1}, {4*GroupSize + 100, 3 * GroupSize}} {
		if _, err := get(t.Context(), tree, &inMemory{payload: bad}, r[0], r[1]); err != nil {
			t.Errorf("%v: %v", r, err)
		}
	}
}

func TestPayloadIsGone(t *testing.T) {
	t.Parallel()
	tree := treeOf(t, noise(1000))
	_, err := get(t.Context(), tree, &inMemory{gone: true}, 0, -1)
	if agreement.CodeOf(err) != agreement.CodeDamaged || errors.Is(err, agreement.ErrNotFound) || !strings.Contains(err.Error(), tree.ID().String()) {
		t.Fatal(err)
	}
}

// What goes wrong with the source isn't called damage.
func TestSourceFails(t *testing.T) {
	t.Parallel()
	b := noise(10 * GroupSize)
	fail := errors.New("no answer")
	for _, cut := range []int{0, 100, 5*GroupSize + 1, len(b)} {
		got, err := get(t.Context(), treeOf(t, b), &inMemory{payload: b[:cut], fail: fail}, 0, -1)
		if !errors.Is(err, fail) || !bytes.Equal(got, b[:len(got)]) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

// A reader that is closed early, or whose context ends, leaves nothing behind.
func TestReaderEndsEarly(t *testing.T) {
	t.Parallel()
	b := noise(20 * GroupSize)
	tree := treeOf(t, b)
	for range 50 {
		m := &inMemory{payload: b}
		ctx, cancel := context.WithCancel(t.Context())
		r, err := tree.Open(ctx, m, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, rand.Int64N(int64(len(b)))); err != nil {
			t.Fatal(err)
		}
		early := rand.IntN(2) == 0
		if early {
			cancel()
			if _, err := io.Copy(io.Discard, r); err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Fatalf("read after close: %v", err)
		}
		if m.open != 0 {
			t.Fatal("the source is left open")
		}
	}
}

// Whatever a home gives out, what passes the tree is the payload's.
func FuzzOpen(f *testing.F) {
	b := noise(2*GroupSize + 50)
	tree := treeOf(f, b)
	f.Add(int64(0), []byte{}, int64(len(b)), int64(0), int64(-1))
	f.Add(int64(70_000), []byte{1, 2, 3}, int64(len(b)), int64(5), int64(100_000))
	f.Add(int64(0), []byte{}, int64(GroupSize), int64(GroupSize), int64(10))
	f.Add(int64(0), []byte{}, int64(len(b)+1), int64(0), int64(len(b)))
	f.Fuzz(func(t *testing.T, at int64, patch []byte, size, offset, length int64) {
		if size < 0 || size > 4*GroupSize || at < 0 || at > size {
			return
		}
		stored := make([]byte, size)
		copy(stored, b)
		copy(stored[at:], patch)
		got, err := get(t.Context(), tree, &inMemory{payload: stored}, offset, length)
		if err == nil && length < 0 {
			length = tree.size - offset
		}
		if err == nil && int64(len(got)) != length {
			t.Fatalf("%d bytes instead of %d", len(got), length)
		}
		if len(got) > 0 && !bytes.Equal(got, b[offset:][:len(got)]) {
			t.Fatal("wrong bytes were handed out")
		}
	})
}
