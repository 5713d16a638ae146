package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
)

// Names of Badger's files.
const (
	manifestFile = badger.ManifestFilename
	registryFile = badger.KeyRegistryFileName
	discardFile  = "DISCARD"
	tableExt     = ".sst"
	memoryExt    = ".mem"
	valueExt     = ".vlog"
)

// inspect looks at Badger's files before Badger does, so that damage is an
// error: Badger makes a new, empty database where the manifest is missing,
// deletes tables that the manifest doesn't list, and ends the process over
// tables whose ends make no sense. It reads all tables.
func inspect(settings badger.Options) error {
	lock, err := lockDir(settings.Dir)
	if err != nil {
		return err
	}
	defer unlockDir(lock) // gives the lock to Badger
	files, err := listFiles(settings.Dir)
	if err != nil {
		return err
	}
	if err := files.removeEmpty(settings.Dir); err != nil {
		return err
	}
	if err := checkDescriptors(len(files.tables) + len(files.logs)); err != nil {
		return err
	}
	if !files.manifest {
		if files.registry || len(files.tables)+len(files.logs) > 0 {
			return fmt.Errorf("%w: %s is missing", errBadFiles, manifestFile)
		}
		return nil // a new one
	}
	if err := checkRegistry(filepath.Join(settings.Dir, registryFile)); err != nil {
		return err
	}
	if err := checkDiscard(settings.Dir, files); err != nil {
		return err
	}
	return checkTables(settings, files)
}

// badgerFiles is what there is in the directory.
type badgerFiles struct {
	manifest, registry bool
	tables             []uint64         // numbers
	logs               []string         // names, of memtables and values
	empty              []string         // names of logs of no length
	values             map[uint64]int64 // number to size
}

// listFiles reads the directory. While the database is open, files may come and
// go, and a new log has no length for a moment.
func listFiles(dir string) (f badgerFiles, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return f, err
	}
	f.values = map[uint64]int64{}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		number, bad := strconv.ParseUint(strings.TrimSuffix(e.Name(), ext), 10, 32)
		switch {
		case e.Name() == manifestFile:
			f.manifest = true
		case e.Name() == registryFile:
			f.registry = true
		case ext == tableExt && bad == nil:
			f.tables = append(f.tables, number)
		case ext == memoryExt || ext == valueExt:
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				return f, err
			}
			f.addLog(e.Name(), ext, number, info.Size())
		}
	}
	return f, nil
}

func (f *badgerFiles) addLog(name, ext string, number uint64, size int64) {
	if size == 0 {
		f.empty = append(f.empty, name)
		return
	}
	f.logs = append(f.logs, name)
	if ext == valueExt {
		f.values[number] = size
	}
}

// newestValues is the number of the file of the value log that is written to.
func (f *badgerFiles) newestValues() (newest uint64) {
	for n := range f.values {
		newest = max(newest, n)
	}
	return newest
}

