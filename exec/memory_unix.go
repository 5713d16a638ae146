//go:build linux || darwin

package exec

import "syscall"

// reserve takes address space; memory is used only where it is written.
func reserve(size uint64) ([]byte, error) {
	return syscall.Mmap(-1, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, //nolint:gosec // at most 4 GiB
		syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
}

func release(space []byte) { _ = syscall.Munmap(space) }
