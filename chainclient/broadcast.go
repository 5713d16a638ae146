package chainclient

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	cmttypes "github.com/cometbft/cometbft/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"

	"github.com/affiliate-node/affiliate/agreement"
)

// MaxTx bounds a transaction, in bytes (CometBFT's default for its mempool).
const MaxTx = 1 << 20

// lookupTimeout bounds the search for a transaction in past blocks.
const lookupTimeout = 30 * time.Second

// Codes of the SDK's codespace "sdk" (types/errors) that mean something to us.
const (
	sdkUnauthorized      = 4
	sdkInsufficientFunds = 5
	sdkUnknownAddress    = 9
	sdkOutOfGas          = 11
	sdkInsufficientFee   = 13
	sdkTooManySignatures = 14
	sdkInvalidRequest    = 18
	sdkInMempool         = 19
	sdkMempoolFull       = 20
	sdkTooLarge          = 21
	sdkWrongSequence     = 32
	sdkTimeout           = 42
)

// Broadcast hands a transaction to the chain's mempool. It can be repeated:
// nil when the chain accepts it, has it already, or has it in a block, even
// as a failed one (Follow tells the outcome). EXPIRED when these bytes can
// never pass any more and a new body could; CHAIN_UNREACHABLE when it is to
// be tried again; CHAIN_REFUSED otherwise.
func (c *Client) Broadcast(ctx context.Context, tx []byte) error {
	if len(tx) > MaxTx {
		return agreement.Errorf(agreement.CodeTooLarge, "the transaction has %d bytes, the limit is %d", len(tx), MaxTx)
	}
	if err := c.ensureChain(ctx); err != nil {
		return err
	}
	code, codespace, text, err := c.checkTx(ctx, tx)
	if err != nil || code == abci.CodeTypeOK {
		return err
	}
	refused := c.refusal(codespace, code, text)
	if agreement.CodeOf(refused) != agreement.CodeExpired {
		return refused
	}
	known, err := c.known(ctx, tx)
	if err != nil {
		return err
	}
	if known {
		return nil
	}
	return refused
}

// checkTx calls broadcast_tx_sync; the code is CheckTx's.
func (c *Client) checkTx(ctx context.Context, tx []byte) (code uint32, codespace, text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := c.rpc.BroadcastTxSync(ctx, tx)
	if err == nil {
		if res.Codespace == "sdk" && res.Code == sdkInMempool {
			return abci.CodeTypeOK, "", "", nil
		}
		return res.Code, res.Codespace, res.Log, nil
	}
	answer, ok := rpcText(err)
	switch {
	case ok && strings.Contains(answer, "already exists in cache"):
		return abci.CodeTypeOK, "", "", nil
	case ok && strings.Contains(answer, "mempool is full"):
		return sdkMempoolFull, "sdk", answer, nil
	case ok && strings.Contains(answer, "too large"):
		return sdkTooLarge, "sdk", answer, nil
	}
	return 0, "", "", c.unreachable(ctx, "broadcasting a transaction", err)
}

// refusal says what the chain's answer means and what to do.
func (c *Client) refusal(codespace string, code uint32, text string) error {
	line := firstLine(text)
	refused := agreement.Errorf(agreement.CodeChainRefused, "chain %s refused the transaction: %s (code %d of %s)",
		c.cfg.ChainID, line, code, codespace)
	expired := agreement.Errorf(agreement.CodeExpired, "the transaction can't be committed any more: %s (code %d of %s)",
		line, code, codespace).WithHint("the proposer has to ask for signatures on a new body")
	switch {
	case strings.Contains(text, "already used timeout"), strings.Contains(text, "tx timeout"):
		return expired // whatever the code: a trial run hides it
	case strings.Contains(text, "unordered tx ttl exceeds"):
		// NewTimeout counts from the last block, so the chain has lost its clock:
		// a node that has just started has none until it sees a block.
		return agreement.Errorf(agreement.CodeChainUnreachable, "chain %s doesn't know the time yet: %s", c.cfg.ChainID, line).
			WithHint("is it producing blocks? [chain] cosign_lifetime counts from its last block's time")
	case codespace != "sdk":
		return refused
	}
	switch code {
	case sdkTimeout:
		return expired
	case sdkMempoolFull:
		return agreement.Errorf(agreement.CodeChainUnreachable, "the chain's mempool is full: %s", line).
			WithHint("it is tried again; if it lasts, the chain is overloaded")
	case sdkTooLarge:
		return agreement.Errorf(agreement.CodeTooLarge, "chain %s: %s", c.cfg.ChainID, line)
	case sdkInsufficientFee:
		return refused.WithHint(`set [chain] fee to "auto", or to the amount that the chain asks for`)
	case sdkInsufficientFunds:
		return refused.WithHint("send coins for the fee to %s", c.signer.Address())
	case sdkUnknownAddress:
		return refused.WithHint("every signer needs an account: send some coins to the one named")
	case sdkOutOfGas:
		return refused.WithHint("raise [chain] gas_limit (%d now)", c.cfg.GasLimit)
	case sdkUnauthorized:
		return refused.WithHint("a signature doesn't fit: is [chain] id right, and was the chain made anew since this node started?")
	case sdkTooManySignatures:
		return refused.WithHint("the chain allows fewer signatures on one transaction than the agreement has signers")
	}
	return refused
}

