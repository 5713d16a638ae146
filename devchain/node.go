package devchain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	"github.com/cosmos/cosmos-sdk/server"
)

const maxRequestBytes = 4 << 20 // RPC; a transaction of 1 MiB in base64 fits

// Node is one validator: the application and CometBFT in this process.
type Node struct {
	settings settings
	app      *app
	comet    *node.Node
	watch    *watch
	log      *slog.Logger
}

// Open opens the validator whose home Init wrote. Nothing runs before Run. A
// home serves one process at a time; opening it again fails, and so does a
// home whose ports are taken.
func Open(home string, log *slog.Logger) (*Node, error) {
	s, err := readSettings(home)
	if err != nil {
		return nil, err
	}
	c, err := s.config(home)
	if err != nil {
		return nil, err
	}
	for _, file := range []string{c.GenesisFile(), c.NodeKeyFile(), c.PrivValidatorKeyFile(), c.PrivValidatorStateFile()} {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("the home %s is incomplete: %w", home, err)
		}
	}
	return newNode(s, c, onDisk(home), log)
}

func newNode(s settings, c *config.Config, db databases, log *slog.Logger) (*Node, error) {
	state, err := db.app()
	if err != nil {
		return nil, openError(c.RootDir, err)
	}
	if err := portsFree(s.RPC, s.P2P); err != nil {
		return nil, errors.Join(err, state.Close())
	}
	a, err := newApp(s.ChainID, state, sdkLog{log.With("part", "app")})
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	key, err := p2p.LoadNodeKey(c.NodeKeyFile())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the node key: %w", err), a.Close())
	}
	w := &watch{halted: make(chan string, 1)}
	comet, err := node.NewNode(c,
		privval.LoadFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile()),
		key,
		proxy.NewLocalClientCreator(server.NewCometABCIWrapper(a)),
		node.DefaultGenesisDocProviderFunc(c),
		db.comet,
		node.DefaultMetricsProvider(c.Instrumentation),
		cometLog{log.With("part", "consensus"), w},
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the chain: %w", err), a.Close())
	}
	return &Node{settings: s, app: a, comet: comet, watch: w, log: log}, nil
}

// openError explains why a home's databases can't be opened.
func openError(home string, err error) error {
	if errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "temporarily unavailable") {
		return fmt.Errorf("another process runs on %s: stop it first", home)
	}
	return fmt.Errorf("opening the databases of %s: %w", home, err)
}

// portsFree tells early, and in one line, what CometBFT would tell late.
func portsFree(addresses ...string) error {
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("%s is in use: stop the program that listens there, or choose another --base-port", address)
		} else if err != nil {
			return fmt.Errorf("listening on %s: %w", address, err)
		}
		if err := l.Close(); err != nil {
			return fmt.Errorf("listening on %s: %w", address, err)
		}
	}
	return nil
}

// Endpoint is the address of the CometBFT RPC, http://host:port.
func (n *Node) Endpoint() string { return "http://" + n.settings.RPC }

// Run takes part in the chain until ctx ends. A node runs once. It fails if a
// port is taken, or if consensus stops, which only a fault in the application can cause.
func (n *Node) Run(ctx context.Context) error {
	if err := n.comet.Start(); err != nil {
		return errors.Join(fmt.Errorf("starting the validator: %w", err), n.app.Close())
	}
	n.log.Info("validator runs", "chain", n.settings.ChainID, "rpc", n.Endpoint(), "height", n.comet.BlockStore().Height())
	var failure error
	select {
	case <-ctx.Done():
	case cause := <-n.watch.halted:
		failure = fmt.Errorf("consensus stopped at height %d: %s", n.comet.BlockStore().Height(), cause)
	}
	n.watch.stopping.Store(true)
	if err := n.comet.Stop(); err != nil {
		failure = errors.Join(failure, fmt.Errorf("stopping the validator: %w", err))
	}
	n.comet.Wait()
	if err := n.app.Close(); err != nil {
		failure = errors.Join(failure, fmt.Errorf("closing the state: %w", err))
	}
	n.log.Info("validator stopped", "height", n.app.LastBlockHeight())
	return failure
}
