package chainclient

import (
	"errors"
	"strings"
	"testing"
	"time"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	flatfees "github.com/provenance-io/provenance/x/flatfees/types"

	coretypes "github.com/cometbft/cometbft/rpc/core/types"

	"github.com/affiliate-node/affiliate/agreement"
)

func answering(code uint32, codespace, log string) func([]byte) (*coretypes.ResultBroadcastTx, error) {
	return func([]byte) (*coretypes.ResultBroadcastTx, error) {
		return &coretypes.ResultBroadcastTx{Code: code, Codespace: codespace, Log: log}, nil
	}
}

func failing(text string) func([]byte) (*coretypes.ResultBroadcastTx, error) {
	return func([]byte) (*coretypes.ResultBroadcastTx, error) { return nil, errors.New(text) }
}

const (
	nonceUsed = "failed to add unordered nonce: sender tp1x has already used timeout 1700000061123456789: invalid request"
	timedOut  = "block time: 1, timeout timestamp: 0: tx timeout"
)

func TestBroadcastAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		checkTx func([]byte) (*coretypes.ResultBroadcastTx, error)
		code    agreement.Code // "" = accepted
		hint    string
	}{
		"accepted":          {checkTx: answering(0, "", "")},
		"in cache":          {checkTx: failing("tx already exists in cache")},
		"in mempool":        {checkTx: answering(sdkInMempool, "sdk", "tx already in mempool")},
		"mempool full":      {checkTx: failing("mempool is full: number of txs 5000 (max: 5000)"), code: agreement.CodeChainUnreachable},
		"app mempool full":  {checkTx: answering(sdkMempoolFull, "sdk", "mempool is full"), code: agreement.CodeChainUnreachable},
		"rpc fault":         {checkTx: failing("something"), code: agreement.CodeChainUnreachable, hint: "[chain] endpoint"},
		"too large":         {checkTx: failing("Tx too large. Max size is 1, but got 2"), code: agreement.CodeTooLarge},
		"timed out":         {checkTx: answering(sdkTimeout, "sdk", timedOut), code: agreement.CodeExpired, hint: "new body"},
		"nonce used":        {checkTx: answering(sdkInvalidRequest, "sdk", nonceUsed), code: agreement.CodeExpired, hint: "new body"},
		"low fee":           {checkTx: answering(sdkInsufficientFee, "sdk", "x"), code: agreement.CodeChainRefused, hint: "[chain] fee"},
		"no funds":          {checkTx: answering(sdkInsufficientFunds, "sdk", "x"), code: agreement.CodeChainRefused, hint: newSigner("a").Address()},
		"no account":        {checkTx: answering(sdkUnknownAddress, "sdk", "x"), code: agreement.CodeChainRefused, hint: "coins"},
		"out of gas":        {checkTx: answering(sdkOutOfGas, "sdk", "x"), code: agreement.CodeChainRefused, hint: "[chain] gas_limit"},
		"signature":         {checkTx: answering(sdkUnauthorized, "sdk", "x"), code: agreement.CodeChainRefused, hint: "[chain] id"},
		"eight signers":     {checkTx: answering(sdkTooManySignatures, "sdk", "x"), code: agreement.CodeChainRefused, hint: "fewer signatures"},
		"too long a life":   {checkTx: answering(sdkInvalidRequest, "sdk", "unordered tx ttl exceeds 5m0s"), code: agreement.CodeChainUnreachable, hint: "producing blocks"},
		"other":             {checkTx: answering(77, "metadata", "first\nsecond"), code: agreement.CodeChainRefused},
		"4 of another part": {checkTx: answering(sdkTimeout, "wasm", "x"), code: agreement.CodeChainRefused},
	} {
		t.Run(name, func(t *testing.T) {
			chain := newFake()
			chain.grow(3)
			chain.checkTx = tc.checkTx
			c := fakeClient(t, chain)
			body, err := c.BuildBody(sampleWrite(), testTimeout)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Broadcast(t.Context(), mustTx(t, body))
			if tc.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantCode(t, err, tc.code)
			var e *agreement.Error
			if !errors.As(err, &e) || !strings.Contains(e.Hint, tc.hint) || strings.Contains(e.Text, "\n") {
				t.Errorf("hint %q, text %q", e.Hint, e.Text)
			}
		})
	}
}

