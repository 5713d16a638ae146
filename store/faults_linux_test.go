package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

// faultDir names the directory for a process that meets a fault of the system;
// which one, faultName says.
const (
	faultDir  = "AFFILIATE_STORE_FAULT_DIR"
	faultName = "AFFILIATE_STORE_FAULT"
)

var faults = map[string]func(dir string) error{
	"full disk": fullDisk, "full disk meanwhile": fullDiskMeanwhile, "read only": readOnly, "few files": fewFiles,
}

func meetFault(dir string) error { return faults[os.Getenv(faultName)](dir) }

// runFault runs a fault in a process of its own, and says whether it could.
func runFault(t *testing.T, name string, attr *syscall.SysProcAttr, dir string) (ran bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), faultDir+"="+dir, faultName+"="+name)
	cmd.SysProcAttr = attr
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Logf("%s can't be tried here: %v", name, err)
		return false
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v: %s", name, err, out.String())
	}
	return true
}

// ownMounts lets a process mount file systems that nobody else sees, and needs
// no rights where the system grants that.
func ownMounts() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// TestFullDisk fills a small file system: new work is refused, nothing is
// damaged, and all goes on once there is space.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"full disk", "full disk meanwhile"} {
		runFault(t, name, ownMounts(), t.TempDir())
	}
}

// smallDisk mounts a file system of that many megabytes.
func smallDisk(dir string, megabytes int) error {
	if err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		return fmt.Errorf("mounting: %w", err)
	}
	return nil
}

func openFault(dir string) (*Store, error) {
	return Open(Options{Dir: dir, Key: testKey}, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
}

// holding are objects that were acknowledged.
type holding map[agreement.Hash][]byte

func (h holding) put(s *Store, size int) error {
	o, p := randomObject(size)
	err := s.PutObject(context.Background(), o, bytes.NewReader(p))
	if err == nil {
		h[o.ID] = p
	}
	return err
}

// check reads everything.
func (h holding) check(s *Store) error {
	for id, want := range h {
		r, err := s.Payload(context.Background(), id, 0)
		if err != nil {
			return err
		}
		got, err := drainAll(r)
		if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("object %s differs: %w", id, err)
		}
	}
	v, err := s.Verify(context.Background(), nil)
	if err == nil && (v.Damaged+v.Mended+v.Strays != 0 || int(v.Objects) != len(h)) {
		err = fmt.Errorf("verified %+v, with %d objects", v, len(h))
	}
	return err
}

// refused is nil if the error has that code and says what to do.
func refused(what string, err error, code agreement.Code) error {
	var e *agreement.Error
	if !errors.As(err, &e) || e.Code != code || e.Hint == "" {
		return fmt.Errorf("%s: got %w, want %s with a hint", what, err, code)
	}
	return nil
}

