package devchain

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto"
	cmttypes "github.com/cometbft/cometbft/types"
)

const (
	testBlockTime = 100 * time.Millisecond
	testPatience  = 30 * time.Second // for a test chain's first blocks
	testAttempts  = 5                // to find free ports
)

// TestChain is a chain of one validator that runs inside a test.
type TestChain struct {
	Endpoint string // CometBFT RPC, http://127.0.0.1:port
	ChainID  string
}

// StartTest runs a chain in this process until the test ends: real consensus
// and RPC, a block each 100 ms or so, databases in memory. It returns when two
// blocks are committed, so that block time is the present.
func StartTest(t testing.TB, g Genesis) *TestChain {
	t.Helper()
	g, err := g.withDefaults()
	if err != nil {
		t.Fatalf("devchain: %v", err)
	}
	for range testAttempts {
		var n *Node
		if n, err = openTest(t, g); err != nil {
			continue
		}
		if err = runTest(t, n); err == nil {
			return &TestChain{Endpoint: n.Endpoint(), ChainID: g.ChainID}
		}
	}
	t.Fatalf("devchain: starting a test chain: %v", err)
	return nil
}

// openTest writes a home with free ports and opens it.
func openTest(t testing.TB, g Genesis) (*Node, error) {
	rpc, err := freePort()
	if err != nil {
		return nil, err
	}
	peers, err := freePort()
	if err != nil {
		return nil, err
	}
	home := filepath.Join(t.TempDir(), "validator0")
	_, key, err := makeHome(home)
	if err != nil {
		return nil, err
	}
	document, err := g.document([]crypto.PubKey{key})
	if err != nil {
		return nil, err
	}
	s := settings{ChainID: g.ChainID, RPC: rpc, P2P: peers, BlockTime: testBlockTime.String()}
	c, err := s.config(home)
	if err != nil {
		return nil, err
	}
	if err := document.SaveAs(c.GenesisFile()); err != nil {
		return nil, fmt.Errorf("writing the genesis document: %w", err)
	}
	return newNode(s, c, inMemory(), slog.New(slog.DiscardHandler))
}

// runTest runs n until the test ends, and waits for its second block.
func runTest(t testing.TB, n *Node) error {
	ctx, cancel := context.WithCancel(context.Background())
	blocks, err := n.comet.EventBus().Subscribe(ctx, "devchain-test", cmttypes.EventQueryNewBlock, 100)
	if err != nil {
		cancel()
		return fmt.Errorf("watching blocks: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	deadline := time.After(testPatience)
	for {
		select {
		case m := <-blocks.Out():
			if m.Data().(cmttypes.EventDataNewBlock).Block.Height < 2 {
				continue
			}
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Errorf("devchain: %v", err)
				}
			})
			// A subscription nobody reads would stop the chain's events.
			return n.comet.EventBus().UnsubscribeAll(ctx, "devchain-test")
		case err := <-done:
			cancel()
			return err
		case <-deadline:
			cancel()
			return fmt.Errorf("no second block within %s: %w", testPatience, <-done)
		}
	}
}

// freePort finds a loopback address that nobody listens on at the moment.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
