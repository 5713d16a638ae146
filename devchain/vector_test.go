package devchain

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"cosmossdk.io/log"
	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/google/uuid"
	metadatatypes "github.com/provenance-io/provenance/x/metadata/types"
)

// vector is one complete transaction with everything that went into it.
type vector struct {
	ChainID string    `json:"chain_id"`
	Code    uint32    `json:"code"`
	GasUsed int64     `json:"gas_used"`
	Timeout time.Time `json:"timeout_timestamp"`
	TxBytes string    `json:"tx_bytes"`
	Signers []struct {
		Address   string `json:"address"`
		PublicKey string `json:"public_key"`
		Number    int    `json:"account_number"`
	} `json:"signers"`
}

func readVector(t *testing.T) (v vector) {
	t.Helper()
	text, err := os.ReadFile("../chainclient/testdata/consent.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// genesis is the state that the vector's transaction expects: its signers at
// their account numbers, messages free, and a minute and a second to go.
func (v vector) genesis(t *testing.T) Genesis {
	t.Helper()
	g := Genesis{ChainID: v.ChainID, Free: true, Time: v.Timeout.Truncate(time.Second).Add(-time.Minute), Accounts: accountsOf(people(v.Signers[0].Number))}
	for _, s := range v.Signers {
		key, err := hex.DecodeString(s.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		if len(g.Accounts) != s.Number {
			t.Fatalf("account %d comes after %d others", s.Number, len(g.Accounts))
		}
		g.Accounts = append(g.Accounts, Account{Address: s.Address, PublicKey: key})
	}
	return g
}

// A transaction made elsewhere, by other code, commits here: so the chain's
// sign modes, account numbers, unordered rule and metadata keeper are upstream's.
func TestConsentVectorCommits(t *testing.T) {
	v := readVector(t)
	tx, err := hex.DecodeString(v.TxBytes)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(v.ChainID, dbm.NewMemDB(), log.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	owner := v.Signers[0].Address
	s := newSpec(uuid.MustParse("dc83ea70-eacd-40fe-9adf-1cf6148bf8a2"), uuid.MustParse("def6bc0a-c9dd-4874-948f-5206e6060a84"))
	metadata := metadatatypes.DefaultGenesisState()
	metadata.ContractSpecifications = []metadatatypes.ContractSpecification{s.contractSpecification(owner)}
	metadata.ScopeSpecifications = []metadatatypes.ScopeSpecification{s.scopeSpecification(owner)}
	metadata.RecordSpecifications = []metadatatypes.RecordSpecification{s.recordSpecification()}

	g := v.genesis(t)
	begin(t, a, g, metadata)
	first := deliver(t, a, 1, g.Time, tx)
	if first.Code != v.Code {
		t.Fatalf("code %d, want %d: %s", first.Code, v.Code, first.Log)
	}
	if ratio := float64(first.GasUsed) / float64(v.GasUsed); ratio < 0.9 || ratio > 1.1 {
		t.Errorf("gas %d, want %d or so", first.GasUsed, v.GasUsed)
	}
	if again := deliver(t, a, 2, g.Time.Add(time.Second), tx); again.Code != 18 {
		t.Errorf("replay: code %d, want 18: %s", again.Code, again.Log)
	}
	// After the timeout the nonce is forgotten, and the transaction too late.
	if late := deliver(t, a, 3, v.Timeout.Add(time.Second), tx); late.Code != 42 {
		t.Errorf("after the timeout: code %d, want 42: %s", late.Code, late.Log)
	}
	ctx := a.NewUncachedContext(false, cmtproto.Header{Height: 3})
	key, err := hex.DecodeString(v.Signers[1].PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if has, err := a.accounts.ContainsUnorderedNonce(ctx, keyAddress(key), v.Timeout); err != nil || has {
		t.Errorf("the nonce is still stored after its timeout (%v)", err)
	}
}

// begin applies the genesis state without CometBFT.
func begin(t *testing.T, a *app, g Genesis, metadata *metadatatypes.GenesisState) {
	t.Helper()
	state, err := g.state(a.codec, metadata)
	if err != nil {
		t.Fatal(err)
	}
	params := cmttypes.DefaultConsensusParams()
	params.Block.MaxGas = MaxBlockGas
	wire := params.ToProto()
	if _, err := a.InitChain(&abci.RequestInitChain{ChainId: g.ChainID, Time: g.Time, InitialHeight: 1, ConsensusParams: &wire, AppStateBytes: state}); err != nil {
		t.Fatal(err)
	}
}

// deliver executes and commits one block with one transaction.
func deliver(t *testing.T, a *app, height int64, at time.Time, tx []byte) *abci.ExecTxResult {
	t.Helper()
	res, err := a.FinalizeBlock(&abci.RequestFinalizeBlock{Height: height, Time: at, Txs: [][]byte{tx}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	return res.TxResults[0]
}
