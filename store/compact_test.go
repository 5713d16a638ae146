package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

// inFiles counts the payloads of which the files of a directory have the first
// bytes.
func inFiles(t *testing.T, dir string, payloads [][]byte) (found int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files [][]byte
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, content)
	}
	for _, p := range payloads {
		for _, f := range files {
			if bytes.Contains(f, p[:min(len(p), 64)]) {
				found++
				break
			}
		}
	}
	return found
}

// plain opens a store in whose files payloads can be seen.
func plain(t *testing.T, dir string) *Store {
	t.Helper()
	return openWith(t, Options{Dir: dir})
}

// purgeAll purges objects.
func purgeAll(t *testing.T, s *Store, objects []Object) {
	t.Helper()
	for _, o := range objects {
		if err := s.Purge(t.Context(), o.ID, []byte("stone")); err != nil {
			t.Fatal(err)
		}
	}
}

// putSmall puts objects whose payloads the database has, in turns in tables
// and in the value log.
func putSmall(t *testing.T, s *Store, n int) (objects []Object, payloads [][]byte) {
	t.Helper()
	sizes := []int{100, 900, 2000, 60_000, smallPayload}
	for i := range n {
		o, p := randomObject(sizes[i%len(sizes)])
		if err := s.PutObject(t.Context(), o, bytes.NewReader(p)); err != nil {
			t.Fatal(err)
		}
		objects, payloads = append(objects, o), append(payloads, p)
	}
	return objects, payloads
}

func wantPurgedSince(t *testing.T, s *Store, want bool) {
	t.Helper()
	since, err := s.PurgedSince()
	if err != nil || since.IsZero() == want || want && time.Since(since) > time.Minute {
		t.Errorf("purged since %v, %v", since, err)
	}
}

// indexSome puts records of objects, with index fields, and returns the texts
// in them.
func indexSome(t *testing.T, s *Store, objects []Object) (texts [][]byte) {
	t.Helper()
	for i, o := range objects {
		text := rand.Text() + rand.Text() + rand.Text()
		r := Record{Name: fmt.Sprint(i), Agreement: agreement.NewUUID(), Content: o.ContentHash, Index: map[string]string{"borrower": text}}
		if err := s.PutRecords(t.Context(), []Record{r}); err != nil {
			t.Fatal(err)
		}
		texts = append(texts, []byte(text))
	}
	return texts
}

// TestCompact purges objects, and looks into the files for their bytes, and for
// what records say of them.
func TestCompact(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := plain(t, dir)
	wantPurgedSince(t, s, false)
	kept, stay := putSmall(t, s, 20)
	stay = append(stay, indexSome(t, s, kept)...)
	for round := range 2 {
		gone, bytesGone := putSmall(t, s, 20)
		bytesGone = append(bytesGone, indexSome(t, s, gone)...)
		also, more := putSmall(t, s, 5)
		kept, stay = append(kept, also...), append(stay, more...)
		if round == 1 {
			if err := s.flush(t.Context()); err != nil { // some are in tables already
				t.Fatal(err)
			}
		}
		purgeAll(t, s, gone)
		wantPurgedSince(t, s, true)
		if n := inFiles(t, dir, bytesGone); n != len(bytesGone) {
			t.Errorf("the files have %d of %d payloads and texts right after the purge, so this test sees nothing", n, len(bytesGone))
		}
		c, err := s.Compact(t.Context())
		if err != nil || c.After >= c.Before {
			t.Errorf("%+v, %v", c, err)
		}
		if n := inFiles(t, dir, bytesGone); n != 0 {
			t.Errorf("the files still have %d of %d payloads and texts", n, len(bytesGone))
		}
		if n := inFiles(t, dir, stay); n != len(stay) {
			t.Errorf("the files have %d of %d payloads that weren't purged", n, len(stay))
		}
		wantPurgedSince(t, s, false)
	}
	if n := len(rows(t, s, prefixFiller)); n != 0 {
		t.Errorf("%d fillers are left", n)
	}
	if v, err := s.Verify(t.Context(), nil); err != nil || v.Objects != int64(len(kept)) || v.Damaged+v.Mended+v.Strays != 0 {
		t.Errorf("verified %+v, %v", v, err)
	}
}

// TestCompactBesideWriters has others write, read and purge meanwhile.
func TestCompactBesideWriters(t *testing.T) {
	t.Parallel()
	s := plain(t, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	g, ctx := errgroup.WithContext(ctx)
	for range 4 {
		g.Go(func() error {
			for ctx.Err() == nil {
				o, p := randomObject(3000)
				if err := s.PutObject(t.Context(), o, bytes.NewReader(p)); err != nil {
					return err
				}
				if _, err := s.Commit(t.Context(), typicalChange(agreement.NewUUID(), 0)); err != nil {
					return err
				}
				if o.ID[0]%2 == 0 {
					if err := s.Purge(t.Context(), o.ID, nil); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	for range 3 {
		// One that reads may be in the way of a compaction, which then says so.
		if _, err := s.Compact(t.Context()); err != nil && agreement.CodeOf(err) != agreement.CodeInUse {
			t.Error(err)
		}
	}
	stop()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	wantPurgedSince(t, s, true)
	if _, err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantPurgedSince(t, s, false)
	checkWhole(t, s)
}

// TestCompactFails names what is in its way, and keeps the note of the purge.
func TestCompactFails(t *testing.T) {
	t.Parallel()
	s := plain(t, t.TempDir())
	objects, _ := putSmall(t, s, 5)
	try := func(want agreement.Code) {
		t.Helper()
		if _, err := s.Compact(t.Context()); agreement.CodeOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
		wantPurgedSince(t, s, true)
	}
	err := s.view(func(*badger.Txn) error { purgeAll(t, s, objects); try(agreement.CodeInUse); return nil })
	if err != nil {
		t.Fatal(err)
	}
	s.backups.turn.Lock()
	try(agreement.CodeInUse)
	s.backups.turn.Unlock()
	free := s.free
	s.free = func() int64 { return valueLogFileSize }
	try(agreement.CodeDiskFull)
	s.free = free

	s.compactAfter = time.Hour
	if err := s.compactWhenDue(t.Context(), time.Now()); err != nil {
		t.Error(err)
	}
	wantPurgedSince(t, s, true)
	if err := s.compactWhenDue(t.Context(), time.Now().Add(2*time.Hour)); err != nil {
		t.Error(err)
	}
	wantPurgedSince(t, s, false)
}

// TestAwaitRemoval waits for files that are still read, and not for ever.
func TestAwaitRemoval(t *testing.T) {
	t.Parallel()
	s := plain(t, t.TempDir())
	const name = "000000.vlog"
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.awaitRemoval(ctx, []string{name}); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- s.awaitRemoval(t.Context(), []string{name}) }()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestCompactAfterACrash rewrites files of which nobody knows any more that
// something in them is dead.
func TestCompactAfterACrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := plain(t, dir)
	_, stay := putSmall(t, s, 10)
	gone, bytesGone := putSmall(t, s, 10)
	purgeAll(t, s, gone)
	if err := s.sealValues(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.mergeTables(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The power goes: what was merged is on disk, and the statistics aren't.
	left := filepath.Join(t.TempDir(), "left")
	if text, err := exec.Command("cp", "-a", "--sparse=always", dir, left).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if err := os.WriteFile(filepath.Join(left, discardFile), make([]byte, discardLeast), 0o600); err != nil {
		t.Fatal(err)
	}
	after := plain(t, left)
	if n := inFiles(t, left, bytesGone); n == 0 {
		t.Error("nothing is left of what was purged, so this test sees nothing")
	}
	if _, err := after.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := inFiles(t, left, bytesGone); n != 0 {
		t.Errorf("the files still have %d of %d payloads", n, len(gone))
	}
	if n := inFiles(t, left, stay); n != len(stay) {
		t.Errorf("the files have %d of %d payloads that weren't purged", n, len(stay))
	}
}

// TestCompactAfterAReader drops what a reader has once kept from being dropped.
func TestCompactAfterAReader(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := plain(t, dir)
	gone, bytesGone := putSmall(t, s, 10)
	read := s.db.NewTransaction(false)
	purgeAll(t, s, gone)
	if _, err := s.Compact(t.Context()); agreement.CodeOf(err) != agreement.CodeInUse {
		t.Errorf("while somebody reads: %v", err)
	}
	wantPurgedSince(t, s, true)
	read.Discard()
	if _, err := s.Compact(t.Context()); err != nil {
		t.Error(err)
	}
	if n := inFiles(t, dir, bytesGone); n != 0 {
		t.Errorf("the files still have %d of %d payloads", n, len(gone))
	}
	wantPurgedSince(t, s, false)
}
