// Package testnet owns the local network of real processes: it builds the
// programs, starts a development chain and affiliates on loopback, takes them
// through the ten steps, and checks the outcome from outside. It never looks
// inside a daemon: it uses what an application, an operator and a stranger to
// the chain can use, and it ends no process that it didn't start.
package testnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/affiliate-node/affiliate/chainclient"
)

// The network's settings.
const (
	chainID   = "affiliate-testnet-1"
	prefix    = "tp"
	blockTime = 300 * time.Millisecond

	cosignLifetime = 12 * time.Second

	minAffiliates = 3
	maxAffiliates = 20
	maxValidators = 10

	readyWithin = 60 * time.Second // a daemon or the chain, after its start
	stopGrace   = 10 * time.Second // a daemon, after SIGTERM
	// socketPathLimit is the longest path of a Unix socket that every
	// system takes, in bytes.
	socketPathLimit = 100
)

// Options say what kind of network to make.
type Options struct {
	Dir        string // where everything goes; must be empty or absent
	Affiliates int    // 3 to 20
	Validators int    // 1 to 10
	// AskAffiliate is the index of the affiliate whose policy asks a person
	// about everything but new loans from affiliate-0; negative for none.
	AskAffiliate int
	// BlockTime is the chain's time between blocks; 0 for 300 ms.
	BlockTime time.Duration
	// CosignLifetime is how long a co-signature is good for; 0 for 12 s, which
	// is short, so that a rejected agreement is final soon.
	CosignLifetime time.Duration
}

// Net is a running network.
type Net struct {
	Dir        string
	Affiliates []*Affiliate
	Validators []*Process
	Endpoints  []string // RPC address of each validator

	build     Build
	opts      Options
	chain     *chainRPC
	reader    *chainclient.Client
	socketDir string // extra directory of the sockets, where Dir is too deep
	stop      sync.Once
	stopErr   error
}

// Start makes a network in opts.Dir and returns when every daemon is ready:
// the chain makes blocks, and every affiliate follows it and knows all the
// others. After an error nothing is left running.
func Start(ctx context.Context, b Build, opts Options, progress func(string)) (*Net, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	n := &Net{Dir: opts.Dir, build: b, opts: opts}
	start := guard(func() error { return n.start(ctx, progress) })
	if err := start(); err != nil {
		return n, errors.Join(err, n.Stop())
	}
	return n, nil
}

func (o *Options) check() error {
	if o.Affiliates < minAffiliates || o.Affiliates > maxAffiliates {
		return fmt.Errorf("%d affiliates: give %d to %d", o.Affiliates, minAffiliates, maxAffiliates)
	}
	if o.Validators < 1 || o.Validators > maxValidators {
		return fmt.Errorf("%d validators: give 1 to %d", o.Validators, maxValidators)
	}
	if o.BlockTime == 0 {
		o.BlockTime = blockTime
	}
	if o.CosignLifetime == 0 {
		o.CosignLifetime = cosignLifetime
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("looking into the directory: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: give an empty or a new directory", o.Dir)
	}
	o.Dir, err = filepath.Abs(o.Dir)
	return err
}

func (n *Net) start(ctx context.Context, progress func(string)) error {
	if err := os.MkdirAll(n.logDir(), 0o700); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	progress(fmt.Sprintf("making the keys and settings of %d affiliates", n.opts.Affiliates))
	if err := n.makeAffiliates(ctx); err != nil {
		return err
	}
	progress(fmt.Sprintf("starting a chain of %d validators", n.opts.Validators))
	if err := n.makeChain(ctx); err != nil {
		return err
	}
	if err := n.writeConfigs(); err != nil {
		return err
	}
	for _, v := range n.Validators {
		if err := v.Start(); err != nil {
			return err
		}
	}
	if err := n.chainReady(ctx); err != nil {
		return err
	}
	progress("starting the affiliates")
	for _, a := range n.Affiliates {
		if err := a.Start(); err != nil {
			return err
		}
	}
	return n.Ready(ctx)
}

func (n *Net) logDir() string { return filepath.Join(n.Dir, "logs") }

func (n *Net) logFile(name string) string { return filepath.Join(n.logDir(), name+".log") }

