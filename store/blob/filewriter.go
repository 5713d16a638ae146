package blob

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/affiliate-node/affiliate/agreement"
)

// flushEvery is how many bytes are written before the system is told to
// begin bringing them to disk, so that the disk works from the start and the
// end doesn't wait for all of it.
const flushEvery = 8 << 20

// fileWriter writes DIR/unfinished/NAME and gives it its place.
type fileWriter struct {
	ctx     context.Context //nolint:containedctx // a Writer is one operation
	home    *files
	name    string
	path    string
	file    *os.File
	size    int64
	flushed int64
	ended   bool
}

// Create begins a file.
func (f *files) Create(ctx context.Context) (Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &fileWriter{ctx: ctx, home: f, name: f.begin()}
	w.path = filepath.Join(f.dir, unfinishedDir, w.name)
	if err := w.open(); err != nil {
		f.end(w.name)
		return nil, f.failed("beginning a payload", err)
	}
	return w, nil
}

func (w *fileWriter) open() (err error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	w.file, err = os.OpenFile(w.path, flags, fileMode)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err = makeDir(filepath.Dir(w.path)); err == nil {
		w.file, err = os.OpenFile(w.path, flags, fileMode)
	}
	return err
}

// Write adds bytes.
func (w *fileWriter) Write(p []byte) (int, error) {
	if w.ended {
		return 0, os.ErrClosed
	}
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.file.Write(p)
	w.size += int64(n)
	if err != nil {
		return n, w.home.failed("writing a payload", err)
	}
	if w.size-w.flushed >= flushEvery {
		beginFlush(w.file, w.flushed, w.size-w.flushed)
		w.flushed = w.size
	}
	return n, nil
}

// Commit brings the bytes to disk, then the name.
func (w *fileWriter) Commit(id agreement.Hash) error {
	if w.ended {
		return os.ErrClosed
	}
	err := w.ctx.Err()
	if err == nil {
		err = w.file.Sync()
	}
	if err == nil {
		err = w.place(id)
	}
	if err != nil {
		w.Abort()
		return w.home.failed("finishing the payload of object "+id.String(), err)
	}
	return nil
}

// place renames the file.
func (w *fileWriter) place(id agreement.Hash) error {
	path := w.home.path(id)
	dir := filepath.Dir(path)
	if err := w.home.makeDurable(dir); err != nil {
		return err
	}
	changed := w.home.tally.changing(id)
	before := sizeOf(path)
	if err := os.Rename(w.path, path); err != nil {
		changed(0)
		return err
	}
	changed(w.size - before)
	w.ended = true
	w.home.end(w.name)
	_ = w.file.Close() // its bytes are on disk
	return syncDir(dir)
}

// Abort removes the file; what can't be removed is left to a sweep.
func (w *fileWriter) Abort() {
	if w.ended {
		return
	}
	w.ended = true
	_ = w.file.Close()
	_ = os.Remove(w.path)
	w.home.end(w.name)
}
