package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestReplaceBesideOthers moves many references while others hold and release
// the object: none is lost, and none comes back.
func TestReplaceBesideOthers(t *testing.T) {
	t.Parallel()
	s := openWith(t, Options{Dir: t.TempDir(), Key: testKey})
	put := func() Object {
		o, p := randomObject(100)
		o.ContentHash = agreement.Hash{1}
		if err := s.PutObject(t.Context(), o, bytes.NewReader(p)); err != nil {
			t.Fatal(err)
		}
		return o
	}
	old, other := put(), put()
	const many = 5 * releasePage / 2
	want := map[string]bool{"put": true}
	for i := range many {
		name := fmt.Sprint("before-", i)
		want[name] = i%10 != 0
		if err := s.Hold(t.Context(), old.ID, name, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	g, ctx := errgroup.WithContext(t.Context())
	var held []string
	g.Go(func() error { return s.Replace(ctx, old.ID, other.ID, []byte("stone")) })
	g.Go(func() error {
		for i := 0; i < many; i += 10 {
			if _, err := s.Release(ctx, fmt.Sprint("before-", i)); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		for i := 0; ; i++ {
			name := fmt.Sprint("meanwhile-", i)
			err := s.Hold(ctx, old.ID, name, time.Time{})
			if errors.Is(err, agreement.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			held = append(held, name)
		}
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, name := range held {
		want[name] = true
	}
	refs, err := s.References(other.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, kept := range want {
		if got := slices.ContainsFunc(refs, func(r Reference) bool { return r.Name == name }); got != kept {
			t.Errorf("%s keeps the other one: %v, not %v", name, got, kept)
		}
	}
	if _, err := s.Object(old.ID); !errors.Is(err, agreement.ErrNotFound) {
		t.Errorf("the replaced one: %v", err)
	}
	if stone, err := s.Tombstone(old.ID); err != nil || string(stone) != "stone" {
		t.Errorf("its tombstone is %q, %v", stone, err)
	}
	if err := s.Replace(t.Context(), other.ID, other.ID, nil); agreement.CodeOf(err) != agreement.CodeInternal {
		t.Errorf("replaced by itself: %v", err)
	}
	checkWhole(t, s)
}
