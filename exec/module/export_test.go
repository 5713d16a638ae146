package module

// What the reference of the tests counts by.
const (
	CostRound = costStep
	BulkShift = bulkShift
	PageShift = pageShift
)

// CostOf is the cost of an instruction by its opcode, whose second byte counts
// if the first is 0xfc.
func CostOf(code []byte) int {
	switch {
	case code[0] != opPrefix:
		return int(costs[code[0]])
	case code[1] == 8 || code[1] == 10 || code[1] == 11: // memory.init, .copy, .fill
		return costBulk
	default:
		return costStep
	}
}
