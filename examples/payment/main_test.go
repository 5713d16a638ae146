package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/affiliate-node/affiliate/contract/contracttest"
)

// terms has more fields than this contract reads, as the loan contract's do.
var terms = map[string]any{"loan_id": "L-1", "principal": 1000, "currency": "USD", "rate": "6.25", "months": 12}

func run(t *testing.T, payment any, balance any) contracttest.Result {
	t.Helper()
	k := contracttest.Case{Inputs: map[string]any{"payment": payment}, Existing: map[string]any{"terms": terms}}
	if balance != nil {
		k.Existing["balance"] = balance
	}
	results, err := contracttest.Run(contractOfPayments, k)
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

func TestPayments(t *testing.T) {
	var b Balance
	if err := run(t, Payment{"P-1", 300, "USD", "2026-01-31"}, nil).JSON(&b); err != nil {
		t.Fatal(err)
	}
	if b.LoanID != "L-1" || b.Outstanding != 700 || b.Paid != 300 || b.Payments != 1 {
		t.Errorf("after the first payment: %+v", b)
	}
	if err := run(t, Payment{"P-2", 700, "USD", "2026-02-28"}, b).JSON(&b); err != nil {
		t.Fatal(err)
	}
	if b.Outstanding != 0 || b.Paid != 1000 || b.Payments != 2 || b.LastPayment.Reference != "P-2" {
		t.Errorf("after the second payment: %+v", b)
	}
}

func TestPaymentFails(t *testing.T) {
	before := Balance{LoanID: "L-1", Currency: "USD", Outstanding: 700, Paid: 300, Payments: 1, LastPayment: Payment{"P-1", 300, "USD", "2026-01-31"}}
	for code, p := range map[string]Payment{
		"PAYMENT_REFERENCE_INVALID": {"", 1, "USD", "2026-02-28"},
		"PAYMENT_REPEATED":          {"P-1", 1, "USD", "2026-02-28"},
		"PAYMENT_CURRENCY_MISMATCH": {"P-2", 1, "EUR", "2026-02-28"},
		"PAYMENT_AMOUNT_INVALID":    {"P-2", 0, "USD", "2026-02-28"},
		"PAYMENT_EXCEEDS_BALANCE":   {"P-2", 701, "USD", "2026-02-28"},
		"PAYMENT_DATE_INVALID":      {"P-2", 1, "USD", "2026-01-30"},
	} {
		if r := run(t, p, before); r.Failure == nil || r.Failure.Code != code {
			t.Errorf("%+v: %+v; want %s", p, r.Failure, code)
		}
	}
}

func TestSample(t *testing.T) {
	doc, err := os.ReadFile("testdata/payment.json")
	if err != nil {
		t.Fatal(err)
	}
	if r := run(t, json.RawMessage(doc), Balance{Currency: "USD", Outstanding: 25000000}); r.Failure != nil {
		t.Error(r.Failure)
	}
}
