package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

// chain is a full backup and those that continue it, and what the store had at
// the last one.
type chain struct {
	parts    [][]byte
	upto     uint64
	rows     map[string]string
	restored int
}

// dump returns all rows that a backup has.
func dump(t fatal, s *Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := s.view(func(txn *badger.Txn) error {
		return scan(txn, nil, nil, func(k []byte, r row) (bool, error) {
			if skipped(k) || k[0] == prefixDeleted {
				return true, nil
			}
			return true, r.sealed(func(b []byte) error { all[string(k)] = string(b); return nil })
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (d *driver) backup(r *rapid.T) {
	var b bytes.Buffer
	c := &d.chain
	if d.objects.stale > 0 {
		d.verify(r) // as restoring does
	}
	if unindexed(r, d.s) > 0 {
		d.verify(r)
	}
	if len(c.parts) > 0 && rapid.IntRange(0, 3).Draw(r, "full") == 0 {
		*c = chain{restored: c.restored}
	}
	upto, err := d.s.Backup(context.Background(), &b, c.upto)
	if err != nil {
		r.Fatal(err)
	}
	c.parts, c.upto, c.rows = append(c.parts, b.Bytes()), upto, dump(r, d.s)
}

// restore makes a store of the backups, and compares it with what was backed
// up.
func (d *driver) restore(r *rapid.T) {
	c := &d.chain
	if len(c.parts) == 0 {
		return
	}
	c.restored++
	dir := fmt.Sprint(d.dir, "-restored-", c.restored)
	if err := Restore(context.Background(), Options{Dir: dir, Key: testKey}, readers(c.parts)...); err != nil {
		r.Fatal(err)
	}
	s, err := Open(Options{Dir: dir, Key: testKey}, slog.New(slog.DiscardHandler))
	if err != nil {
		r.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // of a test
	if s.ID() == d.s.ID() {
		r.Fatal("the restored store has the same id")
	}
	got, want := dump(r, s), maps.Clone(c.rows)
	for k := range want {
		if _, there := got[k]; k[0] == prefixQuarantine && !there {
			delete(want, k) // an earlier backup had good bytes; they are read below
		}
	}
	if !maps.Equal(got, want) {
		r.Fatalf("restored are %d rows, not %d: %s", len(got), len(want), difference(got, want))
	}
	for k := range rows(r, s, prefixObject) {
		id, _ := lastHash([]byte(k))
		if _, err := s.copyOf(quarantineKey(id)); err != nil {
			readPayload(r, s, id, 0)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		r.Fatal(err)
	}
}

func difference(got, want map[string]string) string {
	for k, v := range got {
		if w, ok := want[k]; !ok || w != v {
			return fmt.Sprintf("%x is %x, not %x (%v)", k, v, w, ok)
		}
	}
	for k := range want {
		if _, ok := got[k]; !ok {
			return fmt.Sprintf("%x is missing", k)
		}
	}
	return ""
}

func readers(parts [][]byte) (all []io.Reader) {
	for _, p := range parts {
		all = append(all, bytes.NewReader(p))
	}
	return all
}

func backUp(t *testing.T, s *Store, since uint64) ([]byte, uint64) {
	t.Helper()
	var b bytes.Buffer
	upto, err := s.Backup(t.Context(), &b, since)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), upto
}

func restored(t *testing.T, parts ...[]byte) *Store {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := Restore(t.Context(), Options{Dir: dir, Key: testKey}, readers(parts)...); err != nil {
		t.Fatal(err)
	}
	return openTest(t, dir)
}

// chainOf makes three backups of which the last two have something to take
// back.
func chainOf(t *testing.T, s *Store) (parts [][]byte) {
	t.Helper()
	large, _ := put(t, s, 2*smallPayload)
	kept, _ := put(t, s, smallPayload+7)
	little, _ := put(t, s, 70_000)
	full, upto := backUp(t, s, 0)
	if err := s.Purge(t.Context(), large.ID, []byte("stone")); err != nil {
		t.Fatal(err)
	}
	put(t, s, 3*smallPayload)
	second, upto := backUp(t, s, upto)
	if err := s.ReleaseObject(t.Context(), kept.ID, "put"); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), little.ID, nil); err != nil {
		t.Fatal(err)
	}
	third, _ := backUp(t, s, upto)
	if len(third) > smallPayload {
		t.Errorf("a backup of two deletions has %d bytes", len(third))
	}
	return [][]byte{full, second, third}
}

func TestBackupChain(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	parts := chainOf(t, s)
	got := restored(t, parts...)
	if g, w := dump(t, got), dump(t, s); !maps.Equal(g, w) {
		t.Errorf("restored differs: %s", difference(g, w))
	}
	checkWhole(t, got)
	// The restored store goes on by itself, and is backed up from the start.
	put(t, got, smallPayload+1)
	var b bytes.Buffer
	_, err := got.Backup(t.Context(), &b, 1<<40)
	wantCode(t, "a version that never was", err, agreement.CodeBadRequest)
	again, _ := backUp(t, got, 0)
	checkWhole(t, restored(t, again))
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	parts := chainOf(t, s)
	foreign, _ := backUp(t, openTest(t, t.TempDir()), 0)
	above := t.TempDir()
	dir := filepath.Join(above, "data")
	try := func(what string, code agreement.Code, parts ...[]byte) {
		t.Helper()
		wantCode(t, what, Restore(t.Context(), Options{Dir: dir, Key: testKey}, readers(parts)...), code)
		if files, err := os.ReadDir(above); err != nil || len(files) != 0 {
			t.Fatalf("%s: left are %v, %v", what, files, err)
		}
	}
	try("nothing", agreement.CodeBadRequest)
	try("no full backup", agreement.CodeBadRequest, parts[1])
	try("one is left out", agreement.CodeBadRequest, parts[0], parts[2])
	try("wrong order", agreement.CodeBadRequest, parts[1], parts[0], parts[2])
	try("one twice", agreement.CodeBadRequest, parts[0], parts[1], parts[1])
	try("another store's", agreement.CodeBadRequest, foreign, parts[1])
	try("not a backup", agreement.CodeDamaged, []byte("garbage, and more of it than a line"))
	try("empty", agreement.CodeDamaged, nil)
	for range 12 {
		b := bytes.Clone(parts[0])
		at := rand.IntN(len(b))
		b[at] ^= 1 << rand.IntN(8)
		try(fmt.Sprint("bit at ", at), agreement.CodeDamaged, b)
		try(fmt.Sprint("cut at ", at), agreement.CodeDamaged, b[:at])
	}
	try("longer", agreement.CodeDamaged, append(bytes.Clone(parts[0]), 0))
	if err := os.MkdirAll(filepath.Join(dir, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := Restore(t.Context(), Options{Dir: dir, Key: testKey}, readers(parts)...)
	wantCode(t, "something is there", err, agreement.CodeBadRequest)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Restore(ctx, Options{Dir: filepath.Join(above, "other"), Key: testKey}, readers(parts)...); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}

// TestBackupOfDamage backs up what can't be read as such, and finds it in
// quarantine.
func TestBackupOfDamage(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	inFile, _ := put(t, s, 5*smallPayload)
	inDatabase, _ := put(t, s, 1000)
	bare, _ := put(t, s, 1001)
	good, p := put(t, s, 2*smallPayload)
	damagePayload(t, s, inFile, 3*smallPayload)
	damagePayload(t, s, inDatabase, 7)
	err := s.db.Update(func(txn *badger.Txn) error { return txn.Set(objectKey(bare.ID), []byte("no checksum")) })
	if err != nil {
		t.Fatal(err)
	}
	b, _ := backUp(t, s, 0)
	_, err = s.Object(inFile.ID)
	wantCode(t, "found while it is backed up", err, agreement.CodeDamaged)
	if err := Restore(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "data")}, bytes.NewReader(b)); err == nil {
		t.Error("a payload in the database that was damaged unnoticed is restored")
	}
	if _, err := s.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	b, _ = backUp(t, s, 0)
	got := restored(t, b)
	for _, o := range []Object{inFile, inDatabase} {
		_, err := got.Object(o.ID)
		wantCode(t, "restored", err, agreement.CodeDamaged)
	}
	if !bytes.Equal(readPayload(t, got, good.ID, 0), p) {
		t.Error("the good one differs")
	}
}

// TestBackupWhileItChanges backs up while objects are put and purged, and holds
// that the backup is of one moment.
func TestBackupWhileItChanges(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	ids := make(chan agreement.Hash, 1000)
	for range 6 {
		o, _ := put(t, s, smallPayload+rand.IntN(smallPayload))
		ids <- o.ID
	}
	ctx, cancel := context.WithCancel(t.Context())
	g, ctx := errgroup.WithContext(ctx)
	for range 3 {
		g.Go(func() error {
			for ctx.Err() == nil {
				o, p := randomObject(rand.IntN(2 * smallPayload))
				if err := s.PutObject(ctx, o, bytes.NewReader(p)); err != nil {
					return err
				}
				ids <- o.ID
				if err := s.Purge(ctx, <-ids, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var parts [][]byte
	since := uint64(0)
	for range 5 {
		b, upto := backUp(t, s, since)
		parts, since = append(parts, b), upto
		checkWhole(t, restored(t, parts...))
	}
	cancel()
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := s.sweep(t.Context()); err != nil { // what was purged meanwhile
		t.Error(err)
	}
	checkWhole(t, s)
}

// TestForgottenDeletions asks for a full backup where the store doesn't know
// any more what has gone.
func TestForgottenDeletions(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	_, upto := backUp(t, s, 0)
	s.mu.Lock()
	s.mem.deletions.last = maxDeletions // as if so many had been
	s.mu.Unlock()
	o, _ := put(t, s, 10)
	if err := s.Purge(t.Context(), o.ID, nil); err != nil {
		t.Fatal(err)
	}
	_, later := backUp(t, s, upto)
	s.mu.Lock()
	s.mem.deletions.last += maxDeletions / 2
	s.mem.deletions.first = maxDeletions / 2
	s.mu.Unlock()
	if err := s.trimDeletions(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := s.memory().deletions
	if n := d.last - d.first + 1; n > maxDeletions {
		t.Errorf("%d deletions are remembered", n)
	}
	var b bytes.Buffer
	_, err := s.Backup(t.Context(), &b, upto)
	wantCode(t, "since long ago", err, agreement.CodeBadRequest)
	if _, err = s.Backup(t.Context(), &b, later); err != nil {
		t.Errorf("since then: %v", err)
	}
}

// FuzzFrames holds that no bytes make a reader of backups panic or hold more
// than it was given.
func FuzzFrames(f *testing.F) {
	var whole bytes.Buffer
	out, err := newFrameWriter(&whole)
	if err != nil {
		f.Fatal(err)
	}
	for _, err := range []error{
		out.frame(frameHead, head{since: 1, upto: 2, created: time.Unix(3, 0)}.encode()),
		out.row([]byte("k"), []byte("v"), 7), out.flush(frameRows, true), out.deleted([]byte("k")), out.flush(frameDeleted, true), out.end(),
	} {
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Add(whole.Bytes())
	f.Add([]byte(backupMagic + "R\x00\x00\x00\x02\x01k"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		r, err := newFrameReader(bytes.NewReader(b))
		for err == nil {
			var kind byte
			var body []byte
			if kind, body, err = r.next(); err != nil || kind == frameEnd {
				return
			}
			_, _ = decodeHead(body)
			_ = eachKey(body, func([]byte) error { return nil })
			_ = eachRow(body, func(_, _ []byte, _ uint64) error { return nil })
		}
	})
}