// TestBroadcastAgain: a transaction that the chain has is no error however
// the chain words it, wherever it lies, with no transaction index.
func TestBroadcastAgain(t *testing.T) {
	for name, answer := range map[string]func([]byte) (*coretypes.ResultBroadcastTx, error){
		"nonce used": answering(sdkInvalidRequest, "sdk", nonceUsed), "timed out": answering(sdkTimeout, "sdk", timedOut),
	} {
		t.Run(name, func(t *testing.T) {
			chain := newFake()
			chain.checkTx = answer
			c := fakeClient(t, chain)
			body, err := c.BuildBody(sampleWrite(), testTimeout)
			if err != nil {
				t.Fatal(err)
			}
			tx := mustTx(t, body)
			chain.add([]byte("other"), 0)
			chain.grow(40)
			wantCode(t, c.Broadcast(t.Context(), tx), agreement.CodeExpired)
			chain.set(func() { chain.mempool = [][]byte{tx} })
			if err := c.Broadcast(t.Context(), tx); err != nil {
				t.Errorf("in the mempool: %v", err)
			}
			chain.set(func() { chain.mempool = nil })
			chain.add(tx, 11)
			if err := c.Broadcast(t.Context(), tx); err != nil {
				t.Errorf("in the last block: %v", err)
			}
			chain.grow(500)
			if err := c.Broadcast(t.Context(), tx); err != nil {
				t.Errorf("in an old block: %v", err)
			}
			if n := chain.calls["block"]; n > 20 {
				t.Errorf("%d blocks were read", n)
			}
			chain.set(func() { chain.earliest = 100 })
			wantCode(t, c.Broadcast(t.Context(), tx), agreement.CodeChainUnreachable)
		})
	}
}

func TestLastBefore(t *testing.T) {
	chain := newFake()
	chain.grow(100)
	c := fakeClient(t, chain)
	for _, h := range []int64{0, 1, 2, 50, 99, 100} {
		got, err := c.lastBefore(t.Context(), 1, 100, chainTime.Add(time.Duration(h)*time.Second-1))
		if err != nil || got != h {
			t.Errorf("last height before block %d's successor: %d, %v", h, got, err)
		}
	}
}

