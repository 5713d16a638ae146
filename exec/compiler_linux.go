package exec

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// limitMemory lets this process allocate no more than so many bytes beside
// what it has, if the system can: one that needs more ends, and takes nothing
// else with it. It returns what takes the limit away.
func limitMemory(more uint64) (unlimited func()) {
	nothing := func() {}
	has, err := dataSize()
	if err != nil {
		return nothing
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &old); err != nil {
		return nothing
	}
	limit := unix.Rlimit{Cur: min(has+more, old.Cur), Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &limit); err != nil {
		return nothing
	}
	return func() { _ = unix.Setrlimit(unix.RLIMIT_DATA, &old) }
}

// dataSize is what the limit counts, in bytes, as proc_pid_status(5) has it.
func dataSize() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(status, []byte("\nVmData:"))
	number, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
	kilobytes, err := strconv.ParseUint(string(number), 10, 64)
	return kilobytes << 10, err
}
