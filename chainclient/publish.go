package chainclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	mdtypes "github.com/provenance-io/provenance/x/metadata/types"

	"github.com/affiliate-node/affiliate/agreement"
)

const (
	// commitTimeout bounds the wait for an own ordered transaction.
	commitTimeout = 60 * time.Second
	// publishAttempts bounds retries when the account's sequence moved.
	publishAttempts = 3
	// publishLifetime is for how many blocks an ordered transaction may wait.
	publishLifetime = 200
)

// Publish writes the specifications that the chain lacks, in one transaction
// of this account alone, and waits until they can be queried. It returns the
// transaction's hash, or "" when nothing was missing. SPECIFICATION_MISMATCH
// when the chain has something else under one of the ids, and another owner.
func (c *Client) Publish(ctx context.Context, s Specification) (string, error) {
	c.publishing.Lock()
	defer c.publishing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		msgs, err := c.missing(ctx, s)
		if err != nil {
			return "", err
		}
		if len(msgs) == 0 {
			return "", c.CheckSpecification(ctx, s) // something may be too many
		}
		hash, err := c.publishOnce(ctx, msgs)
		if err == nil {
			return hash, c.awaitSpecs(ctx, s)
		}
		if !errors.Is(err, errSequence) || attempt == publishAttempts {
			return "", err
		}
		if err := sleep(ctx, c.cfg.PollInterval); err != nil {
			return "", c.unreachable(ctx, "publishing a contract", err)
		}
	}
}

// errSequence is an account sequence that moved between asking and sending.
var errSequence = errors.New("the account's sequence moved")

func (c *Client) publishOnce(ctx context.Context, msgs []message) (string, error) {
	st, err := c.Status(ctx)
	if err != nil {
		return "", err
	}
	raw, err := c.ordered(ctx, msgs, st.Height+publishLifetime)
	if err != nil {
		return "", err
	}
	code, codespace, text, err := c.checkTx(ctx, raw)
	switch {
	case err != nil:
		return "", err
	case codespace == "sdk" && code == sdkWrongSequence:
		return "", fmt.Errorf("%w: %w", c.refusal(codespace, code, text), errSequence)
	case code != 0:
		return "", c.refusal(codespace, code, text)
	}
	return TxHash(raw), c.awaitTx(ctx, raw, st.Height+1)
}

// ordered builds and signs a transaction of this account alone.
func (c *Client) ordered(ctx context.Context, msgs []message, timeoutHeight int64) ([]byte, error) {
	anys := make([]*codectypes.Any, len(msgs))
	for i, m := range msgs {
		a, err := pack(m)
		if err != nil {
			return nil, err
		}
		anys[i] = a
	}
	body := txtypes.TxBody{Messages: anys, TimeoutHeight: uint64(max(timeoutHeight, 0))} //nolint:gosec // never negative
	raw, err := body.Marshal()
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "encoding a transaction body: %w", err)
	}
	if len(raw) > MaxBody {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "the specifications take %d bytes, the limit is %d", len(raw), MaxBody)
	}
	number, sequence, err := c.account(ctx, c.signer.Address())
	if err != nil {
		return nil, err
	}
	tx := unsigned{body: raw, keys: [][]byte{c.signer.AccountKey()}, sigs: [][]byte{nil}, sequence: sequence}
	fee, err := c.fee(ctx, tx)
	if err != nil {
		if strings.Contains(err.Error(), "account sequence mismatch") {
			return nil, fmt.Errorf("%w: %w", err, errSequence)
		}
		return nil, err
	}
	return c.finish(tx, number, fee)
}

