package module

// The cost table, version 1, in units of fuel. A unit is about what adding two
// numbers takes. What moves values about or shapes a body costs nothing, as
// compiled code has no instruction for it; every way round a loop and every
// call costs something.
const (
	costStep     = 1 // most instructions
	costMemory   = 2 // loads and stores
	costSlowInt  = 8 // division
	costSlowReal = 8 // division and square root of floats
	costCall     = 4
	costIndirect = 8
	costTable    = 2  // br_table
	costBulk     = 16 // memory.copy, .fill, .init, and memory.grow
	// A bulk instruction also costs a unit for every 8 bytes, memory that is
	// new one for every 16.
	bulkShift = 3
	pageShift = 12 // a page of 64 KiB is 4096 units
)

// costs is the table by opcode.
var costs = costTable256()

func costTable256() (t [256]uint8) {
	set := func(from, to int, cost uint8) {
		for op := from; op <= to; op++ {
			t[op] = cost
		}
	}
	set(0x03, 0x04, costStep)     // loop, if
	set(0x0c, 0x0d, costStep)     // br, br_if
	set(0x0e, 0x0e, costTable)    // br_table
	set(0x0f, 0x0f, costStep)     // return
	set(0x10, 0x10, costCall)     // call
	set(0x11, 0x11, costIndirect) // call_indirect
	set(0x1b, 0x1b, costStep)     // select
	set(0x23, 0x24, costStep)     // global.get, .set
	set(0x28, 0x3e, costMemory)   // loads and stores
	set(0x3f, 0x3f, costStep)     // memory.size
	set(0x40, 0x40, costBulk)     // memory.grow
	set(0x45, 0xc4, costStep)     // arithmetic
	set(0x6d, 0x70, costSlowInt)  // i32 division and remainder
	set(0x7f, 0x82, costSlowInt)  // i64 division and remainder
	for _, op := range []int{0x91, 0x95, 0x9f, 0xa3} {
		set(op, op, costSlowReal) // square root and division of floats
	}
	return t
}
