// Package index owns the searchable view of the records that an affiliate
// holds, in one SQLite file. It never holds anything that can't be rebuilt
// from the store, and is never asked for the truth.
package index

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
	_ "github.com/ncruces/go-sqlite3/vfs/adiantum" // the encrypting file layer

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits.
const (
	KeySize    = 32        // bytes of the key
	MaxFields  = 256       // fields of one entry
	MaxEntry   = 128 << 10 // bytes of one entry's names and values together
	MaxResults = 1000      // entries of one answer
)

// Entry is what is indexed of one record.
type Entry struct {
	Scope     agreement.UUID
	Record    string
	Agreement agreement.ID
	Height    int64
	Fields    map[string]string // field to the text of its value
}

// Index is the view. Its methods may be called concurrently: they take turns
// on one connection, since a connection serves one caller at a time, costs
// some megabytes, and answers within milliseconds.
type Index struct {
	log  *slog.Logger
	path string
	turn chan struct{} // holds one element while db is in use

	// Guarded by turn.
	db *sqlite3.Conn // nil once closed
	st statements
}

// Open opens the index at path, and makes an empty one if there is none. One
// that this key or this version can't read is thrown away, with a warning:
// NeedsRebuild then says that it has to be filled from the store. Without a
// key it isn't encrypted. A path that can't be written is CodeStore, and one
// that another process has open CodeInUse.
func Open(path string, key []byte, log *slog.Logger) (*Index, error) {
	if len(key) != 0 && len(key) != KeySize {
		return nil, agreement.Errorf(agreement.CodeStore, "opening the index: the key has %d bytes, not %d", len(key), KeySize)
	}
	x := &Index{log: log, path: path, turn: make(chan struct{}, 1)}
	err := x.open(key)
	if unreadable(err) {
		log.Warn("the index can't be read and is made anew", "path", path, "error", err)
		if err = remove(path); err == nil {
			err = x.open(key)
		}
	}
	if err != nil {
		return nil, x.explain("opening the index", err)
	}
	return x, nil
}

// unreadable reports whether throwing the file away will help.
func unreadable(err error) bool {
	return errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, errVersion) ||
		errors.Is(err, sqlite3.IOERR_SHORT_READ)
}

