package devchain

import (
	"context"
	"errors"
	"fmt"

	storetypes "cosmossdk.io/store/types"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	"github.com/cosmos/cosmos-sdk/x/authz"
	flatfeestypes "github.com/provenance-io/provenance/x/flatfees/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	maxNesting       = 8  // of messages within authz MsgExec
	maxGasAdjustment = 10 // as upstream
)

// feeKeeper holds Provenance's flat-fee schedule: a cost per message type, and
// a default. It stands in for x/flatfees/keeper, which needs the SDK fork;
// nobody can change the schedule after genesis.
type feeKeeper struct {
	cdc codec.Codec
	key storetypes.StoreKey
}

var paramsKey = []byte("params") // key of the parameters; a message type's own fee is under "fee" + type URL

func messageFeeKey(url string) []byte { return append([]byte("fee"), url...) }

// initGenesis stores the schedule.
func (k feeKeeper) initGenesis(ctx sdk.Context, g *flatfeestypes.GenesisState) error {
	if err := g.Validate(); err != nil {
		return err
	}
	kv := ctx.KVStore(k.key)
	kv.Set(paramsKey, k.cdc.MustMarshal(&g.Params))
	for _, fee := range g.MsgFees {
		kv.Set(messageFeeKey(fee.MsgTypeUrl), k.cdc.MustMarshal(fee))
	}
	return nil
}

func (k feeKeeper) params(ctx sdk.Context) (p flatfeestypes.Params, err error) {
	bz := ctx.KVStore(k.key).Get(paramsKey)
	if bz == nil {
		return p, errors.New("the chain has no fee schedule")
	}
	return p, k.cdc.Unmarshal(bz, &p)
}

// messageFee is the fee set for one message type, or nil where the default applies.
func (k feeKeeper) messageFee(ctx sdk.Context, url string) (*flatfeestypes.MsgFee, error) {
	bz := ctx.KVStore(k.key).Get(messageFeeKey(url))
	if bz == nil {
		return nil, nil
	}
	fee := &flatfeestypes.MsgFee{}
	return fee, k.cdc.Unmarshal(bz, fee)
}

// cost says what msgs cost: upFront is taken even from a transaction that
// fails in its messages, onSuccess in addition from one that does not.
func (k feeKeeper) cost(ctx sdk.Context, msgs []sdk.Msg) (upFront, onSuccess sdk.Coins, err error) {
	params, err := k.params(ctx)
	if err != nil {
		return nil, nil, err
	}
	usual := params.ConversionFactor.ConvertCoin(params.DefaultCost)
	all, err := withNested(msgs, maxNesting)
	if err != nil {
		return nil, nil, err
	}
	for _, msg := range all {
		fee, err := k.messageFee(ctx, sdk.MsgTypeURL(msg))
		if err != nil {
			return nil, nil, fmt.Errorf("reading the fee of %s: %w", sdk.MsgTypeURL(msg), err)
		}
		if fee == nil {
			upFront = upFront.Add(usual)
			continue
		}
		for _, c := range params.ConversionFactor.ConvertCoins(fee.Cost) {
			switch {
			case c.Denom != usual.Denom:
				onSuccess = onSuccess.Add(c)
			case usual.IsLT(c):
				upFront, onSuccess = upFront.Add(usual), onSuccess.Add(c.Sub(usual))
			default:
				upFront = upFront.Add(c)
			}
		}
	}
	return upFront, onSuccess, nil
}

// withNested lists msgs and the messages inside authz MsgExec, which are paid for too.
func withNested(msgs []sdk.Msg, depth int) ([]sdk.Msg, error) {
	if depth == 0 {
		return nil, errors.New("messages are nested too deep")
	}
	all := make([]sdk.Msg, 0, len(msgs))
	for _, msg := range msgs {
		all = append(all, msg)
		exec, ok := msg.(*authz.MsgExec)
		if !ok {
			continue
		}
		inner, err := exec.GetMessages()
		if err != nil {
			return nil, fmt.Errorf("reading the messages of MsgExec: %w", err)
		}
		if inner, err = withNested(inner, depth-1); err != nil {
			return nil, err
		}
		all = append(all, inner...)
	}
	return all, nil
}

