package main

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/config"
	"github.com/affiliate-node/affiliate/keys"
)

// initResult is what a program learns from init.
type initResult struct {
	Home      string `json:"home"`
	Name      string `json:"name"`
	Address   string `json:"address"`
	PublicKey []byte `json:"account_key"` // base64
	PeerID    string `json:"peer_id"`
	Recipient string `json:"recipient"`
}

func (a *app) initCommand() *cobra.Command {
	c := config.Default("")
	cmd := &cobra.Command{
		Use: "init", Short: "Make a home directory: configuration and keys",
		Long: `Make an affiliate's home directory with its configuration (` + config.FileName + `) and its
keys. Nothing that exists is ever overwritten.

The keys are protected by a passphrase, from --passphrase-file, the environment
variable ` + passphraseEnv + `, or asked for on the terminal; or by a key file,
which is made if it doesn't exist. The account key is the affiliate's identity:
keep a copy of HOME/keys, and of the passphrase or the key file.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Keys.KeyFile != "" && !cmd.Flags().Changed("unlock") {
				c.Keys.Unlock = config.UnlockKeyFile
			}
			return failed(a.init(cmd, c))
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Affiliate.Name, "name", c.Affiliate.Name, "name shown to people at other affiliates")
	f.StringVar(&c.Chain.ID, "chain-id", c.Chain.ID, "chain id")
	f.StringVar(&c.Chain.Endpoint, "endpoint", c.Chain.Endpoint, "CometBFT RPC of a chain node")
	f.StringVar(&c.Chain.Prefix, "prefix", c.Chain.Prefix, `start of addresses: "tp" (test networks) or "pb" (main network)`)
	f.StringVar(&c.Chain.Fee, "fee", c.Chain.Fee, `"auto" or a fixed amount such as "3nhash"`)
	f.StringArrayVar(&c.P2P.Listen, "listen", c.P2P.Listen, "multiaddress to listen on (repeat)")
	f.StringArrayVar(&c.P2P.Announce, "announce", c.P2P.Announce, "multiaddress to tell others (repeat)")
	f.StringArrayVar(&c.P2P.Bootstrap, "bootstrap", c.P2P.Bootstrap, "multiaddress with /p2p/PEERID to connect to (repeat)")
	f.StringArrayVar(&c.P2P.Members, "member", c.P2P.Members, `address of an affiliate that may connect, or "*" (repeat)`)
	f.StringVar((*string)(&c.Policy.Default), "policy", string(c.Policy.Default), `what happens to proposals: "ask", "approve" or "reject"`)
	f.StringVar(&c.Metrics.Listen, "metrics", c.Metrics.Listen, "loopback address and port for metrics")
	f.StringVar(&c.Keys.PassphraseFile, "passphrase-file", "", "file that holds the passphrase; start reads it, too")
	f.StringVar(&c.Keys.KeyFile, "key-file", "", "file that opens the keys, outside the home; made if it doesn't exist")
	f.StringVar((*string)(&c.Keys.Unlock), "unlock", string(c.Keys.Unlock), `what opens the keys: "passphrase", "key_file" or "keyring" (of the kernel)`)
	f.BoolVar(&c.Keys.Unprotected, "unprotected", false, "keys without a passphrase, for tests and local networks")
	return cmd
}

func (a *app) init(cmd *cobra.Command, c config.Config) error {
	c.Home = a.home
	// A relative path on the command line starts where the user is; in the
	// file it would start at the home directory.
	for flag, setting := range map[*string]*string{
		&a.socket: &c.API.Socket, &c.Keys.PassphraseFile: &c.Keys.PassphraseFile, &c.Keys.KeyFile: &c.Keys.KeyFile,
	} {
		if *flag == "" {
			continue
		}
		var err error
		if *setting, err = absolute(*flag); err != nil {
			return err
		}
	}
	if err := c.Validate(); err != nil {
		return usage(cmd, "%w", err)
	}
	if _, err := os.Lstat(a.configPath()); err == nil {
		return agreement.Errorf(agreement.CodeInUse, "%s exists already; nothing was changed", a.configPath()).
			WithHint("choose another directory with --home DIR, or start this one: %s", a.command("start"))
	}
	unlock, err := a.newUnlocking(c, firstPassphrase)
	if err != nil {
		return err
	}
	ring, err := makeHome(c, unlock.pass)
	if err != nil {
		return errors.Join(err, unlock.undo())
	}
	if err := unlock.keep(); err != nil {
		return err
	}
	public, ok := ring.NodeKey().Public().(ed25519.PublicKey)
	if !ok {
		return errors.New("the node key is not an Ed25519 key")
	}
	return a.showInit(initResult{
		Home: c.Home, Name: c.Affiliate.Name, Address: ring.Address(), PublicKey: ring.AccountKey(),
		PeerID: peerID(public), Recipient: ring.Recipient(),
	})
}

// absolute is a path of the command line as it has to stand in a configuration;
// none stays none.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("finding the working directory: %w", err)
	}
	return path, nil
}

// makeHome writes the configuration, which also reserves the directory, and
// then the keys. When the keys can't be made the configuration goes again.
func makeHome(c config.Config, pass []byte) (*keys.Ring, error) {
	if err := os.MkdirAll(c.Home, 0o700); err != nil {
		return nil, fmt.Errorf("making the home directory: %w", err)
	}
	path := c.Path(config.FileName)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator's own choice
	if errors.Is(err, fs.ErrExist) {
		return nil, agreement.Errorf(agreement.CodeInUse, "%s exists already; nothing was changed", path)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	_, err = f.Write(config.Encode(c))
	err = errors.Join(err, f.Sync(), f.Close())
	var ring *keys.Ring
	if err == nil {
		ring, err = keys.Create(keyOptions(c, pass))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the home directory: %w", err), os.Remove(path))
	}
	return ring, nil
}

func keyOptions(c config.Config, pass []byte) keys.Options {
	return keys.Options{Dir: c.KeysDir(), Passphrase: pass, Origin: origin(c), Unprotected: c.Keys.Unprotected, Prefix: c.Chain.Prefix}
}

func (a *app) showInit(r initResult) error {
	return a.show(r, func(w io.Writer) {
		fields(w, "home", r.Home, "name", r.Name, "address", r.Address,
			"account key", hex.EncodeToString(r.PublicKey), "peer id", r.PeerID)
		fmt.Fprintln(w, "Next: give the address to the affiliates you work with and an account on the chain, then: "+a.command("start")) //nolint:errcheck // w is memory
	})
}
