package chainclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	rpcclient "github.com/cometbft/cometbft/rpc/client"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	rpctypes "github.com/cometbft/cometbft/rpc/jsonrpc/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/affiliate-node/affiliate/agreement"
)

const (
	// requestTimeout bounds one request to the endpoint.
	requestTimeout = 15 * time.Second
	// maxResponse bounds what the endpoint may answer, in bytes. A block of
	// 22 MiB (CometBFT's default) in base64, with room for its results.
	maxResponse  = 96 << 20
	maxIdleConns = 8
	// maxLog bounds what is kept of a text that the chain wrote, in bytes.
	maxLog = 512

	minPollInterval   = 10 * time.Millisecond
	minCosignLifetime = 5 * time.Second
)

// limited refuses answers over maxResponse before they fill the memory.
type limited struct{ next http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > maxResponse {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("an answer of %d bytes is over the limit of %d", resp.ContentLength, maxResponse)
	}
	resp.Body = &limitedBody{ReadCloser: resp.Body, left: maxResponse}
	return resp, nil
}

type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the answer is over the limit of %d bytes", maxResponse)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}

// unreachable wraps a failure to get an answer. An answer that is an error of
// the RPC itself keeps its cause, so that callers can look at it.
func (c *Client) unreachable(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	trouble := "doesn't answer"
	if _, answered := rpcText(err); answered {
		trouble = "can't answer"
	}
	return agreement.Errorf(agreement.CodeChainUnreachable, "the chain %s at %s (%s): %w", trouble, c.endpoint, what, shortened{err}).
		WithHint("check that a node of %s answers at %s; [chain] endpoint in affiliate.toml says where", c.cfg.ChainID, c.endpoint)
}

// shortened keeps an error's identity and shows its first line only, without
// the method and the address of an HTTP request: those are known.
type shortened struct{ err error }

func (s shortened) Error() string {
	var request *url.Error
	if errors.As(s.err, &request) {
		return firstLine(request.Err.Error())
	}
	return firstLine(s.err.Error())
}
func (s shortened) Unwrap() error { return s.err }

// rpcText returns the text of an error that the RPC server answered.
func rpcText(err error) (string, bool) {
	var e *rpctypes.RPCError
	if !errors.As(err, &e) {
		return "", false
	}
	return e.Message + ": " + e.Data, true
}

// firstLine cuts a text of the chain's to one line of at most maxLog bytes.
func firstLine(s string) string {
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		s = s[:i]
	}
	if len(s) > maxLog {
		s = s[:maxLog]
	}
	return strings.ToValidUTF8(s, "?")
}

// ensureChain asks once whether the endpoint serves the configured chain, so
// that nothing is read from, or signed for, another one.
func (c *Client) ensureChain(ctx context.Context) error {
	c.mu.Lock()
	ok := c.verified
	c.mu.Unlock()
	if ok {
		return nil
	}
	_, err := c.Status(ctx)
	return err
}

func (c *Client) setVerified(ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.verified = ok
}

// Status is the chain as the endpoint sees it.
type Status struct {
	ChainID   string
	Height    int64     // of the last block
	BlockTime time.Time // of the last block
}

// Status asks for the last block. CHAIN_MISMATCH when the endpoint serves
// another chain, CHAIN_UNREACHABLE when nothing answers.
func (c *Client) Status(ctx context.Context) (Status, error) {
	st, err := c.status(ctx)
	if err != nil {
		return Status{}, err
	}
	return Status{
		ChainID: st.NodeInfo.Network, Height: st.SyncInfo.LatestBlockHeight, BlockTime: st.SyncInfo.LatestBlockTime,
	}, nil
}

func (c *Client) status(ctx context.Context) (*coretypes.ResultStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	st, err := c.rpc.Status(ctx)
	if err != nil {
		return nil, c.unreachable(ctx, "asking for its status", err)
	}
	if st.NodeInfo.Network != c.cfg.ChainID {
		c.setVerified(false)
		return nil, agreement.Errorf(agreement.CodeChainMismatch, "the endpoint %s serves chain %q, not %q",
			c.endpoint, firstLine(st.NodeInfo.Network), c.cfg.ChainID).
			WithHint("correct [chain] endpoint, or [chain] id if this affiliate really belongs to the other chain")
	}
	c.setVerified(true)
	return st, nil
}

type wireMessage interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// queryError is a query that the chain answered with an error.
type queryError struct {
	path, codespace, log string
	code                 uint32
}

func (e *queryError) Error() string {
	return fmt.Sprintf("query %s: %s (code %d of %s)", e.path, firstLine(e.log), e.code, e.codespace)
}

// notFoundCode is what the SDK makes of a gRPC NotFound (sdkerrors.ErrKeyNotFound).
const notFoundCode = 30

// query calls a gRPC query of the chain through abci_query.
func (c *Client) query(ctx context.Context, path string, req, resp wireMessage) error {
	if err := c.ensureChain(ctx); err != nil {
		return err
	}
	data, err := req.Marshal()
	if err != nil {
		return agreement.Errorf(agreement.CodeInternal, "encoding query %s: %w", path, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := c.rpc.ABCIQueryWithOptions(ctx, path, data, rpcclient.ABCIQueryOptions{})
	if err != nil {
		return c.unreachable(ctx, "query "+path, err)
	}
	if r := res.Response; r.Code != 0 {
		return &queryError{path: path, codespace: r.Codespace, log: r.Log, code: r.Code}
	}
	if err := resp.Unmarshal(res.Response.Value); err != nil {
		return agreement.Errorf(agreement.CodeChainUnreachable, "decoding the answer to %s from %s: %w", path, c.endpoint, err).
			WithHint("is [chain] endpoint a node of a Provenance chain?")
	}
	return nil
}

// refusedQuery gives an error of query a code, unless it has one.
func (c *Client) refusedQuery(err error) error {
	var q *queryError
	if !errors.As(err, &q) {
		return err
	}
	return agreement.Errorf(agreement.CodeChainRefused, "the chain at %s refused: %w", c.endpoint, err).
		WithHint("is [chain] endpoint a node of a Provenance chain with x/metadata?")
}

// account asks for the number and the sequence of an account.
func (c *Client) account(ctx context.Context, address string) (number, sequence uint64, err error) {
	if err := ValidAddress(c.cfg.Prefix, address); err != nil {
		return 0, 0, agreement.Errorf(agreement.CodeBadRequest, "account on the chain: %w", err)
	}
	var resp authtypes.QueryAccountInfoResponse
	err = c.query(ctx, "/cosmos.auth.v1beta1.Query/AccountInfo", &authtypes.QueryAccountInfoRequest{Address: address}, &resp)
	var q *queryError
	if errors.As(err, &q) && (q.code == notFoundCode || strings.Contains(q.log, "not found")) || err == nil && resp.Info == nil {
		return 0, 0, agreement.Errorf(agreement.CodeChainRefused, "the account %s does not exist on chain %s, so it can't sign",
			address, c.cfg.ChainID).WithHint("send it some coins first (any amount makes the account)")
	}
	if err != nil {
		return 0, 0, c.refusedQuery(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.numbers) >= maxCached {
		clear(c.numbers)
	}
	c.numbers[address] = resp.Info.AccountNumber
	return resp.Info.AccountNumber, resp.Info.Sequence, nil
}

// maxCached bounds each cache of the client, in entries.
const maxCached = 4096