func remove(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// explain is how a failure of the database leaves this package.
func (x *Index) explain(doing string, err error) error {
	var known *agreement.Error
	if errors.As(err, &known) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if errors.Is(err, sqlite3.BUSY) || errors.Is(err, sqlite3.LOCKED) {
		return agreement.Errorf(agreement.CodeInUse, "%s: another process has %s open", doing, x.path).
			WithHint("stop the other affiliate that runs on this home")
	}
	return agreement.Errorf(agreement.CodeStore, "%s: %w", doing, err).
		WithHint("see whether %s can be written and the disk has room; the file may be deleted: it is rebuilt from the store", x.path)
}

func (x *Index) open(key []byte) (err error) {
	path, err := filepath.Abs(x.path)
	if err != nil {
		return err
	}
	// SQLite would give it the mode of the umask.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	q := url.Values{"modeof": {path}} // for the write-ahead log
	if len(key) > 0 {
		q.Set("vfs", "adiantum")
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}
	db, err := sqlite3.OpenFlags(u.String(), sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE|sqlite3.OPEN_URI)
	if err != nil {
		return err
	}
	x.db = db
	if err := x.setUp(key); err != nil {
		return errors.Join(err, x.release())
	}
	return nil
}

// setUp makes the connection ours: its key, one process only (which also
// spares the shared memory of the write-ahead log), and every commit synced.
func (x *Index) setUp(key []byte) error {
	if len(key) > 0 {
		if err := x.db.Exec("PRAGMA hexkey='" + hex.EncodeToString(key) + "'"); err != nil {
			return errors.New("the key was refused") // the statement holds the key
		}
	}
	if err := fts5.Register(x.db); err != nil {
		return err
	}
	err := x.db.Exec(`
		PRAGMA temp_store = memory;
		PRAGMA cache_size = -2048;
		PRAGMA locking_mode = exclusive;
		PRAGMA journal_mode = wal;
		PRAGMA synchronous = full;
		PRAGMA secure_delete = on;
		PRAGMA trusted_schema = off;`)
	if err != nil {
		return err
	}
	if err := x.migrate(); err != nil {
		return err
	}
	return x.prepare()
}

// Close closes the file; later calls fail. A second Close does nothing.
func (x *Index) Close() error {
	x.turn <- struct{}{}
	defer func() { <-x.turn }()
	if x.db == nil {
		return nil
	}
	if err := x.release(); err != nil {
		return fmt.Errorf("closing the index: %w", err)
	}
	return nil
}

func (x *Index) release() error {
	err := errors.Join(x.st.close(), x.db.Close())
	x.db = nil
	return err
}

// with runs fn on the connection when its turn comes. When ctx ends, so do
// the wait and the statement.
func (x *Index) with(ctx context.Context, doing string, fn func() error) error {
	select {
	case x.turn <- struct{}{}:
		defer func() { <-x.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if x.db == nil {
		return agreement.Errorf(agreement.CodeStore, "%s: the index is closed", doing)
	}
	defer x.db.SetInterrupt(x.db.SetInterrupt(ctx))
	err := fn()
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return x.explain(doing, err)
	}
	return nil
}

// transact runs fn in a transaction.
func (x *Index) transact(ctx context.Context, doing string, fn func() error) error {
	return x.with(ctx, doing, func() (err error) {
		tx, err := x.db.BeginImmediate()
		if err != nil {
			return err
		}
		if err = fn(); err == nil {
			err = tx.Commit()
		}
		if err != nil && !x.db.GetAutocommit() {
			err = errors.Join(err, tx.Rollback())
		}
		return err
	})
}

// Put indexes records, all or none, each in place of the entry of the same
// scope and record, unless that one has a greater height.
func (x *Index) Put(ctx context.Context, entries []Entry) error {
	for _, e := range entries {
		if err := e.check(); err != nil {
			return fmt.Errorf("indexing: %w", err)
		}
	}
	return x.transact(ctx, "indexing", func() error {
		for _, e := range entries {
			if err := x.put(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// Rebuild replaces the whole index by the entries, or changes nothing when
// there is an error among them. Searches wait meanwhile.
func (x *Index) Rebuild(ctx context.Context, entries iter.Seq2[Entry, error]) error {
	return x.transact(ctx, "rebuilding the index", func() error {
		if err := x.clear(); err != nil {
			return err
		}
		for e, err := range entries {
			if err == nil {
				err = e.check()
			}
			if err == nil {
				err = x.put(e)
			}
			if err != nil {
				return err
			}
		}
		return x.markComplete()
	})
}

// mergePages is about how many pages of words one step of Scrub merges: a few
// tens of milliseconds.
const mergePages = 500

// Scrub removes from the file what was replaced in the index: the words stay
// in it otherwise until so many more have come that they are merged. Searches
// and changes wait for one step of it at a time.
func (x *Index) Scrub(ctx context.Context) error {
	for pages := -mergePages; ; pages = mergePages { // the first step takes up all words
		var changes int64
		err := x.with(ctx, "merging words", func() error {
			before := x.db.TotalChanges()
			err := x.db.Exec(fmt.Sprintf("INSERT INTO words(words, rank) VALUES ('merge', %d)", pages))
			changes = x.db.TotalChanges() - before
			return err
		})
		if err != nil {
			return err
		}
		if changes < 2 { // only the statement's own row
			break
		}
	}
	return x.with(ctx, "clearing the write-ahead log", func() error { return x.db.Exec("PRAGMA wal_checkpoint(TRUNCATE)") })
}

// NeedsRebuild reports whether the index has never been filled by Rebuild
// since its file was made.
func (x *Index) NeedsRebuild(ctx context.Context) (bool, error) {
	var needs bool
	err := x.with(ctx, "reading the index", func() (err error) {
		needs, err = x.incomplete()
		return err
	})
	return needs, err
}

// Count returns the number of records in the index.
func (x *Index) Count(ctx context.Context) (int64, error) {
	var n int64
	err := x.with(ctx, "counting the index", func() (err error) {
		n, err = x.number("SELECT count(*) FROM entry")
		return err
	})
	return n, err
}

func (e Entry) check() error {
	size := len(e.Record)
	for name, value := range e.Fields {
		size += len(name) + len(value)
	}
	if len(e.Fields) > MaxFields || size > MaxEntry {
		return agreement.Errorf(agreement.CodeTooLarge, "record %.64s has %d fields of %d bytes, more than %d or %d",
			e.Record, len(e.Fields), size, MaxFields, MaxEntry)
	}
	return nil
}
