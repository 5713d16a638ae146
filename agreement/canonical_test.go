package agreement_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

func TestCanonicalForms(t *testing.T) {
	for in, want := range map[string]string{
		` { "b" : 1 , "a" : [ true , false , null ] } `: `{"a":[true,false,null],"b":1}`,
		`{}`: `{}`, `[]`: `[]`, `""`: `""`, ` 0 `: `0`, `-0`: `0`, `-12`: `-12`,
		`9007199254740992`:                             `9007199254740992`,
		`-9007199254740992`:                            `-9007199254740992`,
		`"\u0041\/\u00e9\u20AC\ud83d\ude00"`:           `"A/é€😀"`,
		`"\u0008\u0009\u000a\u000c\u000d\u0022\u005c"`: `"\b\t\n\f\r\"\\"`,
		`"\u0000\u001F\u007f"`:                         `"\u0000\u001f` + "\x7f" + `"`,
		`{"a":{"d":1,"c":2},"A":3,"":4}`:               `{"":4,"A":3,"a":{"c":2,"d":1}}`,
		`{"aa":1,"a":2,"a\"":3,"a!":4,"a\u0000":5}`:    `{"a":2,"a\u0000":5,"a!":4,"a\"":3,"aa":1}`,
		`[[[{"z":[{"y":0,"x":[]}],"a":""}]]]`:          `[[[{"a":"","z":[{"x":[],"y":0}]}]]]`,
		`{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}`: "{\"\\r\":2,\"1\":4,\"\u0080\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\ufb33\":3}", // RFC 8785, section 3.2.3
	} {
		got, err := agreement.Canonical([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("Canonical(%s) = %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	deep := strings.Repeat("[", agreement.MaxCanonicalDepth)
	if _, err := agreement.Canonical([]byte(deep + strings.Repeat("]", len(deep)))); err != nil {
		t.Errorf("the deepest document: %v", err)
	}
	for in, why := range map[string]string{
		``: "ends too early", `  `: "ends too early", `[1`: "comma", `{"a"`: "colon", `"a`: "doesn't end", `"\`: "doesn't end",
		`01`: "needless", `-01`: "needless", `-`: "digit", `+1`: "value", `.5`: "value",
		`9007199254740993`: "2^53", `-99999999999999999999999`: "2^53", `123456789012345678901234567890`: "2^53",
		`{"a":1,"a":2}`: "twice", `{"a":1,"b":0,"\u0061":2}`: "twice", `[{"z":1,"z":1}]`: "twice",
		`"\ud800"`: "surrogate", `"\udc00"`: "surrogate", `"\ud800\u0041"`: "surrogate", `"\ud800\ud800"`: "surrogate", `"\ud83d`: "surrogate",
		"\"\xff\"": "UTF-8", "\"\xed\xa0\x80\"": "UTF-8", "\"\xc0\x80\"": "UTF-8", "\"\n\"": "control", `"\x41"`: "escape", `"\u12g4"`: "hexadecimal",
		`[1,]`: "value", `{"a":1,}`: "name", `{1:2}`: "name", `[1 2]`: "comma", `1 2`: "more text", `nul`: "value", `tru`: "value", `falsy`: "value", `'a'`: "value",
		"\ufeff1": "value", `{"a":NaN}`: "value", "[" + deep: "too deep",
	} {
		_, err := agreement.Canonical([]byte(in))
		if agreement.CodeOf(err) != agreement.CodeBadJSON || !strings.Contains(err.Error(), why) {
			t.Errorf("Canonical(%.40q) = %v; want BAD_JSON with %q", in, err, why)
		}
	}
}

// Whatever the order of members, white space and escapes, the form is one,
// and it means the same.
func TestCanonicalIsOneForm(t *testing.T) {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("ab\"\\\x00\n€\ufb33😀\u007f")), 0, 4, -1)
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		kinds := []*rapid.Generator[any]{
			rapid.Map(text, func(s string) any { return s }),
			rapid.Map(rapid.Int64Range(-1<<53, 1<<53), func(n int64) any { return json.Number(jsonText(n)) }),
			rapid.Map(keptNumber, func(s string) any { return json.RawMessage(s) }),
			rapid.Map(rapid.Bool(), func(b bool) any { return b }),
			rapid.Just[any](nil),
		}
		if depth > 0 {
			inner := value(depth - 1)
			kinds = append(kinds,
				rapid.Map(rapid.SliceOfN(inner, 0, 4), func(l []any) any { return l }),
				rapid.Map(rapid.MapOfN(text, inner, 0, 5), func(m map[string]any) any { return m }))
		}
		return rapid.OneOf(kinds...)
	}
	rapid.Check(t, func(t *rapid.T) {
		v := value(3).Draw(t, "value")
		plain := []byte(jsonText(v))
		var spaced bytes.Buffer
		if err := json.Indent(&spaced, plain, " ", "\t"); err != nil {
			t.Fatal(err)
		}
		a, err := agreement.Canonical(plain)
		if err != nil {
			t.Fatalf("%s: %v", plain, err)
		}
		b, err := agreement.Canonical(spaced.Bytes())
		if err != nil || !bytes.Equal(a, b) {
			t.Fatalf("%s and %s, %v", a, b, err)
		}
		checkForm(t, plain, a)
	})
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{`{"b":[1,-2,"\ud83d\ude00"],"a":{}}`, `{"\u0000":null,"":true}`, `1e5`, `[[[]]]`, "\"\xff\"", `[0.1,-1.50e-7,0e9,-0.0]`, `9007199254740992.5`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := agreement.Canonical(doc)
		if err != nil {
			if agreement.CodeOf(err) != agreement.CodeBadJSON {
				t.Fatal(err)
			}
			return
		}
		if !json.Valid(doc) {
			t.Fatalf("%q isn't JSON", doc)
		}
		checkForm(t, doc, got)
	})
}

type fataler interface {
	Fatalf(format string, args ...any)
}

func checkForm(t fataler, doc, got []byte) {
	again, err := agreement.Canonical(got)
	if err != nil || !bytes.Equal(again, got) {
		t.Fatalf("the form %q of %q has another form %q, %v", got, doc, again, err)
	}
	if len(got) > agreement.MaxCanonicalGrowth*len(doc) {
		t.Fatalf("the form of %q is too long", doc)
	}
	if a, b := meaning(doc), meaning(got); !reflect.DeepEqual(a, b) {
		t.Fatalf("%q means %v, its form %q means %v", doc, a, got, b)
	}
}

// meaning is what a document says, with exact numbers.
func meaning(doc []byte) any {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err
	}
	return exact(v)
}

func exact(v any) any {
	switch v := v.(type) {
	case json.Number:
		return exactNumber(string(v))
	case []any:
		for i := range v {
			v[i] = exact(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = exact(v[k])
		}
	}
	return v
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func BenchmarkCanonical(b *testing.B) {
	doc := []byte("[" + strings.Repeat(`{"name":"Ada Lovelace","loan_id":"L-1","principal":25000000,"history":[{"b":1,"a":2}]},`, 1000) + "0]")
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, err := agreement.Canonical(doc); err != nil {
			b.Fatal(err)
		}
	}
}
