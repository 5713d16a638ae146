package store

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
)

// freeBytes asks the file system of a directory for what is left to an
// ordinary user; -1 if it doesn't say.
func freeBytes(dir string) int64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return -1
	}
	if s.Frsize > 0 && s.Bavail > math.MaxInt64/uint64(s.Frsize) {
		return math.MaxInt64
	}
	return int64(s.Bavail) * s.Frsize //nolint:gosec // bounded above
}

// diskBytes adds up what Badger's files take on the disk: its logs are made
// longer than they are filled.
func diskBytes(dir string) (tables, values int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return 0, 0, err
		}
		size := info.Size()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			const block = 512 // whatever the file system's is
			size = st.Blocks * block
		}
		switch filepath.Ext(e.Name()) {
		case tableExt, memoryExt:
			tables += size
		case valueExt:
			values += size
		}
	}
	return tables, values, nil
}

// descriptors returns how many files this process may have open, and how many
// it has.
func descriptors() (limit, used int, ok bool) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, 0, false
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0, 0, false
	}
	return int(min(r.Cur, math.MaxInt32)), len(open), true //nolint:gosec // bounded
}
