package devchain

import (
	"context"
	"errors"
	"fmt"
	"time"

	storetypes "cosmossdk.io/store/types"
	txsigning "cosmossdk.io/x/tx/signing"
	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	"github.com/cosmos/cosmos-sdk/x/auth/ante"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
)

const (
	// MaxUnorderedLifetime bounds how far after the last block's time an
	// unordered transaction's timeout may lie.
	MaxUnorderedLifetime = 5 * time.Minute

	defaultGas  = 500_000 // "no gas stated"; gets MaxTxGas
	proposedGas = 200_000 // most gas that one transaction counts for when a block is filled
)

// newAnteHandler builds the checks that precede a transaction's messages, in
// Provenance's order.
func newAnteHandler(accounts ante.AccountKeeper, bank bankKeeper, fees feeKeeper, modes *txsigning.HandlerMap) (sdk.AnteHandler, error) {
	if modes == nil {
		return nil, errors.New("there are no sign modes")
	}
	return sdk.ChainAnteDecorators(
		setUpGas{},
		checkFee{fees},
		ante.NewExtensionOptionsDecorator(nil),
		ante.NewValidateBasicDecorator(),
		ante.NewTxTimeoutHeightDecorator(),
		ante.NewValidateMemoDecorator(accounts),
		ante.NewConsumeGasForTxSizeDecorator(accounts),
		collectUpFront{accounts, bank},
		ante.NewSetPubKeyDecorator(accounts),
		ante.NewValidateSigCountDecorator(accounts),
		ante.NewSigGasConsumeDecorator(accounts, ante.DefaultSigVerificationGasConsumer),
		ante.NewSigVerificationDecorator(accounts, modes,
			ante.WithUnorderedTxGasCost(ante.DefaultUnorderedTxGasCost),
			ante.WithMaxUnorderedTxTimeoutDuration(MaxUnorderedLifetime)),
		ante.NewIncrementSequenceDecorator(accounts),
	), nil
}

// bankKeeper is what fee collection needs of the bank.
type bankKeeper interface {
	GetBalance(ctx context.Context, addr sdk.AccAddress, denom string) sdk.Coin
	SendCoinsFromAccountToModule(ctx context.Context, sender sdk.AccAddress, module string, amount sdk.Coins) error
}

func asFeeTx(tx sdk.Tx) (sdk.FeeTx, error) {
	feeTx, ok := tx.(sdk.FeeTx)
	if !ok {
		return nil, sdkerrors.ErrTxDecode.Wrapf("Tx must be a FeeTx: %T", tx)
	}
	return feeTx, nil
}

// gasWanted reads a transaction's gas limit as Provenance does: a limit of 0,
// or one that equals the fee, states none.
func gasWanted(tx sdk.FeeTx) (uint64, error) {
	gas := tx.GetGas()
	if gas == 0 {
		return defaultGas, nil
	}
	paid, fee := tx.GetFee().Find(Denom)
	if !paid || !fee.Amount.IsUint64() {
		return gas, nil
	}
	nhash := fee.Amount.Uint64()
	switch {
	case nhash == gas:
		return defaultGas, nil
	case nhash%gas == 0 && (nhash/gas == 1905 || nhash/gas == 9525 || nhash/gas == 19050):
		return 0, errors.New("old gas-prices value detected; always use 1nhash")
	}
	return gas, nil
}

// setUpGas gives the transaction its gas meter and turns running out of gas
// in a later check into an error. It must come first.
type setUpGas struct{}

// AnteHandle implements sdk.AnteDecorator.
func (setUpGas) AnteHandle(ctx sdk.Context, tx sdk.Tx, simulate bool, next sdk.AnteHandler) (out sdk.Context, err error) {
	feeTx, err := asFeeTx(tx)
	if err != nil {
		return ante.SetGasMeter(simulate, ctx, 0), err
	}
	wanted, err := gasWanted(feeTx)
	if err != nil {
		return ante.SetGasMeter(simulate, ctx, 0), err
	}
	limit := wanted
	if limit == defaultGas {
		limit = MaxTxGas
	}
	out = ante.SetGasMeter(simulate, ctx, limit)
	if wanted > MaxTxGas {
		return out, sdkerrors.ErrInvalidGasLimit.Wrapf("tx gas limit %d exceeds tx max gas %d", wanted, MaxTxGas)
	}
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		exhausted, ok := r.(storetypes.ErrorOutOfGas)
		if !ok {
			panic(r)
		}
		err = sdkerrors.ErrOutOfGas.Wrapf("out of gas in location: %v; gasWanted: %d, gasUsed: %d",
			exhausted.Descriptor, out.GasMeter().Limit(), out.GasMeter().GasConsumed())
	}()
	return next(out, tx, simulate)
}

