package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/config"
	"github.com/affiliate-node/affiliate/keys"
)

// unlocking is what opens the keys of a home.
type unlocking struct {
	pass []byte
	// keep is called once the keys have been opened, or made.
	keep func() error
	// undo is called when they couldn't be made.
	undo func() error
}

func nothing() error { return nil }

// newUnlocking finds what will open the keys.
func (a *app) newUnlocking(c config.Config, w wanted) (u unlocking, err error) {
	u = unlocking{keep: nothing, undo: nothing}
	switch {
	case c.Keys.Unprotected:
	case c.Keys.Unlock == config.UnlockKeyFile:
		path := c.KeyFilePath()
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			if err := keys.MakeKeyFile(path, c.Home); err != nil {
				return u, err
			}
			u.undo = func() error { return os.Remove(path) }
		}
		u.pass, err = keys.ReadKeyFile(path, c.Home)
	case c.Keys.Unlock == config.UnlockKeyring:
		name := kernelName(c.Home)
		if _, err := keys.KernelSecret(name); err != nil && agreement.CodeOf(err) != agreement.CodeNotFound {
			return u, err // before anything is made
		}
		u.pass, err = a.passphrase("", w)
		u.keep = func() error { return keys.SetKernelSecret(name, u.pass) }
	default:
		if path := c.PassphrasePath(); path != "" {
			err = keys.CheckOutside("the passphrase file", path, c.Home)
		}
		if err == nil {
			u.pass, err = a.passphrase(c.PassphrasePath(), w)
		}
	}
	return u, err
}

// findUnlocking finds what opens existing keys.
func (a *app) findUnlocking(c config.Config) (u unlocking, err error) {
	u = unlocking{keep: nothing, undo: nothing}
	switch {
	case c.Keys.Unprotected:
	case c.Keys.Unlock == config.UnlockKeyFile:
		u.pass, err = keys.ReadKeyFile(c.KeyFilePath(), c.Home)
	case c.Keys.Unlock == config.UnlockKeyring:
		name := kernelName(c.Home)
		if u.pass, err = keys.KernelSecret(name); agreement.CodeOf(err) != agreement.CodeNotFound {
			return u, err
		}
		if u.pass, err = a.passphrase("", presentPassphrase); err != nil {
			return u, withHint(fmt.Errorf("the kernel's keyring holds no passphrase for %s, and there is none elsewhere: %w", c.Home, err),
				"start it once on a terminal or with %s, or put it there: keyctl padd user %q @u", passphraseEnv, name)
		}
		u.keep = func() error { return keys.SetKernelSecret(name, u.pass) }
	default:
		u.pass, err = a.passphrase(c.PassphrasePath(), presentPassphrase)
	}
	return u, err
}

// origin says, for errors, what opens the keys.
func origin(c config.Config) string {
	switch c.Keys.Unlock {
	case config.UnlockKeyFile:
		return "the key file " + c.KeyFilePath()
	case config.UnlockKeyring:
		return fmt.Sprintf("the passphrase (%q in the kernel's keyring, else %s or the prompt)", kernelName(c.Home), passphraseEnv)
	default:
		return ""
	}
}

// kernelName is the name of a home's passphrase in the kernel's keyring.
func kernelName(home string) string {
	if real, err := filepath.EvalSymlinks(home); err == nil {
		home = real
	}
	return "affiliate:" + home
}
