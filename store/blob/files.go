package blob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

const (
	dirMode  = 0o700
	fileMode = 0o600

	// unfinishedDir holds what is being written. It is in the same file
	// system as the payloads, so that a rename is all that is left to do.
	unfinishedDir = "unfinished"
)

// files is the home in a directory: DIR/ab/abcdef… for a payload whose hash
// begins with ab, and DIR/unfinished/… for what is being written.
type files struct {
	dir   string
	lock  *os.File // DIR, locked while the home is open
	tally tally

	mu      sync.Mutex
	running map[string]bool // guarded by mu: names in DIR/unfinished
	made    map[string]bool // guarded by mu: directories of payloads whose names are durable
}

// Files returns the home in a directory, which it makes if it isn't there
// (mode 0700, its files 0600). A directory that another process has open is
// CodeInUse. A directory that can only be read still serves what is in it.
func Files(dir string) (Home, error) {
	f := &files{dir: dir, running: map[string]bool{}, made: map[string]bool{}}
	if err := makeDir(dir); err != nil {
		return nil, f.failed("making the directory of payloads", err)
	}
	var err error
	if f.lock, err = os.Open(dir); err != nil {
		return nil, f.failed("opening the directory of payloads", err)
	}
	if err = f.secure(); err != nil {
		_ = f.lock.Close()
		return nil, err
	}
	return f, nil
}

// makeDir makes a directory and those above it, durably.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("there is a file of this name")}
		}
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeDir(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // only read
	return d.Sync()
}

// makeDurable makes a directory of payloads and its name durable, once in the
// life of the process: what another goroutine made a moment ago needn't be.
func (f *files) makeDurable(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made[dir] {
		return nil
	}
	err := makeDir(dir)
	if err == nil {
		err = syncDir(f.dir)
	}
	f.made[dir] = err == nil
	return err
}

// secure takes the lock, and the directory from other users.
func (f *files) secure() error {
	if err := lockFile(f.lock); errors.Is(err, errLocked) {
		return agreement.Errorf(agreement.CodeInUse, "another process uses the directory of payloads %s", f.dir).
			WithHint("stop the other node, or give this one a directory of its own")
	} else if err != nil {
		return f.failed("locking the directory of payloads", err)
	}
	info, err := f.lock.Stat()
	if err == nil && info.Mode().Perm()&^dirMode != 0 {
		err = f.lock.Chmod(dirMode)
	}
	if err != nil {
		return f.failed("taking the directory of payloads from other users", err)
	}
	return nil
}

func (f *files) path(id agreement.Hash) string {
	name := id.String()
	return filepath.Join(f.dir, name[:2], name)
}

// Open reads a range of a file.
func (f *files) Open(ctx context.Context, id agreement.Hash, offset, length int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := os.Open(f.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the payload of object %s: %w", id, agreement.ErrNotFound)
	}
	if err != nil {
		return nil, f.failed("opening the payload of object "+id.String(), err)
	}
	return &fileReader{home: f, id: id, file: file, offset: offset, end: offset + length}, nil
}

type fileReader struct {
	home        *files
	id          agreement.Hash
	file        *os.File
	offset, end int64
}

// Read gives the next bytes.
func (r *fileReader) Read(p []byte) (int, error) {
	if r.offset >= r.end {
		return 0, io.EOF
	}
	n, err := r.file.ReadAt(p[:min(int64(len(p)), r.end-r.offset)], r.offset)
	r.offset += int64(n)
	switch {
	case n > 0 || err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		return 0, io.EOF
	case isUnreadable(err):
		return 0, agreement.Errorf(agreement.CodeDamaged, "object %s is damaged at byte %d: the disk can't read it: %w", r.id, r.offset, err)
	}
	return 0, r.home.failed("reading the payload of object "+r.id.String(), err)
}

// Close closes the file.
func (r *fileReader) Close() error { return r.file.Close() }

// Remove removes a file, durably.
func (f *files) Remove(ctx context.Context, id agreement.Hash) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path := f.path(id)
	changed := f.tally.changing(id)
	size := sizeOf(path)
	err := os.Remove(path)
	if err != nil {
		size = 0
	}
	changed(-size)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return f.failed("removing the payload of object "+id.String(), err)
	}
	return nil
}

// sizeOf returns the size of a file, 0 if there is none.
func sizeOf(path string) int64 {
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// List goes through the directories one by one.
func (f *files) List(ctx context.Context, fn func(agreement.Hash, int64, time.Time) error) error {
	above, err := os.ReadDir(f.dir)
	if err != nil {
		return f.failed("listing payloads", err)
	}
	for _, d := range above {
		if !d.IsDir() || len(d.Name()) != 2 {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(f.dir, d.Name()))
		if err != nil {
			return f.failed("listing payloads", err)
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			id, err := agreement.ParseHash(e.Name())
			if err != nil || !e.Type().IsRegular() || f.path(id) != filepath.Join(f.dir, d.Name(), e.Name()) {
				continue // not ours
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				return f.failed("listing payloads", err)
			}
			if err := fn(id, info.Size(), info.ModTime()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Sweep removes what is in DIR/unfinished, but for what this process writes:
// no other one has the lock.
func (f *files) Sweep(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := filepath.Join(f.dir, unfinishedDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return f.failed("removing unfinished payloads", err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.mu.Lock()
		busy := f.running[e.Name()]
		f.mu.Unlock()
		if busy {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return f.failed("removing unfinished payloads", err)
		}
	}
	return nil
}

// Usage adds up the sizes of the files and asks the file system.
func (f *files) Usage(ctx context.Context) (Usage, error) {
	bytes, err := f.tally.total(func(add func(int64)) error {
		return f.List(ctx, func(_ agreement.Hash, size int64, _ time.Time) error { add(size); return nil })
	})
	if err != nil {
		return Usage{}, err
	}
	free, err := freeBytes(f.dir)
	if err != nil {
		return Usage{}, f.failed("asking for the free space", err)
	}
	return Usage{Bytes: bytes, Free: free}, nil
}

// Close gives the directory free.
func (f *files) Close() error { return errors.Join(unlockFile(f.lock), f.lock.Close()) }

// begin returns a new name in DIR/unfinished, which a sweep leaves alone
// until end.
func (f *files) begin() string {
	name := rand.Text()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running[name] = true
	return name
}

func (f *files) end(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, name)
}