// chainReady waits until every validator has made two blocks: a transaction's
// timeout is judged by the time of the last one.
func (n *Net) chainReady(ctx context.Context) error {
	for i, v := range n.Validators {
		rpc := newChainRPC(n.Endpoints[i])
		err := n.await(ctx, "blocks of "+v.Name, readyWithin, func(ctx context.Context) error {
			h, err := rpc.height(ctx)
			if err == nil && h < 2 {
				err = errNotYet
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Ready waits until every running affiliate follows the chain and is
// connected to all the other running ones.
func (n *Net) Ready(ctx context.Context) error {
	running := 0
	for _, a := range n.Affiliates {
		if a.Running() {
			running++
		}
	}
	for _, a := range n.Affiliates {
		if !a.Running() {
			continue
		}
		if err := n.ready(ctx, a, running-1); err != nil {
			return err
		}
	}
	return nil
}

func (n *Net) ready(ctx context.Context, a *Affiliate, peers int) error {
	return n.await(ctx, a.Name+" to be ready", readyWithin, func(ctx context.Context) error {
		if err := a.dial(); err != nil {
			return err
		}
		st, err := a.status(ctx)
		if err != nil {
			return err
		}
		if !st.GetChain().GetConnected() {
			return fmt.Errorf("it isn't connected to the chain: %s", st.GetChain().GetError())
		}
		if got := int(st.GetNetwork().GetPeers()); got < peers {
			return fmt.Errorf("it is connected to %d of %d peers", got, peers)
		}
		return nil
	})
}

// connect makes the ways to read the chain. Nothing has to run yet.
func (n *Net) connect() error {
	n.chain = newChainRPC(n.Endpoints[0])
	reader, err := chainclient.New(n.chainConfig(), readOnly{n.Affiliates[0]}, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("making the chain reader: %w", err)
	}
	n.reader = reader
	return nil
}

// chainConfig is that of the testnet's own chain clients.
func (n *Net) chainConfig() chainclient.Config {
	return chainclient.Config{
		ChainID: chainID, Endpoint: n.Endpoints[0], Prefix: prefix, Fee: "auto",
		GasLimit: 4_000_000, CosignLifetime: 2 * time.Minute, PollInterval: 100 * time.Millisecond,
	}
}

// readOnly is the signer of the testnet's own chain reader: it has an address,
// and signs nothing.
type readOnly struct{ as *Affiliate }

func (r readOnly) Address() string    { return r.as.Address }
func (r readOnly) AccountKey() []byte { return r.as.AccountKey }
func (r readOnly) Sign([]byte) ([]byte, error) {
	return nil, errors.New("the testnet only reads the chain")
}

// Processes are all the children, validators first.
func (n *Net) Processes() []*Process {
	all := append([]*Process(nil), n.Validators...)
	for _, a := range n.Affiliates {
		all = append(all, a.Process)
	}
	return all
}

// Died returns the first child that ended by itself, as an error.
func (n *Net) Died() error {
	for _, p := range n.Processes() {
		if err := p.Died(); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends every child, affiliates first, and returns when all are gone. A
// second call returns what the first did.
func (n *Net) Stop() error {
	n.stop.Do(func() {
		var affiliates []*Process
		for _, a := range n.Affiliates {
			affiliates = append(affiliates, a.Process)
		}
		n.stopErr = errors.Join(stopAll(affiliates), stopAll(n.Validators))
		if n.socketDir != "" {
			n.stopErr = errors.Join(n.stopErr, os.RemoveAll(n.socketDir))
		}
	})
	return n.stopErr
}

func stopAll(all []*Process) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { errs[i] = p.Stop(stopGrace) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// pollEvery is the time between two looks at a condition.
const pollEvery = 25 * time.Millisecond

// await calls check until it returns nil. It gives up after limit, when ctx
// ends, or when a child dies.
func (n *Net) await(ctx context.Context, what string, limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	last := errNotYet
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		if err := n.Died(); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s, at most %s: %w", what, limit, last)
		}
	}
}

// name gives an address the name of its affiliate.
func (n *Net) name(address string) string {
	for _, a := range n.Affiliates {
		if a.Address == address {
			return a.Name
		}
	}
	return address
}

func affiliateName(i int) string { return "affiliate-" + strconv.Itoa(i) }
