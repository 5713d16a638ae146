package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// sizes are those around which something changes.
var sizes = []int{
	0, 1, blob.GroupSize - 1, blob.GroupSize, blob.GroupSize + 1, 3 * blob.GroupSize,
	smallPayload - 1, smallPayload, smallPayload + 1, smallPayload + blob.GroupSize, 2*smallPayload + 5,
}

func put(t testing.TB, s *Store, size int) (Object, []byte) {
	t.Helper()
	o, p := randomObject(size)
	if err := s.PutObject(t.Context(), o, bytes.NewReader(p)); err != nil {
		t.Fatal(err)
	}
	return o, p
}

func TestObjects(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	for _, size := range sizes {
		o, p := randomObject(size)
		// What follows the payload isn't read.
		r := io.MultiReader(bytes.NewReader(p), failing{})
		if err := s.PutObject(t.Context(), o, r); err != nil {
			t.Fatal(err)
		}
		if err := s.PutObject(t.Context(), o, failing{}); err != nil {
			t.Errorf("again: %v", err)
		}
		got, err := s.Object(o.ID)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(o) {
			t.Errorf("object came back as %+v, %v", got, err)
		}
		for _, offset := range []int{0, size / 2, size, min(size, blob.GroupSize), min(size, smallPayload)} {
			if !bytes.Equal(readPayload(t, s, o.ID, int64(offset)), p[offset:]) {
				t.Errorf("%d bytes from %d differ", size, offset)
			}
		}
		for _, offset := range []int64{int64(size) + 1, -1} {
			_, err = s.Payload(t.Context(), o.ID, offset)
			wantCode(t, "offset", err, agreement.CodeBadRequest)
		}
		if size%2 == 0 {
			continue
		}
		for range 2 {
			if err := s.Purge(t.Context(), o.ID, nil); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Payload(t.Context(), o.ID, 0); !errors.Is(err, agreement.ErrNotFound) {
			t.Errorf("purged: %v", err)
		}
	}
	checkWhole(t, s)
}

// A draft gives the same object as a put by name.
func TestDrafts(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	for _, size := range sizes {
		want, p := randomObject(size)
		d, err := s.NewDraft(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for b := p; len(b) > 0; {
			n := min(len(b), 100_003)
			if _, err := d.Write(b[:n]); err != nil {
				t.Fatal(err)
			}
			b = b[n:]
		}
		o := want
		o.ID, o.SealedSize = agreement.Hash{}, 0
		until := time.Unix(5e9, 7).UTC()
		got, err := d.Keep(t.Context(), o, until)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("kept as %v, %v", got, err)
		}
		d.Discard()
		if !bytes.Equal(readPayload(t, s, got.ID, 0), p) {
			t.Errorf("%d bytes differ", size)
		}
		if refs, err := s.References(got.ID); err != nil || len(refs) != 1 || refs[0] != (Reference{"put", until}) {
			t.Errorf("kept by %v, %v", refs, err)
		}
	}
	checkWhole(t, s)
}

// A draft that isn't kept leaves nothing, and one too large is refused while it
// is written.
func TestDiscardedDrafts(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	s.maxObject = 3 * smallPayload
	for _, size := range []int{10, smallPayload + 1, 2 * smallPayload} {
		d, err := s.NewDraft(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		_, err = d.Write(make([]byte, 3*smallPayload))
		wantCode(t, "too large", err, agreement.CodeTooLarge)
		_, err = d.Keep(t.Context(), Object{Owner: "put"}, time.Time{})
		wantCode(t, "kept all the same", err, agreement.CodeTooLarge)
		d.Discard()
		d.Discard()
	}
	if u, err := s.home.Usage(t.Context()); err != nil || u.Bytes != 0 {
		t.Errorf("the home has %+v, %v", u, err)
	}
	checkWhole(t, s)
}

var errFailing = errors.New("read too far")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errFailing }

func TestBadPutsLeaveNothing(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	for _, size := range []int{100, blob.GroupSize + 1, 2*smallPayload + 5} {
		o, p := randomObject(size)
		wrong := bytes.Clone(p)
		wrong[size-1]++
		wantCode(t, "wrong bytes", s.PutObject(t.Context(), o, bytes.NewReader(wrong)), agreement.CodeDamaged)
		if err := s.PutObject(t.Context(), o, bytes.NewReader(p[:size-1])); !errors.Is(err, io.EOF) {
			t.Errorf("too short: %v", err)
		}
		nameless := o
		nameless.Owner = ""
		wantCode(t, "without an owner", s.PutObject(t.Context(), nameless, bytes.NewReader(p)), agreement.CodeBadRequest)
		checkWhole(t, s)
		if _, err := s.Object(o.ID); !errors.Is(err, agreement.ErrNotFound) {
			t.Errorf("a bad object is there: %v", err)
		}
		if err := s.PutObject(t.Context(), o, bytes.NewReader(p)); err != nil {
			t.Errorf("the good one after it: %v", err)
		}
	}
	checkWhole(t, s)
}

func TestConcurrentPutsOfOneObject(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	for _, size := range []int{1000, 2 * smallPayload} {
		o, p := randomObject(size)
		var g errgroup.Group
		for i := range 4 {
			g.Go(func() error {
				b := bytes.Clone(p)
				if i == 0 {
					b[0]++ // one of them lies
				}
				err := s.PutObject(context.Background(), o, bytes.NewReader(b))
				if i == 0 && agreement.CodeOf(err) == agreement.CodeDamaged {
					return nil
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}
	checkWhole(t, s)
}

// TestHeaders changes who can open an object, many at a time.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	o, p := put(t, s, 70_000)
	var g errgroup.Group
	for i := range 8 {
		g.Go(func() error {
			return s.SetHeader(context.Background(), o.ID, func(o *Object) error {
				o.Header = append(o.Header, byte(i))
				o.Audience = append(o.Audience, fmt.Sprint("tp1", i))
				o.Size, o.Owner = -1, "" // not for this to change
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	got, err := s.Object(o.ID)
	if err != nil || len(got.Header) != len(o.Header)+8 || len(got.Audience) != 10 || got.Size != o.Size || got.Owner != o.Owner {
		t.Errorf("came back with %d bytes of header for %v, %v", len(got.Header), got.Audience, err)
	}
	if !bytes.Equal(readPayload(t, s, o.ID, 0), p) {
		t.Error("the payload changed")
	}
	err = s.SetHeader(t.Context(), agreement.Hash{1}, func(*Object) error { return nil })
	wantCode(t, "no object", err, agreement.CodeNotFound)
	err = s.SetHeader(t.Context(), o.ID, func(o *Object) error { o.Header = make([]byte, MaxHeader+1); return nil })
	wantCode(t, "header", err, agreement.CodeTooLarge)
	if err := s.SetHeader(t.Context(), o.ID, func(*Object) error { return errFailing }); !errors.Is(err, errFailing) {
		t.Errorf("a failing change: %v", err)
	}
	checkWhole(t, s)
}
