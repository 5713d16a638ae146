package testnet

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Step is one of the ten steps as it happened on one affiliate.
type Step struct {
	Step         int    `json:"step"` // 1 to 10
	Affiliate    string `json:"affiliate"`
	Agreement    string `json:"agreement"`
	Milliseconds int64  `json:"milliseconds"` // since the start of the run, after the build
	Result       string `json:"result"`
}

// Report prints what happens: steps to Out, and in JSON mode nothing else
// there; all other lines to Out or, in JSON mode, to Err.
type Report struct {
	Out, Err io.Writer
	JSON     bool

	mu    sync.Mutex // guards start and the writers
	start time.Time
}

// Begin starts the clock from which all times are counted.
func (r *Report) Begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.start = time.Now()
}

// Elapsed is the time since Begin, 0 before.
func (r *Report) Elapsed() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.elapsedLocked()
}

func (r *Report) elapsedLocked() time.Duration {
	if r.start.IsZero() {
		return 0
	}
	return time.Since(r.start)
}

// Line prints one line for people, with the time.
func (r *Report) Line(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := "        "
	if !r.start.IsZero() {
		at = seconds(r.elapsedLocked())
	}
	fmt.Fprintf(r.people(), "%s  %s\n", at, fmt.Sprintf(format, args...))
}

// Title prints a heading for people.
func (r *Report) Title(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.people(), "\n%s\n", fmt.Sprintf(format, args...))
}

func (r *Report) people() io.Writer {
	if r.JSON {
		return r.Err
	}
	return r.Out
}

// Step prints one of the ten steps. at is its time by the clock of this
// machine, short the number of the agreement for people.
func (r *Report) Step(s Step, at time.Time, short string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := max(0, at.Sub(r.start))
	s.Milliseconds = since.Milliseconds()
	if r.JSON {
		// A line that can't be written is the reader's loss: it has left.
		_ = json.NewEncoder(r.Out).Encode(s)
		return
	}
	fmt.Fprintf(r.Out, "%s  %-10s step %-2d  %-12s %s\n", seconds(since), short, s.Step, s.Affiliate, s.Result)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%7.3fs", d.Seconds()) }
