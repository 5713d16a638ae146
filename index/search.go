package index

import (
	"context"
	"errors"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/affiliate-node/affiliate/agreement"
)

// DefaultResults is the limit of a search that states none.
const DefaultResults = 20

// Search returns the entries for which every term of the query holds, the
// greatest height first, at most limit (0: DefaultResults; never more than
// MaxResults). A term is a word, a word* that begins so, or "several words" in
// a row, in any field or after field: in that one. Case and accents don't
// matter. A query that can't be read is CodeBadRequest.
func (x *Index) Search(ctx context.Context, query string, limit int) ([]Entry, error) {
	terms, err := parse(query)
	if err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = DefaultResults
	}
	var found []Entry
	err = x.with(ctx, "searching", func() (err error) {
		found, err = x.search(terms, int64(min(limit, MaxResults)))
		return err
	})
	return found, err
}

// The statement is put together of these parts alone; what the user wrote is
// bound to its parameters.
const (
	selectEntry = "SELECT id, scope, record, agreement, height FROM entry WHERE "
	inAny       = "id IN (SELECT field.entry FROM words CROSS JOIN field ON field.id = words.rowid WHERE words MATCH ?)"
	inField     = "id IN (SELECT field.entry FROM words CROSS JOIN field ON field.id = words.rowid WHERE words MATCH ? AND field.name = ?)"
	newestFirst = " ORDER BY height DESC, id DESC LIMIT ?"
)

func (x *Index) search(terms []term, limit int64) (found []Entry, err error) {
	var conditions []string
	var args []any
	for _, t := range terms {
		args = append(args, t.match())
		if t.field == "" {
			conditions = append(conditions, inAny)
			continue
		}
		conditions = append(conditions, inField)
		args = append(args, t.field)
	}
	st, _, err := x.db.Prepare(selectEntry + strings.Join(conditions, " AND ") + newestFirst)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := bind(st, append(args, limit)...); err != nil {
		return nil, err
	}
	for st.Step() {
		e, err := x.entry(st)
		if err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	return found, st.Err()
}

func (x *Index) entry(st *sqlite3.Stmt) (e Entry, err error) {
	e.Record, e.Height = st.ColumnText(2), st.ColumnInt64(4)
	if e.Scope, err = agreement.UUIDFromBytes(st.ColumnRawBlob(1)); err != nil {
		return e, err
	}
	if e.Agreement, err = agreement.UUIDFromBytes(st.ColumnRawBlob(3)); err != nil {
		return e, err
	}
	e.Fields = map[string]string{}
	if err := bind(x.st.fields, st.ColumnInt64(0)); err != nil {
		return e, err
	}
	for x.st.fields.Step() {
		e.Fields[x.st.fields.ColumnText(0)] = x.st.fields.ColumnText(1)
	}
	return e, errors.Join(x.st.fields.Err(), x.st.fields.Reset())
}
