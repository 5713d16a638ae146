package chainclient

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// following runs Follow from a height, and collects what it hands on.
type following struct {
	blocks []Block
	done   chan error
	cancel context.CancelFunc
}

func follow(t *testing.T, c *Client, from int64) *following {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &following{done: make(chan error, 1), cancel: cancel}
	go func() {
		f.done <- c.Follow(ctx, from, func(_ context.Context, b Block) error {
			f.blocks = append(f.blocks, b)
			return nil
		})
	}()
	return f
}

func (f *following) end(t *testing.T) {
	t.Helper()
	f.cancel()
	if err := <-f.done; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow ended with %v", err)
	}
}

// later lets d pass and everything settle.
func later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (f *following) wantHeights(t *testing.T, from, to int64) {
	t.Helper()
	if int64(len(f.blocks)) != to-from+1 {
		t.Fatalf("%d blocks were handed on, want %d to %d", len(f.blocks), from, to)
	}
	for i, b := range f.blocks {
		if b.Height != from+int64(i) {
			t.Fatalf("block %d is of height %d", i, b.Height)
		}
	}
}

func TestFollowEveryBlockOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain := newFake()
		c := fakeClient(t, chain)
		body, err := c.BuildBody(sampleWrite(), testTimeout)
		if err != nil {
			t.Fatal(err)
		}
		chain.grow(30)
		f := follow(t, c, 11)
		later(time.Second)
		f.wantHeights(t, 11, 30)
		chain.add(mustTx(t, body), 0)
		chain.add(mustTx(t, body), 11)
		later(time.Second)
		f.wantHeights(t, 11, 32)
		good, bad := f.blocks[20].Commits, f.blocks[21].Commits
		if len(good) != 1 || good[0].Code != 0 || good[0].Log != "" || good[0].Agreement != sampleWrite().Session {
			t.Errorf("commits %+v", good)
		}
		if len(bad) != 1 || bad[0].Code != 11 || bad[0].Log != "why not" {
			t.Errorf("failed commits %+v", bad)
		}
		ok, text, height, at := c.Health()
		if !ok || text != "" || height != 32 || !at.Equal(f.blocks[21].Time) {
			t.Errorf("health %v %q %d %v", ok, text, height, at)
		}
		f.end(t)
	})
}

// TestFollowWaitsForState: a block whose writes can't be queried yet is not
// handed on.
func TestFollowWaitsForState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain := newFake()
		chain.grow(5)
		chain.state = 4
		f := follow(t, fakeClient(t, chain), 1)
		later(time.Second)
		f.wantHeights(t, 1, 4)
		chain.set(func() { chain.state = 0 })
		later(time.Second)
		f.wantHeights(t, 1, 5)
		f.end(t)
	})
}

func TestFollowBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain := newFake()
		chain.grow(3)
		chain.down = true
		c := fakeClient(t, chain)
		f := follow(t, c, 1)
		later(10 * time.Minute)
		ok, text, _, _ := c.Health()
		if ok || !strings.Contains(text, string(agreement.CodeChainUnreachable)) || !strings.Contains(text, c.endpoint) {
			t.Errorf("health %v %q", ok, text)
		}
		calls := chain.calls["status"]
		if calls < 20 || calls > 60 {
			t.Errorf("%d attempts in 10 minutes", calls)
		}
		for i := range len(chain.times) - 1 {
			if gap := chain.times[i+1].Sub(chain.times[i]); gap < testConfig.PollInterval/2 || gap > maxBackoff {
				t.Errorf("attempt %d came after %s", i+1, gap)
			}
		}
		chain.set(func() { chain.down = false })
		later(maxBackoff)
		f.wantHeights(t, 1, 3)
		if ok, text, _, _ := c.Health(); !ok || text != "" {
			t.Errorf("health after the chain came back: %v %q", ok, text)
		}
		f.end(t)
	})
}

// TestFollowStops: whatever is wrong with the chain, nothing is handed on
// until it is right again, and Health says what.
func TestFollowStops(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil, mend func(*fakeChain)
		says        string
		stays       bool // can't be mended within this process
	}{
		"another chain": {
			spoil: func(f *fakeChain) { f.id = "other-1" }, mend: func(f *fakeChain) { f.id = testConfig.ChainID }, says: `serves chain "other-1"`,
		},
		"reset": {
			spoil: func(f *fakeChain) { f.blocks = f.blocks[:2] }, says: "already seen height 5",
		},
		"reset and grown": {
			spoil: func(f *fakeChain) { f.salt = "new" }, mend: func(f *fakeChain) { f.salt = "" }, says: "block 6 does not follow block 5",
		},
		"pruned": {
			spoil: func(f *fakeChain) { f.earliest = 7 }, mend: func(f *fakeChain) { f.earliest = 1 }, says: "no blocks before 7",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				chain := newFake()
				chain.grow(5)
				c := fakeClient(t, chain)
				f := follow(t, c, 1)
				later(time.Second)
				f.wantHeights(t, 1, 5)
				chain.set(func() { tc.spoil(chain) })
				chain.grow(2)
				later(5 * time.Minute)
				f.wantHeights(t, 1, 5)
				if ok, text, height, _ := c.Health(); ok || !strings.Contains(text, tc.says) || height != 5 {
					t.Errorf("health %v %q %d", ok, text, height)
				}
				if tc.mend != nil {
					chain.set(func() { tc.mend(chain) })
					later(maxBackoff)
					f.wantHeights(t, 1, 7)
				}
				f.end(t)
			})
		})
	}
}

func TestFollowEndsWithCallersError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain := newFake()
		chain.grow(3)
		stop, calls := errors.New("stop"), 0
		err := fakeClient(t, chain).Follow(t.Context(), 0, func(_ context.Context, b Block) error {
			calls++
			if b.Height == 2 {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || calls != 2 {
			t.Errorf("error %v after %d calls", err, calls)
		}
	})
}

func TestNewTimeout(t *testing.T) {
	chain := newFake()
	chain.grow(1)
	c := fakeClient(t, chain)
	c.cfg.CosignLifetime = MaxCosignLifetime
	seen := map[time.Time]bool{}
	for range 50 {
		timeout, err := c.NewTimeout(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if ttl := timeout.Sub(chainTime); ttl > MaxCosignLifetime-lifetimeMargin || ttl < MaxCosignLifetime-lifetimeMargin-time.Second || seen[timeout] {
			t.Fatalf("lifetime %s, seen %v", ttl, seen[timeout])
		}
		seen[timeout] = true
	}
}
