package blob

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// alone is set in a process of this test binary that runs one test alone,
// with mounts and limits of its own.
const alone = "AFFILIATE_BLOB_ALONE"

// inOwnProcess runs the test that calls it again in a process of its own
// that may mount, and reports whether this is that process. Mounts and limits
// end with it.
func inOwnProcess(t *testing.T, mounts bool) bool {
	t.Helper()
	if os.Getenv(alone) != "" {
		return true
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), alone+"=1")
	if mounts {
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		if os.Getuid() != 0 {
			cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		// A container without these rights. CI has them, and so has every user
		// of a system with user namespaces.
		t.Logf("NOT RUN: this user may not have mounts of its own: %v", err)
		return false
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// small mounts a file system in memory of so many bytes.
func small(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("payloads", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func wantError(t *testing.T, doing string, err error, code agreement.Code, hint string) {
	t.Helper()
	var e *agreement.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Hint, hint) {
		t.Errorf("%s: %v (%+v), want %s", doing, err, e, code)
	}
}

// With no room left, writing ends with its own code, what was there is whole,
// nothing of the new is there, and when there is room again all goes on.
func TestDiskFull(t *testing.T) {
	if !inOwnProcess(t, true) {
		return
	}
	dir := small(t, "size=4m")
	h := openFiles(t, dir)
	first, second := different(1, 1<<20), different(2, 2<<20)
	ids := []agreement.Hash{mustPut(t, h, first), mustPut(t, h, second)}
	if u := usage(t, h); u.Free > 1<<20 || u.Free < 512<<10 || u.Bytes != 3<<20 {
		t.Errorf("%+v is in use", u)
	}
	for _, size := range []int{1<<20 + 1, 5 << 20} {
		_, err := put(t.Context(), h, different(3, size))
		wantError(t, "put", err, agreement.CodeDiskFull, "free space on the file system of "+dir)
		sink := NewSink(t.Context(), h, 1000, 1<<30)
		_, err = io.Copy(sink, bytes.NewReader(different(3, size)))
		if _, ended := sink.Finish(); err == nil {
			err = ended
		}
		wantError(t, "sink", err, agreement.CodeDiskFull, "affiliate store stats")
		sink.Abort()
	}
	for i, want := range [][]byte{first, second} {
		if got := stored(t, h, ids[i], 0, 5<<20); !bytes.Equal(got, want) {
			t.Errorf("%d bytes are there", len(got))
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, unfinishedDir)); err != nil || len(left) != 0 {
		t.Errorf("unfinished files are left: %v, %v", left, err)
	}
	if err := h.Remove(t.Context(), ids[1]); err != nil {
		t.Fatal(err)
	}
	mustPut(t, h, different(3, 1<<20+1))
}

// The same when it isn't bytes that are lacking.
func TestNoFileLeft(t *testing.T) {
	if !inOwnProcess(t, true) {
		return
	}
	h := openFiles(t, small(t, "nr_inodes=10"))
	var err error
	for i := uint64(0); i < 20 && err == nil; i++ {
		_, err = put(t.Context(), h, different(i, 100))
	}
	wantError(t, "put", err, agreement.CodeDiskFull, "free space")
	for id := range list(t, h) {
		if got := hashOf(stored(t, h, id, 0, 1000)); got != id {
			t.Errorf("%s has the hash %s", id, got)
		}
	}
}

// A directory that turns read-only still serves what is in it.
func TestTurnsReadOnly(t *testing.T) {
	if !inOwnProcess(t, true) {
		return
	}
	dir := small(t, "size=4m")
	h := openFiles(t, dir)
	b := different(1, 1<<20)
	id := mustPut(t, h, b)
	if err := syscall.Mount("payloads", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=4m"); err != nil {
		t.Fatal(err)
	}
	_, err := put(t.Context(), h, different(2, 1000))
	wantError(t, "put", err, agreement.CodeStore, "mount it for writing")
	wantError(t, "remove", h.Remove(t.Context(), id), agreement.CodeStore, "mount it for writing")
	if err := h.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = openFiles(t, dir)
	if got := stored(t, h, id, 0, 2<<20); !bytes.Equal(got, b) || len(list(t, h)) != 1 || usage(t, h).Bytes != 1<<20 {
		t.Errorf("%d bytes are there", len(got))
	}
	if err := syscall.Mount("payloads", dir, "tmpfs", syscall.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t.Context(), h, different(2, 1000)); err != nil {
		t.Error(err)
	}
}

// With too few file descriptors nothing is damaged, and it goes on when there
// are some again.
func TestTooFewDescriptors(t *testing.T) {
	if !inOwnProcess(t, false) {
		return
	}
	dir := t.TempDir()
	h := openFiles(t, dir)
	id := mustPut(t, h, different(1, 100_000))
	w, err := h.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := different(2, 1000)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	limit := syscall.Rlimit{Cur: 64, Max: 64}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	var taken []*os.File
	for {
		f, err := os.Open(dir)
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	_, err = h.Open(t.Context(), id, 0, 1)
	wantError(t, "open", err, agreement.CodeStore, "LimitNOFILE")
	_, err = h.Create(t.Context())
	wantError(t, "create", err, agreement.CodeStore, "LimitNOFILE")
	wantError(t, "commit", w.Commit(hashOf(b)), agreement.CodeStore, "LimitNOFILE")
	for _, f := range taken {
		_ = f.Close()
	}
	if got := list(t, h); got[id] != 100_000 {
		t.Errorf("the list is %v", got)
	}
	mustPut(t, h, b)
}

// A limit on the size of a file is told apart from a full disk by its advice.
func TestFileSizeLimit(t *testing.T) {
	if !inOwnProcess(t, false) {
		return
	}
	h := openFiles(t, t.TempDir())
	limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	_, err := put(t.Context(), h, different(1, 1<<20+1))
	wantError(t, "put", err, agreement.CodeDiskFull, "ulimit -f")
	if n := len(list(t, h)); n != 0 {
		t.Errorf("%d payloads are there", n)
	}
	mustPut(t, h, different(1, 1<<20))
}
