package chainclient

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	"github.com/cosmos/gogoproto/proto"
	"github.com/google/uuid"
	mdtypes "github.com/provenance-io/provenance/x/metadata/types"

	"github.com/affiliate-node/affiliate/agreement"
)

const (
	// MaxBody bounds a transaction body, in bytes. The chain charges about 43
	// gas a byte, so 4,000,000 gas end well below it.
	MaxBody = 256 << 10
	// lifetimeMargin keeps a new timeout away from the chain's bound, because
	// the node that checks it may be a block behind the one that we asked.
	lifetimeMargin = 10 * time.Second
)

// RecordWrite is one record as it goes on the chain.
type RecordWrite struct {
	Name, Method string                // the record's, and the contract function's
	Inputs       []agreement.NamedHash // in the order of the record specification
	Output       string                // base64
}

// Write is all that one agreement writes: the terms from which every party
// builds the same transaction body.
type Write struct {
	Scope, Session, ScopeSpec   agreement.UUID
	NewScope                    bool
	Owners                      []agreement.Party // of a new scope
	Parties                     []agreement.Party // of the session; those without a role are left out
	DataAccess, AddedDataAccess []string          // of a new scope; added to an existing one
	ValueOwner                  string            // of a new scope; may be empty
	Contract                    agreement.Hash
	ContractName                string
	Records                     []RecordWrite
	Signers                     []string // the proposer first
}

// NewTimeout returns when a new body shall expire: the last block's time and
// the configured lifetime, with random nanoseconds, because the chain refuses
// a second transaction of any signer with the same timeout.
func (c *Client) NewTimeout(ctx context.Context) (time.Time, error) {
	st, err := c.Status(ctx)
	if err != nil {
		return time.Time{}, err
	}
	lifetime := min(c.cfg.CosignLifetime, MaxCosignLifetime-lifetimeMargin)
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	jitter := time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(time.Second))
	return st.BlockTime.Add(lifetime - jitter).UTC(), nil
}

// BuildBody serialises the transaction body that writes w and expires at
// timeout. These bytes are what every party signs: they are never encoded
// again. The same arguments give the same bytes everywhere.
func (c *Client) BuildBody(w Write, timeout time.Time) ([]byte, error) {
	if err := c.checkWrite(w); err != nil {
		return nil, err
	}
	msgs, err := packMessages(w)
	if err != nil {
		return nil, err
	}
	timeout = timeout.UTC()
	body := txtypes.TxBody{Messages: msgs, Unordered: true, TimeoutTimestamp: &timeout}
	raw, err := body.Marshal()
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "encoding a transaction body: %w", err)
	}
	if len(raw) > MaxBody {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "the transaction body has %d bytes, the limit is %d", len(raw), MaxBody).
			WithHint("use a contract with fewer records or inputs")
	}
	return raw, nil
}

// message is a message of the metadata module.
type message interface {
	proto.Message
	wireMessage
}

func packMessages(w Write) ([]*codectypes.Any, error) {
	msgs := []message{writeSession(w)}
	if first := writeScope(w); first != nil {
		msgs = []message{first, msgs[0]}
	}
	for _, r := range w.Records {
		msgs = append(msgs, writeRecord(w, r))
	}
	anys := make([]*codectypes.Any, len(msgs))
	for i, m := range msgs {
		a, err := pack(m)
		if err != nil {
			return nil, err
		}
		anys[i] = a
	}
	return anys, nil
}

func pack(m message) (*codectypes.Any, error) {
	raw, err := m.Marshal()
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "encoding %s: %w", typeURL(m), err)
	}
	return &codectypes.Any{TypeUrl: typeURL(m), Value: raw}, nil
}

func typeURL(m proto.Message) string { return "/" + proto.MessageName(m) }

// writeScope makes the message that comes before the session, if one does.
func writeScope(w Write) message {
	scopeID := mdtypes.ScopeMetadataAddress(uuid.UUID(w.Scope))
	if !w.NewScope {
		if len(w.AddedDataAccess) == 0 {
			return nil
		}
		return &mdtypes.MsgAddScopeDataAccessRequest{ScopeId: scopeID, DataAccess: w.AddedDataAccess, Signers: w.Signers}
	}
	return &mdtypes.MsgWriteScopeRequest{
		Scope: mdtypes.Scope{
			ScopeId: scopeID, SpecificationId: mdtypes.ScopeSpecMetadataAddress(uuid.UUID(w.ScopeSpec)),
			Owners: parties(w.Owners), DataAccess: w.DataAccess, ValueOwnerAddress: w.ValueOwner,
		},
		Signers: w.Signers,
	}
}

func writeSession(w Write) message {
	return &mdtypes.MsgWriteSessionRequest{
		Session: mdtypes.Session{
			SessionId: sessionID(w), SpecificationId: contractSpecID(w.Contract),
			Parties: parties(w.Parties), Name: w.ContractName,
		},
		Signers: w.Signers,
	}
}

