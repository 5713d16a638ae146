package keys

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/affiliate-node/affiliate/agreement"
)

// rootSize is the length of the root secret, in bytes.
const rootSize = 32

// secrets are what the passphrase opens. The root secret stays for ever: the
// keys of the store, the index and the other key files are derived from it.
// The identities can be rotated.
type secrets struct {
	root       []byte
	identities []identity // current one first
	format1    bool       // read from a directory made before there was a root secret
}

func newSecrets() (secrets, error) {
	root := make([]byte, rootSize)
	if _, err := rand.Read(root); err != nil {
		return secrets{}, err
	}
	id, err := newIdentity(1, time.Now())
	return secrets{root: root, identities: []identity{id}}, err
}

// writeSecrets writes identities and root secret into dir, replacing what is
// there. The root secret comes last: with it, the directory has the present
// format.
func (o Options) writeSecrets(dir string, locked bool, s secrets) error {
	if err := writeIdentities(dir, locked, s.root, s.identities); err != nil {
		return err
	}
	content := []byte(hex.EncodeToString(s.root) + "\n")
	if locked {
		var err error
		if content, err = lock(content, string(o.Passphrase), o.workFactor()); err != nil {
			return err
		}
	}
	return replacePrivate(filepath.Join(dir, fileRoot), content)
}

func writeIdentities(dir string, locked bool, root []byte, ids []identity) error {
	return writeDerived(filepath.Join(dir, fileIdentities), encodeIdentities(ids), locked, root, labelIdentitiesFile)
}

// openSecrets reads the secrets of either format, and whether the files are
// locked.
func (o Options) openSecrets() (s secrets, locked bool, err error) {
	content, locked, err := o.openProtected(fileRoot)
	if errors.Is(err, fs.ErrNotExist) {
		return o.openFormat1()
	}
	if err != nil {
		return s, false, err
	}
	if s.root, err = hex.DecodeString(strings.TrimSpace(string(content))); err != nil || len(s.root) != rootSize {
		return s, false, errors.New("the root secret can't be read")
	}
	content, err = readDerived(filepath.Join(o.Dir, fileIdentities), locked, s.root, labelIdentitiesFile)
	if err == nil {
		s.identities, err = parseIdentities(content)
	}
	return s, locked, err
}

// openFormat1 reads the identity of a directory that has no root secret. All
// keys were derived from it by HKDF; the root secret is what HKDF extracts
// from it, which gives the same keys and doesn't tell the identity.
func (o Options) openFormat1() (s secrets, locked bool, err error) {
	content, locked, err := o.openProtected(fileFormat1)
	if err != nil {
		return s, false, err
	}
	key, err := age.ParseHybridIdentity(strings.TrimSpace(string(content)))
	if err != nil {
		return s, false, errors.New("the encryption identity can't be read") // the cause could quote the key
	}
	root, err := hkdf.Extract(sha256.New, []byte(key.String()), nil)
	return secrets{root: root, identities: []identity{{number: 1, key: key}}, format1: true}, locked, err
}

// openProtected reads the file that is under the passphrase.
func (o Options) openProtected(name string) (content []byte, locked bool, err error) {
	content, err = readPrivate(filepath.Join(o.Dir, name))
	if err != nil {
		return nil, false, err
	}
	locked = bytes.HasPrefix(content, []byte(agePrefix))
	switch {
	case locked && !o.protected():
		return nil, false, agreement.Errorf(agreement.CodeBadRequest, "the keys in %s need a passphrase", o.Dir).
			WithHint("give it by keys.passphrase_file, the environment or the prompt")
	case locked:
		content, err = unlock(content, string(o.Passphrase))
	case !o.Unprotected:
		return nil, false, agreement.Errorf(agreement.CodeBadRequest, "the keys in %s have no passphrase", o.Dir).
			WithHint("set keys.unprotected = true to use them as they are")
	}
	return content, locked, err
}

// settle leaves the directory in the present format. It can be interrupted
// anywhere: until the root secret is written the old file counts, from then on
// it doesn't.
func (o Options) settle(locked bool, s secrets) error {
	if s.format1 {
		if err := o.writeSecrets(o.Dir, locked, s); err != nil {
			return fmt.Errorf("bringing the key directory to the present format: %w", err)
		}
	}
	err := os.Remove(filepath.Join(o.Dir, fileFormat1))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDir(o.Dir))
}

// writeDerived replaces a file that is locked under a key derived from the
// root secret.
func writeDerived(path string, content []byte, locked bool, root []byte, label string) error {
	if locked {
		var err error
		if content, err = lock(content, hex.EncodeToString(expand(root, label)), derivedWorkFactor); err != nil {
			return err
		}
	}
	return replacePrivate(path, content)
}

// readDerived reads what writeDerived wrote.
func readDerived(path string, locked bool, root []byte, label string) ([]byte, error) {
	content, err := readPrivate(path)
	if err != nil || !locked {
		return content, err
	}
	content, err = unlock(content, hex.EncodeToString(expand(root, label)))
	if errors.Is(err, errPassphrase) {
		return nil, fmt.Errorf("%s belongs to other keys", filepath.Base(path))
	}
	return content, err
}
