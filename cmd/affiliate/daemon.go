package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/config"
	"github.com/affiliate-node/affiliate/exec"
	"github.com/affiliate-node/affiliate/index"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/node"
	"github.com/affiliate-node/affiliate/p2p"
	"github.com/affiliate-node/affiliate/store"
	"github.com/affiliate-node/affiliate/store/blob"
)

// Purposes of the keys that protect data at rest. They are part of the format
// of a home directory: changing one makes it unreadable.
const (
	purposeStore = "store"
	purposeIndex = "index"
)

// engineClose is how long a running contract may keep the engine open.
const engineClose = 5 * time.Second

// bucketOpen is how long a bucket may take to say that it can be used.
const bucketOpen = time.Minute

// daemon is the parts of one node, opened, and how to close them.
type daemon struct {
	cfg     config.Config
	log     *slog.Logger
	metrics *prometheus.Registry
	ring    *keys.Ring
	store   *store.Store
	index   *index.Index
	engine  *exec.Engine
	chain   *chainclient.Client
	node    *node.Node
	closers []func() error // in the order of opening
}

// openDaemon opens the parts one after the other, each with what it needs of
// those before. When one fails, those before are closed again.
func openDaemon(c config.Config, pass []byte, log *slog.Logger) (*daemon, error) {
	d := &daemon{cfg: c, log: log, metrics: prometheus.NewRegistry()}
	d.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	steps := []func() error{
		func() (err error) { d.ring, err = keys.Open(keyOptions(c, pass)); return err },
		d.openStore, d.openIndex, d.openEngine, d.openChain, d.openNode,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	return d, nil
}

// close closes the parts in reverse order.
func (d *daemon) close() error {
	var errs []error
	for _, c := range slices.Backward(d.closers) {
		errs = append(errs, c())
	}
	d.closers = nil
	return errors.Join(errs...)
}

// dataKey is the key of a database, nil where the operator wants none.
func (d *daemon) dataKey(purpose string) []byte {
	if !d.cfg.Store.Encrypt {
		return nil
	}
	return d.ring.DerivedKey(purpose)
}

func (d *daemon) openStore() error {
	o, err := d.storeOptions(d.cfg.DataDir())
	if err != nil {
		return err
	}
	d.store, err = store.Open(o, d.log.With("part", "store"))
	if err == nil {
		d.closers = append(d.closers, d.store.Close)
	}
	return err
}

// storeOptions says how a store of this affiliate is opened, in any directory.
func (d *daemon) storeOptions(dir string) (store.Options, error) {
	c := d.cfg.Store
	home, err := d.openPayloads()
	return store.Options{
		Dir: dir, Key: d.dataKey(purposeStore), MaxObjectSize: keys.PayloadSize(c.MaxObjectSize.Bytes()),
		Home: home, Budget: c.DiskBudget.Bytes(), Reserve: c.DiskReserve.Bytes(), Grace: c.Grace.Std(),
		CompactAfter: c.CompactAfter.Std(),
	}, err
}

// openPayloads opens where large payloads lie, nil for files beside the
// database.
func (d *daemon) openPayloads() (blob.Home, error) {
	if d.cfg.Store.Payloads == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), bucketOpen) // nothing runs yet that could be told to stop
	defer cancel()
	home, err := blob.Bucket(ctx, d.cfg.Store.Payloads, blob.BucketOptions{Owner: d.ring.Address()})
	if err != nil {
		return nil, fmt.Errorf("opening store.payloads: %w", err)
	}
	return home, nil
}

func (d *daemon) openIndex() (err error) {
	d.index, err = index.Open(d.cfg.IndexPath(), d.dataKey(purposeIndex), d.log.With("part", "index"))
	if err == nil {
		d.closers = append(d.closers, d.index.Close)
	}
	return err
}