func writeRecord(w Write, r RecordWrite) message {
	spec := uuid.UUID(agreement.ContractSpecificationID(w.Contract))
	inputs := make([]mdtypes.RecordInput, len(r.Inputs))
	for i, in := range r.Inputs {
		inputs[i] = mdtypes.RecordInput{
			Name: in.Name, TypeName: in.Type, Source: &mdtypes.RecordInput_Hash{Hash: in.Hash},
			Status: mdtypes.RecordInputStatus_Proposed,
		}
	}
	return &mdtypes.MsgWriteRecordRequest{
		Record: mdtypes.Record{
			Name: r.Name, SessionId: sessionID(w), SpecificationId: mdtypes.RecordSpecMetadataAddress(spec, r.Name),
			Process: mdtypes.Process{
				ProcessId: &mdtypes.Process_Hash{Hash: sourceHash(w.Contract)}, Name: w.ContractName, Method: r.Method,
			},
			Inputs:  inputs,
			Outputs: []mdtypes.RecordOutput{{Hash: r.Output, Status: mdtypes.ResultStatus_RESULT_STATUS_PASS}},
		},
		Signers: w.Signers,
	}
}

func sessionID(w Write) mdtypes.MetadataAddress {
	return mdtypes.SessionMetadataAddress(uuid.UUID(w.Scope), uuid.UUID(w.Session))
}

func contractSpecID(contract agreement.Hash) mdtypes.MetadataAddress {
	return mdtypes.ContractSpecMetadataAddress(uuid.UUID(agreement.ContractSpecificationID(contract)))
}

// sourceHash is a contract's hash as it stands on the chain.
func sourceHash(contract agreement.Hash) string {
	return base64.StdEncoding.EncodeToString(contract[:])
}

// parties leaves out those without a role, who only sign.
func parties(ps []agreement.Party) []mdtypes.Party {
	out := make([]mdtypes.Party, 0, len(ps))
	for _, p := range ps {
		if role, ok := partyType(p.Role); ok {
			out = append(out, mdtypes.Party{Address: p.Address, Role: role})
		}
	}
	return out
}

func partyType(r agreement.Role) (mdtypes.PartyType, bool) {
	n, ok := mdtypes.PartyType_value["PARTY_TYPE_"+string(r)]
	return mdtypes.PartyType(n), ok && n != 0
}

func roleOf(t mdtypes.PartyType) agreement.Role {
	return agreement.Role(strings.TrimPrefix(mdtypes.PartyType_name[int32(t)], "PARTY_TYPE_"))
}

// checkWrite refuses what the chain would refuse for its form alone.
func (c *Client) checkWrite(w Write) error {
	bad := func(format string, args ...any) error {
		return agreement.Errorf(agreement.CodeBadRequest, "writing to the chain: %w", fmt.Errorf(format, args...))
	}
	if w.Scope.IsZero() || w.Session.IsZero() || w.Contract.IsZero() || w.ContractName == "" {
		return bad("the scope, the session, the contract and its name are needed")
	}
	if err := c.checkAddresses(w); err != nil {
		return bad("%w", err)
	}
	if len(parties(w.Parties)) == 0 {
		return bad("no party has a role")
	}
	for _, p := range w.Parties {
		if _, ok := partyType(p.Role); !ok && p.Role != "" {
			return bad("the chain has no role %q", p.Role)
		}
	}
	if w.NewScope {
		if w.ScopeSpec.IsZero() || len(w.Owners) == 0 {
			return bad("a new scope needs a specification and an owner")
		}
		for _, p := range w.Owners {
			if _, ok := partyType(p.Role); !ok {
				return bad("the chain has no role %q for the owner %s", p.Role, p.Address)
			}
		}
	}
	if err := checkRecords(w.Records); err != nil {
		return bad("%w", err)
	}
	return nil
}

func (c *Client) checkAddresses(w Write) error {
	if len(w.Signers) == 0 {
		return fmt.Errorf("nobody signs")
	}
	seen := map[string]bool{}
	all := append([]string{}, w.Signers...)
	for _, s := range w.Signers {
		if seen[s] {
			return fmt.Errorf("the signer %s is named twice", s)
		}
		seen[s] = true
	}
	for _, p := range append(append([]agreement.Party{}, w.Owners...), w.Parties...) {
		all = append(all, p.Address)
	}
	all = append(append(all, w.DataAccess...), w.AddedDataAccess...)
	if w.ValueOwner != "" {
		all = append(all, w.ValueOwner)
	}
	for _, a := range all {
		if err := ValidAddress(c.cfg.Prefix, a); err != nil {
			return err
		}
	}
	return nil
}

func checkRecords(records []RecordWrite) error {
	if len(records) == 0 {
		return fmt.Errorf("there is no record to write")
	}
	names := map[string]bool{}
	for _, r := range records {
		key := strings.ToLower(strings.TrimSpace(r.Name)) // as the chain identifies it
		switch {
		case key == "" || r.Method == "" || r.Output == "":
			return fmt.Errorf("the record %q needs a name, a method and an output", r.Name)
		case names[key]:
			return fmt.Errorf("the record %q is written twice", r.Name)
		}
		names[key] = true
		for _, in := range r.Inputs {
			if in.Name == "" || in.Hash == "" || in.Type == "" {
				return fmt.Errorf("the input %q of record %q needs a name, a type and a hash", in.Name, r.Name)
			}
		}
	}
	return nil
}
