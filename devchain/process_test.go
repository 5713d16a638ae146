package devchain

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	sdk "github.com/cosmos/cosmos-sdk/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
)

// childHome makes this test program run the validator of that home instead.
const childHome = "DEVCHAIN_TEST_HOME"

func TestMain(m *testing.M) {
	if home := os.Getenv(childHome); home != "" {
		os.Exit(child(home))
	}
	os.Exit(m.Run())
}

func child(home string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	n, err := Open(home, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err == nil {
		err = n.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is one validator in a process of its own.
type process struct {
	*exec.Cmd
	log string // file
}

// written is what the process has logged so far.
func (p process) written() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func startProcess(t *testing.T, home string) process {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := process{exec.Command(os.Args[0]), log.Name()}
	p.Env = append(os.Environ(), childHome+"="+home)
	p.Stderr = log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// kill is kill -9, and waits until the process is gone. Killing twice is harmless.
func (p process) kill() {
	_ = p.Process.Kill()
	_ = p.Wait()
}

// basePort finds n free ports in a row.
func basePort(t *testing.T, n int) int {
	t.Helper()
	for range 50 {
		first, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := net.SplitHostPort(first)
		base, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("127.0.0.1:%d", base+i))
		}
		if base+n < 65536 && portsFree(all...) == nil {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

func network(t *testing.T, validators int, owners []person) Network {
	t.Helper()
	n, err := Init(Options{
		Dir: t.TempDir(), Validators: validators, BasePort: basePort(t, 2*validators), BlockTime: 50 * time.Millisecond,
		Genesis: Genesis{Accounts: accountsOf(owners)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// reaches waits until the chain behind c is at height or above.
func (c chain) reaches(height int64, p process) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("height %d", height), func() error {
		s, err := c.Status(c.context())
		if err != nil {
			return fmt.Errorf("%w: %s", err, p.written())
		}
		if got := s.SyncInfo.LatestBlockHeight; got < height || s.SyncInfo.CatchingUp {
			return fmt.Errorf("at height %d", got)
		}
		return nil
	})
}

func (c chain) balance(address string) int64 {
	c.t.Helper()
	var res banktypes.QueryBalanceResponse
	c.query("/cosmos.bank.v1beta1.Query/Balance", &banktypes.QueryBalanceRequest{Address: address, Denom: Denom}, &res)
	return res.Balance.Amount.Int64()
}

// appHash is the state that the block at height starts from.
func (c chain) appHash(height int64) string {
	c.t.Helper()
	var hash string
	eventually(c.t, fmt.Sprintf("block %d", height), func() error {
		b, err := c.Block(c.context(), &height)
		if err == nil {
			hash = b.Block.AppHash.String()
		}
		return err
	})
	return hash
}

// A process killed at any moment and started again goes on with the same
// blocks, the same state, and new heights.
func TestKilledProcessContinuesTheChain(t *testing.T) {
	t.Parallel()
	owners := people(2)
	n := network(t, 1, owners)
	c := dial(t, &TestChain{Endpoint: n.Endpoints[0], ChainID: n.ChainID})
	send := &banktypes.MsgSend{FromAddress: owners[0].address, ToAddress: owners[1].address, Amount: sdk.NewCoins(sdk.NewInt64Coin(Denom, 7))}
	hashes := map[int64]string{}
	height := int64(2)
	for round := range 4 {
		p := startProcess(t, n.Homes[0])
		c.reaches(height+3, p)
		for known, want := range hashes {
			if got := c.appHash(known); got != want {
				t.Fatalf("round %d: app hash of height %d is %s, was %s", round, known, got, want)
			}
		}
		code, log, at := c.commit(signed(t, n.ChainID, bodyOf(t, time.Time{}, send), 1, testGas, uint64(round), owners[0]))
		if code != 0 {
			t.Fatalf("round %d: code %d: %s", round, code, log)
		}
		if got, want := c.balance(owners[1].address), int64(DefaultFunds+7*(round+1)); got != want {
			t.Fatalf("round %d: balance %d, want %d", round, got, want)
		}
		height = at + int64(round) // killed a different number of blocks later each time
		hashes[height] = c.appHash(height)
		p.kill()
	}
	p := startProcess(t, n.Homes[0])
	c.reaches(height+2, p)
	c.results(2)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("SIGTERM: %v: %s", err, p.written())
	}
}

// Four processes keep one chain; three go on without the fourth, which catches
// up when it is back.
func TestFourValidators(t *testing.T) {
	t.Parallel()
	owners := people(2)
	n := network(t, 4, owners)
	var all []process
	var clients []chain
	for i, home := range n.Homes {
		all = append(all, startProcess(t, home))
		clients = append(clients, dial(t, &TestChain{Endpoint: n.Endpoints[i], ChainID: n.ChainID}))
	}
	for i, c := range clients {
		c.reaches(2, all[i])
	}
	send := &banktypes.MsgSend{FromAddress: owners[0].address, ToAddress: owners[1].address, Amount: sdk.NewCoins(sdk.NewInt64Coin(Denom, 7))}
	code, log, height := clients[3].commit(signed(t, n.ChainID, bodyOf(t, time.Time{}, send), 1, testGas, 0, owners[0]))
	if code != 0 {
		t.Fatalf("code %d: %s", code, log)
	}
	all[0].kill()
	clients[1].reaches(height+4, all[1])
	all[0] = startProcess(t, n.Homes[0])
	clients[0].reaches(height+6, all[0])
	want := clients[1].appHash(height + 1)
	for i, c := range clients {
		if got := c.appHash(height + 1); got != want {
			t.Errorf("validator %d has app hash %s, others %s", i, got, want)
		}
		if got := c.balance(owners[1].address); got != DefaultFunds+7 {
			t.Errorf("validator %d has balance %d", i, got)
		}
	}
}
