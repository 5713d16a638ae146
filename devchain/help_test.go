package devchain

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	rpc "github.com/cometbft/cometbft/rpc/client/http"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdk "github.com/cosmos/cosmos-sdk/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	"github.com/cosmos/gogoproto/proto"
	"github.com/google/uuid"
	metadatatypes "github.com/provenance-io/provenance/x/metadata/types"
)

const patience = 20 * time.Second

// person is a signer of the genesis state.
type person struct {
	key     *secp256k1.PrivKey
	address string
	number  uint64
}

// people makes n persons, the same ones each time, with account numbers from 0.
func people(n int) []person {
	configureSDK()
	all := make([]person, n)
	for i := range all {
		key := secp256k1.GenPrivKeyFromSecret([]byte{byte(i)})
		all[i] = person{key: key, address: sdk.AccAddress(key.PubKey().Address()).String(), number: uint64(i)}
	}
	return all
}

// keyAddress is the address of a compressed public key.
func keyAddress(key []byte) []byte { return (&secp256k1.PubKey{Key: key}).Address() }

func accountsOf(all []person) (accounts []Account) {
	for _, p := range all {
		accounts = append(accounts, Account{Address: p.address, PublicKey: p.key.PubKey().Bytes()})
	}
	return accounts
}

func (p person) keyAny(t *testing.T) *codectypes.Any {
	return anyOf(t, p.key.PubKey().(*secp256k1.PubKey))
}

func anyOf(t *testing.T, m proto.Message) *codectypes.Any {
	t.Helper()
	a, err := codectypes.NewAnyWithValue(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func encoded(t *testing.T, m proto.Message) []byte {
	t.Helper()
	bz, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return bz
}

// bodyOf builds the body of a transaction: unordered where it has a timeout.
func bodyOf(t *testing.T, timeout time.Time, msgs ...sdk.Msg) []byte {
	t.Helper()
	body := &txtypes.TxBody{}
	if !timeout.IsZero() {
		body.Unordered, body.TimeoutTimestamp = true, &timeout
	}
	for _, m := range msgs {
		body.Messages = append(body.Messages, anyOf(t, m))
	}
	return encoded(t, body)
}

// signed has the first signer sign directly, as fee payer, and the others as
// auxiliary signers. sequence is the first one's, 0 for an unordered body.
func signed(t *testing.T, chainID string, body []byte, nhash int64, gas, sequence uint64, signers ...person) []byte {
	t.Helper()
	auth := &txtypes.AuthInfo{Fee: &txtypes.Fee{GasLimit: gas, Amount: sdk.NewCoins(sdk.NewInt64Coin(Denom, nhash))}}
	for i, p := range signers {
		mode := signing.SignMode_SIGN_MODE_DIRECT
		if i > 0 {
			mode = signing.SignMode_SIGN_MODE_DIRECT_AUX
		}
		info := &txtypes.SignerInfo{PublicKey: p.keyAny(t), ModeInfo: &txtypes.ModeInfo{Sum: &txtypes.ModeInfo_Single_{Single: &txtypes.ModeInfo_Single{Mode: mode}}}}
		if i == 0 {
			info.Sequence = sequence
		}
		auth.SignerInfos = append(auth.SignerInfos, info)
	}
	raw := &txtypes.TxRaw{BodyBytes: body, AuthInfoBytes: encoded(t, auth)}
	for i, p := range signers {
		doc := encoded(t, &txtypes.SignDoc{BodyBytes: body, AuthInfoBytes: raw.AuthInfoBytes, ChainId: chainID, AccountNumber: p.number})
		if i > 0 {
			doc = encoded(t, &txtypes.SignDocDirectAux{BodyBytes: body, PublicKey: p.keyAny(t), ChainId: chainID, AccountNumber: p.number})
		}
		signature, err := p.key.Sign(doc)
		if err != nil {
			t.Fatal(err)
		}
		raw.Signatures = append(raw.Signatures, signature)
	}
	return encoded(t, raw)
}

// chain is a client of a running chain.
type chain struct {
	t       *testing.T
	chainID string
	*rpc.HTTP
}

func dial(t *testing.T, c *TestChain) chain {
	t.Helper()
	client, err := rpc.New(c.Endpoint, "/websocket")
	if err != nil {
		t.Fatal(err)
	}
	return chain{t, c.ChainID, client}
}

func (c chain) context() context.Context {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

func (c chain) status() coretypes.SyncInfo {
	c.t.Helper()
	s, err := c.Status(c.context())
	if err != nil {
		c.t.Fatal(err)
	}
	return s.SyncInfo
}

// results waits for the block at height and returns its results.
func (c chain) results(height int64) *coretypes.ResultBlockResults {
	c.t.Helper()
	var res *coretypes.ResultBlockResults
	eventually(c.t, fmt.Sprintf("results of block %d", height), func() (err error) {
		res, err = c.BlockResults(c.context(), &height)
		return err
	})
	return res
}

// stateAt waits until queries see the state after height: CometBFT serves a
// block's results a moment before the application has committed it.
func (c chain) stateAt(height int64) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("state after height %d", height), func() error {
		info, err := c.ABCIInfo(c.context())
		if err == nil && info.Response.LastBlockHeight < height {
			return fmt.Errorf("at height %d", info.Response.LastBlockHeight)
		}
		return err
	})
}

// eventually repeats try until it succeeds.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	deadline := time.After(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ticks.C:
		case <-deadline:
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
	}
}

