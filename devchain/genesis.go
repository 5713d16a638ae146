package devchain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"cosmossdk.io/math"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/cosmos/cosmos-sdk/codec"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/gogoproto/proto"
	attributetypes "github.com/provenance-io/provenance/x/attribute/types"
	flatfeestypes "github.com/provenance-io/provenance/x/flatfees/types"
	metadatatypes "github.com/provenance-io/provenance/x/metadata/types"
	nametypes "github.com/provenance-io/provenance/x/name/types"
)

const (
	// DefaultFunds is what an account gets that states no amount, in nhash.
	DefaultFunds = 1_000_000_000_000_000
	// DefaultMessageFee is what one message costs, in nhash.
	DefaultMessageFee = 1

	validatorPower = 10
)

var chainIDPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,49}$`) // 50 characters at most: CometBFT

// Account is an account of the genesis state. It carries its public key,
// because the metadata keeper takes a funded account without one, which has
// never signed, for a smart contract and refuses it as a party.
type Account struct {
	Address   string // bech32, prefix tp; must belong to PublicKey
	PublicKey []byte // secp256k1, compressed, 33 bytes
	Nhash     uint64 // funds; 0 means DefaultFunds
}

// Genesis describes a new chain. Account numbers follow the order of Accounts,
// from 0.
type Genesis struct {
	ChainID  string // "" means "devchain-1"
	Accounts []Account
	// Free makes messages cost nothing instead of DefaultMessageFee.
	Free bool
	// Time is the chain's first block time; zero means now.
	Time time.Time
}

// withDefaults fills in what g leaves out and checks the rest.
func (g Genesis) withDefaults() (Genesis, error) {
	if g.ChainID == "" {
		g.ChainID = "devchain-1"
	}
	if !chainIDPattern.MatchString(g.ChainID) {
		return g, fmt.Errorf("chain id %q: want 1 to 50 letters, digits, dots, dashes or underscores", g.ChainID)
	}
	if g.Time.IsZero() {
		g.Time = time.Now()
	}
	g.Time = g.Time.UTC().Round(0)
	seen := map[string]bool{}
	for _, a := range g.Accounts {
		if err := a.check(); err != nil {
			return g, err
		}
		if seen[a.Address] {
			return g, fmt.Errorf("account %s is given twice", a.Address)
		}
		seen[a.Address] = true
	}
	return g, nil
}

func (a Account) check() error {
	configureSDK()
	address, err := sdk.AccAddressFromBech32(a.Address)
	if err != nil {
		return fmt.Errorf("account %q: %w", a.Address, err)
	}
	if len(a.PublicKey) != secp256k1.PubKeySize {
		return fmt.Errorf("account %s: the public key has %d bytes, want %d", a.Address, len(a.PublicKey), secp256k1.PubKeySize)
	}
	if key := (&secp256k1.PubKey{Key: a.PublicKey}); !bytes.Equal(key.Address(), address) {
		return fmt.Errorf("account %s: the public key belongs to %s", a.Address, sdk.AccAddress(key.Address()))
	}
	return nil
}

// genesisState is the application's part of the genesis document.
type genesisState struct {
	Auth     json.RawMessage `json:"auth"`
	Bank     json.RawMessage `json:"bank"`
	FlatFees json.RawMessage `json:"flatfees"`
	Metadata json.RawMessage `json:"metadata"`
}

// state writes the application's genesis state.
func (g Genesis) state(cdc codec.Codec, metadata *metadatatypes.GenesisState) (json.RawMessage, error) {
	var accounts authtypes.GenesisAccounts
	var balances []banktypes.Balance
	var supply sdk.Coins
	for i, a := range g.Accounts {
		account := authtypes.NewBaseAccount(nil, &secp256k1.PubKey{Key: a.PublicKey}, uint64(i), 0)
		account.Address = a.Address
		accounts = append(accounts, account)
		funds := a.Nhash
		if funds == 0 {
			funds = DefaultFunds
		}
		coins := sdk.NewCoins(sdk.NewCoin(Denom, math.NewIntFromUint64(funds)))
		balances = append(balances, banktypes.Balance{Address: a.Address, Coins: coins})
		supply = supply.Add(coins...)
	}
	bank := banktypes.DefaultGenesisState()
	bank.Balances, bank.Supply = balances, supply
	var err error
	encode := func(m proto.Message) json.RawMessage {
		bz, failed := cdc.MarshalJSON(m)
		err = errors.Join(err, failed)
		return bz
	}
	state := genesisState{
		Auth:     encode(authtypes.NewGenesisState(authtypes.DefaultParams(), accounts)),
		Bank:     encode(bank),
		FlatFees: encode(&flatfeestypes.GenesisState{Params: g.feeParams()}),
		Metadata: encode(metadata),
	}
	if err != nil {
		return nil, fmt.Errorf("encoding the genesis state: %w", err)
	}
	return json.Marshal(state)
}

func (g Genesis) feeParams() flatfeestypes.Params {
	cost := int64(DefaultMessageFee)
	if g.Free {
		cost = 0
	}
	one := sdk.NewInt64Coin(flatfeestypes.DefaultFeeDefinitionDenom, 1)
	return flatfeestypes.Params{
		DefaultCost:      sdk.NewInt64Coin(flatfeestypes.DefaultFeeDefinitionDenom, cost),
		ConversionFactor: flatfeestypes.ConversionFactor{DefinitionAmount: one, ConvertedAmount: sdk.NewInt64Coin(Denom, 1)},
	}
}

// document is CometBFT's genesis document for the given validators.
func (g Genesis) document(validators []crypto.PubKey) (*cmttypes.GenesisDoc, error) {
	_, cdc, _, err := newCodec()
	if err != nil {
		return nil, fmt.Errorf("building the codec: %w", err)
	}
	state, err := g.state(cdc, metadatatypes.DefaultGenesisState())
	if err != nil {
		return nil, err
	}
	params := cmttypes.DefaultConsensusParams()
	params.Block.MaxGas = MaxBlockGas
	doc := &cmttypes.GenesisDoc{GenesisTime: g.Time, ChainID: g.ChainID, InitialHeight: 1, ConsensusParams: params, AppState: state}
	for i, key := range validators {
		doc.Validators = append(doc.Validators, cmttypes.GenesisValidator{
			Address: key.Address(), PubKey: key, Power: validatorPower, Name: fmt.Sprintf("validator%d", i),
		})
	}
	return doc, doc.ValidateAndComplete()
}

// initChain applies the genesis document. The validators stay as CometBFT read them.
func (a *app) initChain(ctx sdk.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	var state genesisState
	if err := json.Unmarshal(req.AppStateBytes, &state); err != nil {
		return nil, fmt.Errorf("reading the genesis state: %w", err)
	}
	var (
		accounts authtypes.GenesisState
		balances banktypes.GenesisState
		fees     flatfeestypes.GenesisState
		metadata metadatatypes.GenesisState
	)
	for _, part := range []struct {
		from json.RawMessage
		to   proto.Message
	}{{state.Auth, &accounts}, {state.Bank, &balances}, {state.FlatFees, &fees}, {state.Metadata, &metadata}} {
		if err := a.codec.UnmarshalJSON(part.from, part.to); err != nil {
			return nil, fmt.Errorf("reading the genesis state: %w", err)
		}
	}
	a.accounts.InitGenesis(ctx, accounts)
	a.bank.InitGenesis(ctx, &balances)
	if err := a.fees.initGenesis(ctx, &fees); err != nil {
		return nil, fmt.Errorf("setting the fee schedule: %w", err)
	}
	a.names.InitGenesis(ctx, *nametypes.DefaultGenesisState())
	a.attributes.InitGenesis(ctx, attributetypes.DefaultGenesisState())
	a.metadata.InitGenesis(ctx, &metadata)
	a.accounts.GetModuleAccount(ctx, metadatatypes.ModuleName) // creates it, so that the first scope pays no more gas than the second
	return &abci.ResponseInitChain{Validators: req.Validators}, nil
}
