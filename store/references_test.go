package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestReferencesThatEndTogether holds that an object of which several
// references end in one transaction is unheld.
func TestReferencesThatEndTogether(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	o, _ := put(t, s, 2*smallPayload)
	long, _ := put(t, s, 5)
	until := time.Now().Add(time.Hour)
	for i := range 150 { // more than one transaction ends
		if err := s.Hold(t.Context(), o.ID, fmt.Sprint("agreement:", i), until); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.ReleaseObject(t.Context(), o.ID, "put"); err != nil {
		t.Fatal(err)
	}
	if err := s.collectObjects(t.Context(), until); err != nil { // not past it yet
		t.Fatal(err)
	}
	if _, err := s.Object(o.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.collectObjects(t.Context(), until.Add(2*time.Second)); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, s)
	if n := len(rows(t, s, prefixUnheld)); n != 1 {
		t.Errorf("%d objects are unheld", n)
	}
	if err := s.collectObjects(t.Context(), until.Add(2*time.Second+s.grace)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Object(o.ID); !errors.Is(err, agreement.ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := s.Object(long.ID); err != nil {
		t.Errorf("what is kept: %v", err)
	}
	checkWhole(t, s)
}

// TestManyReferences purges what more references keep than one transaction
// ends, and releases and prolongs as many.
func TestManyReferences(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	o, _ := put(t, s, 10)
	var g errgroup.Group
	g.SetLimit(20)
	for i := range 2*releasePage + 7 {
		g.Go(func() error {
			other, p := randomObject(10 + i)
			other.Owner = "contract:1"
			if err := s.PutObject(context.Background(), other, bytes.NewReader(p)); err != nil {
				return err
			}
			return s.Hold(context.Background(), o.ID, fmt.Sprint("pin:", i), time.Unix(5e9, 0))
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.HoldUntil(t.Context(), "contract:1", time.Unix(6e9, 0)); err != nil || n != 2*releasePage+7 {
		t.Errorf("%d are prolonged, %v", n, err)
	}
	checkWhole(t, s)
	if ids, err := s.HeldBy("contract:1"); err != nil || len(ids) != 2*releasePage+7 {
		t.Errorf("%d are held, %v", len(ids), err)
	}
	if n, err := s.Release(t.Context(), "contract:1"); err != nil || n != 2*releasePage+7 {
		t.Errorf("%d are released, %v", n, err)
	}
	if err := s.Purge(t.Context(), o.ID, []byte("stone")); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, s)
	if st, err := s.Stats(t.Context()); err != nil || st.References != 0 || st.Unheld != 2*releasePage+7 || st.Tombstones != 1 || st.Objects != st.Unheld {
		t.Errorf("there are %+v, %v", st, err)
	}
}

func TestReferenceNames(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	o, _ := put(t, s, 10)
	longest := strings.Repeat("n", MaxName)
	for _, name := range []string{longest, "a", "ab", "\x00", "\xff"} {
		if err := s.Hold(t.Context(), o.ID, name, time.Time{}.Add(1)); err != nil { // long before 1970
			t.Fatal(err)
		}
	}
	checkWhole(t, s)
	for _, name := range []string{"", longest + "n"} {
		wantCode(t, "hold", s.Hold(t.Context(), o.ID, name, time.Time{}), agreement.CodeBadRequest)
		_, err := s.HeldBy(name)
		wantCode(t, "held by", err, agreement.CodeBadRequest)
		if err := s.ReleaseObject(t.Context(), o.ID, name); err != nil {
			t.Errorf("releasing what isn't there: %v", err)
		}
	}
	if err := s.collectObjects(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if refs, err := s.References(o.ID); err != nil || len(refs) != 1 || refs[0].Name != "put" {
		t.Errorf("left are %v, %v", refs, err)
	}
}

// TestHoldAgainstCollection has objects lose and get references while they are
// collected: one that Hold has kept stays, and Hold says when it is too late.
func TestHoldAgainstCollection(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	s.grace = -time.Hour // nothing is spared
	ctx, cancel := context.WithCancel(t.Context())
	collected := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			err = s.collectObjects(ctx, time.Now())
		}
		if ctx.Err() != nil {
			err = nil
		}
		collected <- err
	}()
	var lost, kept atomic.Int64
	var g errgroup.Group
	for i := range 4 {
		g.Go(func() error {
			for range 25 {
				size := 100
				if i == 0 {
					size = smallPayload + 1
				}
				o, p := randomObject(size)
				if err := s.PutObject(ctx, o, bytes.NewReader(p)); err != nil {
					return err
				}
				if err := s.ReleaseObject(ctx, o.ID, "put"); err != nil {
					return err
				}
				err := s.Hold(ctx, o.ID, "late", time.Time{})
				if errors.Is(err, agreement.ErrNotFound) {
					lost.Add(1)
					// Putting it again gives it a new life.
					if err = s.PutObject(ctx, o, bytes.NewReader(p)); err == nil {
						_, err = s.Object(o.ID)
					}
				} else if err == nil {
					kept.Add(1)
					_, err = s.Object(o.ID)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-collected; err != nil {
		t.Error(err)
	}
	if n := len(rows(t, s, prefixObject)); n != 100 || lost.Load()+kept.Load() != 100 {
		t.Errorf("%d objects are left of 100; %d were kept in time, %d not", n, kept.Load(), lost.Load())
	}
	checkWhole(t, s)
}

// TestPurgeAgainstPut purges and puts one large object at the same time: it is
// there whole or not at all.
func TestPurgeAgainstPut(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	o, p := randomObject(smallPayload + 100)
	var g errgroup.Group
	for i := range 4 {
		g.Go(func() error {
			for range 10 {
				var err error
				switch i {
				case 0:
					err = s.Purge(context.Background(), o.ID, []byte("stone"))
				case 1:
					_, err = s.Payload(context.Background(), o.ID, 0)
				case 2:
					err = s.Hold(context.Background(), o.ID, "late", time.Time{})
				case 3:
					err = s.PutObject(context.Background(), o, bytes.NewReader(p))
				}
				if err != nil && (i == 3 || !errors.Is(err, agreement.ErrNotFound)) {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	checkWhole(t, s)
	if err := s.PutObject(t.Context(), o, bytes.NewReader(p)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tombstone(o.ID); !errors.Is(err, agreement.ErrNotFound) {
		t.Errorf("the tombstone of what is there: %v", err)
	}
	checkWhole(t, s)
}

// TestInterruptedPuts leaves what a crash does between the steps of a put or a
// purge, and holds that a sweep removes it, and nothing else.
func TestInterruptedPuts(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	kept, p := put(t, s, 2*smallPayload)
	marked, _ := randomObject(10)
	for _, id := range []agreement.Hash{marked.ID, kept.ID} { // before the payload, and after all
		if err := s.mark(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	home := func(mark bool) agreement.Hash { // after the payload
		w, err := s.home.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		o, p := randomObject(smallPayload + 1)
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(o.ID); err != nil {
			t.Fatal(err)
		}
		if mark {
			if err := s.mark(t.Context(), o.ID); err != nil {
				t.Fatal(err)
			}
		}
		return o.ID
	}
	mine, other := home(true), home(false)
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.home.Open(t.Context(), mine, 0, 1); !errors.Is(err, agreement.ErrNotFound) {
		t.Errorf("an unfinished payload: %v", err)
	}
	r, err := s.home.Open(t.Context(), other, 0, 1)
	if err != nil {
		t.Fatalf("what isn't the store's: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(readPayload(t, s, kept.ID, 0), p) {
		t.Error("an object has lost its payload")
	}
	if n := len(rows(t, s, prefixPutting)); n != 0 {
		t.Errorf("%d are marked", n)
	}
	v, err := s.Verify(t.Context(), nil)
	if err != nil || v.Strays != 1 {
		t.Errorf("verified %+v, %v", v, err)
	}
}
