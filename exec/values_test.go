package exec

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// withSchemas is a contract that gives "text", and whose input must be an
// object with an integer a.
func withSchemas(record string) handmade {
	return handmade{body: outputText(), manifestOf: func(m *contract.Manifest) {
		m.Inputs[0].Schema = json.RawMessage(`{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}}}`)
		m.Functions[0].Record.Schema = json.RawMessage(record)
	}}
}

func TestSchemasAreEnforced(t *testing.T) {
	for _, c := range []struct {
		record, input string
		code          agreement.Code // of the request's error
		fail          string         // the record's
	}{
		{`{"type":"string","maxLength":4}`, `{"a":1}`, "", ""},
		{`{"type":"string","maxLength":3}`, `{"a":1}`, "", CodeSchema},
		{`{"type":"string"}`, `{"a":1.5}`, agreement.CodeSchema, ""},
		{`{"type":"string"}`, `{}`, agreement.CodeSchema, ""},
		{`{"type":"string"}`, ``, "", ""}, // the input is optional
	} {
		e := engine(t, Config{})
		loaded, err := e.Load(t.Context(), withSchemas(c.record).module())
		if err != nil {
			t.Fatal(err)
		}
		r := Run{Time: at}
		if c.input != "" {
			r.Proposed = map[string][]byte{"in": []byte(c.input)}
		}
		out, err := e.Execute(t.Context(), loaded, r)
		if c.code != "" {
			wantCode(t, err, c.code, `the input "in"`)
			continue
		}
		if err != nil || out[0].Code != c.fail {
			t.Errorf("%+v: %+v, %v", c, out, err)
		}
	}
}

func TestBadSchemasAreRefused(t *testing.T) {
	for _, doc := range []string{`{"typ":"string"}`, `{"$ref":"https://elsewhere"}`, `{"pattern":"("}`} {
		_, err := engine(t, Config{}).Load(t.Context(), withSchemas(doc).module())
		wantCode(t, err, agreement.CodeBadManifest, "schema")
	}
}

// A condition runs before the functions, makes no record, and ends the run
// when it fails.
func TestConditions(t *testing.T) {
	// invoke(1) is the condition: it fails if the input is there.
	ask := cat(i32(0), i32(atIn), i32(lenIn), callTo(fnSize), []byte{0x42, 0, 0x59}) // size(...) >= 0
	condition := cat(ask, []byte{0x04, 0x40}, i32(atCode), i32(lenCode), i32(atText), i32(lenText), callTo(fnFail), []byte{0x0b})
	body := cat([]byte{0x20, 0, 0x04, 0x40}, condition, []byte{0x05}, outputText(), []byte{0x0b})
	h := handmade{body: body, manifestOf: func(m *contract.Manifest) {
		m.Conditions = []contract.Condition{{Name: "absent", Inputs: []string{"in"}}}
	}}
	if out := sameOnBoth(t, h, Run{Time: at}); out.Outcome != agreement.Pass || out.Condition {
		t.Errorf("%+v", out)
	}
	out := sameOnBoth(t, h, Run{Time: at, Proposed: map[string][]byte{"in": []byte("1")}})
	if out.Outcome != agreement.Fail || !out.Condition || out.Code != "CODE" || out.Function.Name != "absent" || out.Fuel == 0 {
		t.Errorf("%+v", out)
	}
	h.body = outputText() // by the condition too
	if out := sameOnBoth(t, h, Run{Time: at}); out.Code != CodeTrap || !strings.Contains(out.Message, "a condition has no output") {
		t.Errorf("%+v", out)
	}
}
