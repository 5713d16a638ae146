// Command payment is an example contract: the parties of a loan agree on a
// payment and on what is left to pay. It reads records that the scope has, the
// terms and the balance so far, and never changes the terms.
package main

import (
	"strings"
	"time"

	"github.com/affiliate-node/affiliate/contract"
)

// The contract works on the same kind of scope as the loan contract.
var contractOfPayments = contract.Serve(contract.Contract{
	Manifest: contract.Manifest{
		ABI:     contract.ABI,
		Name:    "payment",
		Version: "1.0.0",
		Roles:   []contract.RoleSpec{{Role: "ORIGINATOR"}, {Role: "SERVICER"}, {Role: "INVESTOR"}},
		ScopeSpecifications: []contract.ScopeSpecification{{
			ID:    "6c6f616e-0000-4000-8000-000000000001",
			Name:  "loan",
			Roles: []string{"ORIGINATOR", "SERVICER", "INVESTOR"},
		}},
		Inputs: []contract.ValueSpec{{Name: "payment", Type: "example.loan.Payment"}},
		Existing: []contract.ValueSpec{
			{Name: "terms", Type: "example.loan.Terms"},
			{Name: "balance", Type: "example.loan.Balance", Optional: true},
		},
		Functions: []contract.Function{{
			Name: "record_payment", Role: "SERVICER",
			Inputs:   []string{"payment"},
			Existing: []string{"terms", "balance"},
			Record: contract.RecordSpec{
				Name: "balance", Type: "example.loan.Balance",
				Index: []contract.Index{{Field: "loan_id"}, {Field: "last_payment", Path: "last_payment/reference"}},
			},
		}},
	},
	Functions: map[string]contract.Handler{"record_payment": recordPayment},
	Types:     []any{Payment{}, Terms{}, Balance{}},
})

func main() {}

// Payment is the input that the servicer proposes.
type Payment struct {
	Reference string `json:"reference"`
	Amount    int64  `json:"amount"` // in the currency's smallest unit
	Currency  string `json:"currency"`
	Date      string `json:"date"` // YYYY-MM-DD
}

// Terms is what this contract reads of the loan contract's record.
type Terms struct {
	LoanID    string `json:"loan_id"`
	Principal int64  `json:"principal"`
	Currency  string `json:"currency"`
}

// Balance is the record.
type Balance struct {
	LoanID      string  `json:"loan_id"`
	Currency    string  `json:"currency"`
	Outstanding int64   `json:"outstanding"`
	Paid        int64   `json:"paid"`
	Payments    int     `json:"payments"`
	LastPayment Payment `json:"last_payment"`
}

func recordPayment(c *contract.Call) (any, error) {
	var p Payment
	if err := c.Input("payment").JSON(&p); err != nil {
		return nil, err
	}
	b, err := balance(c)
	if err != nil {
		return nil, err
	}
	switch {
	case p.Reference == "" || len(p.Reference) > 40 || strings.ContainsAny(p.Reference, " \t\n"):
		return nil, contract.Fail("PAYMENT_REFERENCE_INVALID", "%q is not a reference of 1 to 40 bytes without spaces", p.Reference)
	case p.Reference == b.LastPayment.Reference:
		return nil, contract.Fail("PAYMENT_REPEATED", "payment %s is recorded already", p.Reference)
	case p.Currency != b.Currency:
		return nil, contract.Fail("PAYMENT_CURRENCY_MISMATCH", "a payment in %q on a loan in %s", p.Currency, b.Currency)
	case p.Amount <= 0:
		return nil, contract.Fail("PAYMENT_AMOUNT_INVALID", "an amount of %d is not above 0", p.Amount)
	case p.Amount > b.Outstanding:
		return nil, contract.Fail("PAYMENT_EXCEEDS_BALANCE", "%d is more than the %d outstanding", p.Amount, b.Outstanding)
	}
	if _, err := time.Parse(time.DateOnly, p.Date); err != nil {
		return nil, contract.Fail("PAYMENT_DATE_INVALID", "%q is not a date such as 2026-01-31", p.Date)
	}
	if p.Date < b.LastPayment.Date {
		return nil, contract.Fail("PAYMENT_DATE_INVALID", "%s is before the last payment on %s", p.Date, b.LastPayment.Date)
	}
	b.Outstanding -= p.Amount
	b.Paid += p.Amount
	b.Payments++
	b.LastPayment = p
	return b, nil
}

// balance is the balance so far; before the first payment it is the principal.
func balance(c *contract.Call) (Balance, error) {
	var b Balance
	if c.Existing("balance").Exists() {
		err := c.Existing("balance").JSON(&b)
		return b, err
	}
	var t Terms
	err := c.Existing("terms").JSON(&t)
	return Balance{LoanID: t.LoanID, Currency: t.Currency, Outstanding: t.Principal}, err
}
