package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/config"
	"github.com/affiliate-node/affiliate/keys"
)

// protectResult is what a program learns from keys protect.
type protectResult struct {
	Keys     string   `json:"keys"`
	Settings []string `json:"settings"` // of the section [keys], that have to be changed
}

func (a *app) protectCommand() *cobra.Command {
	to := config.Keys{}
	cmd := &cobra.Command{
		Use: "protect", Short: "Change the passphrase of the keys, or what opens them", Args: args(),
		Long: `Put the keys under another passphrase, from --passphrase-file, the environment variable
` + newPassphraseEnv + `, or asked for on the terminal; or under a key file, which is made
if it doesn't exist; or have the kernel's keyring hold the new passphrase (--unlock
keyring). What opens them now is found as by start. A running node runs on.

Then change the settings that it names, and copy HOME/keys anew: an older copy opens
with what opened it before.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to.KeyFile != "" && !cmd.Flags().Changed("unlock") {
				to.Unlock = config.UnlockKeyFile
			}
			return failed(a.protect(cmd, to))
		},
	}
	f := cmd.Flags()
	f.StringVar(&to.PassphraseFile, "passphrase-file", "", "file that holds the new passphrase")
	f.StringVar(&to.KeyFile, "key-file", "", "file that opens the keys from now on, outside the home; made if it doesn't exist")
	f.StringVar((*string)(&to.Unlock), "unlock", string(config.UnlockPassphrase), `what opens the keys from now on: "passphrase", "key_file" or "keyring" (of the kernel)`)
	return cmd
}

func (a *app) protect(cmd *cobra.Command, to config.Keys) error {
	now, err := config.Load(a.configPath())
	if err != nil {
		return err
	}
	for _, path := range []*string{&to.PassphraseFile, &to.KeyFile} {
		if *path, err = absolute(*path); err != nil {
			return err
		}
	}
	then := now
	then.Keys = to
	if err := then.Validate(); err != nil {
		return usage(cmd, "%w", err)
	}
	old, err := a.findUnlocking(now)
	if err != nil {
		return err
	}
	next, err := a.newUnlocking(then, nextPassphrase)
	if err != nil {
		return err
	}
	if err := keys.Protect(keyOptions(now, old.pass), next.pass); err != nil {
		if agreement.CodeOf(err) != agreement.CodeStore { // else what was made may be all that opens them
			err = errors.Join(err, next.undo())
		}
		return err
	}
	if err := next.keep(); err != nil {
		return withHint(err, "the keys are under the new passphrase, which the keyring doesn't hold: it is asked for at the next start")
	}
	return a.showProtect(protectResult{now.KeysDir(), changedSettings(now.Keys, to)})
}

// changedSettings writes the settings that differ, as they have to be.
func changedSettings(now, then config.Keys) (lines []string) {
	for _, s := range []struct{ name, now, then string }{
		{"unlock", string(now.Unlock), string(then.Unlock)},
		{"passphrase_file", now.PassphraseFile, then.PassphraseFile},
		{"key_file", now.KeyFile, then.KeyFile},
	} {
		if s.now != s.then {
			lines = append(lines, fmt.Sprintf("%s = %q", s.name, s.then))
		}
	}
	return lines
}

func (a *app) showProtect(r protectResult) error {
	return a.show(r, func(w io.Writer) {
		fields(w, "changed", "what opens "+r.Keys, "set in [keys] of "+config.FileName, strings.Join(r.Settings, ", "))
		fmt.Fprintln(w, "Next: copy "+r.Keys+" to where its copy is kept; the old copy opens with what opened it before.") //nolint:errcheck // w is memory
	})
}
