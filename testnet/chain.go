package testnet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// rpcLimit is the most that one answer of the chain may have, in bytes.
const rpcLimit = 32 << 20

// rpcTimeout ends one question to the chain.
const rpcTimeout = 10 * time.Second

// chainRPC asks a CometBFT node directly, independently of the affiliates'
// own chain client, so that what it says is a check from outside.
type chainRPC struct {
	endpoint string // http://host:port
	http     *http.Client
}

func newChainRPC(endpoint string) *chainRPC {
	return &chainRPC{endpoint: strings.TrimRight(endpoint, "/"), http: &http.Client{Timeout: rpcTimeout}}
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    string `json:"data"`
}

func (c *chainRPC) get(ctx context.Context, path string, query url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.endpoint+path+"?"+query.Encode(), nil)
	if err != nil {
		return fmt.Errorf("asking the chain for %s: %w", path, err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("asking the chain for %s: %w", path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, rpcLimit))
	if err != nil {
		return fmt.Errorf("reading the chain's answer to %s: %w", path, err)
	}
	var envelope struct {
		Result json.RawMessage `json:"result"`
		Error  *rpcError       `json:"error"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return fmt.Errorf("reading the chain's answer to %s: %w", path, err)
	}
	if envelope.Error != nil {
		return fmt.Errorf("asking the chain for %s: %s: %s", path, envelope.Error.Message, envelope.Error.Data)
	}
	if err := json.Unmarshal(envelope.Result, into); err != nil {
		return fmt.Errorf("reading the chain's answer to %s: %w", path, err)
	}
	return nil
}

// height returns that of the newest block.
func (c *chainRPC) height(ctx context.Context) (int64, error) {
	var out struct {
		SyncInfo struct {
			Height string `json:"latest_block_height"`
		} `json:"sync_info"`
	}
	if err := c.get(ctx, "/status", nil, &out); err != nil {
		return 0, err
	}
	return strconv.ParseInt(out.SyncInfo.Height, 10, 64)
}

// chainBlock is a committed block, as far as the testnet looks at it.
type chainBlock struct {
	Height int64
	Time   time.Time
	Txs    [][]byte
	Codes  []uint32 // of each transaction, 0 = its messages were carried out
}

// block returns the block at a height, with the results of its transactions.
func (c *chainRPC) block(ctx context.Context, height int64) (chainBlock, error) {
	at := url.Values{"height": {strconv.FormatInt(height, 10)}}
	var b struct {
		Block struct {
			Header struct {
				Time time.Time `json:"time"`
			} `json:"header"`
			Data struct {
				Txs []string `json:"txs"`
			} `json:"data"`
		} `json:"block"`
	}
	if err := c.get(ctx, "/block", at, &b); err != nil {
		return chainBlock{}, err
	}
	out := chainBlock{Height: height, Time: b.Block.Header.Time}
	for _, tx := range b.Block.Data.Txs {
		raw, err := base64.StdEncoding.DecodeString(tx)
		if err != nil {
			return out, fmt.Errorf("reading a transaction of block %d: %w", height, err)
		}
		out.Txs = append(out.Txs, raw)
	}
	if len(out.Txs) == 0 {
		return out, nil
	}
	var r struct {
		Results []struct {
			Code uint32 `json:"code"`
		} `json:"txs_results"`
	}
	if err := c.get(ctx, "/block_results", at, &r); err != nil {
		return out, err
	}
	if len(r.Results) != len(out.Txs) {
		return out, fmt.Errorf("block %d has %d transactions and %d results", height, len(out.Txs), len(r.Results))
	}
	for _, res := range r.Results {
		out.Codes = append(out.Codes, res.Code)
	}
	return out, nil
}

// blockIDCommit is CometBFT's flag for a signature on the block itself.
const blockIDCommit = 2

// signatures returns how many validators signed the block at a height, and
// how many could have.
func (c *chainRPC) signatures(ctx context.Context, height int64) (signed, all int, err error) {
	var out struct {
		SignedHeader struct {
			Commit struct {
				Signatures []struct {
					Flag      int    `json:"block_id_flag"`
					Address   string `json:"validator_address"`
					Signature string `json:"signature"`
				} `json:"signatures"`
			} `json:"commit"`
		} `json:"signed_header"`
	}
	at := url.Values{"height": {strconv.FormatInt(height, 10)}}
	if err := c.get(ctx, "/commit", at, &out); err != nil {
		return 0, 0, err
	}
	sigs := out.SignedHeader.Commit.Signatures
	for _, s := range sigs {
		if s.Flag == blockIDCommit && s.Address != "" && s.Signature != "" {
			signed++
		}
	}
	return signed, len(sigs), nil
}

// chainCommit is a transaction that carries an agreement's session.
type chainCommit struct {
	Height      int64
	BlockTime   time.Time
	TxHash      string // upper-case hexadecimal
	Code        uint32
	Signed, All int // validators
}

// carries reports whether a transaction names an agreement: its 16 random
// bytes are part of the session's address in every message.
func carries(tx []byte, id agreement.ID) bool { return bytes.Contains(tx, id[:]) }

func txHash(tx []byte) string {
	sum := sha256.Sum256(tx)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

var errNotYet = errors.New("not yet")
