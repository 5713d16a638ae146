package exec

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/tetratelabs/wazero"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/exec/module"
)

// loadedModule is a module that is compiled in memory.
type loadedModule struct {
	hash     agreement.Hash
	compiled wazero.CompiledModule
	mutable  []string    // exports of its mutable globals
	start    *snapshot   // what its instances begin with
	contract *Contract   // once it has described itself
	idle     []*instance // of runs that are over, as the snapshot has them
	size     int64       // bytes that it takes
	users    int         // runs that need it now
	used     uint64      // when it was last asked for, in requests
}

// loadedModules are the modules that are compiled in memory, within a limit of
// bytes that only modules in use may exceed. The engine's lock guards it.
type loadedModules struct {
	byHash   map[agreement.Hash]*loadedModule
	limit    int64
	size     int64
	maxIdle  int // instances of all modules that wait for their next run, with up to maxDirty pages each
	requests uint64
}

// loadedSize is what a module takes while it is loaded, in bytes: native code,
// what the engine knows of it, its image, and open files, mappings and address
// space, of which a system has so many.
func loadedSize(wasm int, native int64, image uint64) int64 {
	if native == 0 {
		native = 4 * int64(wasm) // as for stock Go
	}
	return native + 2*int64(wasm) + int64(image) + 256<<10 //nolint:gosec // at most maxImage
}

// find returns a module and makes the caller one of its users.
func (l *loadedModules) find(hash agreement.Hash) *loadedModule {
	m := l.byHash[hash]
	if m != nil {
		l.requests++
		m.used, m.users = l.requests, m.users+1
	}
	return m
}

// makeRoom drops the modules that were not used for longest, until one of the
// given size fits or all others are in use.
func (l *loadedModules) makeRoom(ctx context.Context, size int64) {
	for l.size+size > l.limit {
		hash, oldest := l.oldest()
		if oldest == nil {
			return
		}
		oldest.close(ctx)
		l.size -= oldest.size
		delete(l.byHash, hash)
	}
}

// add takes a new module and makes the caller its user.
func (l *loadedModules) add(hash agreement.Hash, m *loadedModule) *loadedModule {
	l.byHash[hash] = m
	l.size += m.size
	return l.find(hash)
}

// close gives back what a module has in memory.
func (m *loadedModule) close(ctx context.Context) {
	for _, i := range m.idle {
		i.close(ctx)
	}
	if m.start != nil {
		m.start.image.close()
	}
	_ = m.compiled.Close(ctx) // frees memory; it has no way to fail
}

// keep has an instance wait for the module's next run. It returns one that has
// to give way, if there is one.
func (l *loadedModules) keep(m *loadedModule, i *instance) *instance {
	m.idle = append(m.idle, i)
	idle, oldest := 0, m
	for _, other := range l.byHash {
		if idle += len(other.idle); len(other.idle) > 0 && other.used < oldest.used {
			oldest = other
		}
	}
	if idle <= l.maxIdle {
		return nil
	}
	first := oldest.idle[0]
	oldest.idle = oldest.idle[1:]
	return first
}

func (l *loadedModules) oldest() (agreement.Hash, *loadedModule) {
	var hash agreement.Hash
	var oldest *loadedModule
	for h, m := range l.byHash {
		if m.users == 0 && (oldest == nil || m.used < oldest.used) {
			hash, oldest = h, m
		}
	}
	return hash, oldest
}

// moduleFiles keeps the modules that were loaded, so that one which was
// dropped from memory can be compiled again: on disk, in memory where there is
// no directory.
type moduleFiles struct {
	dir, native string // of modules, and of their native code

	mu     *sync.Mutex // guards memory
	memory map[agreement.Hash][]byte
}

