package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// oneTable is a store whose rows are in one table, and large values in the
// value log.
func oneTable(t *testing.T) (s *Store, o Object) {
	t.Helper()
	dir := t.TempDir()
	s = openTest(t, dir)
	for range 20 {
		o, _ = put(t, s, 3000)
		if err := s.ReleaseObject(t.Context(), o.ID, "put"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openTest(t, dir), o
}

func onlyFile(t *testing.T, dir, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	return names[0]
}

// TestTableDamagedWhileOpen: where a block can't be read, Badger says that
// nothing is there. Verify says what is so, and nothing is purged because of
// it.
func TestTableDamagedWhileOpen(t *testing.T) {
	t.Parallel()
	s, _ := oneTable(t)
	f, err := os.OpenFile(onlyFile(t, s.dir, "*.sst"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // of a test
	b := make([]byte, 16)
	if _, err := f.ReadAt(b, 1000); err != nil {
		t.Fatal(err)
	}
	good := bytes.Clone(b)
	b[3] ^= 1
	if _, err := f.WriteAt(b, 1000); err != nil {
		t.Fatal(err)
	}
	v, err := s.Verify(t.Context(), nil)
	wantCode(t, "verifying", err, agreement.CodeDamaged)
	if v.Mended != 0 {
		t.Errorf("verified %+v", v)
	}
	before, err := s.countKeys(t.Context(), prefixObject)
	if err != nil {
		t.Fatal(err)
	}
	err = s.collectObjects(t.Context(), time.Now().Add(time.Hour))
	wantCode(t, "collecting", err, agreement.CodeDamaged)
	if after, err := s.countKeys(t.Context(), prefixObject); err != nil || after != before {
		t.Errorf("%d of %d objects are left, %v", after, before, err)
	}
	if _, err := f.WriteAt(good, 1000); err != nil {
		t.Fatal(err)
	}
	if err := s.collectObjects(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	checkWhole(t, s)
}

// TestValuesCutWhileOpen: where the disk can't give a page of a mapped file,
// the process gets a signal that ends it if nobody expects it.
func TestValuesCutWhileOpen(t *testing.T) {
	t.Parallel()
	s, o := oneTable(t)
	name := onlyFile(t, s.dir, "*.vlog")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	_, err = s.Object(o.ID)
	wantCode(t, "reading", err, agreement.CodeDamaged)
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Object(o.ID); err != nil {
		t.Error(err)
	}
	wantCode(t, "closing what holds a lock", s.Close(), agreement.CodeStore)
}

// TestDamagedValueLogIsNotRewritten: Badger would take the damage for the end
// of the file, and delete what follows.
func TestDamagedValueLogIsNotRewritten(t *testing.T) {
	t.Parallel()
	s, o := oneTable(t)
	name := onlyFile(t, s.dir, "*.vlog")
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	slot := append(number64(1), number64(uint64(info.Size()))...) //nolint:gosec // a size
	d, err := os.OpenFile(filepath.Join(s.dir, discardFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() //nolint:errcheck // of a test
	if _, err := d.WriteAt(slot, 0); err != nil {
		t.Fatal(err)
	}
	if next, err := s.rewrittenNext(discardRatio); err != nil || next != filepath.Base(name) {
		t.Fatalf("next is %q, %v", next, err)
	}
	if err := checkLog(name); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[500] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.collectValues(t.Context(), discardRatio)
	wantCode(t, "rewriting", err, agreement.CodeDamaged)
	if _, err := os.Stat(name); err != nil {
		t.Error(err)
	}
	b[500] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Object(o.ID); err != nil {
		t.Error(err)
	}
}

// TestWritingEndsWithAFailure: after a write of which nobody knows what is on
// disk, none is taken, and what was acknowledged is there.
func TestWritingEndsWithAFailure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, dir)
	o, p := put(t, s, 3000)
	(&logger{log: slog.New(slog.DiscardHandler)}).Errorf("Error while curlf sync: %v\n", errors.New("no store"))
	if err := s.SetCursor(t.Context(), "c", 1); err != nil {
		t.Fatal(err)
	}
	s.db.Opts().Logger.Errorf("Error while curlf sync: %v\n", errors.New("bad disk"))
	for _, err := range []error{s.SetCursor(t.Context(), "c", 2), s.Hold(t.Context(), o.ID, "pin", time.Time{})} {
		wantCode(t, "writing", err, agreement.CodeStore)
	}
	if !bytes.Equal(readPayload(t, s, o.ID, 0), p) {
		t.Error("the payload differs")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir)
	if v, err := s.Cursor("c"); err != nil || v != 1 {
		t.Errorf("the cursor is %d, %v", v, err)
	}
	checkWhole(t, s)
}

// TestLostEnd opens a store whose last writes are gone without a trace.
func TestLostEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, dir)
	for n := range uint64(5) {
		if err := s.SetCursor(context.Background(), "c", n); err != nil {
			t.Fatal(err)
		}
	}
	last := s.memory().totals.batch
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := openHighWater(dir)
	if err != nil {
		t.Fatal(err)
	}
	h.set(last + 1)
	wantCode(t, "one write less", tryOpen(Options{Dir: dir, Key: testKey}), agreement.CodeDamaged)
	h.set(last)
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, dir)
}

// TestOlderFormat refuses a store of the first format, whose values have no
// checksums, and leaves it as it is.
func TestOlderFormat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, dir)
	if err := s.commit(1, func(w *writer) error { w.set(formatKey(), encodeNumber(1)); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := tryOpen(Options{Dir: dir, Key: testKey})
	wantCode(t, "an older format", err, agreement.CodeStore)
	var e *agreement.Error
	if errors.As(err, &e) && e.Hint == "" {
		t.Error("there is no advice")
	}
}

// TestOrphans: a table that the manifest doesn't list is removed if the
// database has what it has, and otherwise the store is refused, again and
// again, and the table stays.
func TestOrphans(t *testing.T) {
	t.Parallel()
	m := makeSample(t, true)
	dir := filepath.Join(t.TempDir(), "copy")
	m.copyTo(t, m.dir, dir)
	tables := m.files(t, "*.sst")
	b, err := os.ReadFile(filepath.Join(dir, tables[0]))
	if err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Join(dir, "000099.sst")
	for _, b := range [][]byte{b, b[:len(b)-10], {}} { // whole, and as a crash leaves it
		if err := os.WriteFile(orphan, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openTest(t, dir)
		if left, err := filepath.Glob(filepath.Join(dir, orphanDir)); err != nil || len(left) != 0 {
			t.Errorf("left are %v, %v", left, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Another store's table has what this one never had.
	if b, err = os.ReadFile(plainTable(t, filepath.Join(t.TempDir(), "plain"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(orphan, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantCode(t, "an orphan", tryOpen(Options{Dir: dir, Key: testKey}), agreement.CodeDamaged)
		if _, err := os.Stat(filepath.Join(dir, orphanDir, filepath.Base(orphan))); err != nil {
			t.Fatal(err)
		}
	}
}

// plainTable makes a store that isn't encrypted, and returns one of its tables.
func plainTable(t *testing.T, dir string) string {
	t.Helper()
	s, err := Open(Options{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, 10)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return onlyFile(t, dir, "*.sst")
}

// FuzzFiles holds that no bytes make what looks at Badger's files panic or
// allocate without bound.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("Hello"), byte(0))
	f.Add(append(number64(1), number64(2)...), byte(1))
	f.Add(make([]byte, 60), byte(2))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte, which byte) {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		switch which % 4 {
		case 0:
			_ = checkRegistry(path)
		case 1:
			_ = plausible(b[:len(b)/16*16], map[uint64]int64{1: 5})
		case 2:
			_ = checkLog(path)
		case 3:
			_, _ = checkBlock(b, nil)
			if len(b) >= 4 && uint64(len(b)-4) >= 4*uint64(binary.BigEndian.Uint32(b[len(b)-4:])) {
				_ = eachEntry(b, func([]byte) error { return nil })
			}
		}
	})
}

// TestOrphansBesideManyTables: looking for what was lost doesn't merge tables,
// and must not wait for it either. Crashes may leave more tables than Badger
// has on its first level before it lets writers wait, and more logs than it
// lets wait.
func TestOrphansBesideManyTables(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	dir := filepath.Join(home, "0")
	if err := openTest(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	settings := badgerSettings(Options{Key: testKey}, &logger{log: slog.New(slog.DiscardHandler)}).WithNumCompactors(0)
	tables, logs := settings.NumLevelZeroTablesStall, settings.NumMemtables+2
	for n := range tables + logs {
		db, err := badger.Open(settings.WithDir(dir).WithValueDir(dir).WithNumMemtables(tables + logs))
		if err != nil {
			t.Fatal(err)
		}
		k := key(prefixCursor, number64(uint64(n))) //nolint:gosec // small
		err = db.Update(func(txn *badger.Txn) error { return txn.Set(k, seal(k, make([]byte, 8))) })
		if n >= tables { // a crash
			dir = filepath.Join(home, strconv.Itoa(n))
			err = errors.Join(err, os.CopyFS(dir, os.DirFS(db.Opts().Dir)))
		}
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "000001.sst"))
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "009999.sst"), b, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := openTest(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
}
