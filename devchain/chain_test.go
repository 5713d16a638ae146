package devchain

import (
	"strings"
	"testing"
	"time"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/authz"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/google/uuid"
	flatfeestypes "github.com/provenance-io/provenance/x/flatfees/types"
	metadatatypes "github.com/provenance-io/provenance/x/metadata/types"
)

const testGas = 1_000_000

// published is a chain with three funded owners and a published contract.
func published(t *testing.T) (chain, []person, spec) {
	t.Helper()
	owners := people(3)
	c := dial(t, StartTest(t, Genesis{Accounts: accountsOf(owners)}))
	s := newSpec(uuid.New(), uuid.New())
	body := bodyOf(t, time.Time{}, s.publish(owners[0].address)...)
	if code, log, _ := c.commit(signed(t, c.chainID, body, 3, testGas, 0, owners[0])); code != 0 {
		t.Fatalf("publishing: code %d: %s", code, log)
	}
	return c, owners, s
}

// The way this project records an agreement: one unordered transaction, the
// first party signing directly, the others as auxiliary signers.
func TestAgreementCommitsAndReadsBack(t *testing.T) {
	c, owners, s := published(t)
	scope, session := uuid.New(), uuid.New()
	body := bodyOf(t, c.status().LatestBlockTime.Add(2*time.Minute), s.agree(scope, session, owners...)...)
	tx := signed(t, c.chainID, body, 3, testGas, 0, owners...)

	var fees flatfeestypes.QueryCalculateTxFeesResponse
	c.query("/provenance.flatfees.v1.Query/CalculateTxFees", &flatfeestypes.QueryCalculateTxFeesRequest{TxBytes: tx}, &fees)
	if got := fees.TotalFees.String(); got != "3nhash" || fees.EstimatedGas < 100_000 || fees.EstimatedGas > 300_000 {
		t.Errorf("CalculateTxFees: %s, gas %d", got, fees.EstimatedGas)
	}
	code, log, height := c.commit(tx)
	if code != 0 {
		t.Fatalf("agreement: code %d: %s", code, log)
	}

	var found metadatatypes.ScopeResponse
	c.query("/provenance.metadata.v1.Query/Scope", &metadatatypes.ScopeRequest{ScopeId: scope.String(), IncludeSessions: true, IncludeRecords: true}, &found)
	if len(found.Records) != 1 || found.Records[0].Record.Outputs[0].Hash != hashOf(scope.String()) {
		t.Errorf("records read back: %v", found.Records)
	}
	if got := found.Scope.Scope.ValueOwnerAddress; got != owners[0].address {
		t.Errorf("value owner %s, want %s", got, owners[0].address)
	}
	if len(found.Sessions) != 1 || len(found.Sessions[0].Session.Parties) != 3 {
		t.Errorf("sessions read back: %v", found.Sessions)
	}
	if got := recordCreated(c, height); got != `"`+metadatatypes.ScopeMetadataAddress(scope).String()+`"` {
		t.Errorf("EventRecordCreated.scope_addr = %s", got)
	}

	t.Run("replay", func(t *testing.T) {
		again := signed(t, c.chainID, body, 3, testGas+1, 0, owners...)
		if code, log, _ := c.commit(again); code != 18 || !strings.Contains(log, "already used timeout") {
			t.Errorf("replay: code %d: %s", code, log)
		}
	})
	t.Run("unsigned", func(t *testing.T) {
		other := bodyOf(t, c.status().LatestBlockTime.Add(time.Minute), s.agree(uuid.New(), uuid.New(), owners...)...)
		if code, _, _ := c.commit(signed(t, c.chainID, other, 3, testGas, 0, owners[:2]...)); code != 4 {
			t.Errorf("a signature is missing: code %d, want 4", code)
		}
	})
	t.Run("lifetime", func(t *testing.T) {
		for add, want := range map[time.Duration]uint32{MaxUnorderedLifetime + time.Minute: 18, -time.Minute: 42} {
			other := bodyOf(t, c.status().LatestBlockTime.Add(add), s.agree(uuid.New(), uuid.New(), owners...)...)
			if code, log, _ := c.commit(signed(t, c.chainID, other, 3, testGas, 0, owners...)); code != want {
				t.Errorf("timeout in %s: code %d, want %d: %s", add, code, want, log)
			}
		}
	})
	t.Run("block results stay", func(t *testing.T) { c.results(2) })
}

// recordCreated is the scope that the block's record was created in, as the event writes it.
func recordCreated(c chain, height int64) string {
	for _, e := range c.results(height).TxsResults[0].Events {
		if e.Type != "provenance.metadata.v1.EventRecordCreated" {
			continue
		}
		for _, a := range e.Attributes {
			if a.Key == "scope_addr" {
				return a.Value
			}
		}
	}
	return ""
}