// removeEmpty removes log files of no length. Badger leaves one when it is
// killed between making a file and filling it, or between emptying and
// deleting it, and then refuses to open (dgraph-io/badger #2207). Nobody may
// have the database open.
func (f *badgerFiles) removeEmpty(dir string) error {
	for _, name := range f.empty {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// spareDescriptors is how many files a store may have to open beyond those
// that it has.
const spareDescriptors = 64

// checkDescriptors makes sure that all files can be open at once: Badger ends
// the process where some of them can't be.
func checkDescriptors(files int) error {
	limit, used, ok := descriptors()
	if ok && files+spareDescriptors > limit-used {
		return fmt.Errorf("%w: the store needs %d, and %d of %d are in use", errDescriptors, files+spareDescriptors, used, limit)
	}
	return nil
}

// checkRegistry makes sure that the keys in KEYREGISTRY have the lengths that
// they are said to have: Badger allocates what it reads there.
func checkRegistry(path string) error {
	const (
		head = 16 + len("Hello Badger") // initialisation vector and a text
		most = 1 << 20
	)
	b, err := readSmall(path, most)
	if err != nil {
		return err
	}
	if len(b) < head {
		return fmt.Errorf("%w: %s has %d bytes", errBadFiles, registryFile, len(b))
	}
	for b = b[head:]; len(b) > 0; {
		if len(b) < 8 || uint64(len(b)-8) < uint64(binary.BigEndian.Uint32(b)) {
			return fmt.Errorf("%w: %s ends in the middle of a key", errBadFiles, registryFile)
		}
		b = b[8+binary.BigEndian.Uint32(b):]
	}
	return nil
}

func readSmall(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%w: %s has %d bytes", errBadFiles, filepath.Base(path), info.Size())
	}
	return os.ReadFile(path)
}

// Of Badger's statistics of dead values, in bytes.
const (
	discardSlot  = 16 // number of the file, dead bytes in it
	discardLeast = 1 << 20
	discardMost  = 64 << 20
)

// checkDiscard makes Badger's statistics of dead values anew when they make no
// sense, where Badger would search them for ever, and where the process didn't
// end by itself: they are never synced, and what isn't counted once never is.
// What is made says of each file that a byte of it is dead, or what was known,
// so that the next compaction rewrites it.
func checkDiscard(dir string, files badgerFiles) error {
	path := filepath.Join(dir, discardFile)
	b, err := readSmall(path, discardMost)
	if err != nil && !errors.Is(err, errBadFiles) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	sound := err == nil && len(b) >= discardLeast && len(b)%discardSlot == 0 && plausible(b, files.values)
	if sound && !files.unclean() || len(files.values) == 0 && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	dead := map[uint64]uint64{}
	if sound {
		dead = deadBytes(b)
	}
	out := make([]byte, max(discardLeast, (len(files.values)+1)*discardSlot))
	for i, number := range slices.Sorted(maps.Keys(files.values)) {
		binary.BigEndian.PutUint64(out[i*discardSlot:], number)
		binary.BigEndian.PutUint64(out[i*discardSlot+8:], max(1, dead[number]))
	}
	if err := os.WriteFile(path+".new", out, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// unclean reports whether the process that had the database didn't close it.
func (f *badgerFiles) unclean() bool {
	return slices.ContainsFunc(f.logs, func(name string) bool { return filepath.Ext(name) == memoryExt })
}

// deadBytes reads the statistics, by the number of the file.
func deadBytes(b []byte) map[uint64]uint64 {
	dead := map[uint64]uint64{}
	for ; len(b) >= discardSlot && binary.BigEndian.Uint64(b) != 0; b = b[discardSlot:] {
		dead[binary.BigEndian.Uint64(b)] = binary.BigEndian.Uint64(b[8:])
	}
	return dead
}

// plausible reports whether each slot up to the first empty one has a file
// number of its own, and no more bytes than the file could have had.
func plausible(b []byte, values map[uint64]int64) bool {
	seen := map[uint64]bool{}
	for ; len(b) > 0; b = b[16:] {
		number, dead := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
		if number == 0 {
			return true
		}
		if _, there := values[number]; seen[number] || number > 1<<32-1 || there && dead > 4*valueLogFileSize {
			return false
		}
		seen[number] = true
	}
	return false
}

// checkTables reads all tables that the manifest lists, and sets aside those
// that it doesn't.
func checkTables(settings badger.Options, files badgerFiles) error {
	manifest, err := readManifest(settings)
	if err != nil {
		return err
	}
	registry, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{
		Dir: settings.Dir, ReadOnly: true, EncryptionKey: settings.EncryptionKey,
	})
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(2)
	for number, t := range manifest.Tables {
		path := tablePath(settings.Dir, number)
		if !slices.Contains(files.tables, number) {
			return fmt.Errorf("%w: %s is missing", errBadFiles, filepath.Base(path))
		}
		g.Go(func() error { return guarded(func() error { return checkTable(path, t, registry) }) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	gone, err := removedTables(settings.Dir)
	if err != nil {
		return err
	}
	for _, number := range files.tables {
		if _, listed := manifest.Tables[number]; listed || gone(number) {
			continue // Badger deletes those that are gone
		}
		if err := setAside(settings.Dir, filepath.Base(tablePath(settings.Dir, number))); err != nil {
			return err
		}
	}
	return nil
}

// removedTables tells which tables the manifest has listed and then taken off:
// a crash may have left them, and they have rows that nothing has any more.
func removedTables(dir string) (gone func(number uint64) bool, err error) {
	b, err := readSmall(filepath.Join(dir, manifestFile), maxManifestFile)
	if err != nil {
		return nil, err
	}
	const head = 8 // magic and versions; before each set of changes its length and checksum
	removed, before := map[uint64]bool{}, uint64(0)
	for at := head; at+head <= len(b); {
		size := int(binary.BigEndian.Uint32(b[at:]))
		if size > len(b)-at-head {
			break // a crash cut it short
		}
		var set pb.ManifestChangeSet
		if err := proto.Unmarshal(b[at+head:at+head+size], &set); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", errBadFiles, manifestFile, err)
		}
		for _, c := range set.Changes {
			switch {
			case c.Op == pb.ManifestChange_DELETE:
				removed[c.Id] = true
			case at == head: // it was written anew, and begins with all that there was then
				before = max(before, c.Id)
			}
		}
		at += head + size
	}
	return func(number uint64) bool { return removed[number] || number < before }, nil
}

// maxManifestFile bounds the manifest, which Badger writes anew after ten
// thousand tables that came and went, in bytes.
const maxManifestFile = 64 << 20

func readManifest(settings badger.Options) (badger.Manifest, error) {
	f, err := os.Open(filepath.Join(settings.Dir, manifestFile))
	if err != nil {
		return badger.Manifest{}, err
	}
	defer func() { _ = f.Close() }() // only read
	m, _, err := badger.ReplayManifestFile(f, 0, settings)
	return m, err
}

func tablePath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%06d%s", number, tableExt))
}
