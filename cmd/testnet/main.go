// Command testnet owns the command line of the local test network: the main
// job, the suites that need real processes, and the benchmarks. It never holds
// the logic; that is package testnet.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/affiliate-node/affiliate/testnet"
)

const usage = `testnet runs affiliates and a development chain as real processes on this machine.

  testnet [options]                  the main job: the ten steps, checked from outside
  testnet suite kill|gossip          kill each daemon in mid-flight; reach a party that no stream reaches
  testnet bench [FAMILY…]            benchmarks: agreements exec store p2p index (all without a name)

Options (before the word suite or bench):
`

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command is one invocation.
type command struct {
	root      string // of the checkout
	opts      testnet.Options
	keep      bool
	json      bool
	temporary bool // the directory is ours to remove
	out, err  io.Writer
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	c := &command{out: out, err: errOut}
	flags := flag.NewFlagSet("testnet", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.StringVar(&c.root, "root", ".", "`directory` in the checkout to build from")
	flags.StringVar(&c.opts.Dir, "dir", "", "empty or new `directory` for everything (default: a temporary one, removed after success)")
	flags.IntVar(&c.opts.Affiliates, "affiliates", 3, "number of affiliates, 3 to 20")
	flags.IntVar(&c.opts.Validators, "validators", 1, "number of validators of the chain, 1 to 10")
	flags.BoolVar(&c.keep, "keep", false, "leave the network running until Ctrl-C, and print how to talk to each node")
	flags.BoolVar(&c.json, "json", false, "print the steps as one JSON object a line; everything else goes to standard error")
	flags.Usage = func() {
		fmt.Fprint(errOut, usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	job, err := c.job(flags.Args())
	if err != nil {
		fmt.Fprintf(errOut, "testnet: %v (testnet --help explains)\n", err)
		return exitUsage
	}
	if err := job(ctx); err != nil {
		return exitFailure
	}
	return 0
}

// job finds what to do. What it returns has said on c.err what went wrong.
func (c *command) job(args []string) (func(context.Context) error, error) {
	if len(args) == 0 {
		return c.scenario, nil
	}
	switch args[0] {
	case "suite":
		if len(args) != 2 {
			return nil, errors.New("suite takes one name: kill, gossip or restore")
		}
		suite, ok := map[string]runner{"kill": testnet.RunKillSuite, "gossip": testnet.RunGossipSuite, "restore": testnet.RunRestoreSuite}[args[1]]
		if !ok {
			return nil, fmt.Errorf("there is no suite %q: kill, gossip or restore", args[1])
		}
		return func(ctx context.Context) error { return c.network(ctx, suite) }, nil
	case "bench":
		return c.bench(args[1:])
	}
	return nil, fmt.Errorf("unknown word %q: suite or bench", args[0])
}

// runner runs something on a network of its own, which it returns also after
// an error.
type runner = func(context.Context, testnet.Build, testnet.Options, *testnet.Report) (*testnet.Net, error)

func (c *command) scenario(ctx context.Context) error { return c.network(ctx, testnet.RunScenario) }

func (c *command) bench(names []string) (func(context.Context) error, error) {
	all := append([]string{testnet.AgreementsFamily}, testnet.PackageFamilies()...)
	chosen := names
	if len(names) == 0 {
		chosen = all
	}
	for _, name := range chosen {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("there is no benchmark family %q: %s", name, strings.Join(all, ", "))
		}
	}
	return func(ctx context.Context) error {
		for _, name := range chosen {
			if err := c.benchFamily(ctx, name, len(names) > 0); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (c *command) benchFamily(ctx context.Context, name string, wanted bool) error {
	if name == testnet.AgreementsFamily {
		quiet := *c
		quiet.json = true // figures on standard output, all else on standard error
		return quiet.network(ctx, func(ctx context.Context, b testnet.Build, o testnet.Options, r *testnet.Report) (*testnet.Net, error) {
			return testnet.BenchAgreements(ctx, b, o, c.out, r)
		})
	}
	root, err := testnet.Root(c.root)
	if err == nil {
		err = testnet.BenchPackage(ctx, root, name, c.out)
	}
	if errors.Is(err, testnet.ErrNoBenchmarks) && !wanted {
		fmt.Fprintf(c.err, "%v\n", err)
		return nil
	}
	if err != nil {
		fmt.Fprintf(c.err, "FAILED: %v\n", err)
	}
	return err
}

// network builds, runs, judges, and leaves no process behind.
func (c *command) network(ctx context.Context, fn runner) (err error) {
	report := &testnet.Report{Out: c.out, Err: c.err, JSON: c.json}
	var n *testnet.Net
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
		err = c.finish(n, err)
	}()
	root, err := testnet.Root(c.root)
	if err != nil {
		return err
	}
	build, err := testnet.MakeBuild(ctx, root, func(s string) { report.Line("%s", s) })
	if err != nil {
		return err
	}
	if c.opts.Dir == "" {
		c.temporary = true
		if c.opts.Dir, err = os.MkdirTemp("", "affiliate-testnet-"); err != nil {
			return err
		}
	}
	n, err = fn(ctx, build, c.opts, report)
	if err == nil && c.keep {
		n.ShowHowTo(c.err)
		<-ctx.Done()
	}
	return err
}

// finish ends the network and says how it went.
func (c *command) finish(n *testnet.Net, err error) error {
	if n != nil {
		err = errors.Join(err, n.Stop())
	}
	if err != nil {
		n.ShowLogs(c.err, err)
		fmt.Fprintf(c.err, "\nFAILED: %v\n", err)
		if c.temporary {
			fmt.Fprintf(c.err, "everything is in %s\n", c.opts.Dir)
		}
		return err
	}
	if c.temporary {
		err = os.RemoveAll(c.opts.Dir)
	}
	if !c.json {
		fmt.Fprintln(c.out, "PASSED")
	}
	return err
}
