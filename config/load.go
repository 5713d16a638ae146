package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxFile is the largest configuration file that is read, in bytes.
const maxFile = 1 << 20

// Load reads and validates a configuration. What the file doesn't set has its
// default; the file's directory becomes Home. Whatever is wrong comes back as
// an *Error that shows the line.
func Load(path string) (Config, error) {
	doc, err := read(path)
	if err != nil {
		return Config{}, err
	}
	home, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Config{}, fmt.Errorf("finding the home directory: %w", err)
	}
	c, e := parse(doc, home)
	if e != nil {
		e.File = path
		return Config{}, e
	}
	return c, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator's own file
	if errors.Is(err, fs.ErrNotExist) {
		return nil, (&Error{File: path, Text: "there is no configuration here"}).
			hint("make one with: affiliate init --home %s", filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	doc, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if len(doc) > maxFile {
		return nil, &Error{File: path, Text: "the file is larger than 1 MiB"}
	}
	return doc, nil
}

func parse(doc []byte, home string) (Config, *Error) {
	entries, e := scan(doc)
	if e != nil {
		return Config{}, e
	}
	for _, en := range entries {
		if e := en.check(reflect.TypeFor[Config]()); e != nil {
			return Config{}, e.at(doc, en, en.unknown)
		}
	}
	c := Default(home)
	if err := toml.NewDecoder(bytes.NewReader(doc)).DisallowUnknownFields().Decode(&c); err != nil {
		return Config{}, decodeProblem(doc, entries, err)
	}
	if err := c.Validate(); err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Text: err.Error()}
		}
		return Config{}, locate(doc, entries, e)
	}
	return c, nil
}

// decodeProblem handles what scan and check let through: a key that is set
// twice, a number that doesn't fit, a text that isn't a duration or size.
func decodeProblem(doc []byte, entries []entry, err error) *Error {
	var d *toml.DecodeError
	if !errors.As(err, &d) {
		return &Error{Text: strings.TrimPrefix(err.Error(), "toml: ")}
	}
	e := &Error{Key: strings.Join(d.Key(), "."), Text: strings.TrimPrefix(d.Error(), "toml: ")}
	line, column := d.Position()
	for _, en := range entries {
		// The library's position is the equals sign; the value is better.
		if en.line(doc) == line && en.plain() == e.Key {
			return e.at(doc, en, false)
		}
	}
	return e.place(doc, line, column, 1)
}

// locate finds the line of a key that Validate complains about, or of the
// nearest table around it.
func locate(doc []byte, entries []entry, e *Error) *Error {
	for key := e.Key; key != ""; {
		for _, en := range entries {
			if en.path == key {
				return e.at(doc, en, key != e.Key)
			}
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			break
		}
		key = key[:cut]
	}
	return e
}

// at places e on the entry's key or value.
func (e *Error) at(doc []byte, en entry, onKey bool) *Error {
	span := en.value
	if onKey || span.size == 0 {
		span = en.key
	}
	line := bytes.Count(doc[:span.offset], []byte("\n")) + 1
	column := span.offset - bytes.LastIndexByte(doc[:span.offset], '\n')
	return e.place(doc, line, column, span.size)
}

func (e *Error) place(doc []byte, line, column, width int) *Error {
	lines := bytes.Split(doc, []byte("\n"))
	if line < 1 || line > len(lines) {
		return e
	}
	e.Line, e.Column, e.Width = line, column, width
	e.Source = strings.TrimRight(string(lines[line-1]), "\r")
	return e
}
