package blob

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

// A payload is the same whether it is small or large and however it comes.
func TestSink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := openFiles(t, dir)
	const limit = 100_000
	all := noise(3 * batchSize)
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, len(all)), rapid.SampledFrom([]int{0, limit, limit + 1, batchSize, 2 * batchSize})).Draw(rt, "size")
		b := all[:size]
		s := NewSink(t.Context(), h, limit, int64(len(all)))
		defer s.Abort()
		for rest := b; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "write")
			if got, err := s.Write(rest[:n]); err != nil || got != n {
				rt.Fatal(got, err)
			}
			rest = rest[n:]
		}
		p, err := s.Finish()
		if err != nil {
			rt.Fatal(err)
		}
		id, leaves := Sum(b)
		if p.ID != id || p.Size != int64(size) || !bytes.Equal(p.Leaves, leaves) || (p.Small != nil) != (size <= limit) {
			rt.Fatalf("the payload is %s of %d bytes, small: %t", p.ID, p.Size, p.Small != nil)
		}
		if _, err := h.Open(t.Context(), id, 0, 1); !errors.Is(err, agreement.ErrNotFound) {
			rt.Fatalf("visible before it is committed: %v", err)
		}
		if err := s.Commit(); err != nil {
			rt.Fatal(err)
		}
		s.Abort()
		if p.Small != nil {
			if !bytes.Equal(p.Small, b) {
				rt.Fatal("other bytes are in memory")
			}
			return
		}
		if got := stored(t, h, id, 0, int64(size)+1); !bytes.Equal(got, b) {
			rt.Fatal("other bytes are in the home")
		}
		if err := h.Remove(t.Context(), id); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestSinkTooLarge(t *testing.T) {
	t.Parallel()
	h := openFiles(t, t.TempDir())
	for _, most := range []int64{0, 10, 1000, 400_000} {
		s := NewSink(t.Context(), h, 100, most)
		b := make([]byte, 70)
		var err error
		for written := int64(0); err == nil; written += 70 {
			if _, err = s.Write(b); (err != nil) != (written+70 > most) {
				t.Fatalf("%d bytes of %d: %v", written+70, most, err)
			}
		}
		if _, finish := s.Finish(); agreement.CodeOf(err) != agreement.CodeTooLarge || !errors.Is(finish, err) || !errors.Is(s.Commit(), err) {
			t.Errorf("%v, %v", err, finish)
		}
		s.Abort()
		s.Abort()
	}
	if n := len(list(t, h)); n != 0 {
		t.Errorf("%d payloads are there", n)
	}
}

// failing is a home whose writers fail.
type failing struct {
	Home
	after int64 // bytes
	err   error
}

func (f *failing) Create(ctx context.Context) (Writer, error) {
	w, err := f.Home.Create(ctx)
	return &failingWriter{Writer: w, f: f}, err
}

type failingWriter struct {
	Writer
	f *failing
	n int64
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.n += int64(len(p)); w.n > w.f.after {
		return 0, w.f.err
	}
	return w.Writer.Write(p)
}

func TestSinkHomeFails(t *testing.T) {
	t.Parallel()
	h := &failing{Home: openFiles(t, t.TempDir()), err: errors.New("no answer")}
	for _, h.after = range []int64{0, batchSize, 5 * batchSize} {
		s := NewSink(t.Context(), h, 0, 1<<40)
		var err error
		for range 1000 {
			if _, err = s.Write(noise(5000)); err != nil {
				break
			}
		}
		if !errors.Is(err, h.err) {
			t.Errorf("after %d bytes: %v", h.after, err)
		}
		if _, err := s.Finish(); !errors.Is(err, h.err) {
			t.Errorf("after %d bytes: %v", h.after, err)
		}
		s.Abort()
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := NewSink(ctx, h, 10, 1000)
	cancel()
	if _, err := s.Write([]byte("x")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
