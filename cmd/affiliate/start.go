package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/config"
)

const (
	// stopWithin is how long everything may take to end after a signal.
	// Nothing is lost when it takes longer: all state is in the store.
	stopWithin = 15 * time.Second
	// memoryTarget is where the collector starts to work harder, in bytes. A
	// node stays under 200 MB of resident memory with it: the rest is the
	// program's own text (75 MB, shared), contracts' native code and what the
	// database maps. Compiling would need 100 MB more for a second or two, and
	// with less the collector would never rest; it has a process of its own.
	memoryTarget = 84 << 20
	// gcPercent trades some time of the collector for less memory.
	gcPercent = 50
)

func (a *app) startCommand() *cobra.Command {
	var passphraseFile string
	cmd := &cobra.Command{
		Use: "start", Short: "Run the node until it is told to stop",
		Long: `Run the node of the affiliate in the home directory. It serves its API on a Unix
socket, and ends in order on SIGINT or SIGTERM. It can be killed at any moment:
the next start takes up what was left undone.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return failed(a.start(cmd.Context(), passphraseFile)) },
	}
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file that holds the passphrase (default: keys.passphrase_file)")
	return cmd
}

func (a *app) start(ctx context.Context, passphraseFile string) error {
	c, err := config.Load(a.configPath())
	if err != nil {
		return err
	}
	if a.socket != "" {
		if c.API.Socket, err = absolute(a.socket); err != nil {
			return err
		}
	}
	// A second start is the commonest mistake: say so before asking for a
	// passphrase. What counts is the store's lock, and the socket's below.
	if err := errors.Join(checkSocketDir(filepath.Dir(c.SocketPath())), removeStale(c.SocketPath())); err != nil {
		return err
	}
	if err := namePassphrase(&c, passphraseFile); err != nil {
		return err
	}
	unlock, err := a.findUnlocking(c)
	if err != nil {
		return err
	}
	a.limitMemory()
	d, err := openDaemon(c, unlock.pass, a.logger(c.Log))
	if err != nil {
		return err
	}
	if err := unlock.keep(); err != nil {
		d.log.Warn("the passphrase will be needed again at the next start", "err", err)
	}
	return errors.Join(d.run(ctx), d.close())
}

// namePassphrase makes a file of the command line, unless it is empty, the one
// that the passphrase is read from.
func namePassphrase(c *config.Config, file string) (err error) {
	if file == "" || c.Keys.Unprotected {
		return nil
	}
	if c.Keys.PassphraseFile, err = absolute(file); err != nil {
		return err
	}
	c.Keys.Unlock, c.Keys.KeyFile = config.UnlockPassphrase, ""
	return nil
}

func (a *app) logger(c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // validated before
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, o))
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}

// limitMemory leaves alone what the operator set by the runtime's own
// variables.
func (a *app) limitMemory() {
	if a.getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if a.getenv("GOMEMLIMIT") == "" && debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memoryTarget)
	}
}

// run serves until ctx ends or a part fails. The API ends first, so that calls
// under way find a working node; then the node.
func (d *daemon) run(ctx context.Context) error {
	api, err := listenSocket(d.cfg.SocketPath())
	if err != nil {
		return err
	}
	metrics, err := listenMetrics(d.cfg.Metrics.Listen)
	if err != nil {
		return errors.Join(err, api.Close())
	}
	g, serving := errgroup.WithContext(ctx)
	driving, stopNode := context.WithCancel(context.WithoutCancel(ctx))
	defer stopNode()
	g.Go(func() error { return ignoreCanceled(d.node.Run(driving)) })
	g.Go(func() error {
		defer stopNode()
		return server{api, d.node.Handler(), d.log}.run(serving)
	})
	if metrics != nil {
		g.Go(func() error { return server{metrics, d.metricsHandler(), d.log}.run(serving) })
	}
	d.log.Info("the node starts", "name", d.cfg.Affiliate.Name, "address", d.ring.Address(), "socket", d.cfg.SocketPath(), "version", version().String())
	return d.wait(serving, g)
}

// wait returns the group's error, or gives up some time after serving ended.
func (d *daemon) wait(serving context.Context, g *errgroup.Group) error {
	ended := make(chan error, 1)
	go func() { ended <- g.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-serving.Done():
	}
	d.log.Info("stopping")
	timer := time.NewTimer(stopWithin)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		return withHint(fmt.Errorf("the node did not stop within %s", stopWithin), "nothing is lost; the next start takes up what was left undone")
	}
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
