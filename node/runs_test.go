package node

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// An agreement that would record nothing is refused, and the reasons are named.
func TestNothingToRecordIsExplained(t *testing.T) {
	m := contract.Manifest{Name: "loan", Functions: []contract.Function{
		{Name: "f", SkipIf: "terms"}, {Name: "g", SkipWithout: "rate"}, {Name: "h", SkipWithout: "rate"},
	}}
	for there, want := range map[string]string{
		"":           "", // f runs
		"terms":      `record: the scope has the record "terms"; there is no "rate"`,
		"terms rate": "",
	} {
		err := checkRuns(m, func(name string) bool { return slices.Contains(strings.Fields(there), name) })
		if want == "" {
			if err != nil {
				t.Errorf("with %q: %v", there, err)
			}
			continue
		}
		var e *agreement.Error
		if !errors.As(err, &e) || e.Code != agreement.CodeBadRequest || !strings.HasSuffix(e.Text, want) || e.Hint == "" {
			t.Errorf("with %q: %v", there, err)
		}
	}
}

// An input that breaks its schema is refused when it is proposed; the error
// names place and rule.
func TestInputsFitTheirSchema(t *testing.T) {
	spec := contract.ValueSpec{Name: "in", Schema: json.RawMessage(`{"required":["n"],"properties":{"n":{"type":"integer"}}}`)}
	for content, want := range map[string]string{`{"n":1}`: "", `{"n":"1"}`: "/n", `{}`: "required"} {
		err := checkSchema(spec, []byte(content))
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", content, err)
			}
			continue
		}
		var e *agreement.Error
		if !errors.As(err, &e) || e.Code != agreement.CodeSchema || !strings.Contains(e.Text, want) || e.Hint == "" {
			t.Errorf("%s: %v", content, err)
		}
	}
	if err := checkSchema(contract.ValueSpec{}, []byte("anything")); err != nil {
		t.Errorf("without a schema: %v", err)
	}
}
