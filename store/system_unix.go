//go:build linux || darwin || freebsd || netbsd || openbsd

package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockDir takes Badger's own lock on the directory.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errInUse
	} else {
		err = fmt.Errorf("locking the directory: %w", err)
	}
	return nil, errors.Join(err, f.Close())
}

// unlockDir gives the lock back, even if a process that is just being started
// still has the file.
func unlockDir(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // closing does it, too
	_ = f.Close()                                   // nothing was written
}
