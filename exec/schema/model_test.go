package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

// The model of a check: the words of the draft in the shortest code, on decoded
// values with exact numbers, without any bound.
type model map[string]any // the root

func decode(doc []byte) any {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		panic(err)
	}
	return ratOf(v)
}

// ratOf replaces numbers by their exact values.
func ratOf(v any) any {
	switch v := v.(type) {
	case json.Number:
		r, _ := new(big.Rat).SetString(string(v))
		return r.RatString()
	case []any:
		for i := range v {
			v[i] = ratOf(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = ratOf(v[k])
		}
	case string:
		return text(v)
	}
	return v
}

// text is a string of a document; a plain string is a number.
type text string

func rat(v any) *big.Rat {
	r, _ := new(big.Rat).SetString(v.(string))
	return r
}

func whole(v any, otherwise int) int {
	if v == nil {
		return otherwise
	}
	return int(rat(v).Num().Int64())
}

func (root model) holds(schema, v any) bool {
	s, ok := schema.(map[string]any)
	if !ok {
		return schema.(bool)
	}
	each := func(keyword string, f func(m any) bool) (n, of int) {
		list, _ := s[keyword].([]any)
		for _, m := range list {
			if f(m) {
				n++
			}
		}
		return n, len(list)
	}
	apply := func(m any) bool { return root.holds(m, v) }
	if to, ok := s["$ref"].(text); ok && to == "#" && !apply(map[string]any(root)) || ok && to != "#" && !apply(root["$defs"].(map[string]any)[string(to[8:])]) {
		return false
	}
	if n, of := each("allOf", apply); n != of {
		return false
	}
	if n, of := each("anyOf", apply); n == 0 && of > 0 {
		return false
	}
	if n, of := each("oneOf", apply); n != 1 && of > 0 {
		return false
	}
	if m, ok := s["not"]; ok && apply(m) {
		return false
	}
	if condition, ok := s["if"]; ok {
		branch := "else"
		if apply(condition) {
			branch = "then"
		}
		if m, ok := s[branch]; ok && !apply(m) {
			return false
		}
	}
	if n, of := each("enum", func(m any) bool { return reflect.DeepEqual(m, v) }); n == 0 && of > 0 {
		return false
	}
	if c, ok := s["const"]; ok && !reflect.DeepEqual(c, v) {
		return false
	}
	if t, ok := s["type"]; ok && !typed(t, v) {
		return false
	}
	switch v := v.(type) {
	case string:
		return numberHolds(s, rat(v))
	case text:
		return textHolds(s, string(v))
	case []any:
		return root.arrayHolds(s, v)
	case map[string]any:
		return root.objectHolds(s, v)
	}
	return true
}

func typed(t, v any) bool {
	if list, ok := t.([]any); ok {
		for _, t := range list {
			if typed(t, v) {
				return true
			}
		}
		return false
	}
	switch v := v.(type) {
	case nil:
		return t == text("null")
	case bool:
		return t == text("boolean")
	case string:
		return t == text("number") || t == text("integer") && rat(v).IsInt()
	case text:
		return t == text("string")
	case []any:
		return t == text("array")
	}
	return t == text("object")
}

func numberHolds(s map[string]any, v *big.Rat) bool {
	for keyword, sign := range map[string]int{"minimum": 1, "maximum": -1} {
		if limit, ok := s[keyword]; ok && v.Cmp(rat(limit)) == -sign {
			return false
		}
	}
	for keyword, sign := range map[string]int{"exclusiveMinimum": 1, "exclusiveMaximum": -1} {
		if limit, ok := s[keyword]; ok && v.Cmp(rat(limit)) != sign {
			return false
		}
	}
	m, ok := s["multipleOf"]
	return !ok || new(big.Rat).Quo(v, rat(m)).IsInt()
}

func textHolds(s map[string]any, v string) bool {
	n := utf8.RuneCountInString(v)
	p, ok := s["pattern"].(text)
	return n >= whole(s["minLength"], 0) && n <= whole(s["maxLength"], 1<<30) && (!ok || regexp.MustCompile(string(p)).MatchString(v))
}

func (root model) arrayHolds(s map[string]any, v []any) bool {
	prefix, _ := s["prefixItems"].([]any)
	found := 0
	for i, item := range v {
		if i < len(prefix) && !root.holds(prefix[i], item) {
			return false
		}
		if m, ok := s["items"]; ok && i >= len(prefix) && !root.holds(m, item) {
			return false
		}
		if m, ok := s["contains"]; ok && root.holds(m, item) {
			found++
		}
		for _, other := range v[:i] {
			if s["uniqueItems"] == true && reflect.DeepEqual(item, other) {
				return false
			}
		}
	}
	if _, ok := s["contains"]; ok && (found < whole(s["minContains"], 1) || found > whole(s["maxContains"], 1<<30)) {
		return false
	}
	return len(v) >= whole(s["minItems"], 0) && len(v) <= whole(s["maxItems"], 1<<30)
}

func (root model) objectHolds(s, v map[string]any) bool {
	properties, _ := s["properties"].(map[string]any)
	patterns, _ := s["patternProperties"].(map[string]any)
	for name, value := range v {
		if m, ok := s["propertyNames"]; ok && !root.holds(m, text(name)) {
			return false
		}
		m, known := properties[name]
		if known && !root.holds(m, value) {
			return false
		}
		for p, m := range patterns {
			if regexp.MustCompile(p).MatchString(name) {
				if known = true; !root.holds(m, value) {
					return false
				}
			}
		}
		if m, ok := s["additionalProperties"]; ok && !known && !root.holds(m, value) {
			return false
		}
	}
	has := func(list any) bool {
		names, _ := list.([]any)
		for _, name := range names {
			if _, ok := v[string(name.(text))]; !ok {
				return false
			}
		}
		return true
	}
	for _, keyword := range []string{"dependentRequired", "dependentSchemas"} {
		on, _ := s[keyword].(map[string]any)
		for name, m := range on {
			if _, ok := v[name]; !ok {
				continue
			}
			if list, isList := m.([]any); isList && !has(list) || !isList && !root.holds(m, v) {
				return false
			}
		}
	}
	return has(s["required"]) && len(v) >= whole(s["minProperties"], 0) && len(v) <= whole(s["maxProperties"], 1<<30)
}

// Whatever the schema and the document, the answer is the model's.
func TestChecksAsTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		schema := fmt.Sprintf(`{"$defs":{"a":%s},%s`, someSchema(1).Draw(t, "a"), strings.TrimPrefix(someSchema(3).Filter(func(s string) bool { return s[0] == '{' && s != "{}" }).Draw(t, "schema"), "{"))
		s, err := Compile([]byte(schema))
		if err != nil {
			if !strings.Contains(err.Error(), "leads back") {
				t.Fatalf("%s: %v", schema, err)
			}
			return
		}
		root := model(decode([]byte(schema)).(map[string]any))
		for range 5 {
			doc, err := agreement.Canonical([]byte(someDocument(3).Draw(t, "document")))
			if err != nil {
				t.Fatal(err)
			}
			want := root.holds(map[string]any(root), decode(doc))
			var v *Violation
			if err := s.Check(doc); err == nil != want || err != nil && !errors.As(err, &v) {
				t.Fatalf("%s on %s: %v; the model says %v", schema, doc, err, want)
			}
		}
	})
}
