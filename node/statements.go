package node

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// Kinds of statements.
const (
	statedResults    = "attestation"
	statedDivergence = "divergence"
	statedRejection  = "rejection"
	statedNothing    = "none"
)

// statements compares what the participants have said of an agreement, as far
// as it came here, with results that were reached now.
func (n *Node) statements(s agreement.State, t *terms, reached []agreement.RecordResult) ([]*affiliatev1.TracedStatement, error) {
	var out []*affiliatev1.TracedStatement
	for _, address := range append([]string{s.Self}, s.Others()...) {
		st, att, err := n.statement(s, address)
		if err != nil {
			return nil, fmt.Errorf("reading what %s said of %s: %w", address, s.ID, err)
		}
		st.Address, st.Name = address, n.nameOf(address)
		if st.Kind == statedResults || st.Kind == statedDivergence {
			n.compareWith(st, t, att, reached)
		}
		out = append(out, st)
	}
	return out, nil
}

// statement finds what a participant said. A refusal came later than an
// attestation, if there are both.
func (n *Node) statement(s agreement.State, address string) (*affiliatev1.TracedStatement, *affiliatev1.Attestation, error) {
	raw, err := n.store.Blob(s.ID, named(blobRefusal, address))
	if err == nil {
		m := &affiliatev1.Message{}
		if err := proto.Unmarshal(raw, m); err != nil {
			return nil, nil, err
		}
		if d := m.GetDivergence(); d != nil {
			return &affiliatev1.TracedStatement{Kind: statedDivergence, Engine: short(d.Engine)}, d.Attestation, nil
		}
		r := m.GetRejection()
		return &affiliatev1.TracedStatement{Kind: statedRejection, Reason: short(r.GetCode() + ": " + r.GetReason())}, nil, nil
	}
	if !errors.Is(err, agreement.ErrNotFound) {
		return nil, nil, err
	}
	att, err := n.attestationOf(s.ID, address)
	if errors.Is(err, agreement.ErrNotFound) {
		return &affiliatev1.TracedStatement{Kind: statedNothing}, nil, nil
	}
	return &affiliatev1.TracedStatement{Kind: statedResults}, att, err
}

// compareWith says how an attestation differs from results, where it does.
func (n *Node) compareWith(st *affiliatev1.TracedStatement, t *terms, att *affiliatev1.Attestation, reached []agreement.RecordResult) {
	_, stated, err := n.checkAttestation(t, st.Address, att)
	if err != nil {
		st.Difference = short("it can't be used: " + err.Error())
		return
	}
	st.Difference = differenceText(stated, reached)
	st.Same = st.Difference == ""
}
