package main

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract/contracttest"
	"github.com/affiliate-node/affiliate/exec/schema"
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

// fits holds a document to a schema, as the host does.
func fits(t *testing.T, doc, content []byte) error {
	t.Helper()
	s, err := schema.Compile(doc)
	if err == nil {
		content, err = agreement.Canonical(content)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.Check(content)
}

func TestLoan(t *testing.T) {
	input, err := os.ReadFile("testdata/application.json")
	if err != nil {
		t.Fatal(err)
	}
	results := run(t, application(t), "%PDF-1.7 …")
	if err := errors.Join(fits(t, applicationSchema, input), fits(t, termsSchema, results[0].Content)); err != nil {
		t.Error(err)
	}
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

// What doesn't look like an application is refused before anything runs.
func TestApplicationsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		field string
		value any
	}{
		{"loan_id", ""},
		{"borrower", map[string]any{"name": "Ada", "country": "usa"}},
		{"borrower", map[string]any{"name": "", "country": "US"}},
		{"borrower", map[string]any{"country": "US"}},
		{"currency", "dollars"},
		{"rate", "6,25"},
		{"rate", "6."},
		{"months", "360"},
		{"start", "2026-02-30"},
		{"principle", 1},
		{"principal", "1"},
		{"principal", 1.5},
	} {
		a := application(t)
		a[c.field] = c.value
		doc, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := fits(t, applicationSchema, doc); err == nil {
			t.Errorf("%s = %v fits the schema", c.field, c.value)
		}
	}
}

func TestLoanFails(t *testing.T) {
	for _, c := range []struct {
		field string
		value int
		code  string
	}{
		{"principal", 0, "LOAN_PRINCIPAL_INVALID"},
		{"principal", -5, "LOAN_PRINCIPAL_INVALID"},
		{"principal", maxPrincipal + 1, "LOAN_PRINCIPAL_INVALID"},
		{"months", 0, "LOAN_TERM_INVALID"},
		{"months", maxMonths + 1, "LOAN_TERM_INVALID"},
	} {
		a := application(t)
		a[c.field] = c.value
		results := run(t, a, "GIF89a") // the condition comes before the document
		failed := len(results) == 1 && results[0].Function == "within_limits" && results[0].Failure != nil
		if !failed || results[0].Failure.Code != c.code {
			t.Errorf("%s = %v: %+v; want %s", c.field, c.value, results, c.code)
		}
	}
	if results := run(t, application(t), "GIF89a"); results[1].Failure == nil || results[1].Failure.Code != "LOAN_DOCUMENT_INVALID" {
		t.Errorf("a GIF: %+v", results[1])
	}
}
