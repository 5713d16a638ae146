package exec

import "github.com/tetratelabs/wazero/experimental"

// linearMemory is a module's memory: one piece of address space that is as
// large as the limit, so that growing copies nothing and freeing gives all of
// it back to the system.
type linearMemory struct {
	space  []byte // the address space, or as much of it as was used, on a heap
	limit  uint64 // bytes
	mapped bool   // space isn't the heap's
	denied bool   // the module asked for more than the limit
}

// allocator gives a call's module its memory.
func (c *call) allocator(limit int64) experimental.MemoryAllocator {
	return experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		limit := uint64(limit) //nolint:gosec // a limit is never negative
		c.memory = &linearMemory{limit: limit}
		if space, err := reserve(min(limit, most)); err == nil {
			c.memory.space, c.memory.mapped = space, true
		}
		return c.memory
	})
}

// Reallocate grows the memory. nil, which the module sees as a failure to
// grow, means that the limit is reached.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > m.limit {
		m.denied = true
		return nil
	}
	if size <= uint64(len(m.space)) {
		return m.space[:size:size]
	}
	if m.mapped { // beyond what the module said it would ever ask for
		return nil
	}
	grown := make([]byte, size)
	copy(grown, m.space)
	m.space = grown
	return grown
}

// Free gives the memory back.
func (m *linearMemory) Free() {
	if m.mapped {
		release(m.space)
	}
	m.space, m.mapped = nil, false
}
