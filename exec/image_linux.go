package exec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
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
	dirty, err := i.dirty(space)
	if err != nil {
		return unix.Madvise(space[:i.size], unix.MADV_DONTNEED)
	}
	for _, d := range dirty {
		copy(space[d.from:d.to], i.content[d.from:d.to])
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

// span is a part of a memory, in bytes.
type span struct{ from, to int }

// What /proc/self/pagemap says of a page, as proc_pid_pagemap(5) has it.
const (
	pagePresent = 1 << 63
	pageSwapped = 1 << 62
	pageOfFile  = 1 << 61 // not copied
)

var errDirty = errors.New("too many pages were written")

// dirty finds the pages of a memory that aren't the image's own, because they
// were written at some time.
func (i *image) dirty(space []byte) ([]span, error) {
	if i.pagemap == nil {
		return nil, errors.ErrUnsupported
	}
	first := uintptr(unsafe.Pointer(unsafe.SliceData(space))) / systemPage //nolint:gosec // an address to ask about
	entries := make([]byte, i.size/systemPage*8)
	if _, err := i.pagemap.ReadAt(entries, int64(first)*8); err != nil { //nolint:gosec // an address
		return nil, err
	}
	var spans []span
	pages := 0
	for n := 0; n < len(entries)/8; n++ {
		e := binary.NativeEndian.Uint64(entries[n*8:])
		if e&(pagePresent|pageSwapped) == 0 || e&pageOfFile != 0 {
			continue
		}
		if pages++; pages > maxDirty {
			return nil, errDirty
		}
		at := n * systemPage
		if last := len(spans) - 1; last >= 0 && spans[last].to == at {
			spans[last].to += systemPage
		} else {
			spans = append(spans, span{at, at + systemPage})
		}
	}
	return spans, nil
}

func (i *image) close() {
	_ = unix.Munmap(i.content)
	i.content = nil
	_ = i.file.Close()
	if i.pagemap != nil {
		_ = i.pagemap.Close()
	}
}
