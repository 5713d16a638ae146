package schema

import (
	"strings"

	"pgregory.net/rapid"
)

// Random documents and schemas, small enough to meet.
var (
	someNumber  = rapid.SampledFrom([]string{"0", "1", "-1", "2", "3", "1.5", "0.1", "0.3", "1e-7", "2.5e-3", "-0.75", "100", "9007199254740992"})
	someName    = rapid.SampledFrom([]string{`"a"`, `"b"`, `"ab"`, `""`, `"é"`, `"\n\""`, `"😀"`})
	somePattern = rapid.SampledFrom([]string{`"a"`, `"^a$"`, `"^(?:a|b){2}$"`, `"[^a]"`, `"^$"`, `"\\n"`, `"é|😀"`})
	someType    = rapid.SampledFrom([]string{`"null"`, `"boolean"`, `"object"`, `"array"`, `"number"`, `"integer"`, `"string"`})
	someCount   = rapid.SampledFrom([]string{"0", "1", "2", "3"})
)

func someDocument(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		switch n := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case n < 2 || depth == 0 && n > 5:
			return someNumber.Draw(t, "number")
		case n < 4:
			return someName.Draw(t, "text")
		case n < 6:
			return rapid.SampledFrom([]string{"null", "true", "false"}).Draw(t, "word")
		case n < 8:
			return "[" + strings.Join(rapid.SliceOfN(someDocument(depth-1), 0, 4).Draw(t, "items"), ",") + "]"
		}
		return object(rapid.MapOfN(someName, someDocument(depth-1), 0, 4).Draw(t, "members"))
	})
}

func object(members map[string]string) string {
	var list []string
	for name, value := range members {
		list = append(list, name+":"+value)
	}
	return "{" + strings.Join(list, ",") + "}"
}

func quoted(keywords string) []string {
	list := strings.Fields(keywords)
	for i := range list {
		list[i] = `"` + list[i] + `"`
	}
	return list
}

func someSchema(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		if depth == 0 || rapid.IntRange(0, 9).Draw(t, "boolean") == 0 {
			return rapid.SampledFrom([]string{"true", "false", "{}", `{"$ref":"#/$defs/a"}`, `{"$ref":"#"}`}).Draw(t, "leaf")
		}
		members := map[string]string{}
		for range rapid.IntRange(1, 4).Draw(t, "keywords") {
			name := rapid.SampledFrom(quoted(keywords)).Draw(t, "keyword")
			members[name] = argument(t, name, depth)
		}
		return object(members)
	})
}

const keywords = `type const enum minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern
	prefixItems items contains minContains maxContains minItems maxItems uniqueItems properties patternProperties additionalProperties
	propertyNames required dependentRequired dependentSchemas minProperties maxProperties allOf anyOf oneOf not if then else $ref`

// argument is what a keyword may have.
func argument(t *rapid.T, keyword string, depth int) string {
	inner := someSchema(depth - 1)
	list := func(g *rapid.Generator[string], least int) string {
		return "[" + strings.Join(rapid.SliceOfNDistinct(g, least, 3, rapid.ID[string]).Draw(t, "list"), ",") + "]"
	}
	switch keyword {
	case `"type"`:
		return list(someType, 1)
	case `"const"`:
		return someDocument(2).Draw(t, "value")
	case `"enum"`:
		return list(someDocument(1), 1)
	case `"minimum"`, `"maximum"`, `"exclusiveMinimum"`, `"exclusiveMaximum"`:
		return someNumber.Draw(t, "number")
	case `"multipleOf"`:
		return strings.TrimPrefix(someNumber.Filter(func(s string) bool { return s != "0" }).Draw(t, "number"), "-")
	case `"pattern"`:
		return somePattern.Draw(t, "pattern")
	case `"uniqueItems"`:
		return "true"
	case `"required"`:
		return list(someName, 0)
	case `"properties"`, `"dependentSchemas"`:
		return object(rapid.MapOfN(someName, inner, 0, 3).Draw(t, "schemas"))
	case `"patternProperties"`:
		return object(rapid.MapOfN(somePattern, inner, 0, 2).Draw(t, "schemas"))
	case `"dependentRequired"`:
		return object(map[string]string{someName.Draw(t, "name"): list(someName, 0)})
	case `"prefixItems"`, `"allOf"`, `"anyOf"`, `"oneOf"`:
		return "[" + strings.Join(rapid.SliceOfN(inner, 1, 3).Draw(t, "schemas"), ",") + "]"
	case `"$ref"`:
		return `"#/$defs/a"`
	case `"items"`, `"contains"`, `"additionalProperties"`, `"propertyNames"`, `"not"`, `"if"`, `"then"`, `"else"`:
		return inner.Draw(t, "schema")
	}
	return someCount.Draw(t, "count")
}
