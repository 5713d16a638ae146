package schema

import (
	"errors"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

func compile(t testing.TB, schema string) *Schema {
	t.Helper()
	s, err := Compile([]byte(schema))
	if err != nil {
		t.Fatalf("%.200s: %v", schema, err)
	}
	return s
}

func canonical(t testing.TB, doc string) []byte {
	t.Helper()
	form, err := agreement.Canonical([]byte(doc))
	if err != nil {
		t.Fatalf("%.200s: %v", doc, err)
	}
	return form
}

// What every keyword accepts, and what it refuses.
func TestKeywords(t *testing.T) {
	for schema, c := range map[string]struct{ good, bad string }{
		`true`:                                 {`0 "" [] {} null false`, ``},
		`false`:                                {``, `0 "" [] {} null false`},
		`{}`:                                   {`0 "" [] {} null false`, ``},
		`{"type":"integer"}`:                   {`0 -1 1.0 1e2 -0 9007199254740992`, `1.5 1e-7 "1" true null [1] {}`},
		`{"type":["number","null"]}`:           {`0 1.5 1e-7 null`, `"" true [] {}`},
		`{"type":"boolean"}`:                   {`true false`, `0 "true" null`},
		`{"type":["object","array","string"]}`: {`{} [] ""`, `0 null true`},
		`{"const":{"b":[1.0],"a":"\u0041"}}`:   {`{"a":"A","b":[1]}`, `{"a":"A","b":[2]} {"a":"A"} null`},
		`{"const":null}`:                       {`null`, `0 false "" [] {}`},
		`{"enum":[1,"1",true,[0],{"a":0}]}`:    {`1.0 "1" true [0] {"a":0e5}`, `0 "" false [1] {"a":1} null 10`},
		`{"minimum":0.1,"maximum":9007199254740991}`:                   {`0.1 0.10000000000000002 9007199254740991 "x"`, `0.09999999999999999 9007199254740992 -1 0`},
		`{"exclusiveMinimum":-1,"exclusiveMaximum":1e-7}`:              {`-0.9999999999999999 0`, `-1 1e-7 2`},
		`{"multipleOf":0.01}`:                                          {`0 19.99 -0.01 1 4503599627370.49 "x"`, `0.001 19.999 1e-300 -0.015`},
		`{"multipleOf":3}`:                                             {`0 9007199254740990 -3 3e10`, `9007199254740991 1 1.5 0.3`},
		`{"multipleOf":2.5e-300}`:                                      {`1 5e-300 0.3 9007199254740992 7.5e-300`, `1e-300 6e-300 2.5e-301`},
		`{"multipleOf":1500}`:                                          {`0 -3000 4.5e5`, `150 15 2000`},
		`{"minLength":2,"maxLength":3}`:                                {`"ab" "é€" "😀😀😀" "\n\u0000\"" "\u0061b" 7 []`, `"a" "😀" "\n" "abcd" "" "\u0000\u0000\u0000\u0000"`},
		`{"maxLength":0}`:                                              {`""`, `"a" "\n"`},
		`{"pattern":"^a\"?\\n$"}`:                                      {`"a\n" "a\"\n" null`, `"a" "a\n\n" "ba\n" "A\n"`},
		`{"pattern":"b"}`:                                              {`"b" "abc"`, `"" "B"`},
		`{"format":"date"}`:                                            {`"2026-01-31" "2024-02-29" 5`, `"2026-02-29" "2026-1-31" "2026-01-31T" "" "31-01-2026" "２026-01-31" "2026/01/31"`},
		`{"format":"date-time"}`:                                       {`"2026-01-31T23:59:59Z" "2026-01-31t00:00:00.123456z" "2026-01-31T12:00:00+05:30" "1998-12-31T23:59:60Z" "1998-12-31T15:59:60.1-08:00"`, `"2026-01-31" "2026-01-31T24:00:00Z" "2026-01-31T12:60:00Z" "2026-01-31T12:00:61Z" "2026-01-31T12:00:60Z" "2026-01-31T12:00:00" "2026-01-31T12:00:00.Z" "2026-01-31T12:00:00.5" "2026-01-31T12:00:00+5:30" "2026-01-31_12:00:00Z" "2026-02-30T12:00:00Z" "2026-01-31T12:00:00+24:00" "2026-01-31T12.00:00Z" "2026-01-31T12:00:00Zz"`},
		`{"format":"uuid"}`:                                            {`"0d7f53a4-0f6c-4d24-8e0b-1f1c1f8f3c11" "0D7F53A4-0f6c-4d24-8e0b-1f1c1f8f3c11"`, `"0d7f53a40f6c4d248e0b1f1c1f8f3c11" "0d7f53a4-0f6c-4d24-8e0b-1f1c1f8f3c1g" ""`},
		`{"prefixItems":[{"type":"string"},true],"items":false}`:       {`[] ["a"] ["a",1] {}`, `[1] ["a",1,2]`},
		`{"items":{"type":"integer"}}`:                                 {`[] [1,2] "x"`, `["a"] [1,2,1.5] [[1]]`},
		`{"contains":{"type":"null"}}`:                                 {`[null] [1,null,null] 5`, `[] [1] [[null]]`},
		`{"contains":{"type":"null"},"minContains":2,"maxContains":3}`: {`[null,null] [null,1,null,null]`, `[] [null] [null,null,null,null]`},
		`{"contains":{"type":"null"},"minContains":0,"maxContains":1}`: {`[] [1] [null]`, `[null,null]`},
		`{"contains":{"type":"null"},"minContains":0}`:                 {`[] [1] [null,null]`, ``},
		`{"minContains":2}`:                                            {`[]`, ``},
		`{"minItems":1,"maxItems":2}`:                                  {`[1] [[],{}] "abc"`, `[] [1,2,3]`},
		`{"uniqueItems":true}`:                                         {`[] [1] [1,"1",true,null,[1],{"a":1}] [12,1,2,121] [[],{}] {"a":1,"b":1}`, `[1,2,1.0] [{"a":1,"b":2},{"b":2,"a":1}] ["\u0061","a"] [[1],[1]] [0,-0]`},
		`{"uniqueItems":false}`:                                        {`[1,1]`, ``},
		`{"properties":{"a":{"type":"null"},"\"\u0001":false}}`:        {`{} {"a":null} {"b":1} []`, `{"a":1} {"\"\u0001":1}`},
		`{"patternProperties":{"^a":{"type":"null"},"b$":{"const":null}},"additionalProperties":false}`: {`{} {"a":null,"ab":null,"b":null}`, `{"c":null} {"a":1} {"xb":1} {"":null}`},
		`{"properties":{"a":true},"additionalProperties":{"type":"null"}}`:                              {`{"a":1,"b":null}`, `{"b":1}`},
		`{"propertyNames":{"maxLength":1,"pattern":"[^\"]"}}`:                                           {`{"a":1,"b":2,"\n":3}`, `{"ab":1} {"\"":1} {"":1}`},
		`{"required":["a","é\n"]}`:                                               {`{"a":1,"\u00e9\n":null,"z":0} []`, `{} {"a":1} {"A":1,"é\n":1}`},
		`{"required":[]}`:                                                        {`{}`, ``},
		`{"dependentRequired":{"a":["b","c"],"d":[]}}`:                           {`{} {"b":1} {"a":1,"b":1,"c":1} {"d":1}`, `{"a":1} {"a":1,"b":1}`},
		`{"dependentSchemas":{"a":{"maxProperties":1},"b":false}}`:               {`{} {"a":1} {"c":1,"d":1}`, `{"a":1,"c":1} {"b":1}`},
		`{"minProperties":1,"maxProperties":2}`:                                  {`{"a":1} {"a":1,"b":1}`, `{} {"a":1,"b":1,"c":1}`},
		`{"allOf":[{"minimum":1},{"maximum":2}]}`:                                {`1 2`, `0 3`},
		`{"anyOf":[{"maximum":1},{"minimum":2}]}`:                                {`1 2 "x"`, `1.5`},
		`{"oneOf":[{"maximum":2},{"minimum":1}]}`:                                {`0 3`, `1 2 "x"`},
		`{"not":{"type":"null"}}`:                                                {`1`, `null`},
		`{"not":{"not":{"type":"null"}}}`:                                        {`null`, `1`},
		`{"if":{"type":"string"},"then":{"minLength":1},"else":{"type":"null"}}`: {`"a" null`, `"" 1`},
		`{"if":{"type":"string"},"else":false}`:                                  {`"a"`, `1`},
		`{"then":false,"else":false}`:                                            {`1`, ``},
		`{"$ref":"#/$defs/a~1b%25","minimum":1,"$defs":{"a/b%":{"maximum":2}}}`:  {`1 2`, `0 3`},
		`{"type":["array","null"],"items":{"$ref":"#"},"maxItems":2}`:            {`null [] [null,[[null]]]`, `1 [1] [[[1]]] [[[],[],[]]]`},
		`{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"https://example.com/loan","title":"x","default":1,"x-note":{"a":[]},"examples":[],"contentEncoding":"base64"}`: {`1 null`, ``},
	} {
		s := compile(t, schema)
		for _, doc := range strings.Fields(c.good) {
			if err := s.Check(canonical(t, doc)); err != nil {
				t.Errorf("%s refuses %s: %v", schema, doc, err)
			}
		}
		for _, doc := range strings.Fields(c.bad) {
			var v *Violation
			if err := s.Check(canonical(t, doc)); !errors.As(err, &v) || v.Rule == "" {
				t.Errorf("%s accepts %s: %v", schema, doc, err)
			}
		}
	}
}

// A violation says where and what, and nothing of the document: no value, and
// no name that the schema doesn't name.
func TestViolationsAreDiscreet(t *testing.T) {
	for in, want := range map[[2]string]string{
		{`{"properties":{"a/b~":{"items":{"minimum":5}}}}`, `{"a/b~":[7,3]}`}:                                   `"/a~1b~0/1" breaks the schema: minimum 5`,
		{`{"additionalProperties":{"type":["integer","null"]}}`, `{"secret":"secret"}`}:                         `"/*" breaks the schema: type null or integer`,
		{`{"patternProperties":{"s":{"maxLength":3}}}`, `{"secret":"secret"}`}:                                  `"/*" breaks the schema: maxLength 3`,
		{`{"propertyNames":{"pattern":"^x"}}`, `{"secret":1}`}:                                                  `"/*" breaks the schema: pattern "^x"`,
		{`{"required":["a","b"]}`, `{"a":"secret"}`}:                                                            `the document breaks the schema: required "b"`,
		{`{"anyOf":[{"type":"null"},{"properties":{"a":{"minLength":9}}}]}`, `{"a":"secret"}`}:                  `the document breaks the schema: anyOf: none of the schemas holds`,
		{`{"properties":{"\u202e\u001b[2J":false}}`, `{"\u202e\u001b[2J":"secret"}`}:                            `"/\u202e\x1b[2J" breaks the schema: false: nothing is allowed here`,
		{`{"items":{"not":{"const":"secret"}}}`, `["secret"]`}:                                                  `"/0" breaks the schema: not`,
		{`{"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"items":{"enum":[1]}}]}}}`, `[1,"secret"]`}:               `"/1" breaks the schema: enum`,
		{`{"contains":{"properties":{"a":{"const":1}}},"uniqueItems":true}`, `["secret","secret"]`}:             `the document breaks the schema: uniqueItems`,
		{`{"contains":{"const":1}}`, `["secret"]`}:                                                              `the document breaks the schema: contains, at least 1`,
		{`{"dependentRequired":{"a":["b"]}}`, `{"a":1}`}:                                                        `the document breaks the schema: dependentRequired "b"`,
		{`{"properties":{"` + strings.Repeat("n", 300) + `":false}}`, `{"` + strings.Repeat("n", 300) + `":0}`}: `"/` + strings.Repeat("n", 199) + `\u2026" breaks the schema: false: nothing is allowed here`,
	} {
		err := compile(t, in[0]).Check(canonical(t, in[1]))
		if err == nil || err.Error() != want {
			t.Errorf("%.80s: %v; want %s", in[0], err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v gives a secret away", in[0], err)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for schema, want := range map[string]string{
		``: "ends too early", `1`: "a schema is an object, true or false", `{"a":1,"a":2}`: "twice", `{"items":5}`: `"/items": a schema is`,
		`{"minLenght":1}`: `"/minLenght": the keyword isn't known; correct it`, `{"properties":{"a":{"Type":"string"}}}`: `"/properties/a/Type": the keyword`,
		`{"definitions":{}}`: "has $defs", `{"unevaluatedProperties":false}`: "additionalProperties", `{"$anchor":"a"}`: "$ref with", `{"$dynamicRef":"#a"}`: "$ref with",
		`{"additionalItems":false}`: "prefixItems", `{"dependencies":{}}`: "dependentRequired", `{"nullable":true}`: "isn't known", `{"id":"x"}`: "isn't known", `{"$vocabulary":{}}`: "isn't known",
		`{"$ref":"https://example.com/x"}`: `a reference is "#" or`, `{"$ref":"#/properties/a"}`: "a reference is", `{"$ref":"#/$defs/a/items"}`: "a reference is", `{"$ref":"#a"}`: "a reference is",
		`{"$ref":"#/$defs/a"}`: "means nothing", `{"$ref":"#/$defs/%zz"}`: "hexadecimal", `{"$ref":1}`: "a string", `{"$ref":""}`: "a reference is",
		`{"items":{"$defs":{}}}`: "only the root", `{"items":{"$id":"x"}}`: "root only", `{"$id":"x#y"}`: "without a fragment", `{"$schema":"http://json-schema.org/draft-07/schema#"}`: "only https://",
		`{"$ref":"#"}`: "leads back", `{"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#/$defs/b"}]},"b":{"not":{"$ref":"#/$defs/a"}}}}`: "leads back",
		`{"$defs":{"a":{"if":{"$ref":"#/$defs/a"}}}}`: "leads back", `{"dependentSchemas":{"a":{"$ref":"#"}}}`: "leads back",
		`{"type":"int"}`: "one of null", `{"type":[]}`: "isn't empty", `{"type":["null","null"]}`: "without repetition", `{"type":1}`: "one of null", `{"enum":[]}`: "isn't empty", `{"enum":1}`: "a list",
		`{"minimum":"1"}`: "a number", `{"multipleOf":0}`: "greater than 0", `{"multipleOf":-1}`: "greater than 0", `{"multipleOf":"x"}`: "a number", `{"minimum":9007199254740993}`: "2^53",
		`{"minLength":-1}`: "a whole number", `{"minLength":1.5}`: "a whole number", `{"maxItems":"1"}`: "a whole number", `{"uniqueItems":1}`: "true or false",
		`{"pattern":"("}`: "isn't closed", `{"pattern":1}`: "a string", `{"format":"email"}`: "write a pattern", `{"format":7}`: "a string",
		`{"items":[{}]}`: "a schema is", `{"prefixItems":[]}`: "isn't empty", `{"allOf":{}}`: "a list", `{"properties":[]}`: "an object", `{"properties":{"a":null}}`: `"/properties/a": a schema is`,
		`{"required":"a"}`: "a list", `{"required":[1]}`: "different strings", `{"required":["a","\u0061"]}`: "different strings", `{"dependentRequired":{"a":"b"}}`: "a list", `{"patternProperties":{"(":true}}`: "isn't closed",
	} {
		_, err := Compile([]byte(schema))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", schema, err, want)
		}
	}
}
