package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract/contracttest"
)

func run(t *testing.T, k contracttest.Case) contracttest.Result {
	t.Helper()
	results, err := contracttest.Run(appraisal, k)
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

func TestAppraisal(t *testing.T) {
	doc, err := os.ReadFile("testdata/valuation.json")
	if err != nil {
		t.Fatal(err)
	}
	inputs := map[string]any{"valuation": json.RawMessage(doc)}
	r := run(t, contracttest.Case{Inputs: inputs})
	want := `{"asset":"12 Analytical Way","currency":"USD","owner":"tp1OWNER","time":"2026-01-02T03:04:05Z","value":31000000}`
	if r.Outcome != agreement.Pass || string(r.Content) != want {
		t.Errorf("%+v; want %s", r, want)
	}
	if r := run(t, contracttest.Case{Inputs: inputs, Existing: map[string]any{"appraisal": r.Content}}); r.Outcome != agreement.Skip {
		t.Errorf("a second appraisal: %+v; want SKIP", r)
	}
}

func TestAppraisalFails(t *testing.T) {
	for code, v := range map[string]Valuation{
		"APPRAISAL_ASSET_MISSING":    {"", 1, "USD"},
		"APPRAISAL_VALUE_INVALID":    {"a", 0, "USD"},
		"APPRAISAL_CURRENCY_INVALID": {"a", 1, "dollars"},
	} {
		if r := run(t, contracttest.Case{Inputs: map[string]any{"valuation": v}}); r.Failure == nil || r.Failure.Code != code {
			t.Errorf("%+v: %+v; want %s", v, r.Failure, code)
		}
	}
}
