package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/client"
	"github.com/affiliate-node/affiliate/config"
	"github.com/affiliate-node/affiliate/exec"
)

// Deadlines of commands. Waiting and streaming commands have their own.
const (
	callTimeout    = time.Minute
	publishTimeout = 5 * time.Minute // compiles the module, and waits for the chain
)

// app is one run of the command.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string

	home, socket, output string // global flags
	named                bool   // whether --home is among them
}

const help = `Affiliates agree on private records and put their hashes on a chain.

This is an affiliate's node ("start") and the commands for the people who run
and use it. Commands talk to the running node over its Unix socket.

Exit status:
  0  it worked
  1  failure: the node isn't running, a file can't be read, something broke
  2  usage: the command line is wrong
  3  refusal: the node, another affiliate or the contract said no; also an
     agreement that ended as failed, with --wait, and traces that differ

Errors are one line that says what is wrong, and a line "hint: …" that says
what to do. With --output json they are one JSON object on standard error.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "affiliate", Short: "Node and commands of an affiliate", Long: help,
		SilenceErrors: true, SilenceUsage: true, DisableAutoGenTag: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkGlobals() },
	}
	f := root.PersistentFlags()
	f.StringVar(&a.home, "home", "", "home directory (default ~/.affiliate, or $AFFILIATE_HOME)")
	f.StringVar(&a.socket, "socket", "", "the node's socket (default: what HOME/"+config.FileName+" says)")
	f.StringVar(&a.output, "output", "table", `"table" for people, "json" for programs (one object a line)`)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(cmd, "%v", err)
	})
	root.AddCommand(
		a.initCommand(), a.startCommand(), a.statusCommand(), a.peersCommand(), a.keysCommand(),
		a.contractCommand(), a.proposeCommand(), a.agreementCommand(), a.whyCommand(),
		a.recordCommand(), a.searchCommand(), a.objectCommand(), a.storeCommand(), a.versionCommand(),
	)
	group(root)
	return root
}

// compilerCommand is how a node starts this program to compile a contract in a
// process of its own. It isn't for people.
const compilerCommand = "compile-module"

// run executes one command line and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	if len(args) == 2 && args[0] == compilerCommand {
		return exec.RunCompiler(ctx, args[1], a.stdin, a.stderr)
	}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if asksJSON(args) { // also where the command line broke off before that flag
		a.output = "json"
	}
	return a.report(err)
}

func asksJSON(args []string) bool {
	i := slices.Index(args, "--output")
	return i >= 0 && i+1 < len(args) && args[i+1] == "json" || slices.Contains(args, "--output=json")
}

func (a *app) checkGlobals() error {
	if a.output != "table" && a.output != "json" {
		return usage(nil, `--output is "table" or "json", not %q`, a.output)
	}
	if a.named = a.home != ""; !a.named {
		a.home = a.getenv("AFFILIATE_HOME")
	}
	if a.home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return withHint(fmt.Errorf("finding your home directory: %w", err), "name one with --home DIR")
		}
		a.home = filepath.Join(user, ".affiliate")
	}
	var err error
	a.home, err = filepath.Abs(a.home)
	return err
}

func (a *app) json() bool { return a.output == "json" }

func (a *app) configPath() string { return filepath.Join(a.home, config.FileName) }

// socketPath finds the node's socket: the flag, the configuration, or the
// default place where there is no configuration.
func (a *app) socketPath() (string, error) {
	if a.socket != "" {
		return a.socket, nil
	}
	if _, err := os.Stat(a.configPath()); errors.Is(err, fs.ErrNotExist) {
		return config.Default(a.home).SocketPath(), nil
	}
	c, err := config.Load(a.configPath())
	if err != nil {
		return "", err
	}
	return c.SocketPath(), nil
}

// call makes a command's function from one that needs the node. A timeout of
// 0 leaves the deadline to fn.
func (a *app) call(timeout time.Duration, fn func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		socket, err := a.socketPath()
		if err != nil {
			return err
		}
		c, err := client.Dial(socket)
		if err != nil {
			return a.notRunning(err)
		}
		defer c.Close()
		ctx := cmd.Context()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		return fn(ctx, c, args)
	}
}

// notRunning adds what the client can't know: whether there is an affiliate
// in the home directory at all, and how to start it.
func (a *app) notRunning(err error) error {
	if a.socket != "" {
		return err
	}
	if _, missing := os.Lstat(a.configPath()); errors.Is(missing, fs.ErrNotExist) {
		return agreement.Errorf(client.CodeNoDaemon, "there is no affiliate in %s", a.home).
			WithHint("make one with: %s; or name its home with --home", a.command("init"))
	}
	var known *agreement.Error
	if errors.As(err, &known) {
		return known.WithHint("%s", strings.Replace(known.Hint, "affiliate start", a.command("start"), 1))
	}
	return err
}

// command is a command line for a hint, for the home directory at hand.
func (a *app) command(name string) string {
	if a.named {
		return "affiliate " + name + " --home " + a.home
	}
	return "affiliate " + name
}

// group gives a command that only has subcommands its behaviour without one:
// help for nothing, a usage error for an unknown word.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		err := usage(cmd, "there is no command %q", strings.TrimPrefix(cmd.CommandPath()+" "+args[0], "affiliate "))
		if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
			err.hint = "did you mean: " + strings.Join(s, ", ") + "?"
		}
		return err
	}
	return cmd
}

// args is cobra.ExactArgs and the like with an error that names what is
// missing; words that end in "?" may be left out.
func args(words ...string) cobra.PositionalArgs {
	required := 0
	for _, w := range words {
		if !strings.HasSuffix(w, "?") {
			required++
		}
	}
	return func(cmd *cobra.Command, have []string) error {
		if len(have) < required {
			return usage(cmd, "%s is missing", words[len(have)])
		}
		if len(have) > len(words) {
			return usage(cmd, "unexpected argument %q", have[len(words)])
		}
		return nil
	}
}

// maxLimit is the longest list that the node gives at once.
const maxLimit = 1000

// checkLimit refuses a --limit that the node would change without a word.
func checkLimit(limit *int32) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		if *limit < 1 || *limit > maxLimit {
			return usage(cmd, "--limit must be between 1 and %d, not %d", maxLimit, *limit)
		}
		return nil
	}
}

// terminal reports whether a stream is a terminal.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a file descriptor is small
}

// buffered collects output, so that a table is written whole or not at all.
func (a *app) buffered(fn func(w io.Writer)) error {
	var b bytes.Buffer
	fn(&b)
	if _, err := a.stdout.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}