// known reports whether the chain already has these bytes: in its index, its
// mempool, or a block in which they could have been committed. An error means
// that it can't be told now.
func (c *Client) known(ctx context.Context, tx []byte) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if _, err := c.rpc.Tx(ctx, cmttypes.Tx(tx).Hash(), false); err == nil {
		return true, nil
	}
	limit := 100
	if res, err := c.rpc.UnconfirmedTxs(ctx, &limit); err == nil {
		for _, t := range res.Txs {
			if bytes.Equal(t, tx) {
				return true, nil
			}
		}
	}
	timeout, err := timeoutOf(tx)
	if err != nil {
		return false, err
	}
	return c.inBlocks(ctx, tx, timeout.Add(-MaxCosignLifetime), timeout)
}

func timeoutOf(tx []byte) (time.Time, error) {
	var raw txtypes.TxRaw
	var body txtypes.TxBody
	if err := errors.Join(raw.Unmarshal(tx), body.Unmarshal(raw.BodyBytes)); err != nil {
		return time.Time{}, agreement.Errorf(agreement.CodeInternal, "decoding an own transaction: %w", err)
	}
	if body.TimeoutTimestamp == nil {
		return time.Time{}, agreement.Errorf(agreement.CodeInternal, "an own transaction has no timeout")
	}
	return *body.TimeoutTimestamp, nil
}

// inBlocks looks for tx in the blocks whose time is within [after, until].
func (c *Client) inBlocks(ctx context.Context, tx []byte, after, until time.Time) (bool, error) {
	st, err := c.status(ctx)
	if err != nil {
		return false, err
	}
	first, high := st.SyncInfo.EarliestBlockHeight, st.SyncInfo.LatestBlockHeight
	high, err = c.lastBefore(ctx, first, high, until)
	for err == nil && high >= first && high > 0 {
		var page []*cmttypes.BlockMeta
		if page, err = c.metas(ctx, max(first, high-metaPage+1), high); err != nil {
			break
		}
		for _, m := range page { // newest first
			if m.Header.Time.Before(after) {
				return false, nil
			}
			if m.NumTxs == 0 {
				continue
			}
			found, err := c.inBlock(ctx, tx, m.Header.Height)
			if found || err != nil {
				return found, err
			}
		}
		high -= int64(len(page))
	}
	if err == nil && first > 1 {
		err = agreement.Errorf(agreement.CodeChainUnreachable, "the endpoint %s no longer has the blocks to look for a transaction in", c.endpoint).
			WithHint("point [chain] endpoint to a node that keeps more blocks")
	}
	return false, err
}

// metaPage is the most block headers that CometBFT answers at once.
const metaPage = 20

// metas returns the headers from low to high, newest first, at least one.
func (c *Client) metas(ctx context.Context, low, high int64) ([]*cmttypes.BlockMeta, error) {
	res, err := c.rpc.BlockchainInfo(ctx, low, high)
	if err == nil && len(res.BlockMetas) == 0 {
		err = errors.New("no headers in the answer")
	}
	if err != nil {
		return nil, c.unreachable(ctx, "reading block headers", err)
	}
	return res.BlockMetas, nil
}

// lastBefore finds the last height in [low, high] whose block time is not
// after t, low-1 if there is none.
func (c *Client) lastBefore(ctx context.Context, low, high int64, t time.Time) (int64, error) {
	low = max(low, 1)
	for end := high; low <= high; {
		mid := end // the newest first: it is nearly always the answer
		if high != end {
			mid = low + (high-low)/2
		}
		m, err := c.metas(ctx, mid, mid)
		if err != nil {
			return 0, err
		}
		if !m[0].Header.Time.After(t) {
			low = mid + 1
		} else {
			high = mid - 1
		}
	}
	return high, nil
}

func (c *Client) inBlock(ctx context.Context, tx []byte, height int64) (bool, error) {
	b, err := c.rpc.Block(ctx, &height)
	if err != nil {
		return false, c.unreachable(ctx, "reading a block", err)
	}
	for _, t := range b.Block.Txs {
		if bytes.Equal(t, tx) {
			return true, nil
		}
	}
	return false, nil
}
