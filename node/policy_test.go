package node

import (
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

func TestPolicy(t *testing.T) {
	hash := agreement.Hash{1, 2, 3}
	p := Policy{Default: "ask", Rules: []Rule{
		{Contract: "loan", Proposer: "tp1bad", Action: "reject"},
		{Contract: hash.String(), Action: "approve"},
		{Contract: "loan", Proposer: "tp1good", Action: "approve"},
		{Proposer: "tp1late", Action: "reject"},
	}}
	if err := p.check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		contract       agreement.Hash
		name, proposer string
		want           agreement.Verdict
	}{
		{agreement.Hash{9}, "loan", "tp1bad", agreement.Reject},
		{agreement.Hash{9}, "loan", "tp1good", agreement.Approve},
		{agreement.Hash{9}, "loan", "tp1x", agreement.Ask},
		{hash, "anything", "tp1x", agreement.Approve},
		{hash, "loan", "tp1bad", agreement.Reject}, // the first that fits
		{hash, "other", "tp1late", agreement.Approve},
		{agreement.Hash{9}, "other", "tp1late", agreement.Reject},
		{agreement.Hash{9}, hash.String(), "tp1x", agreement.Ask}, // a contract that calls itself by another's hash
		{agreement.Hash{9}, "", "", agreement.Ask},
	} {
		if got := p.decide(c.contract, c.name, c.proposer); got != c.want {
			t.Errorf("%s of %s: %d, want %d", c.name, c.proposer, got, c.want)
		}
	}
	for _, bad := range []Policy{{}, {Default: "yes"}, {Default: "ask", Rules: []Rule{{Action: "maybe"}}}} {
		if err := bad.check(); agreement.CodeOf(err) != agreement.CodeBadRequest {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
