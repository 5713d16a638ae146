package chainclient

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// maxBackoff bounds the wait between attempts to reach the chain.
const maxBackoff = 30 * time.Second

// health is what Follow last learnt of the chain.
type health struct {
	connected bool
	lastErr   string
	height    int64
	blockTime time.Time
}

// Health says whether Follow's last attempt to read the chain succeeded, why
// not if it didn't, and the last block that was handed on.
func (c *Client) Health() (connected bool, lastErr string, height int64, blockTime time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health.connected, c.health.lastErr, c.health.height, c.health.blockTime
}

// Follow hands every block from height from on to fn, once each and in order,
// and only after the chain's state holds what the block wrote. It outlives an
// unreachable chain, and stops handing on (Health says why) while the
// endpoint serves another chain, one that was made anew, or one whose blocks
// from the cursor on are gone: a block is never skipped. It ends with ctx's
// error, or the first error of fn.
func (c *Client) Follow(ctx context.Context, from int64, fn func(context.Context, Block) error) error {
	f := follower{c: c, next: max(from, 1), fn: fn}
	for failures := 0; ; {
		err := f.advance(ctx)
		switch {
		case f.stopped != nil:
			return f.stopped
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failures++
			if failures == 1 {
				c.log.Warn("the chain can't be followed", "error", err)
			}
			c.setLost(err)
		default:
			if failures > 0 {
				c.log.Info("the chain is followed again", "height", f.next-1)
			}
			failures = 0
			c.setFound()
		}
		if err := sleep(ctx, backoff(c.cfg.PollInterval, failures)); err != nil {
			return err
		}
	}
}

type follower struct {
	c       *Client
	next    int64
	last    []byte // hash of block next-1, if it was seen by this follower
	fn      func(context.Context, Block) error
	stopped error // what fn returned
}

// advance hands on all blocks that there are.
func (f *follower) advance(ctx context.Context) error {
	tip, err := f.tip(ctx)
	if err != nil {
		return err
	}
	for f.next <= tip && ctx.Err() == nil {
		b, err := f.c.block(ctx, f.next)
		if err != nil {
			return err
		}
		if f.last != nil && !bytes.Equal(f.last, b.lastHash) {
			return f.reset(fmt.Sprintf("block %d does not follow block %d as this node saw it", f.next, f.next-1))
		}
		if f.stopped = f.fn(ctx, decodeBlock(b)); f.stopped != nil {
			return f.stopped
		}
		f.next, f.last = f.next+1, b.hash
		f.c.setBlock(b.height, b.time)
	}
	return nil
}

// tip is the last height whose effects can be queried.
func (f *follower) tip(ctx context.Context) (int64, error) {
	c := f.c
	st, err := c.status(ctx)
	if err != nil {
		return 0, err
	}
	latest, earliest := st.SyncInfo.LatestBlockHeight, st.SyncInfo.EarliestBlockHeight
	if latest < f.next-1 {
		if st.SyncInfo.CatchingUp {
			return 0, agreement.Errorf(agreement.CodeChainUnreachable, "the chain's node at %s is still catching up: it is at height %d, this affiliate at %d",
				c.endpoint, latest, f.next-1).WithHint("wait, or point [chain] endpoint to another node")
		}
		return 0, f.reset(fmt.Sprintf("it is at height %d, but this affiliate has already seen height %d", latest, f.next-1))
	}
	if earliest > f.next {
		return 0, agreement.Errorf(agreement.CodeChainUnreachable, "the chain's node at %s has no blocks before %d, this affiliate needs them from %d on",
			c.endpoint, earliest, f.next).WithHint("point [chain] endpoint to a node that keeps more blocks")
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := c.rpc.ABCIInfo(ctx)
	if err != nil {
		return 0, c.unreachable(ctx, "asking for its state's height", err)
	}
	return min(latest, info.Response.LastBlockHeight), nil
}

// reset reports a chain that began anew under the same id. What was learnt of
// the old one is forgotten.
func (f *follower) reset(why string) error {
	f.c.mu.Lock()
	clear(f.c.numbers)
	clear(f.c.checked)
	f.c.mu.Unlock()
	return agreement.Errorf(agreement.CodeChainMismatch, "the chain %s at %s was made anew: %s", f.c.cfg.ChainID, f.c.endpoint, why).
		WithHint("point [chain] endpoint to the right chain; for a new one, start with a new home directory")
}

func (c *Client) setLost(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health.connected, c.health.lastErr = false, err.Error()
}

func (c *Client) setFound() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health.connected, c.health.lastErr = true, ""
}

func (c *Client) setBlock(height int64, t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health.connected, c.health.lastErr, c.health.height, c.health.blockTime = true, "", height, t
}

// backoff doubles the interval with each failure up to maxBackoff, and takes
// off up to half of it at random, so that nodes don't come back in step.
func backoff(interval time.Duration, failures int) time.Duration {
	if failures == 0 {
		return interval
	}
	d := min(interval<<min(failures, 16), maxBackoff)
	d = max(d, interval)
	return d - rand.N(d/2+1) //nolint:gosec // no secret
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