// commit broadcasts tx and follows the blocks until it is in one.
func (c chain) commit(tx []byte) (code uint32, log string, height int64) {
	c.t.Helper()
	from := c.status().LatestBlockHeight
	res, err := c.BroadcastTxSync(c.context(), tx)
	if err != nil {
		c.t.Fatal(err)
	}
	if res.Code != 0 {
		return res.Code, res.Log, 0
	}
	for height = from + 1; height < from+100; height++ {
		results := c.results(height)
		block, err := c.Block(c.context(), &height)
		if err != nil {
			c.t.Fatal(err)
		}
		for i, other := range block.Block.Txs {
			if string(other) == string(tx) {
				c.stateAt(height)
				return results.TxsResults[i].Code, results.TxsResults[i].Log, height
			}
		}
	}
	c.t.Fatal("the transaction is in no block")
	return 0, "", 0
}

// query asks a gRPC service through abci_query.
func (c chain) query(path string, req, res proto.Message) {
	c.t.Helper()
	out, err := c.ABCIQuery(c.context(), path, encoded(c.t, req))
	if err != nil {
		c.t.Fatal(err)
	}
	if out.Response.Code != 0 {
		c.t.Fatalf("%s: code %d: %s", path, out.Response.Code, out.Response.Log)
	}
	if err := proto.Unmarshal(out.Response.Value, res); err != nil {
		c.t.Fatal(err)
	}
}

// spec is one contract with one record, as this project publishes it.
type spec struct{ scope, contract, record metadatatypes.MetadataAddress }

const (
	className  = "io.example.Agreement"
	recordName = "termsheet"
	inputType  = "T"
)

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func newSpec(scope, contract uuid.UUID) spec {
	c := metadatatypes.ContractSpecMetadataAddress(contract)
	record, err := c.AsRecordSpecAddress(recordName)
	if err != nil {
		panic(err) // c is a contract specification by construction
	}
	return spec{scope: metadatatypes.ScopeSpecMetadataAddress(scope), contract: c, record: record}
}

func (s spec) contractSpecification(owner string) metadatatypes.ContractSpecification {
	return metadatatypes.ContractSpecification{
		SpecificationId: s.contract, OwnerAddresses: []string{owner}, PartiesInvolved: []metadatatypes.PartyType{metadatatypes.PartyType_PARTY_TYPE_OWNER},
		Source: metadatatypes.NewContractSpecificationSourceHash(hashOf("contract")), ClassName: className,
	}
}

func (s spec) scopeSpecification(owner string) metadatatypes.ScopeSpecification {
	return metadatatypes.ScopeSpecification{
		SpecificationId: s.scope, OwnerAddresses: []string{owner}, PartiesInvolved: []metadatatypes.PartyType{metadatatypes.PartyType_PARTY_TYPE_OWNER},
		ContractSpecIds: []metadatatypes.MetadataAddress{s.contract},
	}
}

func (s spec) recordSpecification() metadatatypes.RecordSpecification {
	return metadatatypes.RecordSpecification{
		SpecificationId: s.record, Name: recordName,
		Inputs:   []*metadatatypes.InputSpecification{{Name: "in", TypeName: inputType, Source: metadatatypes.NewInputSpecificationSourceHash(hashOf(inputType))}},
		TypeName: inputType, ResultType: metadatatypes.DefinitionType_DEFINITION_TYPE_RECORD,
		ResponsibleParties: []metadatatypes.PartyType{metadatatypes.PartyType_PARTY_TYPE_OWNER},
	}
}

// publish are the messages that put s on a chain.
func (s spec) publish(owner string) []sdk.Msg {
	signers := []string{owner}
	return []sdk.Msg{
		&metadatatypes.MsgWriteContractSpecificationRequest{Specification: s.contractSpecification(owner), Signers: signers},
		&metadatatypes.MsgWriteScopeSpecificationRequest{Specification: s.scopeSpecification(owner), Signers: signers},
		&metadatatypes.MsgWriteRecordSpecificationRequest{Specification: s.recordSpecification(), Signers: signers},
	}
}

// agree are the messages by which the owners record one agreement on a new scope.
func (s spec) agree(scope, session uuid.UUID, owners ...person) []sdk.Msg {
	var signers []string
	var parties []metadatatypes.Party
	for _, p := range owners {
		signers = append(signers, p.address)
		parties = append(parties, metadatatypes.Party{Address: p.address, Role: metadatatypes.PartyType_PARTY_TYPE_OWNER})
	}
	scopeID, sessionID := metadatatypes.ScopeMetadataAddress(scope), metadatatypes.SessionMetadataAddress(scope, session)
	return []sdk.Msg{
		&metadatatypes.MsgWriteScopeRequest{Signers: signers, Scope: metadatatypes.Scope{
			ScopeId: scopeID, SpecificationId: s.scope, Owners: parties, ValueOwnerAddress: signers[0],
		}},
		&metadatatypes.MsgWriteSessionRequest{Signers: signers, Session: metadatatypes.Session{
			SessionId: sessionID, SpecificationId: s.contract, Parties: parties, Name: className,
		}},
		&metadatatypes.MsgWriteRecordRequest{Signers: signers, Record: metadatatypes.Record{
			Name: recordName, SessionId: sessionID, SpecificationId: s.record,
			Process: metadatatypes.Process{ProcessId: &metadatatypes.Process_Hash{Hash: hashOf("contract")}, Name: className, Method: recordName},
			Inputs: []metadatatypes.RecordInput{{
				Name: "in", TypeName: inputType, Source: &metadatatypes.RecordInput_Hash{Hash: hashOf("in")}, Status: metadatatypes.RecordInputStatus_Proposed,
			}},
			Outputs: []metadatatypes.RecordOutput{{Hash: hashOf(fmt.Sprint(scope)), Status: metadatatypes.ResultStatus_RESULT_STATUS_PASS}},
		}},
	}
}