// openModuleFiles makes the directories, which nobody else may read or write:
// the native code in them is run as it is.
func openModuleFiles(cacheDir string) (moduleFiles, error) {
	f := moduleFiles{mu: new(sync.Mutex), memory: make(map[agreement.Hash][]byte)}
	if cacheDir == "" {
		return f, nil
	}
	version := filepath.Join(cacheDir, versionDirectory())
	f.dir, f.native = filepath.Join(version, "modules"), filepath.Join(version, "native")
	for _, dir := range []string{cacheDir, version, f.dir, f.native} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return f, fmt.Errorf("making the cache of compiled modules: %w", err)
		}
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory
			return f, fmt.Errorf("closing the cache of compiled modules to others: %w", err)
		}
	}
	return f, errors.Join(removeOthers(cacheDir, version), f.tidy())
}

// versionDirectory is where a cache keeps what this version made.
func versionDirectory() string {
	return fmt.Sprintf("wazero-%s-rules-%d", engineVersion, module.Version)
}

// cacheLimit bounds what a cache keeps from one start of the node to the next,
// in bytes.
const cacheLimit = 1 << 30

// tidy empties a cache that has grown over its limit; its contracts are
// compiled again when they are needed.
func (f moduleFiles) tidy() error {
	var size int64
	err := filepath.WalkDir(filepath.Dir(f.dir), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("measuring the cache of compiled modules: %w", err)
	}
	if size <= cacheLimit {
		return nil
	}
	return errors.Join(empty(f.native), empty(f.dir))
}

// clearNative removes all native code.
func (f moduleFiles) clearNative() error {
	if f.native == "" {
		return nil
	}
	directories, err := filepath.Glob(filepath.Join(f.native, "*"))
	for _, d := range directories {
		err = errors.Join(err, empty(d))
	}
	return err
}

// empty removes what is in a directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clearing the cache of compiled modules: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("clearing the cache of compiled modules: %w", err)
		}
	}
	return nil
}

// removeOthers removes what other versions of the engine left.
func removeOthers(cacheDir, version string) error {
	versions, err := filepath.Glob(filepath.Join(cacheDir, "wazero-*"))
	if err != nil {
		return fmt.Errorf("reading the cache of compiled modules: %w", err)
	}
	for _, v := range versions {
		if v == version {
			continue
		}
		if err := os.RemoveAll(v); err != nil {
			return fmt.Errorf("clearing the cache of compiled modules: %w", err)
		}
	}
	return nil
}

// keep stores a module under its hash, whole or not at all.
func (f moduleFiles) keep(hash agreement.Hash, wasm []byte) error {
	if f.dir == "" {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.memory[hash] = wasm
		return nil
	}
	path := filepath.Join(f.dir, hash.String())
	if info, err := os.Stat(path); err == nil && info.Size() == int64(len(wasm)) {
		return nil
	}
	temp, err := os.CreateTemp(f.dir, "new-*")
	if err != nil {
		return fmt.Errorf("keeping a module: %w", err)
	}
	_, err = temp.Write(wasm)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return fmt.Errorf("keeping a module: %w", err)
	}
	return nil
}

// read returns a module that was kept. One that is damaged is forgotten.
func (f moduleFiles) read(hash agreement.Hash) ([]byte, error) {
	unknown := agreement.Errorf(agreement.CodeUnknownContract, "the module %s isn't loaded", hash)
	if f.dir == "" {
		f.mu.Lock()
		defer f.mu.Unlock()
		if wasm, ok := f.memory[hash]; ok {
			return wasm, nil
		}
		return nil, unknown
	}
	path := filepath.Join(f.dir, hash.String())
	wasm, err := os.ReadFile(path) //nolint:gosec // our own directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil, unknown
	} else if err != nil {
		return nil, fmt.Errorf("reading a module: %w", err)
	}
	if agreement.Hash(sha256.Sum256(wasm)) != hash {
		_ = os.Remove(path)
		return nil, agreement.Errorf(agreement.CodeDamaged, "the kept module %s is damaged", hash).
			WithHint("it was removed from the cache; load the contract again")
	}
	return wasm, nil
}