func TestQueriesThatClientsUse(t *testing.T) {
	owners := people(2)
	c := dial(t, StartTest(t, Genesis{ChainID: "other-7", Accounts: accountsOf(owners)}))

	var account authtypes.QueryAccountResponse
	c.query("/cosmos.auth.v1beta1.Query/Account", &authtypes.QueryAccountRequest{Address: owners[1].address}, &account)
	var base authtypes.BaseAccount
	if err := base.Unmarshal(account.Account.Value); err != nil {
		t.Fatal(err)
	}
	if base.AccountNumber != 1 || base.PubKey == nil {
		t.Errorf("account: number %d, key %v; want 1 and a key", base.AccountNumber, base.PubKey)
	}
	var balance banktypes.QueryBalanceResponse
	c.query("/cosmos.bank.v1beta1.Query/Balance", &banktypes.QueryBalanceRequest{Address: owners[0].address, Denom: Denom}, &balance)
	if balance.Balance.Amount.Uint64() != DefaultFunds {
		t.Errorf("balance %s", balance.Balance)
	}
	c.query("/cosmos.authz.v1beta1.Query/GranterGrants", &authz.QueryGranterGrantsRequest{Granter: owners[0].address}, &authz.QueryGranterGrantsResponse{})
	c.query("/provenance.metadata.v1.Query/OSLocatorParams", &metadatatypes.OSLocatorParamsRequest{}, &metadatatypes.OSLocatorParamsResponse{})
	var fee flatfeestypes.QueryMsgFeeResponse
	c.query("/provenance.flatfees.v1.Query/MsgFee", &flatfeestypes.QueryMsgFeeRequest{MsgTypeUrl: "/provenance.metadata.v1.MsgWriteRecordRequest"}, &fee)
	if got := fee.MsgFee.Cost.String(); got != "1nhash" {
		t.Errorf("MsgFee: %s", got)
	}
	c.query("/provenance.flatfees.v1.Query/Params", &flatfeestypes.QueryParamsRequest{}, &flatfeestypes.QueryParamsResponse{})
	if s, err := c.Status(c.context()); err != nil || s.NodeInfo.Network != "other-7" {
		t.Errorf("status: %v, %v", s, err)
	}
}

func TestFees(t *testing.T) {
	owners := people(2)
	c := dial(t, StartTest(t, Genesis{Accounts: accountsOf(owners)}))
	send := &banktypes.MsgSend{FromAddress: owners[0].address, ToAddress: owners[1].address, Amount: sdk.NewCoins(sdk.NewInt64Coin(Denom, 1000))}
	tooMuch := &banktypes.MsgSend{FromAddress: owners[0].address, ToAddress: owners[1].address, Amount: sdk.NewCoins(sdk.NewInt64Coin(Denom, 2*DefaultFunds))}

	for _, step := range []struct {
		name     string
		msgs     []sdk.Msg
		fee      int64
		gas, seq uint64
		code     uint32
		left     int64 // what the payer has lost in all
	}{
		{"too little", []sdk.Msg{send, send}, 1, testGas, 0, 13, 0},
		{"exact", []sdk.Msg{send, send}, 2, testGas, 0, 0, 2002},
		{"all of an overpayment is taken", []sdk.Msg{send}, 10, testGas, 1, 0, 3012},
		{"a failure costs the part due up front", []sdk.Msg{tooMuch}, 10, testGas, 2, 5, 3013},
		{"gas limit beyond the transaction maximum", []sdk.Msg{send}, 1, MaxTxGas + 1, 3, 41, 3013},
		{"gas equal to the fee means the default", []sdk.Msg{send}, 1, 1, 3, 0, 4014},
	} {
		tx := signed(t, c.chainID, bodyOf(t, time.Time{}, step.msgs...), step.fee, step.gas, step.seq, owners[0])
		if code, log, _ := c.commit(tx); code != step.code {
			t.Errorf("%s: code %d, want %d: %s", step.name, code, step.code, log)
		}
		var balance banktypes.QueryBalanceResponse
		c.query("/cosmos.bank.v1beta1.Query/Balance", &banktypes.QueryBalanceRequest{Address: owners[0].address, Denom: Denom}, &balance)
		if lost := DefaultFunds - balance.Balance.Amount.Int64(); lost != step.left {
			t.Errorf("%s: the payer has lost %d nhash, want %d", step.name, lost, step.left)
		}
	}
}

