// Command appraisal is an example contract of one party: an owner records what
// an asset is worth, once. It shows the skip rule and never needs another party.
package main

import (
	"time"

	"github.com/affiliate-node/affiliate/contract"
)

// The contract: where the scope has an appraisal already, the function is
// skipped and the record stays as it is.
var appraisal = contract.Serve(contract.Contract{
	Manifest: contract.Manifest{
		ABI:     contract.ABI,
		Name:    "appraisal",
		Version: "1.0.0",
		Roles:   []contract.RoleSpec{{Role: "OWNER"}},
		ScopeSpecifications: []contract.ScopeSpecification{{
			ID:    "61737365-0000-4000-8000-000000000001",
			Name:  "asset",
			Roles: []string{"OWNER"},
		}},
		Inputs:   []contract.ValueSpec{{Name: "valuation", Type: "example.asset.Valuation"}},
		Existing: []contract.ValueSpec{{Name: "appraisal", Type: "example.asset.Appraisal", Optional: true}},
		Functions: []contract.Function{{
			Name: "appraise", Role: "OWNER",
			Inputs: []string{"valuation"},
			SkipIf: "appraisal",
			Record: contract.RecordSpec{
				Name: "appraisal", Type: "example.asset.Appraisal",
				Index: []contract.Index{{Field: "asset"}, {Field: "currency"}},
			},
		}},
	},
	Functions: map[string]contract.Handler{"appraise": appraise},
	Types:     []any{Valuation{}, Appraisal{}},
})

func main() {}

// Valuation is the input.
type Valuation struct {
	Asset    string `json:"asset"`
	Value    int64  `json:"value"` // in the currency's smallest unit
	Currency string `json:"currency"`
}

// Appraisal is the record.
type Appraisal struct {
	Valuation
	Owner string `json:"owner"`
	Time  string `json:"time"`
}

func appraise(c *contract.Call) (any, error) {
	var v Valuation
	if err := c.Input("valuation").JSON(&v); err != nil {
		return nil, err
	}
	switch {
	case v.Asset == "":
		return nil, contract.Fail("APPRAISAL_ASSET_MISSING", "the valuation names no asset")
	case v.Value <= 0:
		return nil, contract.Fail("APPRAISAL_VALUE_INVALID", "a value of %d is not above 0", v.Value)
	case len(v.Currency) != 3:
		return nil, contract.Fail("APPRAISAL_CURRENCY_INVALID", "%q is not a currency such as USD", v.Currency)
	}
	return Appraisal{Valuation: v, Owner: c.Invoker(), Time: c.Time().Format(time.RFC3339)}, nil
}
