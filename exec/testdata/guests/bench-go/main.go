// Command bench-go is a contract whose functions are the workloads of the
// engine's benchmark, as authors of Go contracts write them. bench-c has the
// same functions in C and gives the same records.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/affiliate-node/affiliate/contract"
)

const (
	maxRounds = 1_000_000
	maxCount  = 1_000_000_000
	maxLength = 262_144
)

// A function whose input isn't there gives 0, so that a run can measure one.
var bench = contract.Serve(contract.Contract{
	Manifest: contract.Manifest{
		ABI: contract.ABI, Name: "bench", Version: "1",
		Roles:               []contract.RoleSpec{{Role: "OWNER"}},
		ScopeSpecifications: []contract.ScopeSpecification{{ID: "62656e63-6800-4000-8000-000000000001", Name: "bench", Roles: []string{"OWNER"}}},
		Inputs: []contract.ValueSpec{
			{Name: "record", Type: "bench.Record", Optional: true},
			{Name: "data", Type: "bench.Data", MediaType: "application/octet-stream", Optional: true},
			{Name: "count", Type: "bench.Count", Optional: true},
			{Name: "length", Type: "bench.Length", Optional: true},
			{Name: "rounds", Type: "bench.Rounds", Optional: true},
		},
		Functions: []contract.Function{
			{Name: "json", Role: "OWNER", Inputs: []string{"record", "rounds"}, Record: contract.RecordSpec{Name: "json", Type: "bench.Loan"}},
			{Name: "sha256", Role: "OWNER", Inputs: []string{"data", "rounds"}, Record: contract.RecordSpec{Name: "sha256", Type: "bench.Hash"}},
			{Name: "loop", Role: "OWNER", Inputs: []string{"count"}, Record: contract.RecordSpec{Name: "loop", Type: "bench.Sum"}},
			{Name: "sort", Role: "OWNER", Inputs: []string{"length"}, Record: contract.RecordSpec{Name: "sort", Type: "bench.Sum"}},
		},
	},
	Functions: map[string]contract.Handler{"json": transform, "sha256": hash, "loop": loop, "sort": sort},
	Types:     []any{Record{}, Loan{}},
})

func main() {}

// Record is what the function json reads.
type Record struct {
	Borrower struct {
		Country string `json:"country"`
		Name    string `json:"name"`
	} `json:"borrower"`
	Currency  string    `json:"currency"`
	LoanID    string    `json:"loan_id"`
	Payments  []Payment `json:"payments"`
	Principal int64     `json:"principal"`
}

// Payment is one of a Record's.
type Payment struct {
	Amount    int64  `json:"amount"`
	Date      string `json:"date"`
	Reference string `json:"reference"`
}

// Loan is what it makes of that.
type Loan struct {
	Borrower    string    `json:"borrower"`
	Currency    string    `json:"currency"`
	History     []Balance `json:"history"`
	LoanID      string    `json:"loan_id"`
	Outstanding int64     `json:"outstanding"`
}

// Balance is what was left after a payment.
type Balance struct {
	Date        string `json:"date"`
	Outstanding int64  `json:"outstanding"`
	Reference   string `json:"reference"`
}

func invalid() error {
	return contract.Fail("BENCH_INPUT_INVALID", "an input isn't what the benchmark takes")
}

// number reads an input between 1 and most; none is ifAbsent.
func number(c *contract.Call, name string, ifAbsent, most int) (int, error) {
	if !c.Input(name).Exists() {
		return ifAbsent, nil
	}
	var n int
	if err := c.Input(name).JSON(&n); err != nil || n < 1 || n > most {
		return 0, invalid()
	}
	return n, nil
}

func transform(c *contract.Call) (any, error) {
	rounds, err := number(c, "rounds", 1, maxRounds)
	if err != nil || !c.Input("record").Exists() {
		return 0, err
	}
	doc, err := c.Input("record").Bytes()
	if err != nil {
		return nil, err
	}
	var out []byte
	for range rounds {
		if out, err = one(doc); err != nil {
			return nil, invalid()
		}
	}
	return out, nil
}

func one(doc []byte) ([]byte, error) {
	var r Record
	if err := json.Unmarshal(doc, &r); err != nil {
		return nil, err
	}
	l := Loan{Borrower: r.Borrower.Name + ", " + r.Borrower.Country, Currency: r.Currency, History: []Balance{}, LoanID: r.LoanID, Outstanding: r.Principal}
	for _, p := range r.Payments {
		l.Outstanding -= p.Amount
		l.History = append(l.History, Balance{p.Date, l.Outstanding, p.Reference})
	}
	return json.Marshal(l)
}

// hash chains its rounds: each covers the data and the hash before.
func hash(c *contract.Call) (any, error) {
	rounds, err := number(c, "rounds", 1, maxRounds)
	if err != nil || !c.Input("data").Exists() {
		return 0, err
	}
	data, err := c.Input("data").Bytes()
	if err != nil {
		return nil, err
	}
	var sum [sha256.Size]byte
	for range rounds {
		h := sha256.New()
		h.Write(data)
		h.Write(sum[:])
		h.Sum(sum[:0])
	}
	return hex.EncodeToString(sum[:]), nil
}

func loop(c *contract.Call) (any, error) {
	count, err := number(c, "count", 0, maxCount)
	if err != nil || count == 0 {
		return 0, err
	}
	x, sum := uint64(88172645463325252), uint32(0)
	for range count {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		if x&1 == 0 {
			sum += uint32(x >> 32)
		} else {
			sum ^= uint32(x)
		}
	}
	return sum, nil
}

// sort gives a sum that depends on the order.
func sort(c *contract.Call) (any, error) {
	length, err := number(c, "length", 0, maxLength)
	if err != nil || length == 0 {
		return 0, err
	}
	values, x := make([]int32, length), uint32(2463534242)
	for i := range values {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		values[i] = int32(x)
	}
	slices.Sort(values)
	sum := uint32(0)
	for _, v := range values {
		sum = sum*31 + uint32(v)
	}
	return sum, nil
}