// Parties that have never signed must be usable as parties: genesis accounts
// carry their keys, so the keeper does not take them for smart contracts.
func TestSilentPartyIsNoSmartContract(t *testing.T) {
	c, owners, s := published(t)
	msg := s.agree(uuid.New(), uuid.New(), owners...)[0].(*metadatatypes.MsgWriteScopeRequest)
	msg.Signers = []string{owners[0].address}
	tx := signed(t, c.chainID, bodyOf(t, time.Time{}, msg), 1, testGas, 1, owners[0])
	if code, log, _ := c.commit(tx); code != 0 {
		t.Errorf("code %d: %s", code, log)
	}
}

// What the metadata keeper does through its neighbours: account data through
// the attribute and name keepers, grants through authz, the value owner
// through the bank, and the refusal of a price in an unknown marker.
func TestNeighboursOfTheMetadataKeeper(t *testing.T) {
	c, owners, s := published(t)
	alone, scope := owners[0], uuid.New()
	id := metadatatypes.ScopeMetadataAddress(scope)
	signers := []string{alone.address}
	msgs := append(s.agree(scope, uuid.New(), alone),
		&metadatatypes.MsgSetAccountDataRequest{MetadataAddr: id, Value: "some data", Signers: signers},
		&metadatatypes.MsgBindOSLocatorRequest{Locator: metadatatypes.ObjectStoreLocator{Owner: alone.address, LocatorUri: "affiliate://host"}})
	if code, log, _ := c.commit(signed(t, c.chainID, bodyOf(t, time.Time{}, msgs...), 5, testGas, 1, alone)); code != 0 {
		t.Fatalf("code %d: %s", code, log)
	}
	var data metadatatypes.AccountDataResponse
	c.query("/provenance.metadata.v1.Query/AccountData", &metadatatypes.AccountDataRequest{MetadataAddr: id}, &data)
	if data.Value != "some data" {
		t.Errorf("account data %q", data.Value)
	}
	var locator metadatatypes.OSLocatorResponse
	c.query("/provenance.metadata.v1.Query/OSLocator", &metadatatypes.OSLocatorRequest{Owner: alone.address}, &locator)
	if locator.Locator.LocatorUri != "affiliate://host" {
		t.Errorf("locator %v", locator.Locator)
	}
	coin := metadatatypes.ScopeMetadataAddress(scope).Coin()
	send := &banktypes.MsgSend{FromAddress: alone.address, ToAddress: owners[1].address, Amount: sdk.NewCoins(coin)}
	price := &metadatatypes.MsgAddNetAssetValuesRequest{ScopeId: id.String(), Signers: signers,
		NetAssetValues: []metadatatypes.NetAssetValue{{Price: sdk.NewInt64Coin("gold", 1), Volume: 1}}}
	if code, log, _ := c.commit(signed(t, c.chainID, bodyOf(t, time.Time{}, send), 1, testGas, 2, alone)); code != 0 {
		t.Errorf("value owner by bank send: code %d: %s", code, log)
	}
	if code, log, _ := c.commit(signed(t, c.chainID, bodyOf(t, time.Time{}, price), 1, testGas, 3, alone)); code == 0 || !strings.Contains(log, "no markers") {
		t.Errorf("price in a marker: code %d: %s", code, log)
	}
}

// One party writes for another that has granted it authority and does not sign.
func TestGrantedParty(t *testing.T) {
	c, owners, s := published(t)
	agent, absent := owners[0], owners[1]
	authority, err := authz.NewMsgGrant(keyAddress(absent.key.PubKey().Bytes()), keyAddress(agent.key.PubKey().Bytes()),
		authz.NewGenericAuthorization("/provenance.metadata.v1.MsgWriteSessionRequest"), nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(sequence uint64) uint32 {
		msgs := s.agree(uuid.New(), uuid.New(), agent, absent)
		msgs[0].(*metadatatypes.MsgWriteScopeRequest).Signers = []string{agent.address}
		msgs[1].(*metadatatypes.MsgWriteSessionRequest).Signers = []string{agent.address}
		msgs[2].(*metadatatypes.MsgWriteRecordRequest).Signers = []string{agent.address}
		code, _, _ := c.commit(signed(t, c.chainID, bodyOf(t, time.Time{}, msgs...), 3, testGas, sequence, agent))
		return code
	}
	if code := write(1); code != 18 {
		t.Errorf("without a grant: code %d, want 18", code)
	}
	if code, log, _ := c.commit(signed(t, c.chainID, bodyOf(t, time.Time{}, authority), 1, testGas, 0, absent)); code != 0 {
		t.Fatalf("granting: code %d: %s", code, log)
	}
	if code := write(2); code != 0 {
		t.Errorf("with a grant: code %d, want 0", code)
	}
}
