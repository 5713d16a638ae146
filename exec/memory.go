package exec

import (
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/experimental"

	"github.com/affiliate-node/affiliate/exec/module"
)

// linearMemory is a module's memory: one piece of address space that is as
// large as the limit, so that growing copies nothing and freeing gives all of
// it back to the system. It begins as an image, of which only what is written
// is ever copied.
type linearMemory struct {
	space  []byte // the address space, or as much of it as was used, on a heap
	used   uint64 // bytes, now
	limit  uint64 // bytes
	mapped bool   // space isn't the heap's
	denied bool   // the module asked for more than the limit
}

// newMemory makes a memory that shows an image.
func newMemory(limit int64, begin *image) (*linearMemory, error) {
	m := &linearMemory{limit: uint64(limit)} //nolint:gosec // a limit is never negative
	if begin.size > m.limit {
		return nil, fmt.Errorf("a memory of %d bytes can't hold an image of %d", limit, begin.size)
	}
	switch space, err := reserve(m.limit); {
	case err == nil:
		m.space, m.mapped = space, true
	case errors.Is(err, errors.ErrUnsupported):
		m.space = make([]byte, begin.size)
	default: // an image can't be shown on a heap
		return nil, fmt.Errorf("reserving address space for a module's memory: %w", err)
	}
	if err := begin.show(m.space); err != nil {
		m.release()
		return nil, fmt.Errorf("showing a module's first memory: %w", err)
	}
	return m, nil
}

// allocator hands the memory to the engine.
func (m *linearMemory) allocator() experimental.MemoryAllocator {
	return experimental.MemoryAllocatorFunc(func(uint64, uint64) experimental.LinearMemory { return m })
}

// Reallocate grows the memory. nil, which the module sees as a failure to
// grow, means that the limit is reached.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > m.limit {
		m.denied = true
		return nil
	}
	if size > uint64(len(m.space)) { // on a heap
		grown := make([]byte, size)
		copy(grown, m.space)
		m.space = grown
	}
	m.used = size
	return m.space[:size:size]
}

// Free does nothing: who made a memory frees it, for the engine doesn't where
// a time limit comes in between.
func (m *linearMemory) Free() {}

// release gives the memory back.
func (m *linearMemory) release() {
	if m.mapped {
		release(m.space)
	}
	m.space, m.mapped = nil, false
}

// maxImage bounds what an image holds, in bytes: a module keeps it for as long
// as it stays loaded, and a tiny module could have filled all of its memory.
const maxImage = 16 << 20

// held is how much of a memory of the given size an image of it holds, in
// bytes: all of it if that isn't much, else as far as it isn't zero. Reading
// an image's zeros makes pages of them that stay.
func held(size, end uint64) (uint64, bool) {
	if size > maxImage {
		size = (end + module.PageSize - 1) / module.PageSize * module.PageSize
	}
	return size, size <= maxImage
}

// firstImage is a memory as a module's data leaves it, unless that is too much
// for an image.
func firstImage(p *module.Prepared) (*image, bool, error) {
	end := uint64(0)
	for _, s := range p.Data {
		end = max(end, uint64(s.Offset)+uint64(len(s.Bytes)))
	}
	size, ok := held(uint64(p.MemoryPages)*module.PageSize, end)
	if !ok {
		size = 0
	}
	i, err := newImage(size, func(content []byte) {
		for _, s := range p.Data {
			copy(content[s.Offset:], s.Bytes)
		}
	})
	return i, ok, err
}

// systemPage is the least that is written to an image, in bytes: pages that
// are zero take no memory.
const systemPage = 4096

// imageOf is a memory as it is, unless that is too much for an image.
func imageOf(memory []byte) (*image, bool, error) {
	var zero [systemPage]byte
	end := len(memory)
	for end > 0 && [systemPage]byte(memory[end-systemPage:]) == zero {
		end -= systemPage
	}
	size, ok := held(uint64(len(memory)), uint64(end)) //nolint:gosec // a length
	if !ok {
		return nil, false, nil
	}
	i, err := newImage(size, func(content []byte) {
		for at := 0; at < end; at += systemPage {
			if page := [systemPage]byte(memory[at:]); page != zero {
				copy(content[at:], page[:])
			}
		}
	})
	return i, true, err
}
