package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract/contracttest"
)

func application(t *testing.T) map[string]any {
	t.Helper()
	doc, err := os.ReadFile("testdata/application.json")
	if err != nil {
		t.Fatal(err)
	}
	var a map[string]any
	if err := json.Unmarshal(doc, &a); err != nil {
		t.Fatal(err)
	}
	a["principal"] = 25000000 // Unmarshal made a float of it
	a["months"] = 360
	return a
}

func run(t *testing.T, application any, document string) []contracttest.Result {
	t.Helper()
	results, err := contracttest.Run(loan, contracttest.Case{Inputs: map[string]any{"application": application, "document": []byte(document)}})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func TestLoan(t *testing.T) {
	results := run(t, application(t), "%PDF-1.7 …")
	var terms Terms
	if err := results[0].JSON(&terms); err != nil {
		t.Fatal(err)
	}
	if terms.Borrower.Name != "Ada Lovelace" || terms.Principal != 250_000_00 || terms.Maturity != "2056-01-31" {
		t.Errorf("terms are %+v", terms)
	}
	if doc := results[1]; doc.Outcome != agreement.Pass || string(doc.Content) != "%PDF-1.7 …" {
		t.Errorf("document is %+v", doc)
	}
}

func TestLoanFails(t *testing.T) {
	for _, c := range []struct {
		field string
		value any
		code  string
	}{
		{"loan_id", "", "LOAN_ID_MISSING"},
		{"borrower", map[string]any{"name": "Ada", "country": "usa"}, "LOAN_BORROWER_INVALID"},
		{"principal", 0, "LOAN_PRINCIPAL_INVALID"},
		{"principal", -5, "LOAN_PRINCIPAL_INVALID"},
		{"principal", maxPrincipal + 1, "LOAN_PRINCIPAL_INVALID"},
		{"currency", "dollars", "LOAN_CURRENCY_INVALID"},
		{"rate", "6,25", "LOAN_RATE_INVALID"},
		{"rate", "6.", "LOAN_RATE_INVALID"},
		{"months", 0, "LOAN_TERM_INVALID"},
		{"start", "2026-02-30", "LOAN_START_INVALID"},
		{"principle", 1, "INPUT_INVALID"},
		{"principal", "1", "INPUT_INVALID"},
	} {
		a := application(t)
		a[c.field] = c.value
		results := run(t, a, "%PDF-")
		if len(results) != 1 || results[0].Failure == nil || results[0].Failure.Code != c.code {
			t.Errorf("%s = %v: %+v; want %s", c.field, c.value, results, c.code)
		}
	}
	a := application(t)
	a["principal"], a["currency"] = 0, "dollars"
	if results := run(t, a, "GIF89a"); results[0].Function != "within_limits" {
		t.Errorf("%+v; want the condition to fail before anything else", results)
	}
	if results := run(t, application(t), "GIF89a"); results[1].Failure == nil || results[1].Failure.Code != "LOAN_DOCUMENT_INVALID" {
		t.Errorf("a GIF: %+v", results[1])
	}
}