func (d *daemon) openEngine() (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program, to compile contracts with: %w", err)
	}
	x := d.cfg.Exec
	d.engine, err = exec.New(exec.Config{
		CacheDir: d.cfg.CacheDir(), ModuleLimit: x.ModuleLimit.Bytes(), MemoryLimit: x.MemoryLimit.Bytes(), FuelLimit: int64(x.FuelLimit), //nolint:gosec // checked
		OutputLimit: x.OutputLimit.Bytes(), Timeout: x.Timeout.Std(), Workers: x.Workers,
		Compiler: []string{self, compilerCommand},
	}, d.log.With("part", "exec"))
	if err == nil {
		d.closers = append(d.closers, d.closeEngine)
	}
	return err
}

func (d *daemon) closeEngine() error {
	ctx, cancel := context.WithTimeout(context.Background(), engineClose) // the node's has ended
	defer cancel()
	return d.engine.Close(ctx)
}

func (d *daemon) openChain() (err error) {
	c := d.cfg.Chain
	d.chain, err = chainclient.New(chainclient.Config{
		ChainID: c.ID, Endpoint: c.Endpoint, Prefix: c.Prefix, Fee: c.Fee, GasLimit: c.GasLimit,
		CosignLifetime: c.CosignLifetime.Std(), PollInterval: c.PollInterval.Std(),
	}, d.ring, d.log.With("part", "chain"))
	return err
}

func (d *daemon) openNode() (err error) {
	c, v := d.cfg, version().String()
	d.node, err = node.New(node.Config{
		Name: c.Affiliate.Name, Version: v, Network: c.Chain.ID, Prefix: c.Chain.Prefix,
		Lifetime: c.Agreements.Lifetime.Std(), MaxLifetime: c.Agreements.MaxLifetime.Std(),
		AckWithin: c.Agreements.AcknowledgeWithin.Std(), MaxOpen: c.Agreements.MaxOpen,
		MaxObjectSize: c.Store.MaxObjectSize.Bytes(), Policy: policy(c.Policy),
		Retention:   retention(c.Retention),
		RunUnvetted: c.Contracts.Vet == config.VetOpen, ChainEndpoint: c.Chain.Endpoint,
	}, p2p.Config{
		Network: c.Chain.ID, Prefix: c.Chain.Prefix, Name: c.Affiliate.Name,
		Listen: c.P2P.Listen, Announce: c.P2P.Announce, Bootstrap: c.P2P.Bootstrap, Members: c.P2P.Members,
		RecordLifetime: c.P2P.RecordLifetime.Std(), Version: v,
	}, node.Deps{
		Ring: d.ring, Store: d.store, Index: d.index, Engine: d.engine, Chain: d.chain, Metrics: d.metrics, Log: d.log,
	})
	return err
}

// retention gives the node how long data is kept.
func retention(c config.Retention) node.Retention {
	r := node.Retention{Failed: c.Failed.Std(), Default: c.Default.Std()}
	for _, rule := range c.Rules {
		r.Rules = append(r.Rules, node.KeepRule{Contract: rule.Contract, Keep: rule.Keep.Std()})
	}
	return r
}

// policy gives the node the operator's rules; a star means the same as
// nothing.
func policy(c config.Policy) node.Policy {
	p := node.Policy{Default: string(c.Default)}
	star := func(s string) string {
		if s == "*" {
			return ""
		}
		return s
	}
	for _, r := range c.Rules {
		p.Rules = append(p.Rules, node.Rule{Contract: star(r.Contract), Proposer: star(r.Proposer), Action: string(r.Action)})
	}
	return p
}

// listenMetrics listens on a loopback address; nil for the empty one.
func listenMetrics(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil //nolint:nilnil // nothing to listen on is not an error
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, agreement.Errorf(agreement.CodeInUse, "metrics.listen: another program uses %s", address).
			WithHint("choose another port in %s", config.FileName)
	}
	if err != nil {
		return nil, fmt.Errorf("listening for metrics: %w", err)
	}
	return l, nil
}

func (d *daemon) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.metrics, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
	}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
