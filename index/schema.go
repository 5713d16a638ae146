package index

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// schemaVersion is SQLite's user_version of our files. Another one is made
// anew.
const schemaVersion = 1

var errVersion = errors.New("the index has another version")

// One row of words per field, so that a term can be held to one field.
const schema = `
CREATE TABLE entry(
	id INTEGER PRIMARY KEY, scope BLOB NOT NULL, record TEXT NOT NULL,
	agreement BLOB NOT NULL, height INTEGER NOT NULL, UNIQUE(scope, record)) STRICT;
CREATE TABLE field(
	id INTEGER PRIMARY KEY, entry INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL) STRICT;
CREATE INDEX field_entry ON field(entry);
CREATE TABLE complete(yes INTEGER PRIMARY KEY) STRICT;
CREATE VIRTUAL TABLE words USING fts5(
	value, content='', contentless_delete=1, prefix='2 3', tokenize='unicode61 remove_diacritics 2');`

// statements are prepared once, for writing and for reading fields.
type statements struct {
	find, update, insert     *sqlite3.Stmt
	dropWords, dropFields    *sqlite3.Stmt
	insertField, insertWords *sqlite3.Stmt
	fields                   *sqlite3.Stmt
}

func (s *statements) all() []struct {
	st  **sqlite3.Stmt
	sql string
} {
	return []struct {
		st  **sqlite3.Stmt
		sql string
	}{
		{&s.find, "SELECT id, height FROM entry WHERE scope = ? AND record = ?"},
		{&s.update, "UPDATE entry SET agreement = ?, height = ? WHERE id = ?"},
		{&s.insert, "INSERT INTO entry(scope, record, agreement, height) VALUES (?, ?, ?, ?)"},
		{&s.dropWords, "DELETE FROM words WHERE rowid IN (SELECT id FROM field WHERE entry = ?)"},
		{&s.dropFields, "DELETE FROM field WHERE entry = ?"},
		{&s.insertField, "INSERT INTO field(entry, name, value) VALUES (?, ?, ?)"},
		{&s.insertWords, "INSERT INTO words(rowid, value) VALUES (?, ?)"},
		{&s.fields, "SELECT name, value FROM field WHERE entry = ?"},
	}
}

func (s *statements) close() error {
	var errs []error
	for _, e := range s.all() {
		errs = append(errs, (*e.st).Close())
	}
	*s = statements{}
	return errors.Join(errs...)
}

// migrate makes the tables of a new file, and refuses another version's.
func (x *Index) migrate() error {
	version, err := x.number("PRAGMA user_version")
	if err != nil || version == schemaVersion {
		return err
	}
	tables, err := x.number("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return err
	}
	if version != 0 || tables != 0 {
		return fmt.Errorf("%w: %d, not %d", errVersion, version, schemaVersion)
	}
	return x.db.Exec(fmt.Sprintf("BEGIN; %s PRAGMA user_version = %d; COMMIT;", schema, schemaVersion))
}

func (x *Index) prepare() error {
	for _, e := range x.st.all() {
		st, _, err := x.db.PrepareFlags(e.sql, sqlite3.PREPARE_PERSISTENT)
		if err != nil {
			return err
		}
		*e.st = st
	}
	return nil
}

// number reads one integer.
func (x *Index) number(sql string) (n int64, err error) {
	st, _, err := x.db.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if st.Step() {
		n = st.ColumnInt64(0)
	}
	return n, st.Err()
}

// run binds and executes a statement that returns no rows.
func run(st *sqlite3.Stmt, args ...any) error {
	if err := bind(st, args...); err != nil {
		return err
	}
	return st.Exec()
}

func bind(st *sqlite3.Stmt, args ...any) error {
	for i, a := range args {
		var err error
		switch a := a.(type) {
		case int64:
			err = st.BindInt64(i+1, a)
		case []byte:
			err = st.BindBlob(i+1, a)
		case string:
			err = st.BindText(i+1, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// put writes one entry. Its caller is in a transaction.
func (x *Index) put(e Entry) error {
	id, height, err := x.find(e)
	if err != nil || id != 0 && height > e.Height {
		return err
	}
	if id == 0 {
		if err := run(x.st.insert, e.Scope[:], e.Record, e.Agreement[:], e.Height); err != nil {
			return err
		}
		id = x.db.LastInsertRowID()
	} else if err := x.replace(id, e); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		value := strings.ToValidUTF8(e.Fields[name], "\uFFFD")
		if err := run(x.st.insertField, id, strings.ToValidUTF8(name, "\uFFFD"), value); err != nil {
			return err
		}
		if err := run(x.st.insertWords, x.db.LastInsertRowID(), value); err != nil {
			return err
		}
	}
	return nil
}

// find returns the row of an entry, 0 if there is none.
func (x *Index) find(e Entry) (id, height int64, err error) {
	if err := bind(x.st.find, e.Scope[:], e.Record); err != nil {
		return 0, 0, err
	}
	if x.st.find.Step() {
		id, height = x.st.find.ColumnInt64(0), x.st.find.ColumnInt64(1)
	}
	return id, height, errors.Join(x.st.find.Err(), x.st.find.Reset())
}

func (x *Index) replace(id int64, e Entry) error {
	if err := run(x.st.update, e.Agreement[:], e.Height, id); err != nil {
		return err
	}
	if err := run(x.st.dropWords, id); err != nil {
		return err
	}
	return run(x.st.dropFields, id)
}

func (x *Index) clear() error {
	return x.db.Exec("DELETE FROM entry; DELETE FROM field; DELETE FROM complete; INSERT INTO words(words) VALUES ('delete-all');")
}

func (x *Index) markComplete() error { return x.db.Exec("INSERT INTO complete VALUES (1)") }

func (x *Index) incomplete() (bool, error) {
	n, err := x.number("SELECT count(*) FROM complete")
	return n == 0, err
}
