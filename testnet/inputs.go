package testnet

import (
	"fmt"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

const (
	mediaJSON = contract.MediaJSON
	mediaPDF  = "application/pdf"
)

// loanData is what a loan agreement is proposed with.
type loanData struct {
	loanID    string
	principal int
	seed      uint64 // of the document
	side      int    // of the document's picture, in pixels
}

// The data of the scenario. A principal of 0 is what the contract refuses.
func mainLoan() loanData {
	return loanData{loanID: "L-2026-0001", principal: 25_000_000, seed: 1, side: pdfSide}
}

func refusedLoan() loanData {
	return loanData{loanID: "L-2026-0002", principal: 0, seed: 2, side: 32}
}

// numberedLoan is one of many small ones: a document of about 3 KB, which
// travels inside the proposal.
func numberedLoan(series string, i int) loanData {
	return loanData{loanID: fmt.Sprintf("%s-%05d", series, i), principal: 1_000_000 + i, seed: uint64(i) + 10, side: 32}
}

// loanRun is a new loan of affiliate-0 with affiliate-1 and affiliate-2.
func (n *Net) loanRun(short string, d loanData) *agreementRun {
	application := fmt.Sprintf(`{
  "loan_id": %q,
  "borrower": {"name": "Ada Lovelace", "country": "US"},
  "principal": %d,
  "currency": "USD",
  "rate": "6.25",
  "start": "2026-01-31",
  "months": 360
}`, d.loanID, d.principal)
	return &agreementRun{
		id: agreement.NewUUID(), short: short, contract: contractLoan, newScope: true,
		proposer: n.Affiliates[originator], parties: n.loanParties(originator, servicer, investor),
		inputs: []runInput{
			{name: "application", media: mediaJSON, content: []byte(application)},
			{name: "document", media: mediaPDF, content: makePDF("Loan "+d.loanID, d.seed, d.side)},
		},
		query: "loan_id:" + d.loanID,
	}
}

// loanParties gives the roles of a loan, in the order wanted.
func (n *Net) loanParties(order ...int) []runParty {
	roles := map[int]agreement.Role{originator: "ORIGINATOR", servicer: "SERVICER", investor: "INVESTOR"}
	var parties []runParty
	for _, i := range order {
		parties = append(parties, runParty{affiliate: n.Affiliates[i], role: roles[i]})
	}
	return parties
}

// paymentRun is a payment on a loan's scope, proposed by the servicer. It
// takes the loan's terms, and the balance if there is one, as input.
func (n *Net) paymentRun(short, scope, reference, date string) *agreementRun {
	payment := fmt.Sprintf(`{"reference": %q, "amount": 153929, "currency": "USD", "date": %q}`, reference, date)
	return &agreementRun{
		id: agreement.NewUUID(), short: short, contract: contractPayment, scope: scope,
		proposer: n.Affiliates[servicer], parties: n.loanParties(servicer, originator, investor),
		inputs: []runInput{{name: "payment", media: mediaJSON, content: []byte(payment)}},
		query:  "last_payment:" + reference,
	}
}

// appraisalRun is affiliate-0's own, on a new scope.
func (n *Net) appraisalRun(short string) *agreementRun {
	a := n.Affiliates[originator]
	return &agreementRun{
		id: agreement.NewUUID(), short: short, contract: contractAppraisal, newScope: true,
		proposer: a, parties: []runParty{{affiliate: a, role: "OWNER"}},
		inputs: []runInput{{name: "valuation", media: mediaJSON,
			content: []byte(`{"asset": "12 Analytical Way", "value": 31000000, "currency": "USD"}`)}},
		query: `asset:"12 Analytical Way"`,
	}
}
