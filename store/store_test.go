package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

func wantCode(t *testing.T, what string, err error, code agreement.Code) {
	t.Helper()
	var e *agreement.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

func tryOpen(o Options) error {
	s, err := Open(o, slog.New(slog.DiscardHandler))
	if err == nil {
		err = errors.Join(errors.New("it opened"), s.Close())
	}
	return err
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, dir)
	err := tryOpen(Options{Dir: dir, Key: testKey})
	wantCode(t, "second process", err, agreement.CodeInUse)
	var e *agreement.Error
	if errors.As(err, &e) && !strings.Contains(e.Hint, dir) {
		t.Errorf("the hint doesn't name the directory: %s", e.Hint)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "wrong key", tryOpen(Options{Dir: dir, Key: make([]byte, KeySize)}), agreement.CodeStore)
	wantCode(t, "no key", tryOpen(Options{Dir: dir}), agreement.CodeStore)
	wantCode(t, "short key", tryOpen(Options{Dir: dir, Key: []byte("short")}), agreement.CodeStore)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "a file in the way", tryOpen(Options{Dir: filepath.Join(file, "data")}), agreement.CodeStore)
	wantCode(t, "unwritable", tryOpen(Options{Dir: "/proc/affiliate"}), agreement.CodeStore)
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("garbage, and more of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "bad files", tryOpen(Options{Dir: dir, Key: testKey}), agreement.CodeDamaged)
}

