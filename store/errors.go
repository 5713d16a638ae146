package store

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

var (
	errInUse       = errors.New("its directory is locked")
	errDescriptors = errors.New("too few files may be open")
)

// causes are what the system may say, with what it means for the operator.
// Badger formats errors away, so their texts count too.
var causes = []struct {
	errs []error
	code agreement.Code
	hint string
}{
	{[]error{syscall.ENOSPC, syscall.EDQUOT}, agreement.CodeDiskFull, "free space on the disk of the store, or raise its quota; `affiliate store stats` says what takes the space"},
	{[]error{syscall.EFBIG}, agreement.CodeDiskFull, "the file system of the store, or the limit of the process (ulimit -f), allows no larger file"},
	{[]error{syscall.EMFILE, syscall.ENFILE, errDescriptors}, agreement.CodeStore, "the process may open too few files: raise the limit (ulimit -n, or LimitNOFILE of the service)"},
	{[]error{syscall.EROFS}, agreement.CodeStore, "the file system of the store can only be read: look into the system's log for why, and mount it for writing"},
	{[]error{syscall.EACCES, syscall.EPERM}, agreement.CodeStore, "let this user read and write everything in the store's directory"},
	{[]error{syscall.EIO}, agreement.CodeStore, "the disk of the store is failing: look into the system's log, and restore the store from a backup to another disk"},
}

// causeOf finds the cause of an error among those.
func causeOf(err error) (code agreement.Code, hint string, ok bool) {
	text := err.Error()
	for _, c := range causes {
		for _, e := range c.errs {
			if errors.Is(err, e) || strings.Contains(text, e.Error()) {
				return c.code, c.hint, true
			}
		}
	}
	return "", "", false
}

// openError is how a failed opening leaves this package.
func openError(dir string, err error) error {
	const doing = "opening the store"
	var known *agreement.Error
	if errors.As(err, &known) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if errors.Is(err, errInUse) || strings.Contains(err.Error(), "Cannot acquire directory lock") {
		return agreement.Errorf(agreement.CodeInUse, "%s: another process has %s open", doing, dir).
			WithHint("stop the other affiliate that runs on this home (its process id is in %s/LOCK)", dir)
	}
	if strings.Contains(err.Error(), badger.ErrEncryptionKeyMismatch.Error()) {
		return agreement.Errorf(agreement.CodeStore, "%s: the key doesn't open %s", doing, dir).
			WithHint("use the keys and the setting store.encrypt that the store was made with; if they are the right ones, %s is damaged there: restore the store from a backup", registryFile)
	}
	if code, hint, ok := causeOf(err); ok {
		return agreement.Errorf(code, "%s in %s: %w", doing, dir, err).WithHint("%s", hint)
	}
	return agreement.Errorf(agreement.CodeDamaged, "%s: %w", doing, err).
		WithHint("the files in %s are damaged or not a store; restore them from a backup", dir)
}

// storeError is how a failure of the database leaves this package.
func storeError(doing string, err error) error {
	var known *agreement.Error
	if errors.As(err, &known) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if errors.Is(err, badger.ErrDBClosed) || errors.Is(err, badger.ErrBlockedWrites) {
		return agreement.Errorf(agreement.CodeStore, "%s: the store is closed", doing)
	}
	if code, hint, ok := causeOf(err); ok {
		return agreement.Errorf(code, "%s: %w", doing, err).WithHint("%s", hint)
	}
	return agreement.Errorf(agreement.CodeStore, "%s: %w", doing, err).
		WithHint("look into the log; a restart finds out whether the store's files are damaged")
}

// readError is how a failed read leaves this package.
func readError(err error, format string, args ...any) error {
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return notFound(format, args...)
	case errors.Is(err, errDecode), errors.Is(err, errBadFiles):
		return damaged(format, args...)
	}
	return storeError("reading "+fmt.Sprintf(format, args...), err)
}

func notFound(format string, args ...any) error {
	return agreement.Errorf(agreement.CodeNotFound, "%s: %w", fmt.Sprintf(format, args...), agreement.ErrNotFound)
}

func damaged(format string, args ...any) error {
	return agreement.Errorf(agreement.CodeDamaged, "%s: %w", fmt.Sprintf(format, args...), errDecode).
		WithHint("restore the store from a backup")
}
