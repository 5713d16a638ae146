package exec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// image is the content that memories begin with: a file that has no name, and
// that each memory maps for itself. Pages that a module writes are copied,
// all others are shared.
type image struct {
	file    *os.File
	pagemap *os.File // of this process; nil: the system has none
	content []byte   // the file, shown
	size    uint64   // bytes, whole pages
}

// newImage makes an image of zeros and has it filled.
func newImage(size uint64, fill func(content []byte)) (*image, error) {
	fd, err := unix.MemfdCreate("contract", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a module's first memory: %w", err)
	}
	i := &image{file: os.NewFile(uintptr(fd), "contract"), size: size} //nolint:gosec // a descriptor
	if os.Getpagesize() == systemPage {
		i.pagemap, _ = os.Open("/proc/self/pagemap") // a help, not a need
	}
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
	i.content = content
	fill(content)
	return i, nil
}

// show puts the image at the start of a piece of address space.
func (i *image) show(space []byte) error {
	if i.size == 0 {
		return nil
	}
	_, err := unix.MmapPtr(int(i.file.Fd()), 0, unsafe.Pointer(unsafe.SliceData(space)), uintptr(i.size), //nolint:gosec // space is reserved, and larger
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE)
	return err
}

// canReset tells that a memory can be taken back to its image in place.
const canReset = true

// maxDirty is how many pages a memory may keep for itself when it is taken
// back to its image; beyond, all are given back to the system.
const maxDirty = 2048

// reset takes a memory that shows the image back to it. Pages that were
// written are written again from the image, which is much faster than
// dropping them and taking a page fault for each in the next run, or reading
// them from the file with a call of the system for each.
func (i *image) reset(space []byte) error {
	if i.size == 0 {
		return nil
	}
	_, err := i.eachWritten(space, func(at int) { copy(space[at:at+systemPage], i.content[at:]) })
	if err != nil {
		return unix.Madvise(space[:i.size], unix.MADV_DONTNEED)
	}
	return nil
}

// clearPages makes memory beyond an image zero again, as it was when it was
// reserved.
func clearPages(space []byte) error {
	if len(space) == 0 {
		return nil
	}
	return unix.Madvise(space, unix.MADV_DONTNEED)
}

// What /proc/self/pagemap says of a page, as proc_pid_pagemap(5) has it.
const (
	pagePresent = 1 << 63
	pageSwapped = 1 << 62
	pageOfFile  = 1 << 61 // not copied
)

var errDirty = errors.New("too many pages were written")

// pagesAsked is of how many pages eachWritten asks at a time.
const pagesAsked = 1024

// asked holds what was said of pages.
var asked = sync.Pool{New: func() any { return new([8 * pagesAsked]byte) }}

// eachWritten calls fn for each page of a memory that isn't the image's own,
// because it was written at some time, and counts them.
func (i *image) eachWritten(space []byte, fn func(at int)) (written int, err error) {
	if i.pagemap == nil {
		return 0, errors.ErrUnsupported
	}
	first := int64(uintptr(unsafe.Pointer(unsafe.SliceData(space))) / systemPage) //nolint:gosec // an address to ask about
	buffer := asked.Get().(*[8 * pagesAsked]byte)                                 //nolint:forcetypeassert // it holds nothing else
	defer asked.Put(buffer)
	pages := int(i.size / systemPage) //nolint:gosec // at most a million
	for n := 0; n < pages; n += pagesAsked {
		entries := buffer[:8*min(pagesAsked, pages-n)]
		if _, err := i.pagemap.ReadAt(entries, 8*(first+int64(n))); err != nil {
			return written, err
		}
		for k := 0; k < len(entries)/8; k++ {
			e := binary.NativeEndian.Uint64(entries[8*k:])
			if e&(pagePresent|pageSwapped) == 0 || e&pageOfFile != 0 {
				continue
			}
			if written++; written > maxDirty {
				return written, errDirty
			}
			fn((n + k) * systemPage)
		}
	}
	return written, nil
}

func (i *image) close() {
	_ = unix.Munmap(i.content)
	i.content = nil
	_ = i.file.Close()
	if i.pagemap != nil {
		_ = i.pagemap.Close()
	}
}
