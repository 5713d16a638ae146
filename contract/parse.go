package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// MaxManifest is the largest manifest that is read, in bytes.
const MaxManifest = 256 << 10

// Parse reads a manifest and validates it. It is strict: every field must be
// one of Manifest's, spelled exactly so. It doesn't notice members that are
// named twice; the host makes the document canonical first, which does.
func Parse(doc []byte) (Manifest, error) {
	var m Manifest
	if len(doc) > MaxManifest {
		return m, fmt.Errorf("the manifest has %d bytes, at most %d are allowed", len(doc), MaxManifest)
	}
	if err := decode(doc, &m, true); err != nil {
		return Manifest{}, fmt.Errorf("reading the manifest: %w", err)
	}
	var tree any
	if err := decode(doc, &tree, false); err != nil {
		return Manifest{}, fmt.Errorf("reading the manifest: %w", err)
	}
	if err := exactNames(tree, reflect.TypeFor[Manifest]()); err != nil {
		return Manifest{}, fmt.Errorf("reading the manifest: %w", err)
	}
	if err := m.Validate(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// exactNames refuses a member whose name differs in case from the field that
// encoding/json would put it into, and null, which it would pass over. A schema
// is a document of its own, with names and nulls of its own.
func exactNames(tree any, t reflect.Type) error {
	if tree == nil {
		return errors.New("null is not a value of any field")
	}
	if t == reflect.TypeFor[json.RawMessage]() {
		return nil
	}
	switch v := tree.(type) {
	case []any:
		for _, e := range v {
			if err := exactNames(e, t.Elem()); err != nil {
				return err
			}
		}
	case map[string]any:
		fields := make(map[string]reflect.Type)
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields[name] = f.Type
		}
		for name, e := range v {
			field, ok := fields[name]
			if !ok {
				return fmt.Errorf("there is no field %q", name)
			}
			if err := exactNames(e, field); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// MaxIndexValue is the longest value that is indexed, in bytes; a longer one
// is cut on a character's boundary.
const MaxIndexValue = 1024

// IndexFields returns the values of a JSON record's indexed fields, by field:
// texts as they are, numbers and booleans as JSON writes them. A field that
// the record doesn't have, null, an array or an object has no value.
func IndexFields(rec RecordSpec, content []byte) map[string]string {
	fields := make(map[string]string)
	if len(rec.Index) == 0 || !rec.JSON() {
		return fields
	}
	d := json.NewDecoder(bytes.NewReader(content))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return fields
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fields
	}
	for _, ix := range rec.Index {
		path := ix.Path
		if path == "" {
			path = ix.Field
		}
		if text, ok := scalar(lookUp(doc, path)); ok {
			fields[ix.Field] = cut(text, MaxIndexValue)
		}
	}
	return fields
}

// lookUp follows a JSON pointer (RFC 6901, without the first slash) through
// objects.
func lookUp(doc any, path string) any {
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	for step := range strings.SplitSeq(path, "/") {
		object, ok := doc.(map[string]any)
		if !ok {
			return nil
		}
		doc = object[unescape.Replace(step)]
	}
	return doc
}

func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
