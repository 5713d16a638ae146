package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

func openFiles(t testing.TB, dir string) Home {
	t.Helper()
	h, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// fileOf returns the one file with a payload.
func fileOf(t testing.TB, dir string, id agreement.Hash) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "??", id.String()))
	if err != nil || len(found) != 1 {
		t.Fatalf("the files of %s are %v, %v", id, found, err)
	}
	return found[0]
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "payloads")
	testHome(t, 300_000, func(t testing.TB) Home { return openFiles(t, dir) })
	left, err := os.ReadDir(filepath.Join(dir, unfinishedDir))
	if err != nil || len(left) != 0 {
		t.Errorf("unfinished files are left: %v, %v", left, err)
	}
}

func TestFilesModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "payloads")
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // is taken from others
		t.Fatal(err)
	}
	mustPut(t, openFiles(t, dir), noise(1000))
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && (d.IsDir() && info.Mode().Perm() != 0o700 || !d.IsDir() && info.Mode().Perm() != 0o600) {
			t.Errorf("%s has mode %s", p, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFilesInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := openFiles(t, dir)
	if _, err := Files(dir); agreement.CodeOf(err) != agreement.CodeInUse {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	openFiles(t, dir)
}

func TestFilesWhereAFileIs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{path, filepath.Join(path, "below")} {
		if _, err := Files(dir); agreement.CodeOf(err) != agreement.CodeStore || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// What is left of a process that ended goes; what isn't ours stays.
func TestFilesLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := openFiles(t, dir)
	id := mustPut(t, h, noise(1000))
	if err := os.WriteFile(filepath.Join(dir, unfinishedDir, "LEFT"), noise(10), 0o600); err != nil {
		t.Fatal(err)
	}
	strange := []string{"lost+found/x", "ab/notes", "ab/" + id.String(), id.String()[:2] + "/" + id.String() + ".old", strings.ToUpper(id.String())}
	for _, name := range strange {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, noise(10), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := list(t, h); len(got) != 1 || got[id] != 1000 || usage(t, h).Bytes != 1000 {
		t.Errorf("the list is %v, %+v is in use", got, usage(t, h))
	}
	if _, err := os.Stat(filepath.Join(dir, unfinishedDir, "LEFT")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the leftover is there: %v", err)
	}
	for _, name := range strange {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// Whatever happens to a file is found when it is read, and repaired by
// writing it again.
func TestFilesDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := openFiles(t, dir)
	b := noise(7*GroupSize + 123)
	tree := treeOf(t, b)
	for name, damage := range map[string]func(path string) (at int, err error){
		"flipped": func(path string) (int, error) {
			at := rand.IntN(len(b))
			bad := bytes.Clone(b)
			bad[at] ^= 1 << rand.IntN(8)
			return at / GroupSize * GroupSize, os.WriteFile(path, bad, 0o600)
		},
		"truncated": func(path string) (int, error) {
			at := rand.IntN(len(b))
			return at / GroupSize * GroupSize, os.Truncate(path, int64(at))
		},
		"extended": func(path string) (int, error) { return len(b), os.Truncate(path, int64(len(b))+1) },
		"empty":    func(path string) (int, error) { return 0, os.Truncate(path, 0) },
		"missing":  func(path string) (int, error) { return 0, os.Remove(path) },
	} {
		mustPut(t, h, b)
		if got, err := get(t.Context(), tree, h, 0, -1); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("before %s: %v", name, err)
		}
		at, err := damage(fileOf(t, dir, tree.ID()))
		if err != nil {
			t.Fatal(err)
		}
		_, err = get(t.Context(), tree, h, 0, -1)
		if want := fmt.Sprintf("object %s is damaged at byte %d", tree.ID(), at); agreement.CodeOf(err) != agreement.CodeDamaged || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v instead of %q", name, err, want)
		}
	}
}

// Every answer of the file system becomes an error that says what to do.
func TestFilesErrors(t *testing.T) {
	t.Parallel()
	f := &files{dir: "/srv/payloads"}
	for no, want := range map[syscall.Errno]struct {
		code agreement.Code
		hint string
	}{
		syscall.ENOSPC: {agreement.CodeDiskFull, "free space"},
		syscall.EDQUOT: {agreement.CodeDiskFull, "quota"},
		syscall.EFBIG:  {agreement.CodeDiskFull, "ulimit -f"},
		syscall.EROFS:  {agreement.CodeStore, "mount it for writing"},
		syscall.EACCES: {agreement.CodeStore, "belong to the user"},
		syscall.EPERM:  {agreement.CodeStore, "belong to the user"},
		syscall.EMFILE: {agreement.CodeStore, "LimitNOFILE"},
		syscall.ENFILE: {agreement.CodeStore, "LimitNOFILE"},
		syscall.EIO:    {agreement.CodeStore, "/srv/payloads"},
	} {
		err := f.failed("writing", &fs.PathError{Op: "write", Path: "/srv/payloads/x", Err: no})
		var e *agreement.Error
		if !errors.As(err, &e) || e.Code != want.code || !strings.Contains(e.Hint, want.hint) || !errors.Is(err, no) {
			t.Errorf("%s: %v (%+v)", no, err, e)
		}
	}
}
