// Command loan is an example contract: an originator, a servicer and an
// investor agree on the terms of a loan and on its signed document. It decides
// only what the records say, and never sees anything but its inputs.
package main

import (
	"bytes"
	"time"

	"github.com/affiliate-node/affiliate/contract"
)

// The contract: two inputs, a condition, two functions, two records.
var loan = contract.Serve(contract.Contract{
	Manifest: contract.Manifest{
		ABI:     contract.ABI,
		Name:    "loan",
		Version: "1.0.0",
		Roles:   []contract.RoleSpec{{Role: "ORIGINATOR"}, {Role: "SERVICER"}, {Role: "INVESTOR"}},
		ScopeSpecifications: []contract.ScopeSpecification{{
			ID:    "6c6f616e-0000-4000-8000-000000000001",
			Name:  "loan",
			Roles: []string{"ORIGINATOR", "SERVICER", "INVESTOR"},
		}},
		Inputs: []contract.ValueSpec{
			{Name: "application", Type: "example.loan.Application", Schema: applicationSchema},
			{Name: "document", Type: "example.loan.Document", MediaType: "application/pdf"},
		},
		// What nobody may lend ends the agreement as a whole, whatever the
		// records would say.
		Conditions: []contract.Condition{{Name: "within_limits", Inputs: []string{"application"}}},
		Functions: []contract.Function{
			{
				Name: "record_terms", Role: "ORIGINATOR",
				Inputs: []string{"application"},
				Record: contract.RecordSpec{
					Name: "terms", Type: "example.loan.Terms", Schema: termsSchema,
					Index: []contract.Index{
						{Field: "loan_id"}, {Field: "currency"}, {Field: "maturity"},
						{Field: "borrower", Path: "borrower/name"},
					},
				},
			},
			{
				Name: "record_document", Role: "SERVICER",
				Inputs: []string{"document"},
				Record: contract.RecordSpec{Name: "document", Type: "example.loan.Document", MediaType: "application/pdf"},
			},
		},
	},
	Functions: map[string]contract.Handler{
		"record_terms":    recordTerms,
		"record_document": recordDocument,
	},
	Conditions: map[string]contract.Check{"within_limits": withinLimits},
	Types:      []any{Application{}, Terms{}},
})

func main() {}

// Application is the input that the originator proposes.
type Application struct {
	LoanID    string   `json:"loan_id"`
	Borrower  Borrower `json:"borrower"`
	Principal int64    `json:"principal"` // in the currency's smallest unit
	Currency  string   `json:"currency"`  // ISO 4217
	Rate      string   `json:"rate"`      // yearly, percent, such as "6.25"
	Start     string   `json:"start"`     // YYYY-MM-DD
	Months    int      `json:"months"`
}

// Borrower is whom the loan is made to.
type Borrower struct {
	Name    string `json:"name"`
	Country string `json:"country"` // ISO 3166-1, two letters
}

// Terms is the record.
type Terms struct {
	LoanID    string   `json:"loan_id"`
	Borrower  Borrower `json:"borrower"`
	Principal int64    `json:"principal"`
	Currency  string   `json:"currency"`
	Rate      string   `json:"rate"`
	Start     string   `json:"start"`
	Maturity  string   `json:"maturity"`
	Months    int      `json:"months"`
}

// The limits of what this contract takes.
const (
	maxPrincipal = 100_000_000_00
	maxMonths    = 480
	maxDocument  = 8 << 20
)

func withinLimits(c *contract.Call) error {
	var a Application
	if err := c.Input("application").JSON(&a); err != nil {
		return err
	}
	switch {
	case a.Principal <= 0 || a.Principal > maxPrincipal:
		return contract.Fail("LOAN_PRINCIPAL_INVALID", "a principal of %d is not between 1 and %d", a.Principal, maxPrincipal)
	case a.Months < 1 || a.Months > maxMonths:
		return contract.Fail("LOAN_TERM_INVALID", "a term of %d months is not between 1 and %d", a.Months, maxMonths)
	}
	return nil
}

func recordTerms(c *contract.Call) (any, error) {
	var a Application
	if err := c.Input("application").JSON(&a); err != nil {
		return nil, err
	}
	start, err := time.Parse(time.DateOnly, a.Start)
	if err != nil {
		return nil, contract.Fail("LOAN_START_INVALID", "%q is not a date such as 2026-01-31", a.Start)
	}
	c.Logf("loan %s: %d %s over %d months", a.LoanID, a.Principal, a.Currency, a.Months)
	return Terms{
		LoanID: a.LoanID, Borrower: a.Borrower, Principal: a.Principal, Currency: a.Currency, Rate: a.Rate,
		Start: a.Start, Maturity: start.AddDate(0, a.Months, 0).Format(time.DateOnly), Months: a.Months,
	}, nil
}

func recordDocument(c *contract.Call) (any, error) {
	pdf, err := c.Input("document").Bytes()
	if err != nil {
		return nil, err
	}
	switch {
	case len(pdf) > maxDocument:
		return nil, contract.Fail("LOAN_DOCUMENT_TOO_LARGE", "the document has %d bytes, at most %d are allowed", len(pdf), maxDocument)
	case !bytes.HasPrefix(pdf, []byte("%PDF-")):
		return nil, contract.Fail("LOAN_DOCUMENT_INVALID", "the document is not a PDF")
	}
	return pdf, nil
}
