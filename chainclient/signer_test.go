package chainclient

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	cosmoskey "github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	"github.com/cosmos/cosmos-sdk/types/bech32"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/affiliate-node/affiliate/agreement"
)

// testSigner signs with a key in memory (RFC 6979 nonces).
type testSigner struct{ key *secp256k1.PrivateKey }

func newSigner(seed string) testSigner {
	sum := sha256.Sum256([]byte("chainclient test " + seed))
	return testSigner{secp256k1.PrivKeyFromBytes(sum[:])}
}

func (s testSigner) AccountKey() []byte { return s.key.PubKey().SerializeCompressed() }

func (s testSigner) Address() string {
	a, err := bech32.ConvertAndEncode("tp", (&cosmoskey.PubKey{Key: s.AccountKey()}).Address())
	if err != nil {
		panic(err)
	}
	return a
}

func (s testSigner) Sign(msg []byte) ([]byte, error) {
	sum := sha256.Sum256(msg)
	return ecdsa.SignCompact(s.key, sum[:], true)[1:], nil
}

var testConfig = Config{
	ChainID: "devchain-1", Endpoint: "http://chain.test:26657", Prefix: "tp", Fee: "3nhash", PollInterval: 100 * time.Millisecond,
}

// testClient makes a client that reaches nothing, with account numbers known.
func testClient(t testing.TB, s Signer, numbers map[string]uint64) *Client {
	t.Helper()
	return clientOver(t, s, numbers, roundTrip(func(*http.Request) (*http.Response, error) { return nil, os.ErrClosed }))
}

func clientOver(t testing.TB, s Signer, numbers map[string]uint64, transport http.RoundTripper) *Client {
	t.Helper()
	c, err := newClient(testConfig, s, slog.New(slog.DiscardHandler), transport)
	if err != nil {
		t.Fatal(err)
	}
	for a, n := range numbers {
		c.numbers[a] = n
	}
	return c
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// vector is testdata/consent.json: one transaction that the genuine keeper
// committed with code 0.
type vector struct {
	ChainID  string    `json:"chain_id"`
	Body     hexBytes  `json:"body_bytes"`
	AuthInfo hexBytes  `json:"auth_info_bytes"`
	Tx       hexBytes  `json:"tx_bytes"`
	GasLimit uint64    `json:"gas_limit"`
	Timeout  time.Time `json:"timeout_timestamp"`
	Signers  []struct {
		Address       string   `json:"address"`
		AccountNumber uint64   `json:"account_number"`
		PrivateKey    hexBytes `json:"private_key"`
		PublicKey     hexBytes `json:"public_key"`
		SignDoc       hexBytes `json:"sign_doc"`
		Signature     hexBytes `json:"signature"`
	} `json:"signers"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

func loadVector(t testing.TB) vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/consent.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func wantCode(t testing.TB, err error, code agreement.Code) {
	t.Helper()
	if err == nil || agreement.CodeOf(err) != code {
		t.Fatalf("error is %v, want %s", err, code)
	}
}
