// Package schema owns the JSON Schemas that contracts carry: a subset of draft
// 2020-12 that decides alike on every machine, in bounded time and memory,
// whoever wrote schema and document. It never reads a file or the network,
// never echoes a value of a document, and never ignores a keyword silently.
//
// Checked are: type, enum, const; minimum, maximum, exclusiveMinimum,
// exclusiveMaximum, multipleOf; minLength, maxLength (in code points), pattern,
// format; prefixItems, items, contains, minContains, maxContains, minItems,
// maxItems, uniqueItems; properties, patternProperties, additionalProperties,
// propertyNames, required, dependentRequired, dependentSchemas, minProperties,
// maxProperties; allOf, anyOf, oneOf, not, if, then, else; $ref to "#" and
// "#/$defs/NAME", with $defs in the root. The boolean schemas too.
//
// Annotations are allowed and mean nothing here: title, description, default,
// examples, deprecated, readOnly, writeOnly, $comment, contentEncoding,
// contentMediaType, contentSchema, whatever begins with "x-"; $id and $schema in
// the root, the latter only as draft 2020-12. Any other keyword is refused, so
// a misspelt one can't weaken a contract.
//
// Numbers are compared exactly. The format is one of date, date-time (RFC
// 3339) and uuid, and is checked. A pattern means what ECMA-262 says with the
// flag u, without what can't be matched in linear time or depends on tables that
// change: lookaround, back references, \p, named groups. A schema may refer to
// itself below properties or items, not on the same value. Keywords are
// checked in a fixed order, and what that costs is counted, see MaxWork.
package schema

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/affiliate-node/affiliate/agreement"
)

// The limits of a schema. They decide which contracts are refused, so they are
// part of ABI 1.
const (
	// MaxSize is how many bytes a schema may have; the manifest around it
	// isn't larger.
	MaxSize = 256 << 10
	// MaxSchemas is how many schemas one may consist of.
	MaxSchemas = 10_000
	// MaxUnfolded is how many schemas may apply to one value, through allOf,
	// anyOf, oneOf, not, if, dependentSchemas and $ref, each counted as often
	// as it is referred to.
	MaxUnfolded = 10_000
	// MaxHeight is how deep those may be nested.
	MaxHeight = 64
	// MaxPattern is how many bytes a pattern may have, and how many characters
	// it may unfold to: a{3} and a{2,} count 3, a* and a+ count 2.
	MaxPattern = 1000
	// MaxPatterns is what all patterns may unfold to together.
	MaxPatterns = 10_000
)

// MaxWork is how much work one check may be, counted so:
//
//   - to apply a schema to a value, 1 and the bytes of the value; 1 more for each
//     entry in required and dependentRequired, and for each different name there
//     and in dependentSchemas; 50 more for multipleOf
//   - to match a pattern, twice the bytes of the string and 1, times what the
//     pattern unfolds to
//   - to find the elements of an array unique, 8 times its bytes
//
// What follows from the outcome so far isn't done: anyOf ends with the first
// that holds, oneOf with the second, contains when there are enough, and
// everything else with the first that doesn't hold. The count decides results,
// so it is part of ABI 1. All of it takes a second or two, four at worst.
const MaxWork = 1 << 28

const (
	multipleWork = 50
	patternWork  = 2
	uniqueWork   = 8
)

// ErrTooCostly means that a check would be more than MaxWork, at every party.
var ErrTooCostly = errors.New("checking the schema takes too much work; make the document or the schema smaller")

// Violation is the rule of a schema that a document breaks. It names no value of
// the document, and no member that the schema doesn't name.
type Violation struct {
	Place string // JSON pointer; * stands for a name that the schema doesn't mention
	Rule  string // keyword, and what it demands
}

// Error names place and rule in one line.
func (v *Violation) Error() string {
	place := "the document"
	if v.Place != "" {
		place = quote(v.Place)
	}
	return place + " breaks the schema: " + v.Rule
}

// Schema is ready to check documents, by any number of goroutines at once.
type Schema struct{ root *node }

// Compile reads a schema. The error names the place in it, and what to do.
func Compile(doc []byte) (*Schema, error) {
	if len(doc) > MaxSize {
		return nil, fmt.Errorf("a schema of %d bytes; at most %d are allowed", len(doc), MaxSize)
	}
	doc, err := agreement.Canonical(doc)
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	c := compiler{doc: doc, always: newNode(), never: newNode(), targets: map[string]*node{}}
	c.never.never = true
	root, err := c.schema(0)
	if err != nil {
		return nil, err
	}
	c.targets["#"] = root
	if err := c.link(); err != nil {
		return nil, err
	}
	return &Schema{root}, nil
}

// Check reports how a document breaks the schema, as a *Violation, or
// ErrTooCostly. The document must be canonical (agreement.Canonical); the answer
// for another one means nothing. Memory beside the document: about twice the
// size of an array that must be unique, once that of a string with escapes that
// has a pattern, otherwise next to none.
func (s *Schema) Check(doc []byte) error {
	_, err := s.check(doc, MaxWork)
	return err
}

// check may be so much work, and returns how much is left.
func (s *Schema) check(doc []byte, work int64) (int64, error) {
	r := run{doc: doc, left: work}
	ok := r.apply(s.root, span{0, r.doc.skip(0)}, 0)
	switch {
	case r.left < 0:
		return 0, ErrTooCostly
	case !ok:
		slices.Reverse(r.place)
		return r.left, &Violation{Place: clip(strings.Join(r.place, ""), 200), Rule: r.rule}
	}
	return r.left, nil
}

func clip(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// quote shows text of a schema so that no terminal is led astray.
func quote(s string) string { return strconv.QuoteToASCII(clip(s, 200)) }
