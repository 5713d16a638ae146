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
		coins, estimate, err := c.askFee(ctx, tx, fee)
		if err != nil {
			return fee, err
		}
		fee.Amount = coins
		fee.GasLimit = stated(estimate, c.cfg.GasLimit)
	}
	fee.GasLimit = avoidOldPrice(fee.Amount, fee.GasLimit)
	return fee, nil
}

// gasMargin multiplies the gas of the trial run. Running out of gas burns the
// body for all its signers, so there is plenty; but a block is filled by the
// limits that its transactions state, 15 of them at the most that is allowed.
const gasMargin = 2

func stated(estimate, limit uint64) uint64 {
	if estimate == 0 || estimate > limit/gasMargin {
		return limit
	}
	return estimate * gasMargin
}

// askFee asks what a transaction costs, in coins and in gas.
func (c *Client) askFee(ctx context.Context, tx unsigned, fee txtypes.Fee) (sdk.Coins, uint64, error) {
	auth, err := tx.authInfo(fee)
	if err != nil {
		return nil, 0, err
	}
	raw, err := tx.raw(auth, make([]byte, signatureSize)) // a trial run doesn't look at signatures
	if err != nil {
		return nil, 0, err
	}
	var resp flatfees.QueryCalculateTxFeesResponse
	err = c.query(ctx, "/provenance.flatfees.v1.Query/CalculateTxFees", &flatfees.QueryCalculateTxFeesRequest{TxBytes: raw}, &resp)
	var q *queryError
	switch {
	case errors.As(err, &q) && strings.Contains(q.log, "unknown query path"):
		return nil, 0, agreement.Errorf(agreement.CodeChainRefused, "the chain at %s can't compute fees: %w", c.endpoint, err).
			WithHint(`set [chain] fee in affiliate.toml to an amount such as "3nhash"`)
	case errors.As(err, &q):
		return nil, 0, c.refusal(q.codespace, q.code, q.log)
	case err != nil:
		return nil, 0, err
	}
	for _, coin := range resp.TotalFees { // each first: Coins.Validate panics on a missing amount
		if err := coin.Validate(); err != nil {
			return nil, 0, badFee(c.endpoint, err)
		}
	}
	if err := resp.TotalFees.Validate(); err != nil {
		return nil, 0, badFee(c.endpoint, err)
	}
	return resp.TotalFees, resp.EstimatedGas, nil
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
