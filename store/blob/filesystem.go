package blob

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/affiliate-node/affiliate/agreement"
)

// errLocked is lockFile's answer when another process has the lock.
var errLocked = errors.New("locked by another process")

// failed says what the file system's answer means for the operator.
func (f *files) failed(doing string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return agreement.Errorf(agreement.CodeDiskFull, "%s: %w", doing, err).
			WithHint("free space on the file system of %s, or raise its quota; `affiliate store stats` says what takes the space", f.dir)
	case errors.Is(err, syscall.EFBIG):
		return agreement.Errorf(agreement.CodeDiskFull, "%s: %w", doing, err).
			WithHint("the file system of %s, or the limit of the process (ulimit -f), allows no larger file", f.dir)
	case errors.Is(err, syscall.EROFS):
		return agreement.Errorf(agreement.CodeStore, "%s: %w", doing, err).
			WithHint("the file system of %s can only be read: look into the system's log for why, and mount it for writing", f.dir)
	case errors.Is(err, fs.ErrPermission):
		return agreement.Errorf(agreement.CodeStore, "%s: %w", doing, err).
			WithHint("%s and all in it must belong to the user that runs the node, with mode 0700 and files 0600", f.dir)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return agreement.Errorf(agreement.CodeStore, "%s: %w", doing, err).
			WithHint("the process may open too few files: raise the limit (ulimit -n, or LimitNOFILE of the service)")
	}
	return agreement.Errorf(agreement.CodeStore, "%s: %w", doing, err).WithHint("look at %s and its file system", f.dir)
}

// isUnreadable reports whether the disk has lost what was to be read.
func isUnreadable(err error) bool { return errors.Is(err, syscall.EIO) }
