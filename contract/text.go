package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

func unique[T any](what string, list []T, key func(T) string) error {
	seen := make(map[string]bool, len(list))
	for _, e := range list {
		if seen[key(e)] {
			return fmt.Errorf("%s: %q is there twice", what, key(e))
		}
		seen[key(e)] = true
	}
	return nil
}

func text(what, s string, least, most int) error {
	if len(s) < least || len(s) > most {
		return fmt.Errorf("%s has %d bytes; between %d and %d are allowed", what, len(s), least, most)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.TrimSpace(s) != s {
		return fmt.Errorf("%s has characters that can't be printed, or spaces around it", what)
	}
	return nil
}

// identifier checks a name that programs use: a letter, then letters, digits,
// "_", "-" and ".".
func identifier(what, s string) error {
	if s == "" || len(s) > MaxIdentifier {
		return fmt.Errorf("%s has %d bytes; between 1 and %d are allowed", what, len(s), MaxIdentifier)
	}
	for i, b := range []byte(s) {
		letter := 'a' <= b|0x20 && b|0x20 <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789_-.", rune(b))) {
			return fmt.Errorf("%s %q: want a letter, then letters, digits, dots, _ and -", what, s)
		}
	}
	return nil
}

func typeName(s string) error {
	if strings.ContainsRune(s, ' ') {
		return fmt.Errorf("type %q has a space in it", s)
	}
	return text("type", s, 1, MaxName)
}

// mediaType takes type/subtype in small letters, without parameters.
func mediaType(s string) error {
	if s == "" {
		return nil
	}
	major, minor, ok := strings.Cut(s, "/")
	const chars = "abcdefghijklmnopqrstuvwxyz0123456789.+-_"
	if !ok || len(s) > MaxMediaType || major == "" || minor == "" || strings.Trim(major, chars)+strings.Trim(minor, chars) != "" {
		return fmt.Errorf("media_type %q: want a form such as application/pdf", s)
	}
	return nil
}

// uuid takes the 36-character form in small letters, so that a specification
// has one spelling.
func uuid(s string) error {
	ok := len(s) == 36
	for i := 0; ok && i < len(s); i++ {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			ok = s[i] == '-'
		} else {
			ok = strings.IndexByte("0123456789abcdef", s[i]) >= 0
		}
	}
	if !ok {
		return fmt.Errorf("id %q is not a UUID in small letters", s)
	}
	return nil
}

// schema takes a JSON object of at most MaxSchema bytes, for a value that is
// JSON. What the schema says is the host's to read.
func schema(doc json.RawMessage, isJSON bool) error {
	switch {
	case len(doc) == 0:
		return nil
	case !isJSON:
		return fmt.Errorf("schema: only a value of media type %s can have one", MediaJSON)
	case len(doc) > MaxSchema:
		return fmt.Errorf("schema has %d bytes; at most %d are allowed", len(doc), MaxSchema)
	case !bytes.HasPrefix(bytes.TrimLeft(doc, " \t\r\n"), []byte("{")) || !json.Valid(doc):
		return errors.New("schema: want a JSON object, such as {\"type\":\"object\"}")
	}
	return nil
}
