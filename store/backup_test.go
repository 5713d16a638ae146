package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"

	"github.com/dgraph-io/badger/v4"
	"pgregory.net/rapid"
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
