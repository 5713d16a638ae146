package keys

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/affiliate-node/affiliate/agreement"
)

// Files of the key directory.
const (
	fileRoot       = "root.key"       // root secret in hex, under the passphrase
	fileIdentities = "identities.key" // age identities, under a key derived from the root secret
	fileNode       = "node.key"       // Ed25519 seed in hex, likewise
	fileFormat1    = "encryption.key" // of directories made before: the only identity, under the passphrase
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
	s, err := newSecrets()
	if err != nil {
		return nil, err
	}
	locked := o.protected()
	if err := o.writeSecrets(dir, locked, s); err != nil {
		return nil, err
	}
	_, node, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	content := []byte(hex.EncodeToString(node.Seed()) + "\n")
	if err := writeDerived(filepath.Join(dir, fileNode), content, locked, s.root, labelNodeKeyFile); err != nil {
		return nil, err
	}
	account, err := createAccount(dir, locked, s.root, o.Prefix)
	if err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	return newRing(o, locked, s, account, node)
}

// Open unlocks existing keys. A directory made before identities could be
// rotated is brought to the present format. Errors are *agreement.Error:
// CodeNotFound without keys, CodeBadRequest for a wrong passphrase or an open
// directory, CodeDamaged for keys that can't be read.
func Open(o Options) (*Ring, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if !exists(filepath.Join(o.Dir, fileRoot)) && !exists(filepath.Join(o.Dir, fileFormat1)) {
		return nil, agreement.Errorf(agreement.CodeNotFound, "there are no keys in %s", o.Dir).
			WithHint("restore the directory from a backup; a new affiliate, with new keys, is made by affiliate init in another home")
	}
	if err := checkTree(o.Dir); err != nil {
		return nil, o.asError(err)
	}
	ring, err := o.open()
	return ring, o.asError(err)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// open reads the root secret first: the others are locked under keys derived
// from it, so that only one slow scrypt is run.
func (o Options) open() (*Ring, error) {
	defer debug.FreeOSMemory() // scrypt took 128 MiB
	s, locked, err := o.openSecrets()
	if err != nil {
		return nil, err
	}
	node, err := openNodeKey(filepath.Join(o.Dir, fileNode), locked, s.root)
	if err != nil {
		return nil, err
	}
	account, err := openAccount(o.Dir, locked, s.root)
	if err != nil {
		return nil, err
	}
	ring, err := newRing(o, locked, s, account, node)
	if err == nil {
		ring.fixed = o.settle(locked, s)
	}
	return ring, err
}

func openNodeKey(path string, locked bool, root []byte) (ed25519.PrivateKey, error) {
	content, err := readDerived(path, locked, root, labelNodeKeyFile)
	if err != nil {
		return nil, err
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
func (o Options) asError(err error) error {
	var known *agreement.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, errPassphrase) && o.Origin != "":
		return agreement.Errorf(agreement.CodeBadRequest, "%s doesn't open the keys in %s", o.Origin, o.Dir).
			WithHint("it must be the one that the keys were made with")
	case errors.Is(err, errPassphrase):
		return agreement.Errorf(agreement.CodeBadRequest, "the passphrase doesn't open the keys in %s", o.Dir).
			WithHint("it comes from the passphrase file, else from AFFILIATE_PASSPHRASE, else from the prompt; a newline at its end is ignored, other spaces are not")
	}
	return agreement.Errorf(agreement.CodeDamaged, "opening the keys in %s: %w", o.Dir, err).
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
