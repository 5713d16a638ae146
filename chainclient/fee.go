package chainclient

import (
	"context"
	"errors"
	"strings"

	sdkmath "cosmossdk.io/math"
	sdk "github.com/cosmos/cosmos-sdk/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	flatfees "github.com/provenance-io/provenance/x/flatfees/types"

	"github.com/affiliate-node/affiliate/agreement"
)

// nhash is the coin that Provenance takes its fees in.
const nhash = "nhash"

// fee is the configured amount, or what the chain asks for, which it finds by
// a trial run: a transaction that would fail is refused here and its
// co-signatures stay good.
func (c *Client) fee(ctx context.Context, tx unsigned) (txtypes.Fee, error) {
	fee := txtypes.Fee{GasLimit: c.cfg.GasLimit}
	if c.cfg.Fee != FeeAuto {
		coins, err := parseFee(c.cfg.Fee)
		if err != nil {
			return fee, badConfig("fee", err.Error())
		}
		fee.Amount = coins
	} else {
		coins, err := c.askFee(ctx, tx, fee)
		if err != nil {
			return fee, err
		}
		fee.Amount = coins
	}
	fee.GasLimit = avoidOldPrice(fee.Amount, fee.GasLimit)
	return fee, nil
}

func (c *Client) askFee(ctx context.Context, tx unsigned, fee txtypes.Fee) (sdk.Coins, error) {
	auth, err := tx.authInfo(fee)
	if err != nil {
		return nil, err
	}
	raw, err := tx.raw(auth, make([]byte, signatureSize)) // a trial run doesn't look at signatures
	if err != nil {
		return nil, err
	}
	var resp flatfees.QueryCalculateTxFeesResponse
	err = c.query(ctx, "/provenance.flatfees.v1.Query/CalculateTxFees", &flatfees.QueryCalculateTxFeesRequest{TxBytes: raw}, &resp)
	var q *queryError
	switch {
	case errors.As(err, &q) && strings.Contains(q.log, "unknown query path"):
		return nil, agreement.Errorf(agreement.CodeChainRefused, "the chain at %s can't compute fees: %w", c.endpoint, err).
			WithHint(`set [chain] fee in affiliate.toml to an amount such as "3nhash"`)
	case errors.As(err, &q):
		return nil, c.refusal(q.codespace, q.code, q.log)
	case err != nil:
		return nil, err
	}
	for _, coin := range resp.TotalFees { // each first: Coins.Validate panics on a missing amount
		if err := coin.Validate(); err != nil {
			return nil, badFee(c.endpoint, err)
		}
	}
	if err := resp.TotalFees.Validate(); err != nil {
		return nil, badFee(c.endpoint, err)
	}
	return resp.TotalFees, nil
}

func badFee(endpoint string, err error) error {
	return agreement.Errorf(agreement.CodeChainRefused, "the chain at %s asks for an impossible fee: %w", endpoint, err).
		WithHint(`is [chain] endpoint right? [chain] fee can also be an amount such as "3nhash"`)
}

// avoidOldPrice keeps the fee from looking like a gas price of former
// releases, which Provenance refuses.
func avoidOldPrice(amount sdk.Coins, gas uint64) uint64 {
	for _, price := range []uint64{1905, 9525, 19050} {
		if amount.AmountOf(nhash).Equal(sdkmath.NewIntFromUint64(gas).Mul(sdkmath.NewIntFromUint64(price))) {
			return gas - 1
		}
	}
	return gas
}
