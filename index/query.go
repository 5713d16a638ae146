package index

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits of a query.
const (
	MaxQuery = 1024 // bytes
	MaxTerms = 16
)

const queryHint = `write words, field:value or field:"two words"; a * at the end of a word matches its beginning`

// term is one condition: the words one after another in one field. It is what
// a query consists of, and all of its terms must hold for an entry.
type term struct {
	field  string // empty: any
	words  string
	prefix bool // the last word only begins so
}

// match is the term in FTS5's language. Inside double quotes nothing has a
// meaning but the quote itself.
func (t term) match() string {
	s := `"` + strings.ReplaceAll(t.words, `"`, `""`) + `"`
	if t.prefix {
		s += "*"
	}
	return s
}

func badQuery(format string, args ...any) error {
	return agreement.Errorf(agreement.CodeBadRequest, "the query "+format, args...).WithHint(queryHint)
}

// parse reads a query: terms separated by white space, each [field:]word,
// [field:]word*, [field:]"words" or [field:]"words"*.
func parse(query string) ([]term, error) {
	if len(query) > MaxQuery {
		return nil, badQuery("has %d bytes, more than %d", len(query), MaxQuery)
	}
	if !utf8.ValidString(query) || strings.ContainsFunc(query, isControl) {
		return nil, badQuery("has bytes that are no text")
	}
	var terms []term
	for rest := strings.TrimSpace(query); rest != ""; rest = strings.TrimSpace(rest) {
		var t term
		var err error
		if t, rest, err = parseTerm(rest); err != nil {
			return nil, err
		}
		if terms = append(terms, t); len(terms) > MaxTerms {
			return nil, badQuery("has more than %d terms", MaxTerms)
		}
	}
	if len(terms) == 0 {
		return nil, badQuery("is empty")
	}
	return terms, nil
}

func isControl(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }

// parseTerm reads one term and returns what follows it.
func parseTerm(s string) (t term, rest string, err error) {
	if i := strings.IndexFunc(s, ends); i >= 0 && s[i] == ':' {
		if i == 0 {
			return t, "", badQuery("has a value without a field: %.40s", s)
		}
		t.field, s = s[:i], s[i+1:]
	}
	if strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s[1:], '"')
		if end < 0 {
			return t, "", badQuery("has a quote that isn't closed")
		}
		t.words, rest = s[1:1+end], s[end+2:]
		rest, t.prefix = strings.CutPrefix(rest, "*")
	} else {
		end := strings.IndexFunc(s, func(r rune) bool { return r == '"' || unicode.IsSpace(r) })
		if end < 0 {
			end = len(s)
		}
		rest = s[end:]
		t.words, t.prefix = strings.CutSuffix(s[:end], "*")
	}
	if r, _ := utf8.DecodeRuneInString(rest); rest != "" && !unicode.IsSpace(r) {
		return t, "", badQuery("has a quote in the middle of a word, or something right after one")
	}
	if !strings.ContainsFunc(t.words, isWord) {
		return t, "", badQuery("has a term without a letter or digit: %q", t.words)
	}
	return t, rest, nil
}

// ends reports what may end a field's name.
func ends(r rune) bool { return r == ':' || r == '"' || unicode.IsSpace(r) }

// isWord reports whether the tokenizer makes words of r.
func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }
