// Package chainclient owns this node's dealings with the chain: queries,
// building and co-signing transactions, fees, broadcast, and following blocks.
// It never holds a private key, never decides whether to agree, and never
// touches the Cosmos SDK's process-wide configuration: address prefixes come
// from Config.
package chainclient

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"

	"github.com/affiliate-node/affiliate/agreement"
)

// What a zero field of Config stands for, and the bounds of the others.
const (
	// DefaultGasLimit is the most that Provenance allows for a transaction.
	// Gas costs nothing there, and running out burns the co-signatures.
	DefaultGasLimit uint64 = 4_000_000
	// DefaultCosignLifetime is how long a transaction body may be submitted.
	DefaultCosignLifetime = 2 * time.Minute
	// MaxCosignLifetime is the chain's bound on unordered transactions,
	// measured from the last committed block's time (SDK x/auth/ante).
	MaxCosignLifetime = 5 * time.Minute
	// DefaultPollInterval is how often Follow asks for a new block.
	DefaultPollInterval = 500 * time.Millisecond
	// FeeAuto asks the chain for the fee (provenance.flatfees).
	FeeAuto = "auto"
)

// Config says which chain, and how to use it. Zero values mean the defaults
// above; ChainID, Endpoint and Prefix have none.
type Config struct {
	ChainID        string        // [chain] id
	Endpoint       string        // [chain] endpoint, CometBFT RPC such as http://127.0.0.1:26657
	Prefix         string        // [chain] prefix of account addresses: "tp" or "pb"
	Fee            string        // [chain] fee: "auto", or a coin such as "3nhash"
	GasLimit       uint64        // [chain] gas_limit
	CosignLifetime time.Duration // [chain] cosign_lifetime, at most MaxCosignLifetime
	PollInterval   time.Duration // [chain] poll_interval
}

// Signer is this affiliate's account key. Sign is called concurrently.
type Signer interface {
	Address() string                 // bech32
	AccountKey() []byte              // compressed secp256k1 public key, 33 bytes
	Sign(msg []byte) ([]byte, error) // over SHA-256(msg): r||s, 64 bytes, low S
}

// Client talks to one chain. It is safe for concurrent use.
type Client struct {
	cfg      Config
	endpoint string // for people: without user and password
	signer   Signer
	log      *slog.Logger
	rpc      *rpchttp.HTTP

	mu       sync.Mutex        // guards the fields below
	numbers  map[string]uint64 // account numbers by address
	checked  map[agreement.Hash]bool
	verified bool // the endpoint serves cfg.ChainID
	health   health

	publishing sync.Mutex // one Publish at a time: it uses the account's sequence
}

// New checks the configuration and makes a client. It does no I/O.
func New(cfg Config, s Signer, log *slog.Logger) (*Client, error) {
	transport := http.DefaultTransport
	if t, ok := transport.(*http.Transport); ok {
		t = t.Clone()
		t.MaxIdleConnsPerHost = maxIdleConns
		transport = t
	}
	return newClient(cfg, s, log, transport)
}

func newClient(cfg Config, s Signer, log *slog.Logger, transport http.RoundTripper) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if s == nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "the chain client needs a signer")
	}
	if err := checkKey(cfg.Prefix, s.Address(), s.AccountKey()); err != nil {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "account key for the chain: %w", err).
			WithHint("[chain] prefix is %q; keys made for another network need their own home directory", cfg.Prefix)
	}
	hc := &http.Client{Transport: limited{transport}, Timeout: requestTimeout}
	rpc, err := rpchttp.NewWithClient(cfg.Endpoint, "/websocket", hc)
	if err != nil {
		return nil, badConfig("endpoint", "it can't be used as an RPC address")
	}
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, badConfig("endpoint", "it is no URL")
	}
	return &Client{
		cfg: cfg, endpoint: u.Redacted(), signer: s, log: log, rpc: rpc,
		numbers: map[string]uint64{}, checked: map[agreement.Hash]bool{},
	}, nil
}

func (c Config) withDefaults() Config {
	if c.Fee == "" {
		c.Fee = FeeAuto
	}
	if c.GasLimit == 0 {
		c.GasLimit = DefaultGasLimit
	}
	if c.CosignLifetime == 0 {
		c.CosignLifetime = DefaultCosignLifetime
	}
	if c.PollInterval == 0 {
		c.PollInterval = DefaultPollInterval
	}
	return c
}

var (
	prefixForm  = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)
	chainIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,50}$`)
)

func (c Config) validate() error {
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "tcp"):
		return badConfig("endpoint", "it must look like http://127.0.0.1:26657")
	case !chainIDForm.MatchString(c.ChainID):
		return badConfig("id", "it must be the chain's id, 1 to 50 letters, digits, '.', '_' or '-'")
	case !prefixForm.MatchString(c.Prefix):
		return badConfig("prefix", `it must be the prefix of account addresses: "tp" or "pb"`)
	case c.CosignLifetime < minCosignLifetime || c.CosignLifetime > MaxCosignLifetime:
		return badConfig("cosign_lifetime", fmt.Sprintf("it must be from %s to %s", minCosignLifetime, MaxCosignLifetime))
	case c.PollInterval < minPollInterval:
		return badConfig("poll_interval", fmt.Sprintf("it must be at least %s", minPollInterval))
	}
	if c.Fee != FeeAuto {
		if _, err := parseFee(c.Fee); err != nil {
			return badConfig("fee", `it must be "auto" or an amount such as "3nhash"`)
		}
	}
	return nil
}

func badConfig(key, why string) error {
	return agreement.Errorf(agreement.CodeBadRequest, "the setting [chain] %s is wrong: %s", key, why).
		WithHint("correct [chain] %s in affiliate.toml", key)
}

// AccountNumber returns the number of an account on the chain, which never
// changes there; it is asked for once. An account appears when it first
// receives coins.
func (c *Client) AccountNumber(ctx context.Context, address string) (uint64, error) {
	c.mu.Lock()
	n, ok := c.numbers[address]
	c.mu.Unlock()
	if ok {
		return n, nil
	}
	n, _, err := c.account(ctx, address)
	return n, err
}
