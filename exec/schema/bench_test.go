package schema

import (
	"strings"
	"testing"
)

const loanSchema = `{"type":"array","items":{"$ref":"#/$defs/loan"},"$defs":{
	"loan":{"type":"object","required":["id","name","principal","rate"],"additionalProperties":false,"properties":{
		"id":{"type":"string","format":"uuid"},"name":{"type":"string","minLength":1,"maxLength":100},
		"principal":{"$ref":"#/$defs/amount"},"rate":{"type":"string","pattern":"^[0-9]{1,3}(\\.[0-9]{1,6})?$"},
		"state":{"enum":["open","paid","late"]},"history":{"type":"array","items":{"$ref":"#/$defs/payment"}}}},
	"payment":{"type":"object","required":["at","amount"],"properties":{"at":{"type":"string","format":"date"},"amount":{"$ref":"#/$defs/amount"}}},
	"amount":{"type":"integer","minimum":0,"maximum":100000000000}}}`

const loan = `{"history":[{"amount":150000,"at":"2026-01-31"},{"amount":150000,"at":"2026-02-28"}],"id":"0d7f53a4-0f6c-4d24-8e0b-1f1c1f8f3c11","name":"Ada Lovelace","principal":25000000,"rate":"4.125","state":"open"}`

// list is a canonical array of about so many bytes.
func list(item string, size int) []byte {
	return []byte("[" + strings.TrimSuffix(strings.Repeat(item+",", size/(len(item)+1)), ",") + "]")
}

func BenchmarkCheck(b *testing.B) {
	for name, c := range map[string]struct{ schema, item string }{
		"loans": {loanSchema, loan}, "anything": {`true`, loan}, "numbers": {`{"items":{"minimum":0}}`, "12.5"}, "integers": {`{"items":{"type":"integer"}}`, "1234567"},
		"texts": {`{"items":{"minLength":3}}`, `"a name of a person"`}, "patterns": {`{"items":{"pattern":"^[a-z ]{1,30}$"}}`, `"a name of a person"`},
	} {
		b.Run(name, func(b *testing.B) {
			s, err := Compile([]byte(c.schema))
			if err != nil {
				b.Fatal(err)
			}
			doc := list(c.item, 1<<20)
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Check(doc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