// charge is what checkFee found, for the parts that collect it.
type charge struct{ upFront, required sdk.Coins }

type chargeKey struct{}

func chargeOf(ctx sdk.Context) (charge, error) {
	c, ok := ctx.Value(chargeKey{}).(charge)
	if !ok {
		return c, sdkerrors.ErrLogic.Wrap("the fee was not computed")
	}
	return c, nil
}

// checkFee refuses a transaction whose fee does not cover its messages.
type checkFee struct{ fees feeKeeper }

// AnteHandle implements sdk.AnteDecorator.
func (d checkFee) AnteHandle(ctx sdk.Context, tx sdk.Tx, simulate bool, next sdk.AnteHandler) (sdk.Context, error) {
	feeTx, err := asFeeTx(tx)
	if err != nil {
		return ctx, err
	}
	upFront, onSuccess, err := d.fees.cost(ctx, tx.GetMsgs())
	if err != nil {
		return ctx, fmt.Errorf("could not calculate msg costs: %w", err)
	}
	c := charge{upFront: upFront, required: upFront.Add(onSuccess...)}
	if !simulate {
		if err := covers(feeTx.GetFee(), c.required); err != nil {
			return ctx, err
		}
	}
	return next(ctx.WithValue(chargeKey{}, c), tx, simulate)
}

// covers fails unless fee is well formed and at least required.
func covers(fee, required sdk.Coins) error {
	var offered sdk.Coins
	for _, coin := range fee {
		if coin.IsNil() || !coin.IsZero() {
			offered = append(offered, coin)
		}
	}
	if err := offered.Validate(); err != nil {
		return sdkerrors.ErrInsufficientFee.Wrapf("fee provided %q is invalid: %v", fee, err)
	}
	if !offered.IsAllGTE(required) {
		return sdkerrors.ErrInsufficientFee.Wrapf("fee required: %q, fee provided: %q", required, fee)
	}
	return nil
}

// collectUpFront checks that the payer holds the whole fee, and takes the part
// that is due even if the messages fail.
type collectUpFront struct {
	accounts ante.AccountKeeper
	bank     bankKeeper
}

// AnteHandle implements sdk.AnteDecorator.
func (d collectUpFront) AnteHandle(ctx sdk.Context, tx sdk.Tx, simulate bool, next sdk.AnteHandler) (sdk.Context, error) {
	feeTx, err := asFeeTx(tx)
	if err != nil {
		return ctx, err
	}
	c, err := chargeOf(ctx)
	if err != nil {
		return ctx, err
	}
	payer := sdk.AccAddress(feeTx.FeePayer())
	if granter := feeTx.FeeGranter(); len(granter) > 0 && !payer.Equals(sdk.AccAddress(granter)) {
		return ctx, sdkerrors.ErrInvalidRequest.Wrap("fee grants are not enabled")
	}
	if !simulate {
		if d.accounts.GetAccount(ctx, payer) == nil {
			return ctx, sdkerrors.ErrUnknownAddress.Wrapf("fee payer address %q does not exist", payer)
		}
		for _, coin := range feeTx.GetFee() {
			if has := d.bank.GetBalance(ctx, payer, coin.Denom); has.IsLT(coin) {
				return ctx, sdkerrors.ErrInsufficientFunds.Wrapf("account %q balance: %q, required: %q", payer, has, coin)
			}
		}
		if err := payFee(ctx, d.bank, payer, c.upFront); err != nil {
			return ctx, fmt.Errorf("could not collect up-front fee of %q: %w", c.upFront, err)
		}
	}
	who := sdk.NewAttribute(sdk.AttributeKeyFeePayer, payer.String())
	ctx.EventManager().EmitEvents(sdk.Events{
		sdk.NewEvent(sdk.EventTypeTx, sdk.NewAttribute(sdk.AttributeKeyFee, feeTx.GetFee().String()), who),
		sdk.NewEvent(sdk.EventTypeTx, sdk.NewAttribute("min_fee_charged", c.upFront.String()), who),
	})
	return next(ctx, tx, simulate)
}

