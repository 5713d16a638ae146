package keys

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits of a key file.
const (
	MinKeyFile = 32      // bytes; a new one has as many
	MaxKeyFile = 1 << 20 // bytes
)

// labelKeyFile separates key files from passphrases.
const labelKeyFile = "affiliate/key-file/1"

// ReadKeyFile returns the passphrase that a key file stands for: any file of
// MinKeyFile to MaxKeyFile bytes, all of which count. It must be readable by
// its owner only, and lie outside home, the directory whose keys it opens:
// who copies that directory must not get it, too.
func ReadKeyFile(path, home string) ([]byte, error) {
	content, err := readKeyFile(path, home)
	var known *agreement.Error
	if err != nil && !errors.As(err, &known) {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "reading the key file: %w", err).
			WithHint("keys.key_file must name the file that the keys were made with; without it they can't be opened")
	}
	if err != nil {
		return nil, known
	}
	return []byte(hex.EncodeToString(derive(content, labelKeyFile))), nil
}

func readKeyFile(path, home string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator's own choice
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := CheckOutside("the key file", path, home); err != nil {
		return nil, err
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() < MinKeyFile || info.Size() > MaxKeyFile {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "%s is not a key file: it must be a file of %d bytes to %d MiB", path, MinKeyFile, MaxKeyFile>>20).
			WithHint("affiliate init --key-file FILE makes a good one, if FILE doesn't exist")
	}
	return io.ReadAll(io.LimitReader(f, MaxKeyFile))
}

// MakeKeyFile writes a new key file of random bytes, outside home. CodeInUse
// when there is a file already.
func MakeKeyFile(path, home string) error {
	if err := CheckOutside("the key file", path, home); err != nil {
		return err
	}
	content := make([]byte, MinKeyFile)
	if _, err := rand.Read(content); err != nil {
		return agreement.Errorf(agreement.CodeInternal, "making a key file: %w", err)
	}
	err := writePrivate(path, content)
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if errors.Is(err, fs.ErrExist) {
		return agreement.Errorf(agreement.CodeInUse, "%s exists already; nothing was changed", path)
	}
	if err != nil {
		return agreement.Errorf(agreement.CodeBadRequest, "making a key file: %w", err).
			WithHint("choose a directory that exists and that you can write to")
	}
	return nil
}

// CheckOutside refuses the path of something that opens the keys (what, such as
// "the key file") inside home, by name or by what it leads to.
func CheckOutside(what, path, home string) error {
	inside := agreement.Errorf(agreement.CodeBadRequest, "%s %s lies inside the home directory %s", what, path, home).
		WithHint("keep it elsewhere: whoever copies the home directory must not get the key that opens it")
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if home, err = filepath.Abs(home); err != nil {
		return err
	}
	if rel, err := filepath.Rel(home, abs); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return inside
	}
	root, err := os.Stat(home)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing lies in it
	}
	if err != nil {
		return err
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil { // a new file has none
		abs = resolved
	}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && os.SameFile(info, root) {
			return inside
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}
