//go:build linux || darwin || freebsd || netbsd || openbsd

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// removeEmptyFiles deletes log files of no length. Badger leaves one when it
// is killed between making a file and filling it, or between emptying and
// deleting it, and then refuses to open (dgraph-io/badger #2207). Badger's own
// lock on the directory is held meanwhile.
func removeEmptyFiles(dir string) (err error) {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errInUse
	}
	if err != nil {
		return fmt.Errorf("locking the directory: %w", err)
	}
	files, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range files {
		if ext := filepath.Ext(e.Name()); ext != ".mem" && ext != ".vlog" {
			continue
		}
		if info, err := e.Info(); err != nil || info.Size() != 0 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
