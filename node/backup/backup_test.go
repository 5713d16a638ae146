package backup

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/keys"
)

const network = "net-1"

func newRing(t *testing.T) *keys.Ring {
	t.Helper()
	ring, err := keys.Create(keys.Options{Dir: filepath.Join(t.TempDir(), "keys"), Unprotected: true, Prefix: "tp"})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func content(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// made writes a backup of content.
func made(t *testing.T, ring *keys.Ring, h Header, content []byte) []byte {
	t.Helper()
	h.Network, h.Created = network, time.Unix(1e9, 0)
	var out bytes.Buffer
	trailer, err := Write(&out, ring, h, func(w io.Writer) (uint64, error) {
		_, err := w.Write(content)
		return h.Since + 7, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if trailer.Upto != h.Since+7 {
		t.Fatalf("trailer %+v", trailer)
	}
	return out.Bytes()
}

// restored checks a backup and reads it.
func restored(ring *keys.Ring, b []byte) ([]byte, error) {
	f, err := Describe(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	if err := f.Check(ring, network); err != nil {
		return nil, err
	}
	in, err := f.Open(ring)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(in)
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	for _, size := range []int{0, 1, 64 << 10, 300_001} {
		want := content(size)
		got, err := restored(ring, made(t, ring, Header{}, want))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d came back: %v", size, len(got), err)
		}
	}
}

// No byte can change, be missing or be added without being noticed before
// anything is handed out.
func TestDamageIsNoticed(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	whole := made(t, ring, Header{}, content(70_000))
	places := []int{0, 5, len(whole) - 1, len(whole) - 2, len(whole) - 90, len(whole) - 150, len(whole) - 300}
	for i := 1; i < len(whole); i += 997 {
		places = append(places, i)
	}
	for _, i := range places {
		bad := slices.Clone(whole)
		bad[i] ^= 4
		if f, err := Describe(bytes.NewReader(bad), int64(len(bad))); err == nil && f.Check(ring, network) == nil {
			t.Errorf("byte %d of %d was changed and nothing is wrong", i, len(whole))
		}
		if _, err := restored(ring, whole[:i]); agreement.CodeOf(err) != agreement.CodeDamaged {
			t.Errorf("cut to %d of %d bytes: %v", i, len(whole), err)
		}
	}
	if _, err := restored(ring, append(slices.Clone(whole), 'x')); agreement.CodeOf(err) != agreement.CodeDamaged {
		t.Errorf("one byte more: %v", err)
	}
}

func TestForeignBackupIsRefused(t *testing.T) {
	t.Parallel()
	ring, other := newRing(t), newRing(t)
	b := made(t, other, Header{}, content(100))
	if _, err := restored(ring, b); agreement.CodeOf(err) != agreement.CodeNotAuthorized {
		t.Errorf("a backup of another affiliate: %v", err)
	}
	claimed := bytes.Replace(b, []byte(other.Address()), []byte(ring.Address()), 1)
	if _, err := restored(ring, claimed); agreement.CodeOf(err) != agreement.CodeBadSignature {
		t.Errorf("one that says it is ours: %v", err)
	}
	f, err := Describe(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Check(other, "net-2"); agreement.CodeOf(err) != agreement.CodeWrongNetwork {
		t.Errorf("of another network: %v", err)
	}
}

func TestPartsComeInOrder(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	open := func(h Header) *File {
		b := made(t, ring, h, content(50))
		f, err := Describe(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	full := open(Header{Store: "a"})
	next := open(Header{Store: "a", Since: full.Trailer.Upto, After: full.Trailer.Digest})
	last := open(Header{Store: "a", Since: next.Trailer.Upto, After: next.Trailer.Digest})
	again := open(Header{Store: "b", Since: next.Trailer.Upto, After: next.Trailer.Digest})
	for _, c := range []struct {
		name          string
		part, earlier *File
		ok            bool
	}{
		{"full first", full, nil, true}, {"in order", next, full, true}, {"third", last, next, true},
		{"without the full one", next, nil, false}, {"one missing", last, full, false},
		{"full second", full, full, false}, {"of another store", again, next, false},
	} {
		if err := c.part.Continues(c.earlier); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// changing is a file whose content can be replaced.
type changing struct{ now []byte }

func (c *changing) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(c.now).ReadAt(p, off)
}

// A file that is replaced between the check and the reading is noticed.
func TestFileThatChangesAfterTheCheck(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	b, other := made(t, ring, Header{}, content(100_000)), made(t, ring, Header{}, content(100_000))
	in := &changing{now: b}
	f, err := Describe(in, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Check(ring, network); err != nil {
		t.Fatal(err)
	}
	in.now = other
	r, err := f.Open(ring)
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if agreement.CodeOf(err) != agreement.CodeDamaged {
		t.Errorf("read another file: %v", err)
	}
}

// Errors of what is written to, and of the store, come through.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	ring, broken := newRing(t), errors.New("broken")
	if _, err := Write(io.Discard, ring, Header{}, func(io.Writer) (uint64, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Errorf("the store failed: %v", err)
	}
	if _, err := Write(failing{broken}, ring, Header{}, func(io.Writer) (uint64, error) { return 1, nil }); !errors.Is(err, broken) {
		t.Errorf("the disk failed: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
