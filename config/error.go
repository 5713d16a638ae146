package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error is one thing that is wrong with a configuration. File, Line and
// Column are set when the configuration came from a file; Line and Column
// count from 1, Column and Width in bytes.
type Error struct {
	File   string
	Line   int
	Column int
	Width  int
	Source string // the text of the line
	Key    string // such as "p2p.listen[1]"; may be empty
	Text   string // what is wrong
	Hint   string // what to do; may be empty
}

// Error gives one line: the place, and what is wrong.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d", e.Line)
		}
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Text)
	return b.String()
}

// Excerpt shows the line with a caret under the place, as two lines without a
// final newline; empty when the line isn't known.
func (e *Error) Excerpt() string {
	if e.Line == 0 {
		return ""
	}
	start := min(max(e.Column-1, 0), len(e.Source))
	end := min(start+max(e.Width, 1), len(e.Source))
	number := fmt.Sprintf("%d", e.Line)
	// Tabs are kept so that the caret stands where the terminal puts the text.
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return '\t'
		}
		return ' '
	}, e.Source[:start])
	carets := strings.Repeat("^", max(utf8.RuneCountInString(e.Source[start:end]), 1))
	return fmt.Sprintf("  %s | %s\n  %s | %s%s", number, e.Source, strings.Repeat(" ", len(number)), pad, carets)
}

func problem(key, format string, args ...any) *Error {
	return &Error{Key: key, Text: fmt.Sprintf(format, args...)}
}

func (e *Error) hint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}