func TestPlainStoreAndItsKey(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "data")
	s, err := Open(Options{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
	wantCode(t, "closed, reading", func() error { _, err := s.Cursor("c"); return err }(), agreement.CodeStore)
	wantCode(t, "closed, writing", s.SetCursor(t.Context(), "c", 1), agreement.CodeStore)
	wantCode(t, "closed, waiting", s.WaitEvents(t.Context(), 0), agreement.CodeStore)
	wantCode(t, "key for a plain store", tryOpen(Options{Dir: dir, Key: testKey}), agreement.CodeStore)
}

func TestNewerFormatIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, dir)
	if err := s.commit(1, func(w *writer) error { w.set(formatKey(), encodeNumber(formatVersion+1)); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "newer format", tryOpen(Options{Dir: dir, Key: testKey}), agreement.CodeStore)
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	for what, get := range map[string]func() error{
		"agreement": func() error { _, _, err := s.Agreement(agreement.ID{1}); return err },
		"blob":      func() error { _, err := s.Blob(agreement.ID{1}, "terms"); return err },
		"object":    func() error { _, err := s.Object(agreement.Hash{1}); return err },
		"payload":   func() error { _, err := s.Payload(t.Context(), agreement.Hash{1}, 0); return err },
		"record":    func() error { _, err := s.Record(agreement.UUID{1}, "loan"); return err },
		"history":   func() error { _, err := s.RecordHistory(agreement.UUID{1}, "loan"); return err },
		"contract":  func() error { _, err := s.Contract(agreement.Hash{1}); return err },
		"kept mail": func() error { _, err := s.ClaimMail(t.Context(), make([]byte, 32), nil); return err },
	} {
		err := get()
		wantCode(t, what, err, agreement.CodeNotFound)
		if !errors.Is(err, agreement.ErrNotFound) {
			t.Errorf("%s: %v isn't ErrNotFound", what, err)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	ctx := t.Context()
	commit := func(c Change) error { _, err := s.Commit(ctx, c); return err }
	id := agreement.ID{1}
	many := Change{Agreement: id, Phase: "p", Events: make([]Event, maxBatchEntries)}
	for what, err := range map[string]error{
		"state":    commit(Change{Agreement: id, Phase: "p", State: make([]byte, MaxState+1)}),
		"document": commit(Change{Agreement: id, Phase: "p", Blobs: map[string][]byte{"b": make([]byte, MaxBlob+1)}}),
		"effect":   commit(Change{Agreement: id, Phase: "p", Add: []Effect{{Seq: 1, Sealed: make([]byte, MaxEffect+1)}}}),
		"text":     commit(Change{Agreement: id, Phase: "p", Events: []Event{{Text: strings.Repeat("x", MaxText+1)}}}),
		"entries":  commit(many),
		"message":  func() error { _, err := s.PutMail(ctx, agreement.Hash{1}, make([]byte, MaxMessage+1)); return err }(),
		"object":   s.PutObject(ctx, Object{Owner: "put", SealedSize: DefaultMaxObjectSize + 1}, nil),
		"header":   s.PutObject(ctx, Object{Owner: "put", Header: make([]byte, MaxHeader+1)}, nil),
	} {
		wantCode(t, what, err, agreement.CodeTooLarge)
	}
	wantCode(t, "phase", commit(Change{Agreement: id}), agreement.CodeBadRequest)
	// The largest that are allowed, together.
	err := commit(Change{Agreement: id, Phase: "p", State: make([]byte, MaxState), Blobs: map[string][]byte{"b": make([]byte, MaxBlob)},
		Events: make([]Event, 700)})
	if err != nil {
		t.Error(err)
	}
	checkWhole(t, s)
}

// TestCommitRace has many goroutines move the same few agreements on, each
// from what it read last: every revision is reached once.
func TestCommitRace(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	const writers, each, agreements = 8, 25, 3
	g, ctx := errgroup.WithContext(t.Context())
	watcher, stop := context.WithCancel(ctx)
	g.Go(func() error { return watch(watcher, s, writers*each) })
	var wg sync.WaitGroup
	for range writers {
		wg.Add(1)
		g.Go(func() error {
			defer wg.Done()
			for i := range each {
				if err := advance(ctx, s, agreement.ID{1 + byte(i%agreements)}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	wg.Wait()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	stop()
	total := uint64(0)
	for i := range byte(agreements) {
		_, revision, err := s.Agreement(agreement.ID{1 + i})
		if err != nil {
			t.Fatal(err)
		}
		total += revision
	}
	if total != writers*each || s.LastEvent() != writers*each {
		t.Errorf("%d revisions, %d events, not %d", total, s.LastEvent(), writers*each)
	}
	checkWhole(t, s)
}

func advance(ctx context.Context, s *Store, id agreement.ID) error {
	for {
		_, revision, err := s.Agreement(id)
		if err != nil && !errors.Is(err, agreement.ErrNotFound) {
			return err
		}
		_, err = s.Commit(ctx, Change{Agreement: id, Revision: revision, Open: true, Phase: fmt.Sprint(revision % 3), Events: []Event{{Kind: "k"}}})
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// watch follows the events and sees every one once, in order, as they come.
func watch(ctx context.Context, s *Store, n uint64) error {
	for seen := uint64(0); seen < n; {
		if err := s.WaitEvents(ctx, seen); err != nil {
			return err
		}
		page, err := s.EventsAfter(seen, nil, 7)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return fmt.Errorf("no event after %d, though there should be", seen)
		}
		for _, e := range page {
			if seen++; e.Sequence != seen {
				return fmt.Errorf("event %d follows %d", e.Sequence, seen-1)
			}
		}
	}
	return nil
}

func TestWaitEventsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := s.WaitEvents(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCancelledCommitIsNotThere(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	s.queue.turn <- struct{}{} // somebody leads and takes long
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.Commit(ctx, typicalChange(agreement.ID{1}, 0))
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-s.queue.turn
	if _, err := s.Commit(t.Context(), typicalChange(agreement.ID{2}, 0)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Agreement(agreement.ID{1}); !errors.Is(err, agreement.ErrNotFound) {
		t.Errorf("a cancelled commit is there: %v", err)
	}
}

func TestContractsAndAffiliates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, dir)
	want := Contract{Hash: agreement.Hash{2}, Module: agreement.Hash{3}, Name: "loan", Version: "1.0.0", Manifest: bytes.Repeat([]byte("{}"), 1000), Size: 9, Added: time.Unix(1, 0).UTC()}
	for _, c := range []Contract{want, {Hash: agreement.Hash{1}, Added: time.Unix(1, 0).UTC()}} {
		if err := s.PutContract(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, signed := range []string{"old", "new"} {
		if err := s.SaveAffiliate("tp1a", []byte(signed)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir)
	if got, err := s.Contract(want.Hash); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("contract came back as %v, %v", got, err)
	}
	if all, err := s.Contracts(); err != nil || len(all) != 2 || all[1].Name != "loan" {
		t.Errorf("contracts are %v, %v", all, err)
	}
	if all, err := s.Affiliates(); err != nil || len(all) != 1 || string(all["tp1a"]) != "new" {
		t.Errorf("affiliates are %v, %v", all, err)
	}
}

func TestEncryptedAtRest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, dir)
	c := Change{Agreement: agreement.ID{1}, Phase: "p", State: []byte("Wolkenkuckucksheim"), Blobs: map[string][]byte{"b": bytes.Repeat([]byte("Wolkenkuckucksheim"), 100)}}
	if _, err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, c.State) {
			t.Errorf("%s shows the state", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunEndsAndCollects(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	o, p := randomObject(1 + rand.IntN(3*smallPayload))
	if err := s.PutObject(t.Context(), o, bytes.NewReader(p)); err != nil {
		t.Fatal(err)
	}
	if err := s.collect(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	checkWhole(t, s)
}

// TestEmptyLogFiles opens what Badger leaves when it is killed while it makes
// or deletes a file.
func TestEmptyLogFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, dir)
	if err := s.SetCursor(t.Context(), "c", 7); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"00001.mem", "00009.mem", "000009.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openTest(t, dir)
	if v, err := s.Cursor("c"); v != 7 || err != nil {
		t.Errorf("the cursor is %d, %v", v, err)
	}
}
