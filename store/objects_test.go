package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

func TestObjects(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2*chunkSize + 5} {
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
		for _, offset := range []int{0, size / 2, size, min(size, chunkSize)} {
			if !bytes.Equal(readPayload(t, s, o.ID, int64(offset)), p[offset:]) {
				t.Errorf("%d bytes from %d differ", size, offset)
			}
		}
		_, err = s.Payload(o.ID, int64(size)+1)
		wantCode(t, "offset", err, agreement.CodeBadRequest)
		if size%2 == 1 {
			if err := s.DeleteObject(t.Context(), o.ID); err != nil {
				t.Error(err)
			}
			if err := s.DeleteObject(t.Context(), o.ID); err != nil {
				t.Error(err)
			}
		}
	}
	checkWhole(t, s)
}

var errFailing = errors.New("read too far")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errFailing }

func TestBadPutsLeaveNothing(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	for _, size := range []int{100, 2*chunkSize + 5} {
		o, p := randomObject(size)
		wrong := bytes.Clone(p)
		wrong[size-1]++
		wantCode(t, "wrong bytes", s.PutObject(t.Context(), o, bytes.NewReader(wrong)), agreement.CodeDamaged)
		if err := s.PutObject(t.Context(), o, bytes.NewReader(p[:size-1])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("too short: %v", err)
		}
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
	o, p := randomObject(2 * chunkSize)
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
	checkWhole(t, s)
}

func TestDamagedChunk(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	o, p := randomObject(chunkSize + 5)
	if err := s.PutObject(t.Context(), o, bytes.NewReader(p)); err != nil {
		t.Fatal(err)
	}
	if err := s.remove(payloadKey(o.ID, 1)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Payload(o.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(r)
	wantCode(t, "missing chunk", err, agreement.CodeDamaged)
}
