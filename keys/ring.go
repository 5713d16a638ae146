package keys

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"filippo.io/age"

	"github.com/affiliate-node/affiliate/agreement"
)

// Files of the key directory.
const (
	fileEncryption = "encryption.key" // age identity, under the passphrase
	fileNode       = "node.key"       // Ed25519 seed in hex, under a key derived from the identity
)

// Create makes new keys in a directory that doesn't exist yet or is empty,
// whole or not at all. Fails with CodeInUse where keys exist.
func Create(o Options) (*Ring, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if entries, err := os.ReadDir(o.Dir); err == nil && len(entries) > 0 {
		return nil, agreement.Errorf(agreement.CodeInUse, "%s already holds keys", o.Dir).
			WithHint("use these keys, or choose another home directory")
	}
	parent := filepath.Dir(filepath.Clean(o.Dir))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "creating the key directory: %w", err)
	}
	temp, err := os.MkdirTemp(parent, ".keys-*") // mode 0700
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "creating the key directory: %w", err)
	}
	defer os.RemoveAll(temp)
	ring, err := o.create(temp)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "creating keys: %w", err)
	}
	if err := os.Remove(o.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // only an empty one goes
		return nil, agreement.Errorf(agreement.CodeInUse, "making way for new keys: %w", err)
	}
	if err := os.Rename(temp, o.Dir); err != nil {
		return nil, agreement.Errorf(agreement.CodeInUse, "moving new keys to %s: %w", o.Dir, err)
	}
	return ring, syncDir(parent)
}

// create writes all keys into dir.
func (o Options) create(dir string) (*Ring, error) {
	defer debug.FreeOSMemory() // scrypt took 128 MiB
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		return nil, err
	}
	secret := []byte(id.String())
	content := append(secret[:len(secret):len(secret)], '\n')
	if o.protected() {
		if content, err = lock(content, string(o.Passphrase), passphraseWorkFactor); err != nil {
			return nil, err
		}
	}
	if err := writePrivate(filepath.Join(dir, fileEncryption), content); err != nil {
		return nil, err
	}
	_, node, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	content = []byte(hex.EncodeToString(node.Seed()) + "\n")
	if o.protected() {
		if content, err = lock(content, hex.EncodeToString(derive(secret, labelNodeKeyFile)), derivedWorkFactor); err != nil {
			return nil, err
		}
	}
	if err := writePrivate(filepath.Join(dir, fileNode), content); err != nil {
		return nil, err
	}
	account, err := createAccount(dir, o.protected(), secret, o.Prefix)
	if err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	return newRing(o.Prefix, account, id, node)
}

// Open unlocks existing keys. Errors are *agreement.Error: CodeNotFound
// without keys, CodeBadRequest for a wrong passphrase or an open directory,
// CodeDamaged for keys that can't be read.
func Open(o Options) (*Ring, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(o.Dir, fileEncryption)); errors.Is(err, fs.ErrNotExist) {
		return nil, agreement.Errorf(agreement.CodeNotFound, "there are no keys in %s", o.Dir).
			WithHint("restore the directory from a backup; a new affiliate, with new keys, is made by affiliate init in another home")
	}
	if err := checkTree(o.Dir); err != nil {
		return nil, asError(err, o.Dir)
	}
	ring, err := o.open()
	return ring, asError(err, o.Dir)
}

// open reads the identity first: the other two are locked under keys derived
// from it, so that only one slow scrypt is run.
func (o Options) open() (*Ring, error) {
	defer debug.FreeOSMemory() // scrypt took 128 MiB
	content, err := readPrivate(filepath.Join(o.Dir, fileEncryption))
	if err != nil {
		return nil, err
	}
	locked := bytes.HasPrefix(content, []byte(agePrefix))
	switch {
	case locked && !o.protected():
		return nil, agreement.Errorf(agreement.CodeBadRequest, "the keys in %s need a passphrase", o.Dir).
			WithHint("give it by keys.passphrase_file, the environment or the prompt")
	case locked:
		if content, err = unlock(content, string(o.Passphrase)); err != nil {
			return nil, err
		}
	case !o.Unprotected:
		return nil, agreement.Errorf(agreement.CodeBadRequest, "the keys in %s have no passphrase", o.Dir).
			WithHint("set keys.unprotected = true to use them as they are")
	}
	id, err := age.ParseHybridIdentity(strings.TrimSpace(string(content)))
	if err != nil {
		return nil, errors.New("the encryption identity can't be read") // the cause could quote the key
	}
	secret := []byte(id.String())
	node, err := openNodeKey(filepath.Join(o.Dir, fileNode), locked, secret)
	if err != nil {
		return nil, err
	}
	account, err := openAccount(o.Dir, locked, secret)
	if err != nil {
		return nil, err
	}
	return newRing(o.Prefix, account, id, node)
}

func openNodeKey(path string, locked bool, secret []byte) (ed25519.PrivateKey, error) {
	content, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	if locked {
		content, err = unlock(content, hex.EncodeToString(derive(secret, labelNodeKeyFile)))
		if err != nil {
			return nil, errors.New("the node key belongs to another encryption identity")
		}
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(content)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, errors.New("the node key can't be read")
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// protected reports whether keys are, or are to be, under a passphrase.
func (o Options) protected() bool { return len(o.Passphrase) > 0 }

// check refuses options that make no sense.
func (o Options) check() error {
	if o.Dir == "" || o.Prefix == "" {
		return agreement.Errorf(agreement.CodeBadRequest, "keys need a directory and an address prefix")
	}
	if !o.protected() && !o.Unprotected {
		return agreement.Errorf(agreement.CodeBadRequest, "keys need a passphrase").
			WithHint("give one, or set keys.unprotected = true for keys that are worth nothing")
	}
	return nil
}

// asError gives an error of Open its code.
func asError(err error, dir string) error {
	var known *agreement.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, errPassphrase):
		return agreement.Errorf(agreement.CodeBadRequest, "the passphrase doesn't open the keys in %s", dir).
			WithHint("it comes from the passphrase file, else from AFFILIATE_PASSPHRASE, else from the prompt; a newline at its end is ignored, other spaces are not")
	}
	return agreement.Errorf(agreement.CodeDamaged, "opening the keys in %s: %w", dir, err).
		WithHint("restore the whole directory from a backup")
}

// syncDir makes new names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
