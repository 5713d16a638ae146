// Package devchain owns the development chain: a Cosmos SDK application around Provenance's genuine metadata keeper, run by CometBFT in this process.
// It never serves a real network: there is no staking, no governance, and whoever holds a home directory holds a validator.
package devchain

import (
	"fmt"
	"sync"

	"cosmossdk.io/core/store"
	"cosmossdk.io/log"
	pruningtypes "cosmossdk.io/store/pruning/types"
	storetypes "cosmossdk.io/store/types"
	"cosmossdk.io/x/tx/signing"
	abci "github.com/cometbft/cometbft/abci/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/codec/address"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/runtime"
	"github.com/cosmos/cosmos-sdk/std"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	"github.com/cosmos/cosmos-sdk/x/auth"
	authkeeper "github.com/cosmos/cosmos-sdk/x/auth/keeper"
	authtx "github.com/cosmos/cosmos-sdk/x/auth/tx"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/authz"
	authzkeeper "github.com/cosmos/cosmos-sdk/x/authz/keeper"
	authzmodule "github.com/cosmos/cosmos-sdk/x/authz/module"
	"github.com/cosmos/cosmos-sdk/x/bank"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	consensuskeeper "github.com/cosmos/cosmos-sdk/x/consensus/keeper"
	consensustypes "github.com/cosmos/cosmos-sdk/x/consensus/types"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	"github.com/cosmos/gogoproto/proto"
	attributekeeper "github.com/provenance-io/provenance/x/attribute/keeper"
	attributetypes "github.com/provenance-io/provenance/x/attribute/types"
	flatfeestypes "github.com/provenance-io/provenance/x/flatfees/types"
	metadatakeeper "github.com/provenance-io/provenance/x/metadata/keeper"
	metadatatypes "github.com/provenance-io/provenance/x/metadata/types"
	namekeeper "github.com/provenance-io/provenance/x/name/keeper"
	nametypes "github.com/provenance-io/provenance/x/name/types"
)

const (
	// Prefix is the bech32 prefix of account addresses, as on Provenance's test networks.
	Prefix = "tp"
	// Denom is the coin in which fees are paid.
	Denom = "nhash"
	// MaxBlockGas is Provenance's limit for a block.
	MaxBlockGas = 60_000_000
	// MaxTxGas is Provenance's limit for one transaction.
	MaxTxGas = 4_000_000

	// denomPattern allows the '/' of value-owner coins (nft/scope1…), as Provenance does.
	denomPattern = `[a-zA-Z][a-zA-Z0-9/\-\.]{2,127}`

	iavlCacheNodes   = 10_000 // the SDK's default of 781,250 is meant for main networks
	keepRecentStates = 100    // heights whose state can be queried
	pruneEvery       = 10     // heights
)

// configureSDK sets the two settings that the SDK keeps globally: address
// prefixes and the pattern of denominations. Once for the process, and never
// sealed, so that packages which set the same prefix can live beside this one.
var configureSDK = sync.OnceFunc(func() {
	c := sdk.GetConfig()
	if c.GetBech32AccountAddrPrefix() != Prefix {
		c.SetBech32PrefixForAccount(Prefix, Prefix+"pub")
		c.SetBech32PrefixForValidator(Prefix+"valoper", Prefix+"valoperpub")
		c.SetBech32PrefixForConsensusNode(Prefix+"valcons", Prefix+"valconspub")
	}
	sdk.SetCoinDenomRegex(func() string { return denomPattern })
})

// app is the state machine: genuine SDK and Provenance keepers, and the fee
// rules of fees.go.
type app struct {
	*baseapp.BaseApp
	registry codectypes.InterfaceRegistry
	codec    codec.Codec
	txConfig client.TxConfig
	keys     map[string]*storetypes.KVStoreKey

	accounts   authkeeper.AccountKeeper
	bank       bankkeeper.BaseKeeper
	grants     authzkeeper.Keeper
	consensus  consensuskeeper.Keeper
	names      namekeeper.Keeper
	attributes attributekeeper.Keeper
	metadata   metadatakeeper.Keeper
	fees       feeKeeper
}

