package exec

import (
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
	if space, err := reserve(m.limit); err == nil {
		m.space, m.mapped = space, true
	} else {
		m.space = make([]byte, begin.size)
	}
	if err := begin.show(m.space); err != nil {
		m.Free()
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

// firstImage is a memory as a module's data leaves it.
func firstImage(p *module.Prepared) (*image, error) {
	return newImage(uint64(p.MemoryPages)*module.PageSize, func(content []byte) {
		for _, s := range p.Data {
			copy(content[s.Offset:], s.Bytes)
		}
	})
}

// systemPage is the least that is written to an image, in bytes: pages that
// are zero take no memory.
const systemPage = 4096

// imageOf is a memory as it is.
func imageOf(memory []byte) (*image, error) {
	var zero [systemPage]byte
	return newImage(uint64(len(memory)), func(content []byte) {
		for at := 0; at < len(memory); at += systemPage {
			if page := [systemPage]byte(memory[at:]); page != zero {
				copy(content[at:], page[:])
			}
		}
	})
}