// feeQueries serves provenance.flatfees.v1.Query.
type feeQueries struct {
	keeper   feeKeeper
	registry codectypes.InterfaceRegistry
	decode   func([]byte) (sdk.Tx, error)
	simulate func([]byte) (sdk.GasInfo, *sdk.Result, error)
}

var _ flatfeestypes.QueryServer = feeQueries{}

// Params returns the default cost and the conversion factor.
func (q feeQueries) Params(ctx context.Context, _ *flatfeestypes.QueryParamsRequest) (*flatfeestypes.QueryParamsResponse, error) {
	params, err := q.keeper.params(sdk.UnwrapSDKContext(ctx))
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &flatfeestypes.QueryParamsResponse{Params: params}, nil
}

// AllMsgFees lists every fee that differs from the default. It knows no pages.
func (q feeQueries) AllMsgFees(ctx context.Context, req *flatfeestypes.QueryAllMsgFeesRequest) (*flatfeestypes.QueryAllMsgFeesResponse, error) {
	sdkCtx := sdk.UnwrapSDKContext(ctx)
	params, err := q.keeper.params(sdkCtx)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	res := &flatfeestypes.QueryAllMsgFeesResponse{DefaultCost: params.DefaultCost}
	if !req.DoNotConvert {
		res.DefaultCost = params.ConversionFactor.ConvertCoin(params.DefaultCost)
	}
	it := storetypes.KVStorePrefixIterator(sdkCtx.KVStore(q.keeper.key), messageFeeKey(""))
	defer it.Close()
	for ; it.Valid(); it.Next() {
		fee := &flatfeestypes.MsgFee{}
		if err := q.keeper.cdc.Unmarshal(it.Value(), fee); err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		if !req.DoNotConvert {
			fee = params.ConversionFactor.ConvertMsgFee(fee)
		}
		res.MsgFees = append(res.MsgFees, fee)
	}
	return res, nil
}

// MsgFee returns what one message type costs.
func (q feeQueries) MsgFee(ctx context.Context, req *flatfeestypes.QueryMsgFeeRequest) (*flatfeestypes.QueryMsgFeeResponse, error) {
	sdkCtx := sdk.UnwrapSDKContext(ctx)
	fee, err := q.keeper.messageFee(sdkCtx, req.MsgTypeUrl)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	params, err := q.keeper.params(sdkCtx)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if fee == nil {
		if _, err := q.registry.Resolve(req.MsgTypeUrl); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "unknown msg type url %q", req.MsgTypeUrl)
		}
		fee = flatfeestypes.NewMsgFee(req.MsgTypeUrl, params.DefaultCost)
	}
	if !req.DoNotConvert {
		fee = params.ConversionFactor.ConvertMsgFee(fee)
	}
	return &flatfeestypes.QueryMsgFeeResponse{MsgFee: fee}, nil
}

// CalculateTxFees runs a transaction without keeping what it does, and without
// verifying its signatures, and tells what it would cost in fees and gas.
func (q feeQueries) CalculateTxFees(ctx context.Context, req *flatfeestypes.QueryCalculateTxFeesRequest) (*flatfeestypes.QueryCalculateTxFeesResponse, error) {
	adjustment := req.GasAdjustment
	if adjustment < 0 || adjustment > maxGasAdjustment {
		return nil, sdkerrors.ErrInvalidRequest.Wrapf("gas adjustment must lie between 0 and %d", maxGasAdjustment)
	}
	if adjustment < 0.0001 {
		adjustment = 1
	}
	tx, err := q.decode(req.TxBytes)
	if err != nil {
		return nil, sdkerrors.ErrInvalidRequest.Wrap(err.Error())
	}
	upFront, onSuccess, err := q.keeper.cost(sdk.UnwrapSDKContext(ctx), tx.GetMsgs())
	if err != nil {
		return nil, sdkerrors.ErrInvalidRequest.Wrap(err.Error())
	}
	gas, _, err := q.simulate(req.TxBytes)
	if err != nil {
		return nil, sdkerrors.ErrInvalidRequest.Wrap(err.Error())
	}
	return &flatfeestypes.QueryCalculateTxFeesResponse{
		TotalFees:    upFront.Add(onSuccess...),
		EstimatedGas: uint64(float64(gas.GasUsed) * float64(adjustment)),
	}, nil
}
