package node

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestStartHeightIsWrittenDown wants that a node that has never followed knows
// where to begin before it does anything, and still knows after a crash.
func TestStartHeightIsWrittenDown(t *testing.T) {
	height := "7"
	chain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.ReplaceAll(`{"jsonrpc":"2.0","id":0,"result":{"node_info":{"network":"`+testChain+`"},
			"sync_info":{"latest_block_height":"HEIGHT","latest_block_time":"2026-01-01T00:00:00Z"}}}`, "HEIGHT", height))
	}))
	defer chain.Close()
	n := bareOn(t, chain.URL)
	if from, err := n.startHeight(t.Context()); from != 8 || err != nil {
		t.Fatalf("starts at %d, %v", from, err)
	}
	height = "900" // the node was killed, and comes back much later
	if from, err := n.startHeight(t.Context()); from != 8 || err != nil {
		t.Errorf("starts again at %d, %v", from, err)
	}
}

// TestNothingIsDoneBeforeTheStart wants effects and mail to wait until it is
// known where the chain's blocks are taken up.
func TestNothingIsDoneBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		did := 0
		n := &Node{following: make(chan struct{}), queue: newQueue(func(context.Context, task) { did++ })}
		ctx, cancel := context.WithCancel(t.Context())
		n.queue.add(task{class: classChain})
		done := make(chan error)
		go func() { done <- n.work(ctx) }()
		time.Sleep(time.Hour)
		if did > 0 {
			t.Error("something was done")
		}
		close(n.following)
		synctest.Wait()
		if did != 1 {
			t.Errorf("%d tasks were done", did)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
