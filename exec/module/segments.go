package module

import "fmt"

func (a *admission) tableSection() {
	a.tables = a.count(1, 3, "tables")
	for range a.tables {
		if a.byte() != 0x70 {
			a.fail("a table holds something else than functions")
		}
		a.tableSize = a.limits(maxTableSize, maxTableSize, "elements of a table")
	}
}

func (a *admission) memorySection() {
	a.memories = a.count(1, 2, "memories")
	for range a.memories {
		a.pages = uint32(a.limits(uint64(a.rules.MemoryLimit/PageSize), 65_536, "pages of memory")) //nolint:gosec // at most 65,536
	}
}

// limits reads a least and a greatest size, and returns the least.
func (a *admission) limits(least, most uint64, what string) uint64 {
	flags := a.byte()
	if flags > 1 {
		a.fail("shared or 64-bit memory isn't supported")
	}
	low := uint64(a.u32())
	high := most
	if flags == 1 {
		high = uint64(a.u32())
	}
	if a.err == nil && (low > least || high > most || low > high) {
		a.fail(fmt.Sprintf("between %d and %d %s; at most %d at the start and %d later are allowed", low, high, what, least, most))
	}
	return low
}

// constant reads a constant expression, one instruction and its end, and
// returns the value if it is an i32. A global has no value there, as none is
// imported.
func (a *admission) constant() uint32 {
	value := int64(0)
	switch op := a.byte(); op {
	case 0x41:
		value = a.signed(32)
	case 0x42:
		a.signed(64)
	case 0x43:
		a.bytes(4)
	case 0x44:
		a.bytes(8)
	default:
		a.fail(fmt.Sprintf("instruction %#02x isn't constant", op))
	}
	if a.byte() != opEnd {
		a.fail("a constant expression is one instruction")
	}
	return uint32(value) //nolint:gosec // an i32's bits
}

// offset is a constant that must be an i32.
func (a *admission) offset() uint32 {
	if a.at < a.end && a.b[a.at] != 0x41 {
		a.fail("an offset isn't an i32 constant")
	}
	return a.constant()
}

func (a *admission) elementSection() {
	n, total := a.count(maxElementParts, 4, "element segments"), 0
	for range n {
		flags := a.u32()
		if flags == 2 && a.u32() != 0 || a.tables == 0 {
			a.fail("there is no such table")
		}
		if flags != 0 && flags != 2 {
			a.fail("element segments that aren't active, or aren't function indexes, aren't supported")
		}
		at := a.offset()
		if flags == 2 && a.byte() != 0 {
			a.fail("a table holds something else than functions")
		}
		m := a.count(maxElements-total, 1, "elements")
		total += m
		if uint64(at)+uint64(m) > a.tableSize { //nolint:gosec // a count
			a.fail("elements are outside of their table")
		}
		for range m {
			a.functionIndex()
		}
	}
}

func (a *admission) functionIndex() uint32 {
	i := a.u32()
	if a.err == nil && int(i) >= len(a.functions) {
		a.fail("there is no such function")
	}
	return i
}

func (a *admission) dataCountSection() { a.announced = int(a.u32()) }

// dataSection reads what memories begin with. Active segments are for the host
// to write, and drop out of the module; where instructions number the passive
// ones, empty ones take their place.
func (a *admission) dataSection() {
	n := a.count(maxDataParts, 2, "data segments")
	a.data = n
	if a.passive {
		a.passiveData = appendUint(nil, uint64(n)) //nolint:gosec // a count
	}
	for range n {
		begin := a.at
		flags := a.u32()
		switch {
		case flags == 2 && a.u32() != 0 || flags != 1 && a.memories == 0:
			a.fail("there is no such memory")
		case flags == 0 || flags == 2:
			at := a.offset()
			a.activeData(at, a.bytes(a.count(len(a.b), 1, "bytes of data")))
		case flags == 1:
			a.bytes(a.count(len(a.b), 1, "bytes of data"))
			if a.passive && a.err == nil {
				a.passiveData = append(a.passiveData, a.b[begin:a.at]...)
			}
		default:
			a.fail("an unknown kind of data segment")
		}
	}
}

func (a *admission) activeData(at uint32, content []byte) {
	if uint64(at)+uint64(len(content)) > uint64(a.pages)*PageSize {
		a.fail("data is outside of the memory")
		return
	}
	if len(content) > 0 {
		a.active = append(a.active, Segment{Offset: at, Bytes: content})
	}
	if a.passive {
		a.passiveData = append(a.passiveData, 1, 0)
	}
}