// fill leaves that many bytes of a file system.
func fill(path string, left int64) error {
	free := freeBytes(filepath.Dir(path))
	info, err := os.Stat(path)
	if err == nil {
		free += info.Size()
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = f.Truncate(0)
	if err == nil && free > left {
		err = syscall.Fallocate(int(f.Fd()), 0, 0, free-left)
	}
	return errors.Join(err, f.Close())
}

func fullDisk(dir string) error {
	if err := smallDisk(dir, 256); err != nil {
		return err
	}
	s, err := openFault(filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	h, filler := holding{}, filepath.Join(dir, "filler")
	for _, size := range []int{1, 70_000, smallPayload, 5 * smallPayload} {
		if err := h.put(s, size); err != nil {
			return err
		}
	}
	if err := fill(filler, 0); err != nil {
		return err
	}
	change := typicalChange(agreement.ID{1}, 0)
	_, committed := s.Commit(context.Background(), change)
	err = errors.Join(
		refused("a small object", h.put(s, 10), agreement.CodeDiskFull), refused("a large object", h.put(s, 2*smallPayload), agreement.CodeDiskFull),
		refused("a change", committed, agreement.CodeDiskFull), refused("closing", s.Close(), agreement.CodeDiskFull),
		refused("opening another", tryOpen(Options{Dir: filepath.Join(dir, "other")}), agreement.CodeDiskFull),
		h.check(s),
	)
	if err != nil {
		return err
	}
	// With a little space only what frees more is taken.
	if err := fill(filler, (floor+freeingLeft)/2); err != nil {
		return err
	}
	var first agreement.Hash
	for first = range h {
		break
	}
	err = errors.Join(refused("an object", h.put(s, 10), agreement.CodeDiskFull), s.Purge(context.Background(), first, nil))
	if err != nil {
		return err
	}
	delete(h, first)
	if err := os.Remove(filler); err != nil {
		return err
	}
	if _, err := s.Commit(context.Background(), change); err != nil {
		return err
	}
	if err := errors.Join(h.put(s, 100), h.put(s, 2*smallPayload), h.check(s), s.Close()); err != nil {
		return err
	}
	return reopened(filepath.Join(dir, "data"), h)
}

func reopened(dir string, h holding) error {
	s, err := openFault(dir)
	if err != nil {
		return err
	}
	return errors.Join(s.sweep(context.Background()), h.check(s), s.Close())
}

// fullDiskMeanwhile has many writers fill a disk, and then one object that is
// larger than what is left.
func fullDiskMeanwhile(dir string) error {
	if err := smallDisk(dir, 320); err != nil {
		return err
	}
	s, err := openFault(filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	h := holding{}
	before := freeBytes(dir)
	if err := refused("larger than the disk", h.put(s, 400<<20), agreement.CodeDiskFull); err != nil {
		return err
	}
	if after := freeBytes(dir); before-after > 1<<20 {
		return fmt.Errorf("a put that failed left %d bytes", before-after)
	}
	all := make(chan holding, 8)
	var g errgroup.Group
	var stopped atomic.Int64
	for i := range cap(all) {
		g.Go(func() error {
			mine := holding{}
			for {
				err := mine.put(s, 60_000+i*60_000)
				if err == nil {
					continue
				}
				stopped.Add(1)
				all <- mine
				return refused("an object", err, agreement.CodeDiskFull)
			}
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	close(all)
	for mine := range all {
		for id, p := range mine {
			h[id] = p
		}
	}
	if err := errors.Join(s.sweep(context.Background()), h.check(s), s.Close()); err != nil {
		return err
	}
	return reopened(filepath.Join(dir, "data"), h)
}

// TestReadOnlyDirectory takes the right to make files away while the store is
// open. Root has every right, so that somebody else has to.
func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runFault(t, "read only", nil, dir)
}

// becomeNobody gives up the rights of root.
func becomeNobody(dir string) error {
	const nobody = 65534
	if os.Getuid() != 0 {
		return nil
	}
	return errors.Join(os.Chown(dir, nobody, nobody), syscall.Setgid(nobody), syscall.Setuid(nobody))
}

// writable gives the right to make files below a directory, or takes it.
func writable(dir string, yes bool) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if yes {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o500)
	})
}

func readOnly(dir string) error {
	if err := becomeNobody(dir); err != nil {
		return err
	}
	dir = filepath.Join(dir, "data")
	s, err := openFault(dir)
	if err != nil {
		return err
	}
	h := holding{}
	if err := errors.Join(h.put(s, 100), h.put(s, 2*smallPayload)); err != nil {
		return err
	}
	if err := writable(dir, false); err != nil {
		return err
	}
	err = errors.Join(refused("a large object", h.put(s, 2*smallPayload), agreement.CodeStore), h.check(s))
	if err != nil {
		return err
	}
	// Until the database needs a new file, it goes on.
	for err == nil {
		err = h.put(s, smallPayload)
	}
	if err := refused("the last", err, agreement.CodeStore); err != nil {
		return err
	}
	if err := refused("one more", h.put(s, 1), agreement.CodeStore); err != nil {
		return err
	}
	// The process ends here, for the store.
	if err := errors.Join(refused("opening it", openUnlocked(dir), agreement.CodeStore), writable(dir, true)); err != nil {
		return err
	}
	copied := dir + "-copied"
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		return err
	}
	return reopened(copied, h)
}

// openUnlocked opens a copy of the directory, which is as read-only.
func openUnlocked(dir string) error {
	copied := dir + "-read-only"
	if err := errors.Join(os.CopyFS(copied, os.DirFS(dir)), writable(copied, false)); err != nil {
		return err
	}
	return tryOpen(Options{Dir: copied, Key: testKey})
}

// TestFewFiles takes away the right to have more files open.
func TestFewFiles(t *testing.T) {
	t.Parallel()
	runFault(t, "few files", nil, t.TempDir())
}

// allow lets this process have at most that many more files open.
func allow(more int) error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	return limitFiles(uint64(len(open) - 1 + more))
}

// limitFiles sets the limit that the system puts on the numbers of new files.
// A limit of 0 refuses every one, whatever is open: it can be lifted without
// opening anything.
func limitFiles(n uint64) error {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return err
	}
	r.Cur = min(r.Max, n)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r)
}

func fewFiles(dir string) error {
	for _, few := range []int{8, 40} {
		err := errors.Join(allow(few), refused("opening", tryOpen(Options{Dir: filepath.Join(dir, "data"), Key: testKey}), agreement.CodeStore), limitFiles(math.MaxUint64))
		if err != nil {
			return err
		}
	}
	s, err := openFault(filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	h := holding{}
	if err := errors.Join(h.put(s, 100), h.put(s, 2*smallPayload), limitFiles(0)); err != nil {
		return err
	}
	err = errors.Join(refused("a large object", h.put(s, 2*smallPayload), agreement.CodeStore), h.put(s, 1000))
	if err != nil {
		return err
	}
	if err := errors.Join(limitFiles(math.MaxUint64), h.put(s, 2*smallPayload), h.check(s), s.Close()); err != nil {
		return err
	}
	return reopened(filepath.Join(dir, "data"), h)
}