// newApp opens the chain's state in db and loads its newest height.
func newApp(chainID string, db dbm.DB, logger log.Logger) (*app, error) {
	configureSDK()
	registry, cdc, txConfig, err := newCodec()
	if err != nil {
		return nil, fmt.Errorf("building the codec: %w", err)
	}
	a := &app{
		registry: registry,
		codec:    cdc,
		txConfig: txConfig,
		keys: storetypes.NewKVStoreKeys(authtypes.StoreKey, banktypes.StoreKey, authzkeeper.StoreKey, consensustypes.StoreKey,
			nametypes.StoreKey, attributetypes.StoreKey, metadatatypes.StoreKey, flatfeestypes.StoreKey),
	}
	a.BaseApp = baseapp.NewBaseApp("devchain", logger, db, txConfig.TxDecoder(),
		baseapp.SetChainID(chainID),
		baseapp.SetPruning(pruningtypes.NewCustomPruningOptions(keepRecentStates, pruneEvery)),
		baseapp.SetIAVLCacheSize(iavlCacheNodes),
		baseapp.SetIAVLDisableFastNode(true),
	)
	a.SetInterfaceRegistry(registry)
	a.SetTxEncoder(txConfig.TxEncoder())
	a.newKeepers(logger)
	a.registerServices()
	if err := a.setHandlers(); err != nil {
		return nil, fmt.Errorf("building the ante chain: %w", err)
	}
	a.MountKVStores(a.keys)
	if err := a.LoadLatestVersion(); err != nil {
		return nil, fmt.Errorf("loading the chain's state: %w", err)
	}
	return a, nil
}

// newCodec builds the registry and the transaction coding for prefix tp.
func newCodec() (codectypes.InterfaceRegistry, codec.Codec, client.TxConfig, error) {
	options := signing.Options{
		AddressCodec:          address.NewBech32Codec(Prefix),
		ValidatorAddressCodec: address.NewBech32Codec(Prefix + "valoper"),
	}
	registry, err := codectypes.NewInterfaceRegistryWithOptions(codectypes.InterfaceRegistryOptions{ProtoFiles: proto.HybridResolver, SigningOptions: options})
	if err != nil {
		return nil, nil, nil, err
	}
	std.RegisterInterfaces(registry)
	authtypes.RegisterInterfaces(registry)
	banktypes.RegisterInterfaces(registry)
	authz.RegisterInterfaces(registry)
	consensustypes.RegisterInterfaces(registry)
	metadatatypes.RegisterInterfaces(registry)
	cdc := codec.NewProtoCodec(registry)
	txConfig, err := authtx.NewTxConfigWithOptions(cdc, authtx.ConfigOptions{EnabledSignModes: authtx.DefaultSignModes, SigningOptions: &options})
	return registry, cdc, txConfig, err
}

// moduleAccounts are the accounts that modules own, with what they may do.
func moduleAccounts() map[string][]string {
	return map[string][]string{
		authtypes.FeeCollectorName: nil,
		attributetypes.ModuleName:  nil,
		metadatatypes.ModuleName:   {authtypes.Minter, authtypes.Burner},
	}
}

