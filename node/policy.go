package node

import (
	"slices"

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
		if r.names(contract, name) && (r.Proposer == "" || r.Proposer == proposer) {
			return verdicts[r.Action]
		}
	}
	return verdicts[p.Default]
}

// pinned lists the contracts that the rules name by their hash. To write a hash
// into a rule that doesn't reject is a consent to run the contract, whoever
// proposes it.
func (p Policy) pinned() []agreement.Hash {
	var out []agreement.Hash
	for _, r := range p.Rules {
		if hash, err := agreement.ParseHash(r.Contract); err == nil && verdicts[r.Action] != agreement.Reject {
			out = append(out, hash)
		}
	}
	return out
}

func (p Policy) pins(contract agreement.Hash) bool { return slices.Contains(p.pinned(), contract) }

// names reports whether the rule is for a contract. What has the form of a hash
// is one: a contract may call itself anything, another's hash too.
func (r Rule) names(contract agreement.Hash, name string) bool {
	if hash, err := agreement.ParseHash(r.Contract); err == nil {
		return hash == contract
	}
	return r.Contract == "" || r.Contract == name
}
