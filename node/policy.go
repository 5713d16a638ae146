package node

import (
	"github.com/affiliate-node/affiliate/agreement"
)

// Policy says what happens to a proposal whose result is the same here.
type Policy struct {
	Default string // "ask", "approve" or "reject"
	Rules   []Rule // the first that fits decides
}

// Rule fits a proposal when each of its fields is empty or equal.
type Rule struct {
	Contract string // hash (hex) or name
	Proposer string // account address
	Action   string // "ask", "approve" or "reject"
}

var verdicts = map[string]agreement.Verdict{
	"ask": agreement.Ask, "approve": agreement.Approve, "reject": agreement.Reject,
}

func (p Policy) check() error {
	for _, action := range p.actions() {
		if _, ok := verdicts[action]; !ok {
			return agreement.Errorf(agreement.CodeBadRequest, "policy: %q is no action", action).
				WithHint("use ask, approve or reject")
		}
	}
	return nil
}

func (p Policy) actions() []string {
	out := []string{p.Default}
	for _, r := range p.Rules {
		out = append(out, r.Action)
	}
	return out
}

func (p Policy) decide(contract agreement.Hash, name, proposer string) agreement.Verdict {
	for _, r := range p.Rules {
		fits := (r.Contract == "" || r.Contract == name || r.Contract == contract.String()) &&
			(r.Proposer == "" || r.Proposer == proposer)
		if fits {
			return verdicts[r.Action]
		}
	}
	return verdicts[p.Default]
}
