package node

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestContentHash is SHA-256, in whatever pieces the content comes.
func TestContentHash(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		size := rapid.SampledFrom([]int{0, 1, contentBlock - 1, contentBlock, contentBlock + 1, 6*contentBlock + 5}).Draw(r, "size")
		content := bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size]
		h := newContentHash()
		for rest := content; len(rest) > 0; {
			k := min(rapid.SampledFrom([]int{777, 64 << 10, contentBlock, 2*contentBlock + 1}).Draw(r, "piece"), len(rest))
			if n, err := h.Write(rest[:k]); n != k || err != nil {
				r.Fatal(n, err)
			}
			rest = rest[k:]
		}
		if rapid.Bool().Draw(r, "stopped before") {
			h.stop()
		}
		for range 2 {
			if h.sum() != agreement.Hash(sha256.Sum256(content)) {
				r.Fatalf("another hash of %d bytes", size)
			}
		}
		h.stop()
	})
}

// TestChecked ends well only with the content that was asked for.
func TestChecked(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("x"), 3*contentBlock+1)
	want := agreement.Hash(sha256.Sum256(content))
	broken := errors.New("broken")
	for what, c := range map[string]struct {
		in   io.Reader
		size int64
		err  error
	}{
		"whole":      {bytes.NewReader(content), int64(len(content)), nil},
		"half reads": {iotest.HalfReader(bytes.NewReader(content)), int64(len(content)), nil},
		"with EOF":   {iotest.DataErrReader(bytes.NewReader(content)), int64(len(content)), nil},
		"other byte": {io.MultiReader(bytes.NewReader(content[1:]), bytes.NewReader([]byte("y"))), int64(len(content)), agreement.Errorf(agreement.CodeDamaged, "")},
		"short":      {bytes.NewReader(content[1:]), int64(len(content)), agreement.Errorf(agreement.CodeDamaged, "")},
		"long":       {bytes.NewReader(content), int64(len(content)) - 1, agreement.Errorf(agreement.CodeDamaged, "")},
		"fails":      {io.MultiReader(bytes.NewReader(content[:contentBlock+9]), iotest.ErrReader(broken)), int64(len(content)), broken},
	} {
		closed := 0
		r := newChecked(c.in, want, c.size, func() error { closed++; return nil })
		got, err := io.ReadAll(r)
		switch code := agreement.CodeOf(c.err); {
		case c.err == nil && (err != nil || !bytes.Equal(got, content)),
			errors.Is(c.err, broken) && !errors.Is(err, broken),
			code == agreement.CodeDamaged && agreement.CodeOf(err) != code:
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
		if err := r.Close(); err != nil || closed != 1 {
			t.Errorf("%s: closed %d times, %v", what, closed, err)
		}
	}
}
