package store

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestEraseAtOnce purges both sealings of many contents at the same time.
func TestEraseAtOnce(t *testing.T) {
	t.Parallel()
	s := openWith(t, Options{Dir: t.TempDir(), Key: testKey})
	const contents = 50
	g, ctx := errgroup.WithContext(t.Context())
	begin := make(chan struct{})
	for i := range contents {
		content := agreement.Hash{byte(i)}
		for range 2 {
			o, p := randomObject(100)
			o.ContentHash = content
			if err := s.PutObject(t.Context(), o, bytes.NewReader(p)); err != nil {
				t.Fatal(err)
			}
			g.Go(func() error { <-begin; return s.Purge(ctx, o.ID, nil) })
		}
		if err := s.PutRecords(t.Context(), []Record{{Name: fmt.Sprint(i), Content: content, Index: map[string]string{"f": "v"}}}); err != nil {
			t.Fatal(err)
		}
	}
	close(begin)
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := len(rows(t, s, prefixIndexed)); n != 0 {
		t.Fatalf("%d of %d records still tell of their contents", n, contents)
	}
}

// TestEraseMany purges two sealings of a content of which more records tell
// than one transaction changes.
func TestEraseMany(t *testing.T) {
	t.Parallel()
	s := openWith(t, Options{Dir: t.TempDir(), Key: testKey})
	for round := range 5 {
		content := agreement.Hash{byte(round + 1)}
		var sealings []Object
		for range 2 {
			o, p := randomObject(100)
			o.ContentHash = content
			if err := s.PutObject(t.Context(), o, bytes.NewReader(p)); err != nil {
				t.Fatal(err)
			}
			sealings = append(sealings, o)
		}
		var records []Record
		for i := range 2*releasePage + 50 {
			records = append(records, Record{Name: fmt.Sprint(i), Height: int64(round), Content: content, Index: map[string]string{"f": "v"}})
		}
		if err := s.PutRecords(t.Context(), records); err != nil {
			t.Fatal(err)
		}
		g, ctx := errgroup.WithContext(t.Context())
		for _, o := range sealings {
			g.Go(func() error { return s.Purge(ctx, o.ID, nil) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if n := len(rows(t, s, prefixIndexed)); n != 0 {
			t.Fatalf("round %d: %d records still tell of the content", round, n)
		}
		erased := 0
		for e, err := range s.Erased() {
			if erased++; err != nil || e.At.IsZero() {
				t.Fatal(e, err)
			}
		}
		if erased != len(records) {
			t.Fatalf("%d records are listed, not %d", erased, len(records))
		}
		if r, err := s.Record(agreement.UUID{}, "7"); err != nil || r.Content != content || r.Index != nil {
			t.Fatalf("the record is %+v, %v", r, err)
		}
	}
}
