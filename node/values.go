package node

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// Kinds of values.
const (
	valueInput    = "input"
	valueExisting = "existing"
	valueRecord   = "record"
	valueContext  = "context"
)

// values lists what an agreement reads, and what its contract made of it here,
// so that whoever has to decide can look at it.
func (n *Node) values(s agreement.State) ([]*affiliatev1.Value, error) {
	if !s.HasTerms() {
		return nil, nil
	}
	t, err := n.termsOf(s)
	if err != nil {
		return nil, err
	}
	var out []*affiliatev1.Value
	add := func(kind string, refs []*affiliatev1.InputRef) {
		for _, r := range refs {
			out = append(out, &affiliatev1.Value{
				Kind: kind, Name: r.GetName(), ContentHash: agreement.Hash(r.GetObject().GetContentHash()).String(),
				MediaType: r.GetObject().GetMediaType(), Size: r.GetObject().GetSize(),
			})
		}
	}
	add(valueInput, t.Inputs)
	add(valueExisting, t.Existing)
	made, err := n.outputs(s)
	if err != nil {
		return nil, err
	}
	for _, o := range made {
		v := &affiliatev1.Value{Kind: valueRecord, Name: o.Record, ContentHash: o.Content.String(), MediaType: o.MediaType}
		if object, err := n.store.Object(o.Object); err == nil {
			v.Size = object.Size
		}
		out = append(out, v)
	}
	return out, nil
}

// outputs are the records that the contract made here; none before it ran.
func (n *Node) outputs(s agreement.State) ([]output, error) {
	raw, err := n.store.Blob(s.ID, blobOutputs)
	if errors.Is(err, agreement.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the records of %s: %w", s.ID, err)
	}
	var out []output
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("reading the records of %s: %w", s.ID, err)
	}
	return out, nil
}
