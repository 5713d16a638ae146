package exec

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// image is the content that memories begin with: a file that has no name, and
// that each memory maps for itself. Pages that a module writes are copied,
// all others are shared.
type image struct {
	file *os.File
	size uint64 // bytes, whole pages
}

// newImage makes an image of zeros and has it filled.
func newImage(size uint64, fill func(content []byte)) (*image, error) {
	fd, err := unix.MemfdCreate("contract", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a module's first memory: %w", err)
	}
	i := &image{file: os.NewFile(uintptr(fd), "contract"), size: size} //nolint:gosec // a descriptor
	if size == 0 {
		return i, nil
	}
	if err := i.file.Truncate(int64(size)); err != nil { //nolint:gosec // at most 4 GiB
		i.close()
		return nil, fmt.Errorf("making a module's first memory: %w", err)
	}
	content, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED) //nolint:gosec // at most 4 GiB
	if err != nil {
		i.close()
		return nil, fmt.Errorf("making a module's first memory: %w", err)
	}
	fill(content)
	return i, unix.Munmap(content)
}

// show puts the image at the start of a piece of address space.
func (i *image) show(space []byte) error {
	if i.size == 0 {
		return nil
	}
	_, err := unix.MmapPtr(int(i.file.Fd()), 0, unsafe.Pointer(unsafe.SliceData(space)), uintptr(i.size),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE)
	return err
}

// canReset tells that a memory can be taken back to its image in place.
const canReset = true

// reset takes a memory that shows the image back to it.
func (i *image) reset(space []byte) error {
	if i.size == 0 {
		return nil
	}
	return unix.Madvise(space[:i.size], unix.MADV_DONTNEED)
}

func (i *image) close() { _ = i.file.Close() }
