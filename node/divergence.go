package node

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// engineName is what executes here, as other parties are told: versions of the
// engine and of its rules, and what it runs on.
func (n *Node) engineName() string { return n.engine.Version() + ", " + platform }

const platform = runtime.GOOS + "/" + runtime.GOARCH

// divergence says what this node reached, and where it first differs from what
// the proposer stated.
func (n *Node) divergence(s agreement.State) (*affiliatev1.Divergence, error) {
	own, err := n.attestation(s.ID)
	if err != nil {
		return nil, err
	}
	theirs, err := n.attestationOf(s.ID, s.Proposer)
	if err != nil {
		return nil, err
	}
	d := &affiliatev1.Divergence{Attestation: own, ContractHash: s.Contract[:], Engine: n.engineName()}
	first, differs := agreement.Compare(toResults(theirs.Records), s.Records)
	if !differs {
		return d, nil // it was signed otherwise, which is the proposer's to explain
	}
	d.Function, d.Record, d.Field = short(first.Function), short(first.Record), short(first.Field)
	if first.Index < len(theirs.Records) {
		d.Stated = theirs.Records[first.Index]
	}
	if first.Index < len(s.Records) {
		d.Reached = fromResults(s.Records)[first.Index]
	}
	return d, nil
}

// differenceFromProposer says for people how results differ from the proposer's.
func (n *Node) differenceFromProposer(s agreement.State, results []agreement.RecordResult) (string, error) {
	theirs, err := n.attestationOf(s.ID, s.Proposer)
	if errors.Is(err, agreement.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading what the proposer of %s attested: %w", s.ID, err)
	}
	return differenceText(toResults(theirs.Records), results), nil
}

// differenceText is empty where two parties' results are the same.
func differenceText(stated, reached []agreement.RecordResult) string {
	d, differs := agreement.Compare(stated, reached)
	if !differs {
		return ""
	}
	return short(d.String())
}

// readDivergence says what a party's report comes to. Only what it signed is
// compared; a report without that ends the agreement all the same, because the
// party won't sign.
func (n *Node) readDivergence(s agreement.State, from string, d *affiliatev1.Divergence) (string, error) {
	t, err := n.termsOf(s)
	if err != nil {
		return "", err
	}
	text := "its report has no difference in it"
	_, results, err := n.checkAttestation(&t, from, d.GetAttestation())
	if err != nil {
		text = "its report can't be used: " + err.Error()
	} else if difference := differenceText(s.Records, results); difference != "" {
		text = difference
	}
	if d.GetEngine() != n.engineName() {
		text += fmt.Sprintf(" (its engine is %s, the proposer's %s)", d.GetEngine(), n.engineName())
	}
	return short(text), nil
}
