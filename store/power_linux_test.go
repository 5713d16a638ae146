package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// powerLosses is how often TestPowerLoss cuts the power; suite store-power sets
// it higher. The test needs root, and the commands mkfs.ext4 and mount.
var powerLosses = flag.Int("power-losses", someLosses, "how often TestPowerLoss takes away the disk's power")

const someLosses = 2

// powerDir names the directory for the process that has mounts of its own.
const powerDir = "AFFILIATE_STORE_POWER_DIR"

// TestPowerLoss takes away a file system while a process writes to it: what
// wasn't on the disk by then is gone, as when the power goes. It finds what
// was acknowledged, and nothing half.
func TestPowerLoss(t *testing.T) {
	if dir := os.Getenv(powerDir); dir != "" {
		losePower(t, dir)
		return
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil || os.Getuid() != 0 {
		t.Log("it can't be tried here: suite store-power says what it takes")
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPowerLoss$", "-test.v", fmt.Sprintf("-power-losses=%d", *powerLosses))
	cmd.Env = append(os.Environ(), powerDir+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

func losePower(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	disk, mounted := filepath.Join(dir, "disk"), filepath.Join(dir, "mounted")
	if err := errors.Join(os.Mkdir(mounted, 0o700), os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 2<<30)); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", "-F", disk)
	if out, err := exec.Command("mount", "-o", "loop", disk, mounted).CombinedOutput(); err != nil && *powerLosses == someLosses {
		t.Logf("it can't be tried here: %v: %s", err, out)
		return
	}
	command(t, "umount", mounted)
	a := newAcknowledged()
	for n := range *powerLosses {
		command(t, "mount", "-o", "loop", disk, mounted)
		before := a.lines
		exit := stopWriter(t, filepath.Join(mounted, "data"), a, func(p *os.Process) error {
			err := errors.Join(freeze(p), shutDown(mounted))
			_ = p.Kill() // unless an error of its disk has ended it
			return err
		})
		t.Logf("loss %d: %d lines, last event %d, %v", n, a.lines-before, a.lastEvent, exit)
		command(t, "umount", mounted)
		if n%5 == 4 || n == *powerLosses-1 {
			command(t, "mount", "-o", "loop", disk, mounted)
			a.check(t, filepath.Join(mounted, "data"))
			command(t, "umount", mounted)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d writes were acknowledged before the power went %d times, %d objects", a.lines, *powerLosses, len(a.objects))
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// freeze stops every thread of a process. What a thread waits for in the
// kernel comes to its end first: a file system that is shut down may tell a
// waiting fsync of a commit that it has given up that it was made.
func freeze(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid))
		if err != nil {
			return err
		}
		running := 0
		for _, path := range stats {
			stat, err := os.ReadFile(path)
			_, state, _ := bytes.Cut(stat, []byte(") "))
			if err == nil && !bytes.HasPrefix(state, []byte("T")) {
				running++
			}
		}
		if running == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d threads of the writer don't stop", running)
		}
		runtime.Gosched()
	}
}

// shutDown ends a file system at once: nothing more reaches its disk, not even
// its journal. The names are the kernel's, EXT4_IOC_SHUTDOWN and
// EXT4_GOING_FLAGS_NOLOGFLUSH in fs/ext4/ext4.h.
func shutDown(dir string) error {
	const (
		shutdown   = 0x8004587d // _IOR('X', 125, __u32)
		noLogFlush = 2
	)
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush)
}
