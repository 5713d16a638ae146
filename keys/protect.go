package keys

import (
	"bytes"
	"encoding/hex"
	"errors"
	"path/filepath"
	"runtime/debug"

	"github.com/affiliate-node/affiliate/agreement"
)

// Protect puts existing keys under another passphrase, or what a key file
// stands for: after a crash it is the old or the new one. Only the root
// secret is under it, so nothing else changes, and a node that runs with these
// keys runs on. A copy of the directory that was made before opens with the
// old passphrase for ever.
//
// Errors are those of Open, CodeBadRequest for an empty passphrase and for keys
// that have none (their other files lie open, too), and CodeStore where writing
// failed: then either passphrase may be the one that opens them.
func Protect(o Options, passphrase []byte) error {
	if len(passphrase) == 0 {
		return agreement.Errorf(agreement.CodeBadRequest, "the new passphrase is empty")
	}
	ring, err := Open(o) // everything in it can be opened
	if err != nil {
		return err
	}
	defer debug.FreeOSMemory() // scrypt took 128 MiB
	if !ring.locked {
		return agreement.Errorf(agreement.CodeBadRequest, "the keys in %s have no passphrase, and can't be put under one", o.Dir).
			WithHint("whoever could read them may have them: make another affiliate, with affiliate init in another home")
	}
	if ring.fixed != nil {
		return o.asError(ring.fixed)
	}
	content := []byte(hex.EncodeToString(ring.root) + "\n")
	sealed, err := lock(content, string(passphrase), o.workFactor())
	if err != nil {
		return o.asError(err)
	}
	// What can't be opened must not take the place of what can.
	if opened, err := unlock(sealed, string(passphrase)); err != nil || !bytes.Equal(opened, content) {
		return agreement.Errorf(agreement.CodeInternal, "the new file doesn't open: %w", errors.Join(err, errPassphrase))
	}
	if err := replacePrivate(filepath.Join(o.Dir, fileRoot), sealed); err != nil {
		return agreement.Errorf(agreement.CodeStore, "writing the keys: %w", err).WithHint("the old passphrase opens them, or the new one; mend the disk and try again")
	}
	return nil
}
