package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// A consent outlives a restart, and is gone when it is taken back.
func TestVettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, dir)
	want := Vetting{Contract: agreement.Hash{2}, Since: time.Unix(7, 8).UTC(), Note: strings.Repeat("n", MaxNote)}
	for _, v := range []Vetting{{Contract: want.Contract, Note: "earlier"}, want, {Contract: agreement.Hash{1}}, {Contract: agreement.Hash{3}}} {
		if err := s.PutVetting(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time there is nothing to drop
		if err := s.DropVetting(t.Context(), agreement.Hash{3}); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, "a note too long", s.PutVetting(t.Context(), Vetting{Note: want.Note + "n"}), agreement.CodeTooLarge)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir)
	if got, err := s.Vetting(want.Contract); err != nil || got != want {
		t.Errorf("came back as %v, %v", got, err)
	}
	if _, err := s.Vetting(agreement.Hash{3}); !errors.Is(err, agreement.ErrNotFound) {
		t.Errorf("taken back: %v", err)
	}
	if all, err := s.Vettings(); err != nil || len(all) != 2 || fmt.Sprint(all[1]) != fmt.Sprint(want) {
		t.Errorf("all are %v, %v", all, err)
	}
}
