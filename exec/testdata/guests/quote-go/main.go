// Command quote-go is the contract "quote" in Go: the total of an order, from
// its quantity and, where the scope has one, its price. It serves tests and
// never anybody else.
package main

import (
	"strconv"
	"time"

	"github.com/affiliate-node/affiliate/contract"
)

var quote = contract.Serve(contract.Contract{
	Manifest: contract.Manifest{
		ABI: contract.ABI, Name: "quote", Version: "1",
		Roles:               []contract.RoleSpec{{Role: "OWNER"}},
		ScopeSpecifications: []contract.ScopeSpecification{{ID: "71756f74-6500-4000-8000-000000000001", Name: "quote", Roles: []string{"OWNER"}}},
		Inputs:              []contract.ValueSpec{{Name: "quantity", Type: "example.Quantity"}},
		Existing:            []contract.ValueSpec{{Name: "price", Type: "example.Price", Optional: true}},
		Functions: []contract.Function{{
			Name: "quote", Role: "OWNER", Inputs: []string{"quantity"}, Existing: []string{"price"},
			Record: contract.RecordSpec{Name: "quote", Type: "example.Quote", Index: []contract.Index{{Field: "total"}}},
		}},
	},
	Functions: map[string]contract.Handler{"quote": total},
	Types:     []any{Quote{}},
})

func main() {}

// Quote is the record.
type Quote struct {
	Price    int    `json:"price"`
	Quantity int    `json:"quantity"`
	Time     string `json:"time"`
	Total    int    `json:"total"`
}

func total(c *contract.Call) (any, error) {
	text, err := c.Input("quantity").Bytes()
	if err != nil {
		return nil, err
	}
	c.Logf("quantity %s", text[:min(len(text), 8)])
	q := Quote{Price: 100, Time: c.Time().Format(time.RFC3339Nano)}
	if q.Quantity, err = number(text); err != nil {
		return nil, err
	}
	if price := c.Existing("price"); price.Exists() {
		if text, err = price.Bytes(); err != nil {
			return nil, err
		}
		if q.Price, err = number(text); err != nil {
			return nil, err
		}
	}
	q.Total = q.Price * q.Quantity
	return q, nil
}

func number(text []byte) (int, error) {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 || n > 9_999_999 {
		return 0, contract.Fail("QUOTE_NUMBER_INVALID", "want a whole number from 1 to 9999999")
	}
	return n, nil
}