// awaitTx waits for the block that holds tx, from height from on.
func (c *Client) awaitTx(ctx context.Context, tx []byte, from int64) error {
	for {
		st, err := c.Status(ctx)
		for ; err == nil && from <= st.Height; from++ {
			var b rawBlock
			if b, err = c.block(ctx, from); err != nil {
				break
			}
			i := slices.IndexFunc(b.txs, func(t []byte) bool { return bytes.Equal(t, tx) })
			if i >= 0 && b.results[i].code != 0 {
				return c.refusal(b.results[i].codespace, b.results[i].code, b.results[i].log)
			}
			if i >= 0 {
				return nil
			}
		}
		if err := sleep(ctx, c.cfg.PollInterval); err != nil {
			return c.unreachable(ctx, fmt.Sprintf("waiting for transaction %s", TxHash(tx)), err)
		}
	}
}

// awaitSpecs waits until queries show what the block wrote.
func (c *Client) awaitSpecs(ctx context.Context, s Specification) error {
	for {
		msgs, err := c.missing(ctx, s)
		if err == nil && len(msgs) == 0 {
			return nil
		}
		if err := sleep(ctx, c.cfg.PollInterval); err != nil {
			return c.unreachable(ctx, "waiting for the published specifications", err)
		}
	}
}

// missing gives the messages that bring the chain to what the manifest says,
// in the order in which the chain accepts them.
func (c *Client) missing(ctx context.Context, s Specification) ([]message, error) {
	me := c.signer.Address()
	want, err := wantSpecs(s, me)
	if err != nil {
		return nil, err
	}
	got, err := c.findSpecs(ctx, s)
	if err != nil {
		return nil, err
	}
	msgs, err := missingContract(s, got, want, me)
	if err != nil {
		return nil, err
	}
	for i, w := range want.scopes {
		m, err := missingScope(s, got.scopes[i], w, me)
		if err != nil {
			return nil, err
		}
		if m != nil {
			msgs = append(msgs, m)
		}
	}
	return msgs, nil
}

func missingContract(s Specification, got, want specs, me string) ([]message, error) {
	var msgs []message
	mine := got.contract == nil || slices.Equal(got.contract.OwnerAddresses, []string{me})
	d := "the contract specification is missing"
	if got.contract != nil {
		d = contractDifference(got.contract, want.contract)
	}
	if d != "" && !mine {
		return nil, specMismatch(s, d)
	}
	if d != "" {
		msgs = append(msgs, &mdtypes.MsgWriteContractSpecificationRequest{Specification: *want.contract, Signers: []string{me}})
	}
	for _, w := range want.records {
		d := "the record specification " + w.Name + " is missing"
		if g := recordNamed(got.records, w.Name); g != nil {
			d = recordDifference(g, &w)
		}
		if d == "" {
			continue
		}
		if !mine {
			return nil, specMismatch(s, d)
		}
		msgs = append(msgs, &mdtypes.MsgWriteRecordSpecificationRequest{Specification: w, Signers: []string{me}})
	}
	return msgs, nil
}

// missingScope gives the message that a scope specification needs, or nil.
func missingScope(s Specification, got, want *mdtypes.ScopeSpecification, me string) (message, error) {
	if got == nil {
		return &mdtypes.MsgWriteScopeSpecificationRequest{Specification: *want, Signers: []string{me}}, nil
	}
	d := scopeDifference(got, want)
	if d == "" {
		return nil, nil //nolint:nilnil // nothing to do
	}
	added := *got
	added.ContractSpecIds = append(slices.Clone(got.ContractSpecIds), want.ContractSpecIds...)
	if scopeDifference(&added, want) != "" {
		return nil, specMismatch(s, d)
	}
	if !slices.Equal(got.OwnerAddresses, []string{me}) {
		return nil, agreement.Errorf(agreement.CodeSpecification, "the scope specification %s does not list contract %q, and belongs to %s",
			want.SpecificationId, s.Manifest.Name, strings.Join(got.OwnerAddresses, ", ")).
			WithHint("its owner has to publish the contract, or give the manifest a scope specification of its own")
	}
	return &mdtypes.MsgAddContractSpecToScopeSpecRequest{
		ContractSpecificationId: want.ContractSpecIds[0], ScopeSpecificationId: want.SpecificationId, Signers: []string{me},
	}, nil
}
