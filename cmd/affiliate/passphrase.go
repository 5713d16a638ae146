package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

const (
	passphraseEnv    = "AFFILIATE_PASSPHRASE"
	newPassphraseEnv = "AFFILIATE_NEW_PASSPHRASE"

	maxPassphrase = 1024 // bytes
	minPassphrase = 8    // bytes, of a new one; the keyring's own limit
)

// wanted is a passphrase that has to be found.
type wanted struct {
	env, prompt string
	isNew       bool // asked for twice
}

var (
	presentPassphrase = wanted{passphraseEnv, "Passphrase of this affiliate's keys: ", false}
	firstPassphrase   = wanted{passphraseEnv, "Passphrase of this affiliate's keys: ", true}
	nextPassphrase    = wanted{newPassphraseEnv, "New passphrase of this affiliate's keys: ", true}
)

// passphrase finds a passphrase: in the file if one is named, in the
// environment, or by asking on the terminal.
func (a *app) passphrase(file string, w wanted) ([]byte, error) {
	pass, err := a.findPassphrase(file, w)
	if err != nil {
		return nil, err
	}
	if len(pass) > maxPassphrase {
		return nil, fmt.Errorf("the passphrase is longer than %d bytes", maxPassphrase)
	}
	if w.isNew && len(pass) < minPassphrase {
		return nil, withHint(fmt.Errorf("the passphrase has fewer than %d bytes", minPassphrase), "choose a longer one")
	}
	if len(pass) == 0 {
		return nil, withHint(errors.New("the passphrase is empty"), "it comes from the first line of the passphrase file, from %s, or from the prompt", w.env)
	}
	return pass, nil
}

func (a *app) findPassphrase(file string, w wanted) ([]byte, error) {
	if file != "" {
		return readPassphrase(file)
	}
	if env := a.getenv(w.env); env != "" {
		return []byte(env), nil
	}
	if !terminal(a.stdin) {
		return nil, withHint(errors.New("the keys need a passphrase, and there is no terminal to ask on"),
			"set %s, or use --passphrase-file FILE", w.env)
	}
	pass, err := a.ask(w.prompt)
	if err != nil || !w.isNew {
		return pass, err
	}
	again, err := a.ask("The same again: ")
	if err == nil && !bytes.Equal(pass, again) {
		err = withHint(errors.New("the two passphrases differ"), "nothing was made; try again")
	}
	return pass, err
}

func readPassphrase(file string) ([]byte, error) {
	f, err := os.Open(file) //nolint:gosec // the operator's own choice
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return nil, withHint(fmt.Errorf("the passphrase file %s can be read by other users", file), "chmod 600 %s", file)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPassphrase+2))
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

func (a *app) ask(prompt string) ([]byte, error) {
	f, ok := a.stdin.(*os.File)
	if !ok {
		return nil, errors.New("standard input is not a terminal")
	}
	fmt.Fprint(a.stderr, prompt)                //nolint:errcheck // the answer fails, too
	pass, err := term.ReadPassword(int(f.Fd())) //nolint:gosec // a file descriptor is small
	fmt.Fprintln(a.stderr)                      //nolint:errcheck // ends the line
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	return pass, nil
}
