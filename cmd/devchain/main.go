// Command devchain owns the command line of the development chain: it writes the homes of a local network and runs its validators.
// It never holds chain logic; that is package devchain.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/affiliate-node/affiliate/devchain"
)

const usage = `devchain runs Provenance's metadata module on a local chain, for development.

  devchain init --dir DIR --account ADDRESS:PUBKEYHEX[:NHASH] …   write a network's homes, print its RPC endpoints as JSON
  devchain start --home DIR/validator0                            run one validator until SIGTERM
  devchain version

"devchain init -h" and "devchain start -h" list the options.
`

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

// gcPercent trades a little speed for memory: several validators share a laptop.
const gcPercent = 50

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	err := command(ctx, args, out, errOut)
	var wrong usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(errOut, "devchain: %v (devchain -h explains)\n", err)
		return exitUsage
	}
	fmt.Fprintf(errOut, "devchain: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	return exitFailure
}

func command(ctx context.Context, args []string, out, errOut io.Writer) error {
	if len(args) == 0 {
		return usageError{errors.New("no command given: init, start or version")}
	}
	switch args[0] {
	case "init":
		return initialise(args[1:], out)
	case "start":
		return start(ctx, args[1:], out, errOut)
	case "version":
		_, err := fmt.Fprintln(out, version())
		return err
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(out, usage)
		return err
	}
	return usageError{fmt.Errorf("unknown command %q: init, start or version", args[0])}
}

// parse reads flags; it takes no other arguments.
func parse(flags *flag.FlagSet, args []string, out io.Writer) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(out)
		flags.Usage()
		return err
	case err != nil:
		return usageError{err}
	case flags.NArg() > 0:
		return usageError{fmt.Errorf("unexpected argument %q", flags.Arg(0))}
	}
	return nil
}

func initialise(args []string, out io.Writer) error {
	var o devchain.Options
	flags := flag.NewFlagSet("devchain init", flag.ContinueOnError)
	flags.StringVar(&o.Dir, "dir", "", "directory that gets validator0, validator1, … (required)")
	flags.StringVar(&o.Genesis.ChainID, "chain-id", "devchain-1", "chain id")
	flags.IntVar(&o.Validators, "validators", 1, "number of validators")
	flags.IntVar(&o.BasePort, "base-port", 26600, "validator i serves RPC on this port + 2i and its peers on the next one")
	flags.DurationVar(&o.BlockTime, "block-time", time.Second, "pause after each block")
	flags.Func("account", "`ADDRESS:PUBKEYHEX[:NHASH]` of an account with funds (may be repeated)", func(text string) error {
		account, err := parseAccount(text)
		o.Genesis.Accounts = append(o.Genesis.Accounts, account)
		return err
	})
	if err := parse(flags, args, out); err != nil {
		return err
	}
	if err := o.Check(); err != nil {
		return usageError{err}
	}
	network, err := devchain.Init(o)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(network)
}

func parseAccount(text string) (devchain.Account, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return devchain.Account{}, errors.New("want ADDRESS:PUBKEYHEX[:NHASH]")
	}
	key, err := hex.DecodeString(parts[1])
	if err != nil {
		return devchain.Account{}, fmt.Errorf("public key: %w", err)
	}
	a := devchain.Account{Address: parts[0], PublicKey: key}
	if len(parts) == 3 {
		if a.Nhash, err = strconv.ParseUint(parts[2], 10, 64); err != nil || a.Nhash == 0 {
			return a, fmt.Errorf("amount %q: want 1 to %d nhash", parts[2], uint64(math.MaxUint64))
		}
	}
	return a, nil
}

func start(ctx context.Context, args []string, out, errOut io.Writer) error {
	flags := flag.NewFlagSet("devchain start", flag.ContinueOnError)
	home := flags.String("home", "", "home of the validator, as devchain init wrote it (required)")
	level := slog.LevelInfo
	flags.TextVar(&level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	if err := parse(flags, args, out); err != nil {
		return err
	}
	if *home == "" {
		return usageError{errors.New("--home is missing")}
	}
	debug.SetGCPercent(gcPercent)
	log := slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: level}))
	n, err := devchain.Open(*home, log)
	if err != nil {
		return err
	}
	return n.Run(ctx)
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devchain (unknown build)"
	}
	version := "devchain " + info.Main.Version
	for _, dep := range info.Deps {
		switch dep.Path {
		case "github.com/cosmos/cosmos-sdk", "github.com/cometbft/cometbft", "github.com/provenance-io/provenance":
			version += fmt.Sprintf(" %s %s", dep.Path[strings.LastIndex(dep.Path, "/")+1:], dep.Version)
		}
	}
	return version
}
