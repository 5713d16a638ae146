package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/config"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/node/backup"
)

func (a *app) storeRestoreCommand() *cobra.Command {
	var from []string
	var passphraseFile string
	cmd := &cobra.Command{
		Use: "restore --from FILE", Short: "Make the store from backups, while the node doesn't run",
		Long: `Make the store of this home from a full backup and the incremental ones that
continue it, in order. The home needs the keys and the configuration that the
backups were made with, and no store: one that is there is never touched, move it
away first. All backups are checked before anything is written.`,
		Args: func(cmd *cobra.Command, have []string) error {
			if len(from) == 0 {
				return usage(cmd, "--from FILE is missing")
			}
			return args()(cmd, have)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failed(a.storeRestore(cmd.Context(), from, passphraseFile))
		},
	}
	cmd.Flags().StringArrayVar(&from, "from", nil, "backup (repeat for incremental ones, in order)")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file that holds the passphrase (default: keys.passphrase_file)")
	return cmd
}

func (a *app) storeRestore(ctx context.Context, from []string, passphraseFile string) error {
	c, err := config.Load(a.configPath())
	if err != nil {
		return err
	}
	if err := a.noStore(c); err != nil {
		return err
	}
	var parts []*backup.File
	for _, path := range from {
		f, err := openBackup(path)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only read
		parts = append(parts, f.File)
	}
	d := &daemon{cfg: c, log: a.logger(c.Log)}
	if d.ring, err = a.openRing(c, passphraseFile); err != nil {
		return err
	}
	r := backup.Restorer{Ring: d.ring, Network: c.Chain.ID, Log: d.log, Options: d.storeOptions}
	if err := r.Restore(ctx, c.DataDir(), parts); err != nil {
		return err
	}
	// The index is made anew from the store: what it has may be of another one.
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(c.IndexPath() + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return withHint(fmt.Errorf("the store is restored, but its old index is in the way: %w", err), "remove %s", c.IndexPath())
		}
	}
	return a.showRestored(c, parts[len(parts)-1])
}

// noStore refuses a home that a node runs on, or that has a store.
func (a *app) noStore(c config.Config) error {
	if conn, err := net.Dial("unix", c.SocketPath()); err == nil {
		conn.Close() //nolint:errcheck,gosec // nothing was written
		return agreement.Errorf(agreement.CodeInUse, "a node is running on this home").
			WithHint("stop it first; a store is restored while no node runs")
	}
	entries, err := os.ReadDir(c.DataDir())
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for a store: %w", err)
	}
	return agreement.Errorf(agreement.CodeInUse, "this home has a store already, in %s; nothing was changed", c.DataDir()).
		WithHint("if it is to be replaced, move it away first: mv %s %s.old", c.DataDir(), strings.TrimSuffix(c.DataDir(), "/"))
}

// openRing opens the keys as start does.
func (a *app) openRing(c config.Config, passphraseFile string) (*keys.Ring, error) {
	if err := namePassphrase(&c, passphraseFile); err != nil {
		return nil, err
	}
	unlock, err := a.findUnlocking(c)
	if err != nil {
		return nil, err
	}
	return keys.Open(keyOptions(c, unlock.pass))
}

// restoreResult is what a program learns from a restore.
type restoreResult struct {
	Home   string `json:"home"`
	Made   string `json:"made"` // when the last backup was made
	Upto   uint64 `json:"upto"`
	Digest string `json:"digest"`
}

func (a *app) showRestored(c config.Config, last *backup.File) error {
	made := last.Header.Created.UTC().Format("2006-01-02T15:04:05Z")
	return a.show(restoreResult{c.Home, made, last.Trailer.Upto, last.Trailer.Digest}, func(w io.Writer) {
		fields(w, "restored", c.DataDir(), "as of", made)
		fmt.Fprintln(w, "Next: "+a.command("start")+"; then check everything with: "+a.command("store verify")) //nolint:errcheck // w is memory
	})
}