// TestLookupIsBounded: only the blocks of the 5 minutes before the timeout are
// looked into, however long the chain is.
func TestLookupIsBounded(t *testing.T) {
	chain := newFake()
	chain.grow(3000)
	chain.checkTx = answering(sdkTimeout, "sdk", timedOut)
	c := fakeClient(t, chain)
	body, err := c.BuildBody(sampleWrite(), chainTime.Add(2000*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.Broadcast(t.Context(), mustTx(t, body)), agreement.CodeExpired)
	if n := chain.calls["blockchain"]; n > 12+300/metaPage+2 {
		t.Errorf("%d pages of headers were read", n)
	}
}

func TestStatusMismatch(t *testing.T) {
	chain := newFake()
	chain.id = "pio-mainnet-1"
	chain.grow(1)
	chain.query = func(string, []byte) (uint32, string, []byte) {
		t.Error("the wrong chain is queried")
		return 0, "", nil
	}
	c := fakeClient(t, chain)
	_, err := c.Status(t.Context())
	wantCode(t, err, agreement.CodeChainMismatch)
	_, err = c.Scope(t.Context(), uid("scope"))
	wantCode(t, err, agreement.CodeChainMismatch)
	wantCode(t, c.Broadcast(t.Context(), []byte("tx")), agreement.CodeChainMismatch)
}

func TestAccountNumber(t *testing.T) {
	chain := newFake()
	chain.grow(1)
	a, b := newSigner("a").Address(), newSigner("b").Address()
	chain.query = func(path string, data []byte) (uint32, string, []byte) {
		var req authtypes.QueryAccountInfoRequest
		if err := req.Unmarshal(data); err != nil || path != "/cosmos.auth.v1beta1.Query/AccountInfo" {
			t.Errorf("query %s: %v", path, err)
		}
		if req.Address != a {
			return notFoundCode, "rpc error: code = NotFound: key not found", nil
		}
		v, _ := (&authtypes.QueryAccountInfoResponse{Info: &authtypes.BaseAccount{Address: a, AccountNumber: 17}}).Marshal()
		return 0, "", v
	}
	c := fakeClient(t, chain)
	for range 3 {
		if n, err := c.AccountNumber(t.Context(), a); err != nil || n != 17 {
			t.Errorf("number %d, %v", n, err)
		}
	}
	if n := chain.calls["abci_query"]; n != 1 {
		t.Errorf("%d queries", n)
	}
	_, err := c.AccountNumber(t.Context(), b)
	wantCode(t, err, agreement.CodeChainRefused)
	_, err = c.AccountNumber(t.Context(), "nobody")
	wantCode(t, err, agreement.CodeBadRequest)
}

func TestFee(t *testing.T) {
	chain := newFake()
	chain.grow(1)
	c := fakeClient(t, chain)
	tx := unsigned{body: []byte{}, mode: signing.SignMode_SIGN_MODE_DIRECT_AUX, keys: [][]byte{c.signer.AccountKey()}, sigs: [][]byte{nil}}
	fee, err := c.fee(t.Context(), tx)
	if err != nil || fee.Amount.String() != "3nhash" || fee.GasLimit != DefaultGasLimit {
		t.Errorf("fee %v, %v", fee, err)
	}
	c.cfg.Fee = FeeAuto
	code, log, amount := uint32(0), "", sdk.NewCoins(sdk.NewInt64Coin(nhash, int64(DefaultGasLimit)*1905))
	chain.query = func(string, []byte) (uint32, string, []byte) {
		v, _ := (&flatfees.QueryCalculateTxFeesResponse{TotalFees: amount}).Marshal()
		return code, log, v
	}
	fee, err = c.fee(t.Context(), tx)
	if err != nil || !fee.Amount.Equal(amount) || fee.GasLimit != DefaultGasLimit-1 {
		t.Errorf("fee %v, %v", fee, err)
	}
	for estimate, want := range map[uint64]uint64{160_000: 320_000, DefaultGasLimit: DefaultGasLimit, 1 << 63: DefaultGasLimit} {
		if got := stated(estimate, DefaultGasLimit); got != want {
			t.Errorf("stated(%d) = %d, want %d", estimate, got, want)
		}
	}
	good := amount
	for _, bad := range []sdk.Coins{{{Denom: nhash}}, {{Denom: "", Amount: good[0].Amount}}, {{Denom: nhash, Amount: good[0].Amount.Neg()}}} {
		amount = bad
		_, err = c.fee(t.Context(), tx)
		wantCode(t, err, agreement.CodeChainRefused)
	}
	amount = good
	code, log = 6, "unknown query path: unknown request"
	_, err = c.fee(t.Context(), tx)
	wantCode(t, err, agreement.CodeChainRefused)
	code, log = sdkInvalidRequest, timedOut
	_, err = c.fee(t.Context(), tx)
	wantCode(t, err, agreement.CodeExpired)
	code, log = sdkInvalidRequest, "failed to execute message; message index: 1: scope not found"
	_, err = c.fee(t.Context(), tx)
	wantCode(t, err, agreement.CodeChainRefused)
}

func TestAnswerLimit(t *testing.T) {
	b := &limitedBody{ReadCloser: nopCloser{strings.NewReader(strings.Repeat("x", 100))}, left: 10}
	buf := make([]byte, 64)
	if n, err := b.Read(buf); n != 10 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := b.Read(buf); err == nil {
		t.Error("more than the limit is read")
	}
}

type nopCloser struct{ *strings.Reader }

func (nopCloser) Close() error { return nil }
