package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// span is a range of bytes of the document.
type span struct{ offset, size int }

// entry is one key, table or list element of the document, and where it is.
type entry struct {
	path    string // such as policy.rule[0].action
	key     span
	value   span // empty for tables
	kind    unstable.Kind
	unknown bool // set by check: the key is at fault, not the value
}

func (en entry) line(doc []byte) int { return strings.Count(string(doc[:en.key.offset]), "\n") + 1 }

// plain is the path without list positions.
func (en entry) plain() string {
	var b strings.Builder
	for part := range strings.SplitSeq(en.path, "[") {
		_, rest, found := strings.Cut(part, "]")
		if !found {
			rest = part
		}
		b.WriteString(rest)
	}
	return b.String()
}

// scanner walks the document's expressions.
type scanner struct {
	p       unstable.Parser
	table   string         // path of the current table
	lists   map[string]int // number of [[tables]] seen, by path
	entries []entry
}

// scan lists everything that the document sets, in order.
func scan(doc []byte) ([]entry, *Error) {
	s := scanner{lists: map[string]int{}}
	s.p.Reset(doc)
	for s.p.NextExpression() {
		n := s.p.Expression()
		switch n.Kind {
		case unstable.Table, unstable.ArrayTable:
			path, key := s.keyOf(n.Key(), "")
			if n.Kind == unstable.ArrayTable {
				s.lists[path]++
				path = fmt.Sprintf("%s[%d]", path, s.lists[path]-1)
			}
			s.table = path
			s.entries = append(s.entries, entry{path: path, key: key, kind: n.Kind})
		case unstable.KeyValue:
			s.keyValue(n, s.table)
		default: // comments
		}
	}
	if err := s.p.Error(); err != nil {
		return nil, syntaxProblem(doc, err)
	}
	return s.entries, nil
}

func (s *scanner) keyValue(n *unstable.Node, table string) {
	path, key := s.keyOf(n.Key(), table)
	s.add(path, key, n.Value())
}

func (s *scanner) add(path string, key span, v *unstable.Node) {
	s.entries = append(s.entries, entry{path: path, key: key, value: span{int(v.Raw.Offset), int(v.Raw.Length)}, kind: v.Kind})
	children := v.Children()
	for i := 0; children.Next(); i++ {
		c := children.Node()
		switch {
		case v.Kind == unstable.InlineTable && c.Kind == unstable.KeyValue:
			s.keyValue(c, path)
		case v.Kind == unstable.Array:
			s.add(fmt.Sprintf("%s[%d]", path, i), key, c)
		}
	}
}

// keyOf joins the parts of a key to a path, and finds its place.
func (s *scanner) keyOf(it unstable.Iterator, table string) (string, span) {
	path, at := table, span{offset: -1}
	for it.Next() {
		k := it.Node()
		if path != "" {
			path += "."
		}
		path += string(k.Data)
		if at.offset < 0 {
			at.offset = int(k.Raw.Offset)
		}
		at.size = int(k.Raw.Offset+k.Raw.Length) - at.offset
	}
	return path, at
}

func syntaxProblem(doc []byte, err error) *Error {
	e := &Error{Text: "not valid TOML: " + strings.TrimPrefix(err.Error(), "toml: ")}
	var pe *unstable.ParserError
	if !errors.As(err, &pe) {
		return e
	}
	e.Text = "not valid TOML: " + pe.Message
	offset := cap(doc) - cap(pe.Highlight) // a highlight is a part of the document
	if offset < 0 || offset > len(doc) {
		return e
	}
	return e.at(doc, entry{key: span{offset, max(len(pe.Highlight), 1)}}, true)
}

// check compares an entry with the settings there are: a name that isn't
// known, or a value of another type, is an error.
func (en *entry) check(root reflect.Type) *Error {
	t, table := root, ""
	for part := range strings.SplitSeq(en.path, ".") {
		name, index, _ := strings.Cut(part, "[")
		if t.Kind() != reflect.Struct {
			return en.notKnown(table, name, nil)
		}
		f, ok := field(t, name)
		if !ok {
			return en.notKnown(table, name, names(t))
		}
		t, table = f.Type, strings.TrimPrefix(table+"."+name, ".")
		if index != "" && t.Kind() == reflect.Slice {
			t = t.Elem()
		}
	}
	if want, ok := wanted(t); !slices.Contains(ok, en.kind) {
		return problem(en.path, "must be %s, not %s", want, describe(en.kind))
	}
	return nil
}

func (en *entry) notKnown(table, name string, known []string) *Error {
	en.unknown = true
	key := strings.TrimPrefix(table+"."+name, ".")
	e := problem("", "there is no setting %s", key)
	best, distance := "", 4
	for _, k := range known {
		if d := editDistance(name, k); d < distance {
			best, distance = k, d
		}
	}
	switch {
	case best != "":
		return e.hint("did you mean %s?", best)
	case table == "":
		return e.hint("sections are %s", strings.Join(known, ", "))
	case len(known) > 0:
		return e.hint("[%s] has %s", table, strings.Join(known, ", "))
	}
	return e
}

func field(t reflect.Type, name string) (reflect.StructField, bool) {
	for f := range fields(t) {
		if f.Tag.Get("toml") == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// fields yields the settings of a section.
func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.Tag.Get("toml") != "-" && !yield(f) {
				return
			}
		}
	}
}

func names(t reflect.Type) []string {
	var list []string
	for f := range fields(t) {
		list = append(list, f.Tag.Get("toml"))
	}
	return list
}

// wanted says in words, and as TOML kinds, what a setting of this type takes.
func wanted(t reflect.Type) (string, []unstable.Kind) {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return "text in quotes, with a unit", []unstable.Kind{unstable.String}
	}
	switch t.Kind() {
	case reflect.Struct:
		return "a section", []unstable.Kind{unstable.Table, unstable.InlineTable, unstable.ArrayTable}
	case reflect.Slice:
		return "a list", []unstable.Kind{unstable.Array}
	case reflect.Bool:
		return "true or false", []unstable.Kind{unstable.Bool}
	case reflect.Int, reflect.Uint64:
		return "a whole number", []unstable.Kind{unstable.Integer}
	default:
		return "text in quotes", []unstable.Kind{unstable.String}
	}
}

func describe(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "text"
	case unstable.Bool:
		return "true or false"
	case unstable.Integer:
		return "a number without quotes"
	case unstable.Float:
		return "a number with a fraction"
	case unstable.Array:
		return "a list"
	case unstable.Table, unstable.InlineTable, unstable.ArrayTable:
		return "a section"
	default:
		return "a date or time"
	}
}

// editDistance is Levenshtein's, in bytes; both names are short.
func editDistance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