func payFee(ctx sdk.Context, bank bankKeeper, payer sdk.AccAddress, fee sdk.Coins) error {
	if fee.IsZero() {
		return nil
	}
	if err := bank.SendCoinsFromAccountToModule(ctx, payer, authtypes.FeeCollectorName, fee); err != nil {
		return sdkerrors.ErrInsufficientFunds.Wrapf("%v: account: %s", err, payer)
	}
	return nil
}

// collectRest takes what is left of the offered fee, overpayment included,
// after the messages have succeeded.
type collectRest struct{ bank bankKeeper }

// PostHandle implements sdk.PostDecorator.
func (h collectRest) PostHandle(ctx sdk.Context, tx sdk.Tx, simulate, success bool, next sdk.PostHandler) (sdk.Context, error) {
	if !success || simulate {
		return next(ctx, tx, simulate, success)
	}
	feeTx, err := asFeeTx(tx)
	if err != nil {
		return ctx, err
	}
	c, err := chargeOf(ctx)
	if err != nil {
		return ctx, err
	}
	payer := sdk.AccAddress(feeTx.FeePayer())
	rest := feeTx.GetFee().Sub(c.upFront...)
	if err := payFee(ctx, h.bank, payer, rest); err != nil {
		return ctx, fmt.Errorf("could not collect remaining cost %q upon success: %w", rest, err)
	}
	ctx.EventManager().EmitEvent(feeEvent(payer, c, feeTx.GetFee()))
	return next(ctx, tx, simulate, success)
}

// feeEvent reports what a successful transaction paid, in Provenance's form.
func feeEvent(payer sdk.AccAddress, c charge, paid sdk.Coins) sdk.Event {
	e := sdk.NewEvent(sdk.EventTypeTx,
		sdk.NewAttribute(sdk.AttributeKeyFeePayer, payer.String()),
		sdk.NewAttribute("basefee", c.upFront.String()))
	if more := c.required.Sub(c.upFront...); !more.IsZero() {
		e = e.AppendAttributes(sdk.NewAttribute("additionalfee", more.String()))
	}
	if over := paid.Sub(c.required...); !over.IsZero() {
		e = e.AppendAttributes(sdk.NewAttribute("fee_overage", over.String()))
	}
	return e.AppendAttributes(sdk.NewAttribute("total", paid.String()))
}

// txSelector fills a proposed block from CometBFT's mempool. As gas costs
// nothing here, stated limits are generous, so none counts for more than
// proposedGas.
type txSelector struct {
	bytes, gas uint64
	txs        [][]byte
}

// SelectedTxs implements baseapp.TxSelector.
func (s *txSelector) SelectedTxs(context.Context) [][]byte { return append([][]byte(nil), s.txs...) }

// Clear implements baseapp.TxSelector.
func (s *txSelector) Clear() { *s = txSelector{} }

// SelectTxForProposal implements baseapp.TxSelector.
func (s *txSelector) SelectTxForProposal(_ context.Context, maxBytes, maxGas uint64, tx sdk.Tx, raw []byte) bool {
	var gas uint64
	if feeTx, err := asFeeTx(tx); err == nil {
		wanted, _ := gasWanted(feeTx)
		gas = min(wanted, proposedGas)
	}
	size := uint64(len(raw))
	if s.bytes+size <= maxBytes && (maxGas == 0 || s.gas+gas <= maxGas) {
		s.bytes, s.gas, s.txs = s.bytes+size, s.gas+gas, append(s.txs, raw)
	}
	return s.bytes >= maxBytes || (maxGas > 0 && s.gas >= maxGas)
}
