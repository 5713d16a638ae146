package exec

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// Limits of what a contract says for people.
const (
	maxCode    = 64   // bytes of a FAIL's code
	maxMessage = 1024 // bytes of a FAIL's message
	maxLogLine = 4096 // bytes
)

// startTime is what the clocks show while a module initialises itself and in
// describe: the same for every run, so that one initialised module serves all
// of them.
var startTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// call is what the host knows about one function's run. One goroutine uses it.
type call struct {
	values       [3]map[string][]byte // by kind; what the function may see
	initialising bool                 // affiliate's functions are closed until _initialize has returned
	condition    bool                 // there may be no output
	outputLimit  int64
	at           int64 // the run's time, ns since 1970; 0: startTime

	now      int64        // what the realtime clock shows, ns since 1970
	waited   int64        // what waiting has added to the monotonic clock, ns
	random   randomStream // what random_get gives
	log      logBuffer    // for the author
	instance *instance    // that the call runs in
	budget   int64        // of fuel
	output   []byte       // the result
	done     bool         // there is a result
	fail     *contract.Failure

	traced bool
	room   int // calls that may be noted
	made   uint64
	calls  []HostCall
	asked  string // the name of the value that was asked for last
}

// randomStream is a stream that is the same in every run.
type randomStream struct{ chacha rand.ChaCha8 }

// newRandomStream seeds a stream from a module's hash.
func newRandomStream(module agreement.Hash) randomStream {
	return randomStream{*rand.NewChaCha8(sha256.Sum256(append([]byte("affiliate/random/1\x00"), module[:]...)))}
}

// newCall makes the call of a function.
func newCall(start *snapshot, outputLimit, logLimit int64) *call {
	return &call{
		outputLimit: outputLimit,
		now:         startTime.UnixNano(), waited: start.waited, random: start.random,
		log: logBuffer{left: int(logLimit)},
	}
}

// used is the fuel that the call has taken, in units.
func (c *call) used() uint64 {
	return uint64(c.budget - max(c.instance.left(), 0)) //nolint:gosec // never negative
}

// charge takes fuel for what the host does.
func (c *call) charge(units uint64) {
	left := c.instance.left() - int64(min(units, 1<<40)) //nolint:gosec // bounded
	c.instance.fuel.Set(uint64(left))                    //nolint:gosec // its bits
	if left < 0 {
		trap("out of fuel")
	}
}

// callKey finds the call in the context that the engine hands to the host's
// functions.
type callKey struct{}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// endOfFunction unwinds a module from within a host's function. It is a panic
// that never leaves the package: the engine hands it back as an error.
type endOfFunction struct{ why string }

func (e *endOfFunction) Error() string { return e.why }

// trap ends the function as a crash of the contract.
func trap(why string) { panic(&endOfFunction{why: why}) }

// end ends the function with a FAIL.
func (c *call) end(code, format string, args ...any) {
	c.fail = &contract.Failure{Code: code, Message: fmt.Sprintf(format, args...)}
	panic(&endOfFunction{why: code})
}

// cleanCode takes a contract's code if it is one: capitals, digits and
// underscores, and none of the engine's. Another becomes contract.CodeError,
// and stays in the message.
func cleanCode(code, message string) (string, string) {
	ok := code != "" && !slices.Contains(engineCodes(), code) && len(code) <= maxCode && code[0] >= 'A' && code[0] <= 'Z' &&
		strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
	if ok {
		return code, message
	}
	return contract.CodeError, cleanText(code+": "+message, maxMessage)
}

// cleanText makes one line that any terminal can show.
func cleanText(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, ""))
}

// logBuffer collects lines within a limit of bytes. What is beyond it is
// dropped, so that a flood costs time but no memory.
type logBuffer struct {
	lines   []string
	partial []byte // of a line whose end hasn't come
	left    int    // bytes that still have room
	full    bool
}

// lineCost is what a line takes besides its text, so that empty lines count.
const lineCost = 16

func (l *logBuffer) add(line string) {
	if l.full {
		return
	}
	line = cleanText(line, maxLogLine)
	if len(line)+lineCost > l.left {
		l.full = true
		return
	}
	l.left -= len(line) + lineCost
	l.lines = append(l.lines, line)
}

// write takes a stream, such as standard error, and cuts it into lines.
func (l *logBuffer) write(b []byte) {
	for _, c := range b {
		if l.full {
			return
		}
		if c == '\n' || len(l.partial) == maxLogLine {
			l.add(string(l.partial))
			l.partial = l.partial[:0]
		}
		if c != '\n' {
			l.partial = append(l.partial, c)
		}
	}
}

// lastWords finds the line in which stock Go says why it stops.
func (l *logBuffer) lastWords() string {
	for _, line := range slices.Backward(l.lines) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return line
		}
	}
	return ""
}

// all returns the lines; the last says so if some were dropped.
func (l *logBuffer) all() []string {
	if len(l.partial) > 0 {
		l.add(string(l.partial))
		l.partial = nil
	}
	if l.full {
		return append(l.lines, "(the log is full; the rest was dropped)")
	}
	return l.lines
}
