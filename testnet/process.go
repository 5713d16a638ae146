package testnet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tailLimit is how much of the end of a log is read to show its last lines,
// in bytes.
const tailLimit = 64 << 10

// killWait is how long a process may take to vanish after SIGKILL.
const killWait = 10 * time.Second

// Process is one child of the testnet, with its log in a file. It only ever
// signals the child that it started itself, by its process id.
type Process struct {
	Name string // for people, such as "affiliate-0"
	Path string // executable
	Args []string
	Log  string // file that collects stdout and stderr over all starts

	mu      sync.Mutex // guards all below
	cmd     *exec.Cmd
	done    chan struct{} // closed when the child has been waited for
	err     error         // of the last wait
	wanted  bool          // the child should be running
	peak    int64         // highest resident size seen, bytes, over all starts
	started int           // how often
}

// Start starts the child; one that runs already is an error.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runningLocked() {
		return fmt.Errorf("%s runs already", p.Name)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", p.Name, err)
	}
	defer log.Close() // the child has its own copy
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	// Its own group: Ctrl-C in the terminal reaches the testnet only, which
	// then ends its children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	p.cmd, p.done, p.err, p.wanted = cmd, make(chan struct{}), nil, true
	p.started++
	go p.wait(cmd, p.done)
	return nil
}

func (p *Process) wait(cmd *exec.Cmd, done chan struct{}) {
	err := cmd.Wait()
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(done)
}

func (p *Process) runningLocked() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Running reports whether the child is there.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runningLocked()
}

// Died reports, as an error, that the child ended although nobody asked it to.
func (p *Process) Died() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.wanted || p.runningLocked() {
		return nil
	}
	return &ProcessError{Process: p, Err: fmt.Errorf("%s ended by itself: %w", p.Name, exitError(p.err))}
}

func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// ProcessError is a failure that the log of one process explains.
type ProcessError struct {
	Process *Process
	Err     error
}

// Error gives the failure without the log.
func (e *ProcessError) Error() string { return e.Err.Error() }

// Unwrap returns the failure.
func (e *ProcessError) Unwrap() error { return e.Err }

// Kill ends the child with SIGKILL, as a crash or a power cut would, and
// returns when it is gone.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL, killWait) }

// Stop asks the child to end with SIGTERM and kills it after grace.
func (p *Process) Stop(grace time.Duration) error { return p.end(syscall.SIGTERM, grace) }

func (p *Process) end(sig syscall.Signal, grace time.Duration) error {
	p.PeakRSS()
	p.mu.Lock()
	p.wanted = false
	cmd, done, running := p.cmd, p.done, p.runningLocked()
	p.mu.Unlock()
	if !running {
		return nil
	}
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending %s: %w", p.Name, err)
	}
	if waitClosed(done, grace) {
		return nil
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s: %w", p.Name, err)
	}
	if !waitClosed(done, killWait) {
		return fmt.Errorf("%s is still there %s after SIGKILL", p.Name, killWait)
	}
	if sig == syscall.SIGKILL {
		return nil
	}
	return &ProcessError{Process: p, Err: fmt.Errorf("%s did not end within %s of SIGTERM", p.Name, grace)}
}

func waitClosed(done <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// PeakRSS is the highest resident size of the child so far, over all its
// starts, in bytes; 0 where the system doesn't tell (it takes /proc).
func (p *Process) PeakRSS() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runningLocked() {
		p.peak = max(p.peak, peakOf(p.cmd.Process.Pid))
	}
	return p.peak
}

func peakOf(pid int) int64 {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		rest, ok := strings.CutPrefix(line, "VmHWM:")
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err != nil {
			return 0
		}
		return kb << 10
	}
	return 0
}

// Pid is the child's process id, 0 when it isn't running.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runningLocked() {
		return 0
	}
	return p.cmd.Process.Pid
}

// Tail returns the last n lines of the log.
func (p *Process) Tail(n int) []string {
	f, err := os.Open(p.Log)
	if err != nil {
		return nil
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, err = f.Seek(max(0, size-tailLimit), io.SeekStart)
		if err != nil {
			return nil
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, tailLimit))
	if err != nil {
		return nil
	}
	var lines []string
	scan := bufio.NewScanner(bytes.NewReader(text))
	scan.Buffer(nil, tailLimit+1)
	for scan.Scan() {
		lines = append(lines, scan.Text())
	}
	return lines[max(0, len(lines)-n):]
}
