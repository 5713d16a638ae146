package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"

	"github.com/affiliate-node/affiliate/agreement"
)

// maxKeyFile bounds what is read of a file of the key directory, in bytes. The
// largest, the identities, has about 1000.
const maxKeyFile = 64 << 10

// derivedWorkFactor is scrypt's log2 N for passphrases that are themselves
// 256-bit keys: stretching adds nothing there. It takes about 1 MiB.
const derivedWorkFactor = 10

// passphraseWorkFactor is scrypt's log2 N for the operator's passphrase: 128
// MiB and about half a second. It is the least that OWASP's password storage
// guide advises; age's own default, 18, would take a node over the 200 MB that
// it stays under otherwise.
const passphraseWorkFactor = 17

// maxWorkFactor bounds the work and memory that a key file can ask for: 1 GiB
// at 20. age writes 18 (256 MiB, below 1 s).
const maxWorkFactor = 20

// errPassphrase says that a passphrase doesn't open a file.
var errPassphrase = errors.New("wrong passphrase")

// checkPrivate refuses what its group or the world can read or write.
func checkPrivate(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	want := "600"
	if info.IsDir() {
		want = "700"
	}
	return agreement.Errorf(agreement.CodeBadRequest, "%s has mode %04o: others could read or replace the keys", path, info.Mode().Perm()).
		WithHint("chmod %s %s, and consider the keys known to whoever could read them", want, path)
}

// readPrivate reads a small file that only its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return nil, agreement.Errorf(agreement.CodeDamaged, "%s is not a key file", path)
	}
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// checkTree applies checkPrivate to a directory and everything in it.
func checkTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return checkPrivate(path, info)
	})
}

// writePrivate writes a new file of mode 0600 and makes it durable.
func writePrivate(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// replacePrivate puts a file in another's place: after a crash there is one or
// the other, whole.
func replacePrivate(path string, content []byte) error {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a crash
		return err
	}
	if err := writePrivate(temp, content); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// lock encrypts content under a passphrase.
func lock(content []byte, passphrase string, workFactor int) ([]byte, error) {
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	to.SetWorkFactor(workFactor)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// unlock reverses lock; errPassphrase when the passphrase is another.
func unlock(sealed []byte, passphrase string) ([]byte, error) {
	with, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	with.SetMaxWorkFactor(maxWorkFactor)
	r, err := age.Decrypt(bytes.NewReader(sealed), with)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, errPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("decrypting: %w", err)
	}
	return io.ReadAll(io.LimitReader(r, maxKeyFile))
}
