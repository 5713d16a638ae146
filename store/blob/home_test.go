package blob

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

// put writes a payload to a home in uneven pieces and commits it.
func put(ctx context.Context, h Home, b []byte) (agreement.Hash, error) {
	id, _ := Sum(b)
	w, err := h.Create(ctx)
	if err != nil {
		return id, err
	}
	defer w.Abort()
	for rest, n := b, 1; len(rest) > 0; n = n*3 + 1 {
		k := min(n, len(rest))
		if got, err := w.Write(rest[:k]); err != nil || got != k {
			return id, errors.Join(err, errors.New("not all was written"))
		}
		rest = rest[k:]
	}
	return id, w.Commit(id)
}

func mustPut(t testing.TB, h Home, b []byte) agreement.Hash {
	t.Helper()
	id, err := put(t.Context(), h, b)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// stored returns what is under an id as it is, at most length bytes from
// offset on.
func stored(t testing.TB, h Home, id agreement.Hash, offset, length int64) []byte {
	t.Helper()
	r, err := h.Open(t.Context(), id, offset, length)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// hashOf returns the BLAKE3-256 of b.
func hashOf(b []byte) agreement.Hash {
	id, _ := Sum(b)
	return id
}

// list returns the sizes of all payloads.
func list(t testing.TB, h Home) map[agreement.Hash]int64 {
	t.Helper()
	all := map[agreement.Hash]int64{}
	err := h.List(t.Context(), func(id agreement.Hash, size int64, modified time.Time) error {
		if age := time.Since(modified); age < -time.Hour || age > time.Hour {
			t.Errorf("%s was modified at %s", id, modified)
		}
		all[id] = size
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func usage(t testing.TB, h Home) Usage {
	t.Helper()
	u, err := h.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// different returns size bytes that are not those of another n.
func different(n uint64, size int) []byte {
	b := noise(size)
	copy(b, binary.BigEndian.AppendUint64(nil, n))
	return b
}

// testHome is what every home has to do; large is a size that it treats as
// large. open opens the same home once more, after it was closed.
func testHome(t *testing.T, large int, open func(testing.TB) Home) {
	t.Run("put, read, list, remove", func(t *testing.T) { testLife(t, large, open(t)) })
	t.Run("not committed", func(t *testing.T) { testUncommitted(t, large, open(t)) })
	t.Run("many at once", func(t *testing.T) { testMany(t, open(t)) })
	t.Run("context", func(t *testing.T) { testContext(t, large, open(t)) })
	t.Run("sweep", func(t *testing.T) { testSweep(t, large, open(t)) })
	t.Run("reopen", func(t *testing.T) {
		h := open(t)
		b := different(5, large)
		id := mustPut(t, h, b)
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		h = open(t)
		if got := stored(t, h, id, 0, int64(large)+1); !bytes.Equal(got, b) {
			t.Fatalf("%d bytes are there", len(got))
		}
		clear(t, h)
	})
}

// clear removes everything, and closes the home.
func clear(t *testing.T, h Home) {
	t.Helper()
	for id := range list(t, h) {
		if err := h.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(list(t, h)); n != 0 {
		t.Errorf("%d payloads are left", n)
	}
	if got := usage(t, h).Bytes; got != 0 {
		t.Errorf("%d bytes are counted in an empty home", got)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

func testLife(t *testing.T, large int, h Home) {
	defer clear(t, h)
	ctx := t.Context()
	want := map[agreement.Hash]int64{}
	var total int64
	for i, size := range []int{0, 1, 1000, GroupSize, large - 1, large, large + 1, 2*large + 77} {
		b := different(uint64(i), size)[:size]
		id := mustPut(t, h, b)
		want[id] = int64(size)
		total += int64(size)
		for _, r := range [][2]int64{{0, int64(size)}, {0, int64(size) + 1}, {int64(size) / 2, int64(size)}, {int64(size), 5}, {int64(size) / 3, 10}, {0, 0}} {
			expected := b[r[0]:min(int64(size), r[0]+r[1])]
			if got := stored(t, h, id, r[0], r[1]); !bytes.Equal(got, expected) {
				t.Errorf("%d bytes from %d on of %d: %d came", r[1], r[0], size, len(got))
			}
		}
		if i == 3 && usage(t, h).Bytes != total { // counted once, then kept
			t.Errorf("%+v is in use instead of %d", usage(t, h), total)
		}
	}
	if got := list(t, h); !maps.Equal(got, want) {
		t.Errorf("the list is %v instead of %v", got, want)
	}
	if u := usage(t, h); u.Bytes != total || u.Free < -1 {
		t.Errorf("%+v is in use instead of %d", u, total)
	}
	again := different(6, large+1)[:large+1] // one that is there, once more
	id := mustPut(t, h, again)
	if got := stored(t, h, id, 0, int64(large)+1); !bytes.Equal(got, again) || usage(t, h).Bytes != total {
		t.Errorf("written twice, %d bytes come, and %d are in use instead of %d", len(got), usage(t, h).Bytes, total)
	}
	if err := errors.Join(h.Remove(ctx, id), h.Remove(ctx, id)); err != nil {
		t.Error(err)
	}
	if _, err := h.Open(ctx, id, 0, 1); !errors.Is(err, agreement.ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
	if got := usage(t, h).Bytes; got != total-int64(large)-1 {
		t.Errorf("%d bytes are in use after the removal", got)
	}
	stop := errors.New("enough")
	if err := h.List(ctx, func(agreement.Hash, int64, time.Time) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the list ended with %v", err)
	}
}

// What is written is invisible until it is committed, and gone when it isn't.
func testUncommitted(t *testing.T, large int, h Home) {
	defer clear(t, h)
	ctx := t.Context()
	for _, size := range []int{0, 10, large, 3*large + 1} {
		b := different(1, size)[:size]
		id, _ := Sum(b)
		w, err := h.Create(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Open(ctx, id, 0, 1); !errors.Is(err, agreement.ErrNotFound) || len(list(t, h)) != 0 {
			t.Errorf("%d bytes are visible before they are committed: %v", size, err)
		}
		w.Abort()
		w.Abort()
		if _, err := w.Write(b); err == nil && size > 0 {
			t.Error("written after the end")
		}
		if err := w.Commit(id); err == nil {
			t.Error("committed after the end")
		}
	}
	if u := usage(t, h); u.Bytes != 0 || len(list(t, h)) != 0 {
		t.Errorf("%+v is in use", u)
	}
}

func testMany(t *testing.T, h Home) {
	defer clear(t, h)
	g, ctx := errgroup.WithContext(t.Context())
	var total int64
	for i := range uint64(16) {
		size := int(100 + i*40_000)
		total += int64(size)
		for range 2 { // each by two goroutines
			g.Go(func() error {
				_, err := put(ctx, h, different(i, size))
				return err
			})
		}
		g.Go(func() error { _, err := h.Usage(ctx); return err })
		g.Go(func() error { return h.Sweep(ctx) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	sizes := slices.Collect(maps.Values(list(t, h)))
	if u := usage(t, h); len(sizes) != 16 || u.Bytes != total {
		t.Errorf("%d payloads, %+v in use instead of %d", len(sizes), u, total)
	}
}

func testContext(t *testing.T, large int, h Home) {
	defer clear(t, h)
	b := different(2, 2*large)
	id := mustPut(t, h, b)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := h.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	cancel()
	other := agreement.Hash{7}
	_, opened := h.Open(ctx, id, 0, 1)
	_, created := h.Create(ctx)
	for name, err := range map[string]error{
		"commit": w.Commit(other), "open": opened, "create": created, "remove": h.Remove(ctx, id), "sweep": h.Sweep(ctx),
		"list": h.List(ctx, func(agreement.Hash, int64, time.Time) error { return nil }),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := list(t, h); len(got) != 1 || got[id] != int64(len(b)) {
		t.Errorf("the list is %v", got)
	}
}

// A sweep leaves what is being written alone.
func testSweep(t *testing.T, large int, h Home) {
	defer clear(t, h)
	ctx := t.Context()
	b := different(3, 3*large)
	id, _ := Sum(b)
	w, err := h.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for len(b) > 0 {
		if _, err := w.Write(b[:large]); err != nil {
			t.Fatal(err)
		}
		b = b[large:]
		if err := h.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(id); err != nil {
		t.Fatal(err)
	}
	if err := h.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, h, id, 0, int64(3*large)+1); len(got) != 3*large {
		t.Errorf("%d bytes are there", len(got))
	}
}
