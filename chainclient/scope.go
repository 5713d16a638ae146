package chainclient

import (
	"context"

	mdtypes "github.com/provenance-io/provenance/x/metadata/types"

	"github.com/affiliate-node/affiliate/agreement"
)

// RecordOnChain is a record as the chain holds it.
type RecordOnChain struct {
	Hash     string         // of its output, base64
	Session  agreement.UUID // that wrote it last
	Contract agreement.UUID // id of the contract specification
}

// Scope is a scope as the chain holds it, with its records by name.
type Scope struct {
	ID, Specification agreement.UUID
	Owners            []agreement.Party
	DataAccess        []string
	ValueOwner        string // empty if nobody
	Records           map[string]RecordOnChain
}

// Scope reads a scope. NOT_FOUND (agreement.ErrNotFound) when the chain has
// none of this id.
func (c *Client) Scope(ctx context.Context, id agreement.UUID) (Scope, error) {
	var resp mdtypes.ScopeResponse
	req := &mdtypes.ScopeRequest{ScopeId: ScopeAddress(id), IncludeRecords: true}
	if err := c.query(ctx, "/provenance.metadata.v1.Query/Scope", req, &resp); err != nil {
		return Scope{}, c.refusedQuery(err)
	}
	if resp.Scope == nil || resp.Scope.Scope == nil {
		return Scope{}, agreement.Errorf(agreement.CodeNotFound, "chain %s has no scope %s: %w", c.cfg.ChainID, id, agreement.ErrNotFound)
	}
	s := resp.Scope.Scope
	out := Scope{ID: id, DataAccess: s.DataAccess, ValueOwner: s.ValueOwnerAddress, Records: map[string]RecordOnChain{}}
	if spec, err := s.SpecificationId.ScopeSpecUUID(); err == nil {
		out.Specification = agreement.UUID(spec)
	}
	for _, p := range s.Owners {
		out.Owners = append(out.Owners, agreement.Party{Address: p.Address, Role: roleOf(p.Role)})
	}
	for _, w := range resp.Records {
		if w != nil && w.Record != nil {
			out.Records[w.Record.Name] = recordOnChain(w.Record)
		}
	}
	return out, nil
}

func recordOnChain(r *mdtypes.Record) RecordOnChain {
	var out RecordOnChain
	if len(r.Outputs) > 0 {
		out.Hash = r.Outputs[0].Hash
	}
	if r.SessionId.IsSessionAddress() {
		out.Session = agreement.UUID(r.SessionId[17:33])
	}
	if r.SpecificationId.IsRecordSpecificationAddress() {
		out.Contract = agreement.UUID(r.SpecificationId[1:17])
	}
	return out
}
