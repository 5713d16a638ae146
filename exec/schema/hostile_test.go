package schema

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// times joins copies of a text with commas.
func times(n int, text string) string { return strings.TrimSuffix(strings.Repeat(text+",", n), ",") }

// chain is $defs in which every one refers so often to the one before.
func chain(length, often int) string {
	var s strings.Builder
	s.WriteString(`"$defs":{"x0":{"type":"array"}`)
	for i := 1; i <= length; i++ {
		fmt.Fprintf(&s, `,"x%d":{"allOf":[%s]}`, i, times(often, fmt.Sprintf(`{"$ref":"#/$defs/x%d"}`, i-1)))
	}
	return s.String() + "}"
}

func TestHostileSchemasAreRefused(t *testing.T) {
	t.Parallel()
	deep := func(open, closing string, n int) string {
		return strings.Repeat(open, n) + "true" + strings.Repeat(closing, n)
	}
	var names strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&names, `"p%d":{},`, i)
	}
	for what, c := range map[string]struct{ schema, want string }{
		"a billion laughs":         {`{"$ref":"#/$defs/x30",` + chain(30, 2) + `}`, "apply to one value"},
		"wide laughs":              {`{"$ref":"#/$defs/x4",` + chain(4, 100) + `}`, "apply to one value"},
		"a long chain":             {`{"$ref":"#/$defs/x100",` + chain(100, 1) + `}`, "apply to one value"},
		"a chain that isn't used":  {`{` + chain(1000, 1) + `}`, "apply to one value"},
		"deep nesting":             {deep(`{"items":`, `}`, 200), "nested too deep"},
		"deep nesting in place":    {deep(`{"not":`, `}`, 100), "apply to one value"},
		"many schemas":             {`{"allOf":[` + times(20_000, "true") + `]}`, "more than 10000 schemas"},
		"many properties":          {`{"properties":{` + strings.TrimSuffix(names.String(), ",") + `}}`, "more than 10000 schemas"},
		"a large schema":           {`{"enum":[` + times(140_000, "1") + `]}`, "at most 262144"},
		"a pattern of bombs":       {`{"pattern":"((((((a{9}){9}){9}){9}){9}){9})"}`, "unfolds to"},
		"many patterns":            {`{"allOf":[` + times(30, `{"pattern":"a{900}"}`) + `]}`, "10000 in all"},
		"a number of many digits":  {`{"minimum":0.` + strings.Repeat("1", 200_000) + `}`, "more digits"},
		"a very small divisor":     {`{"multipleOf":1e-400}`, "close to 0"},
		"a ring through dependent": {`{"dependentSchemas":{"a":{"anyOf":[{"if":{"$ref":"#"}}]}}}`, "leads back"},
	} {
		begin := time.Now()
		_, err := Compile([]byte(c.schema))
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
			t.Errorf("%s: %v; want %q", what, err, c.want)
		}
		if d := time.Since(begin); d > 5*time.Second { // takes up to 10 ms
			t.Errorf("%s took %v", what, d)
		}
	}
}

// Schemas at their limits are compiled, and every check ends as soon as it has
// cost too much. What it may cost is a hundredth of MaxWork here.
func TestHostileChecksEnd(t *testing.T) {
	t.Parallel()
	many := func(schema string) string { return `{"items":{"allOf":[` + times(4500, schema) + `]}}` }
	var names []string
	for i := range 9000 {
		names = append(names, fmt.Sprintf(`"n%d"`, i))
	}
	all := "[" + strings.Join(names, ",") + "]"
	for what, c := range map[string]struct {
		schema string
		doc    []byte
	}{
		"many types":          {many(`{"type":"integer"}`), list("0", 1<<20)},
		"many divisions":      {many(`{"multipleOf":3e-320}`), list("0.3", 1<<20)},
		"many lengths":        {many(`{"minLength":1}`), list(`"é"`, 1<<20)},
		"many dates":          {many(`{"format":"date"}`), list(`"2026-01-31"`, 1<<20)},
		"many unique":         {many(`{"uniqueItems":true}`), list(`[1,2]`, 1<<20)},
		"many refusals":       {`{"items":{"anyOf":[` + times(9000, "false") + `,true]}}`, list("0", 1<<20)},
		"many required":       {`{"items":{"not":{"required":` + all + `}}}`, list(`{}`, 1<<20)},
		"many dependencies":   {`{"items":{"dependentRequired":{"a":` + all + `}}}`, list(`{}`, 1<<20)},
		"a search":            {`{"contains":{"not":{"anyOf":[` + times(9000, "false") + `]}},"minContains":9007199254740991}`, list("0", 1<<20)},
		"a slow pattern":      {`{"pattern":"(?:a?){400}b"}`, []byte(`"` + strings.Repeat("a", 1<<20) + `"`)},
		"slow short patterns": {`{"items":{"not":{"pattern":"(?:[^y]?){400}y"}}}`, list(`"aaaaaaaa"`, 1<<20)},
		"patterns of names":   {`{"items":{"patternProperties":{"(?:a?){400}b":true,"(?:a?){401}b":true}}}`, list(`{"":0}`, 1<<20)},
		"names":               {`{"items":{"propertyNames":{"allOf":[` + times(4500, `{"minLength":1}`) + `]}}}`, list(`{"a":0}`, 1<<20)},
		"laughs":              {`{"items":{"$ref":"#/$defs/x9"},` + chain(9, 2) + `}`, list("[]", 1<<20)},
		"depth":               {`{"items":{"allOf":[{"$ref":"#"},{"$ref":"#"}]}}`, []byte(strings.Repeat("[", 128) + strings.Repeat("]", 128))},
		"depth and width":     {`{"uniqueItems":true,"items":{"$ref":"#"}}`, list(strings.Repeat("[", 120)+strings.Repeat("]", 120), 1<<20)},
	} {
		s, err := Compile([]byte(c.schema))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		begin := time.Now()
		if left, err := s.check(c.doc, MaxWork/100); !errors.Is(err, ErrTooCostly) {
			t.Errorf("%s: %v, with %d left", what, err, left)
		}
		if d := time.Since(begin); d > 5*time.Second { // takes up to 40 ms
			t.Errorf("%s took %v", what, d)
		}
	}
}

