package blob

import (
	"math"
	"os"
	"syscall"
)

// freeBytes asks the file system of a directory for what is left to an
// ordinary user.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	for {
		err := syscall.Statfs(dir, &s)
		if err == syscall.EINTR { //nolint:errorlint // an Errno
			continue
		}
		if err != nil {
			return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
		block := uint64(s.Frsize)
		if block != 0 && s.Bavail > math.MaxInt64/block {
			return math.MaxInt64, nil
		}
		return int64(s.Bavail * block), nil
	}
}

// beginFlush tells the system to begin writing a range of a file, and doesn't
// wait. It is only for speed, so that a failure isn't one: Sync will tell.
func beginFlush(f *os.File, offset, length int64) {
	const write = 2 // SYNC_FILE_RANGE_WRITE
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) { _ = syscall.SyncFileRange(int(fd), offset, length, write) })
}
