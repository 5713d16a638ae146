package exec

import (
	"encoding/binary"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/affiliate-node/affiliate/exec/module"
)

// moduleWASI is the module that WASI preview 1 is imported from.
const moduleWASI = "wasi_snapshot_preview1"

// Error numbers of WASI.
const (
	errnoSuccess = 0
	errnoBadFile = 8
	errnoFault   = 21
	errnoInvalid = 28
	errnoNoSys   = 52
)

// Limits of what one WASI call may ask for.
const (
	maxVectors       = 1024 // of fd_write
	maxSubscriptions = 1024 // of poll_oneoff
)

// wasiSignatures are all functions of WASI preview 1. Those that
// wasiFunctions doesn't have answer ENOSYS.
const wasiSignatures = `
args_get ii:i
args_sizes_get ii:i
clock_res_get ii:i
clock_time_get iIi:i
environ_get ii:i
environ_sizes_get ii:i
fd_advise iIIi:i
fd_allocate iII:i
fd_close i:i
fd_datasync i:i
fd_fdstat_get ii:i
fd_fdstat_set_flags ii:i
fd_fdstat_set_rights iII:i
fd_filestat_get ii:i
fd_filestat_set_size iI:i
fd_filestat_set_times iIIi:i
fd_pread iiiIi:i
fd_prestat_dir_name iii:i
fd_prestat_get ii:i
fd_pwrite iiiIi:i
fd_read iiii:i
fd_readdir iiiIi:i
fd_renumber ii:i
fd_seek iIii:i
fd_sync i:i
fd_tell ii:i
fd_write iiii:i
path_create_directory iii:i
path_filestat_get iiiii:i
path_filestat_set_times iiiiIIi:i
path_link iiiiiii:i
path_open iiiiiIIii:i
path_readlink iiiiii:i
path_remove_directory iii:i
path_rename iiiiii:i
path_symlink iiiii:i
path_unlink_file iii:i
poll_oneoff iiii:i
proc_exit i:
proc_raise i:i
random_get ii:i
sched_yield :i
sock_accept iii:i
sock_recv iiiiii:i
sock_send iiiii:i
sock_shutdown ii:i
`

// wasiSignature tells the type of one of WASI's functions.
func wasiSignature(name string) (module.Signature, bool) {
	s, ok := eachWASI()[name]
	return s, ok
}

// wasiFunctions are all of WASI's functions with fixed answers: no arguments,
// no environment, no files; one clock that shows the call's time, a random
// stream that is the same in every run, and a log for standard output and
// error. It is what stock Go needs to start.
func wasiFunctions() map[string]hostFunction {
	answers := map[string]func(*call, api.Memory, []uint64) uint64{
		"args_get":            func(*call, api.Memory, []uint64) uint64 { return errnoSuccess },
		"args_sizes_get":      wasiNoStrings,
		"environ_get":         func(*call, api.Memory, []uint64) uint64 { return errnoSuccess },
		"environ_sizes_get":   wasiNoStrings,
		"clock_res_get":       wasiResolution,
		"clock_time_get":      wasiTime,
		"fd_fdstat_get":       wasiFileStatus,
		"fd_prestat_get":      wasiBadFile, // what tells stock Go that no directory is open
		"fd_prestat_dir_name": wasiBadFile,
		"fd_write":            wasiWrite,
		"poll_oneoff":         wasiPoll,
		"proc_exit":           wasiExit,
		"random_get":          wasiRandom,
		"sched_yield":         func(*call, api.Memory, []uint64) uint64 { return errnoSuccess },
	}
	functions := make(map[string]hostFunction)
	for name, s := range eachWASI() {
		f := hostFunction{s, func(*call, api.Memory, []uint64) uint64 { return errnoNoSys }}
		if answer, ok := answers[name]; ok {
			f.run = answer
		}
		functions[name] = f
	}
	return functions
}

func putU32(m api.Memory, ptr uint64, v uint32) {
	binary.LittleEndian.PutUint32(view(m, ptr, 4), v)
}

func putU64(m api.Memory, ptr uint64, v int64) {
	binary.LittleEndian.PutUint64(view(m, ptr, 8), uint64(v)) //nolint:gosec // bits
}

func wasiNoStrings(_ *call, m api.Memory, a []uint64) uint64 {
	putU32(m, a[0], 0)
	putU32(m, a[1], 0)
	return errnoSuccess
}

func wasiResolution(_ *call, m api.Memory, a []uint64) uint64 {
	putU64(m, a[1], 1)
	return errnoSuccess
}

// Clocks of WASI. The realtime clock stands still at the call's time; the
// others start there and move only when the module waits.
const clockRealtime = 0

func (c *call) clock(id uint64) int64 {
	if uint32(id) == clockRealtime { //nolint:gosec // i32 argument
		return c.now
	}
	return c.now + c.waited
}