// A million different elements are found to be different in little memory, and
// large lists of allowed values cost no more than small ones.
func TestLargeSets(t *testing.T) {
	var s strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&s, "%d,", i)
	}
	doc := []byte("[" + s.String() + "-1]")
	unique := compile(t, `{"uniqueItems":true}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := unique.Check(doc); err != nil {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 3*uint64(len(doc)) {
		t.Errorf("%d bytes of memory for a document of %d", used, len(doc))
	}
	var v *Violation
	if err := unique.Check([]byte("[" + s.String() + "999999]")); !errors.As(err, &v) {
		t.Error(err)
	}
	enum := compile(t, `{"items":{"enum":[`+s.String()[:200_000]+`"last"]}}`)
	if left, err := enum.check(list(`"last"`, 1<<20), MaxWork); err != nil || MaxWork-left > 3<<20 {
		t.Errorf("%v, %d work", err, MaxWork-left)
	}
}

// The count of work decides results. If this test fails, nodes of two versions
// may disagree: the count may only change with the ABI.
func TestWorkIsCountedAsEver(t *testing.T) {
	for in, want := range map[[2]string]int64{
		{`true`, `[1,2,3]`}:                                                            8,
		{`{"items":true}`, `[1,2,3]`}:                                                  8 + 3*2,
		{`{"items":{"type":"string"}}`, `[1,2,3]`}:                                     8 + 2,
		{`{"prefixItems":[{"multipleOf":2}]}`, `[12]`}:                                 5 + 53,
		{`{"required":["a","b"],"dependentRequired":{"a":["b"]}}`, `{"a":1,"b":2}`}:    1 + 13 + 2 + 1 + 2,
		{`{"properties":{"a":true},"propertyNames":true}`, `{"a":1}`}:                  8 + 2 + 4,
		{`{"pattern":"^a{3}b?$"}`, `"aaa"`}:                                            6 + 2*4*7,
		{`{"uniqueItems":true}`, `[1,2]`}:                                              6 + 8*5,
		{`{"anyOf":[true,false,true]}`, `1`}:                                           2 + 2,
		{`{"oneOf":[false,true,true,true]}`, `1`}:                                      2 + 3*2,
		{`{"contains":{"const":2}}`, `[1,2,3]`}:                                        8 + 2*2,
		{`{"if":false,"then":true,"else":{"$ref":"#/$defs/a"},"$defs":{"a":{}}}`, `1`}: 4 * 2,
		{`{"dependentSchemas":{"a":{"not":{"type":"null"}}}}`, `{"a":1}`}:              9 + 8 + 8,
	} {
		left, err := compile(t, in[0]).check(canonical(t, in[1]), MaxWork)
		if got := MaxWork - left; got != want {
			t.Errorf("%s on %s: %d, %v; want %d", in[0], in[1], got, err, want)
		}
	}
}

func TestChecksAtOnce(t *testing.T) {
	t.Parallel()
	s, doc := compile(t, loanSchema), list(loan, 10_000)
	bad := []byte(strings.Replace(string(doc), "25000000", "-5000000", 1))
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			var v *Violation
			if err := s.Check(doc); err != nil {
				t.Error(err)
			}
			if err := s.Check(bad); !errors.As(err, &v) || v.Place != "/0/principal" {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

// Whatever schema and document are, nothing panics, nothing takes more than
// it may, and the answer is the same twice.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(loanSchema), []byte("["+loan+"]"))
	f.Add([]byte(`{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"items":{"$ref":"#"},"uniqueItems":true}}}`), []byte(`[[],[[]],{"a":"\u0000"}]`))
	f.Add([]byte(`{"patternProperties":{"^a":{"multipleOf":0.1}},"propertyNames":{"maxLength":2},"dependentRequired":{"a":["b"]}}`), []byte(`{"a":1e-7,"\"":[`))
	f.Fuzz(func(t *testing.T, schema, doc []byte) {
		s, err := Compile(schema)
		if err != nil {
			return
		}
		const work = 100_000
		check := func(doc []byte) string {
			left, err := s.check(doc, work)
			var v *Violation
			if left < 0 || left > work || err != nil && !errors.As(err, &v) && !errors.Is(err, ErrTooCostly) {
				t.Errorf("%v, %d left", err, left)
			}
			return fmt.Sprint(left, err)
		}
		check(doc) // which needn't even be JSON
		form, err := agreement.Canonical(doc)
		if err != nil {
			return
		}
		if a, b := check(form), check(form); a != b {
			t.Errorf("%s, then %s", a, b)
		}
	})
}