func (a *app) newKeepers(logger log.Logger) {
	authority := authtypes.NewModuleAddress(govtypes.ModuleName).String() // nobody: there is no governance
	blocked := map[string]bool{}
	for name := range moduleAccounts() {
		blocked[authtypes.NewModuleAddress(name).String()] = true
	}
	service := func(key string) store.KVStoreService { return runtime.NewKVStoreService(a.keys[key]) }

	a.consensus = consensuskeeper.NewKeeper(a.codec, service(consensustypes.StoreKey), authority, runtime.EventService{})
	a.SetParamStore(a.consensus.ParamsStore)
	a.accounts = authkeeper.NewAccountKeeper(a.codec, service(authtypes.StoreKey), authtypes.ProtoBaseAccount, moduleAccounts(),
		address.NewBech32Codec(Prefix), Prefix, authority, authkeeper.WithUnorderedTransactions(true))
	a.bank = bankkeeper.NewBaseKeeper(a.codec, service(banktypes.StoreKey), a.accounts, blocked, authority, logger)
	a.grants = authzkeeper.NewKeeper(service(authzkeeper.StoreKey), a.codec, a.MsgServiceRouter(), a.accounts).SetBankKeeper(a.bank)
	a.names = namekeeper.NewKeeper(a.codec, a.keys[nametypes.StoreKey])
	a.attributes = attributekeeper.NewKeeper(a.codec, a.keys[attributetypes.StoreKey], a.accounts, &a.names)
	a.metadata = metadatakeeper.NewKeeper(a.codec, a.keys[metadatatypes.StoreKey], a.accounts, a.grants, a.attributes, noMarkers{}, a.bank)
	a.fees = feeKeeper{cdc: a.codec, key: a.keys[flatfeestypes.StoreKey]}
}

// registerServices connects messages and queries with their keepers.
func (a *app) registerServices() {
	c := module.NewConfigurator(a.codec, a.MsgServiceRouter(), a.GRPCQueryRouter())
	auth.NewAppModule(a.codec, a.accounts, nil, nil).RegisterServices(c)
	bank.NewAppModule(a.codec, a.bank, a.accounts, nil).RegisterServices(c)
	authzmodule.NewAppModule(a.codec, a.grants, a.accounts, a.bank, a.registry).RegisterServices(c)
	consensustypes.RegisterMsgServer(c.MsgServer(), a.consensus)
	consensustypes.RegisterQueryServer(c.QueryServer(), a.consensus)
	metadatatypes.RegisterMsgServer(c.MsgServer(), metadatakeeper.NewMsgServerImpl(a.metadata))
	metadatatypes.RegisterQueryServer(c.QueryServer(), a.metadata)
	flatfeestypes.RegisterQueryServer(c.QueryServer(), feeQueries{keeper: a.fees, registry: a.registry, decode: a.TxDecode, simulate: a.Simulate})
}

func (a *app) setHandlers() error {
	ante, err := newAnteHandler(a.accounts, a.bank, a.fees, a.txConfig.SignModeHandler())
	if err != nil {
		return err
	}
	a.SetAnteHandler(ante)
	a.SetPostHandler(sdk.ChainPostDecorators(collectRest{bank: a.bank}))
	a.SetInitChainer(a.initChain)
	a.SetPreBlocker(a.preBlock)
	a.SetBeginBlocker(a.beginBlock)
	proposals := baseapp.NewDefaultProposalHandler(a.Mempool(), a)
	proposals.SetTxSelector(&txSelector{})
	a.SetPrepareProposal(proposals.PrepareProposalHandler())
	a.SetProcessProposal(proposals.ProcessProposalHandler())
	return nil
}

// preBlock forgets the nonces of unordered transactions that can no longer be
// replayed; without it they would stay for ever.
func (a *app) preBlock(ctx sdk.Context, _ *abci.RequestFinalizeBlock) (*sdk.ResponsePreBlock, error) {
	if err := a.accounts.RemoveExpiredUnorderedNonces(ctx); err != nil {
		return nil, fmt.Errorf("removing expired nonces: %w", err)
	}
	return &sdk.ResponsePreBlock{}, nil
}

// beginBlock deletes authz grants that have run out.
func (a *app) beginBlock(ctx sdk.Context) (sdk.BeginBlock, error) {
	if err := authzmodule.BeginBlocker(ctx, a.grants); err != nil {
		return sdk.BeginBlock{}, fmt.Errorf("deleting expired grants: %w", err)
	}
	return sdk.BeginBlock{Events: ctx.EventManager().ABCIEvents()}, nil
}