func wasiTime(c *call, m api.Memory, a []uint64) uint64 {
	putU64(m, a[2], c.clock(a[0]))
	return errnoSuccess
}

func standardStream(fd uint64) bool { return uint32(fd) <= 2 } //nolint:gosec // i32 argument

func wasiBadFile(*call, api.Memory, []uint64) uint64 { return errnoBadFile }

// wasiFileStatus says that standard streams are character devices.
func wasiFileStatus(_ *call, m api.Memory, a []uint64) uint64 {
	if !standardStream(a[0]) {
		return errnoBadFile
	}
	status := view(m, a[1], 24)
	clear(status)
	status[0] = 2 // character device
	return errnoSuccess
}

func wasiWrite(c *call, m api.Memory, a []uint64) uint64 {
	if !standardStream(a[0]) || uint32(a[0]) == 0 { //nolint:gosec // i32 argument
		return errnoBadFile
	}
	if uint32(a[2]) > maxVectors { //nolint:gosec // i32 argument
		return errnoInvalid
	}
	c.charge(uint64(uint32(a[2])) * costVector) //nolint:gosec // i32 argument
	total := uint64(0)
	for v := view(m, a[1], 8*a[2]); len(v) > 0; v = v[8:] {
		part := view(m, uint64(binary.LittleEndian.Uint32(v)), uint64(binary.LittleEndian.Uint32(v[4:])))
		c.charge(uint64(len(part)) * costByte)
		c.log.write(part)
		total += uint64(len(part))
	}
	putU32(m, a[3], uint32(total)) //nolint:gosec // as WASI has it
	return errnoSuccess
}

func wasiExit(_ *call, _ api.Memory, a []uint64) uint64 {
	panic(&exit{status: uint32(a[0])}) //nolint:gosec // i32 argument
}

// exit unwinds a module that called proc_exit.
type exit struct{ status uint32 }

func (e *exit) Error() string { return "proc_exit" }

func wasiRandom(c *call, m api.Memory, a []uint64) uint64 {
	b := view(m, a[0], a[1])
	c.charge(uint64(len(b)) * costByte)
	_, _ = c.random.chacha.Read(b) // never fails
	return errnoSuccess
}

// Sizes and kinds of poll_oneoff's subscriptions and events.
const (
	subscriptionSize = 48
	eventSize        = 32
	eventClock       = 0
	clockAbsolute    = 1
)

// wasiPoll waits without waiting: the earliest clock among the subscriptions
// goes off at once and the monotonic clock moves to it. Stock Go's garbage
// collector and timers call this.
func wasiPoll(c *call, m api.Memory, a []uint64) uint64 {
	n := uint32(a[2]) //nolint:gosec // i32 argument
	if n == 0 || n > maxSubscriptions {
		return errnoInvalid
	}
	c.charge(uint64(n) * subscriptionSize * costByte)
	subscriptions := append([]byte{}, view(m, a[0], uint64(n)*subscriptionSize)...)
	events := view(m, a[1], uint64(n)*eventSize)
	var due []byte // the subscription of the earliest clock
	earliest, count := int64(0), 0
	for s := subscriptions; len(s) > 0; s = s[subscriptionSize:] {
		if s[8] != eventClock {
			copy(events[count*eventSize:], event(s, errnoNoSys))
			count++
			continue
		}
		if wait := c.wait(s); due == nil || wait < earliest {
			due, earliest = s, wait
		}
	}
	if count == 0 {
		c.waited += earliest
		copy(events, event(due, errnoSuccess))
		count = 1
	}
	putU32(m, a[3], uint32(count)) //nolint:gosec // at most maxSubscriptions
	return errnoSuccess
}

// maxWait is the longest that the virtual clock moves for one call, ns.
const maxWait = int64(1) << 40

// wait is how long a clock subscription still has to wait.
func (c *call) wait(s []byte) int64 {
	id := binary.LittleEndian.Uint32(s[16:])
	timeout := int64(min(binary.LittleEndian.Uint64(s[24:]), 1<<62)) //nolint:gosec // bounded
	if binary.LittleEndian.Uint16(s[40:])&clockAbsolute != 0 {
		timeout -= c.clock(uint64(id))
	}
	return min(max(timeout, 0), maxWait)
}

func event(subscription []byte, errno byte) []byte {
	e := make([]byte, eventSize)
	copy(e, subscription[:8]) // the caller's own data
	e[8], e[10] = errno, subscription[8]
	return e
}

// eachWASI reads wasiSignatures.
func eachWASI() map[string]module.Signature {
	all := make(map[string]module.Signature)
	for line := range strings.Lines(strings.TrimSpace(wasiSignatures)) {
		name, s, _ := strings.Cut(strings.TrimSpace(line), " ")
		all[name] = module.Sig(s)
	}
	return all
}
