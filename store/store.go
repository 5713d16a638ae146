// Package store owns everything durable of a node, in one Badger database:
// sealed objects, agreements with their effects and events, mail, records,
// contracts and cursors. It never opens what is sealed, and never interprets
// an agreement's state.
package store

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// KeySize is the length of Options.Key, in bytes.
const KeySize = 32

// DefaultMaxObjectSize is the largest sealed payload that is taken when
// Options says nothing, in bytes.
const DefaultMaxObjectSize = 4 << 30

// Badger's settings. A transaction may hold 15 % of the memtable, from which
// maxBatchEntries follows.
const (
	memTableSize     = 16 << 20
	blockCacheSize   = 16 << 20
	indexCacheSize   = 16 << 20
	valueThreshold   = 1 << 10 // larger values live in the value log
	valueLogFileSize = 128 << 20
)

// Options of a store.
type Options struct {
	Dir           string // made, with mode 0700, if it isn't there
	Key           []byte // KeySize bytes encrypt everything at rest; nil leaves it plain
	MaxObjectSize int64  // bytes of sealed payload; 0 means DefaultMaxObjectSize
	// Home is where payloads above a megabyte lie; nil means files in the
	// directory "payloads" of Dir. The store closes it.
	Home    blob.Home
	Budget  int64         // bytes on disk beyond which no new work is taken in; 0: none
	Reserve int64         // bytes of the file system that new work must leave free
	Grace   time.Duration // how long an object is left that nothing keeps; 0 means DefaultGrace
}

// DefaultGrace is how long an object that nothing keeps is left, when Options
// says nothing.
const DefaultGrace = 10 * time.Minute

// Store is the node's database. All methods may be called concurrently.
type Store struct {
	db        *badger.DB
	log       *slog.Logger
	maxObject int64

	// life guards db against being closed under a running operation: readers
	// and writers hold it shared, Close takes it alone. It comes before every
	// other lock.
	life   sync.RWMutex
	closed bool // guarded by life
	ended  chan struct{}

	queue committer

	mu      sync.Mutex    // guards mem and changed
	mem     memory        // what the last committed batch left
	changed chan struct{} // closed and replaced when mem.lastEvent grows

	puts inflight
	home blob.Home
	room room

	budget, reserve int64
	grace           time.Duration
	tombstone       func(Object, string, time.Time) ([]byte, error) // guarded by mu

	dir       string
	sinceTrim atomic.Int64  // bytes of values that were written or read
	trimDue   chan struct{} // holds one element when it is time
}

// memory is what the store keeps of its own content: totals that would take a
// scan to find out. Only the leader of the committer changes it.
type memory struct {
	lastEvent  uint64
	phases     map[string]int64
	inbox      int64 // messages
	inboxBytes int64
	kept       int64 // mails
	keptBytes  int64
}

// Open opens the store, or makes it if there is none. What a crash left of
// unfinished puts is removed by Run. Errors that an operator can act on are
// *agreement.Error with a hint: CodeInUse when another process has it open,
// CodeStore for the directory or the key, CodeDamaged for the files.
func Open(o Options, log *slog.Logger) (*Store, error) {
	if len(o.Key) != 0 && len(o.Key) != KeySize {
		return nil, agreement.Errorf(agreement.CodeStore, "opening the store: the key has %d bytes, not %d", len(o.Key), KeySize)
	}
	if err := prepareDir(o.Dir); err != nil {
		return nil, err
	}
	if o.Home == nil {
		var err error
		if o.Home, err = blob.Files(filepath.Join(o.Dir, "payloads")); err != nil {
			return nil, err
		}
	}
	db, err := openBadger(o, log)
	if err != nil {
		return nil, errors.Join(openError(o.Dir, err), o.Home.Close())
	}
	s := &Store{
		db: db, log: log, maxObject: o.MaxObjectSize, dir: o.Dir,
		home: o.Home, budget: o.Budget, reserve: o.Reserve, grace: cmp.Or(o.Grace, DefaultGrace),
		ended: make(chan struct{}), changed: make(chan struct{}), trimDue: make(chan struct{}, 1),
	}
	if s.maxObject <= 0 {
		s.maxObject = DefaultMaxObjectSize
	}
	s.queue.turn = make(chan struct{}, 1)
	s.puts.busy = map[agreement.Hash]chan struct{}{}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, db.Close(), o.Home.Close())
	}
	return s, nil
}

// SignTombstones says how the tombstone of an object is made that Run purges;
// without, none is left.
func (s *Store) SignTombstones(sign func(o Object, reason string, at time.Time) ([]byte, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tombstone = sign
}

// Close waits for running operations and closes the database. Later calls
// fail; a second Close does nothing.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.ended)
	if err := errors.Join(s.db.Close(), s.home.Close()); err != nil {
		return storeError("closing the store", err)
	}
	return nil
}

// load checks the format and fills the totals.
func (s *Store) load() error {
	if err := s.checkFormat(); err != nil {
		return err
	}
	if err := s.loadMemory(); err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	return nil
}

func (s *Store) checkFormat() error {
	var found uint64
	err := s.view(func(txn *badger.Txn) error {
		return getValue(txn, formatKey(), func(b []byte) (err error) { found, err = decodeNumber(b); return err })
	})
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return s.set(formatKey(), encodeNumber(formatVersion))
	case err != nil:
		return fmt.Errorf("opening the store: reading its format: %w", err)
	case found != formatVersion:
		return agreement.Errorf(agreement.CodeStore, "the store has format %d, and this program knows format %d", found, formatVersion).
			WithHint("run the version of affiliate that wrote it")
	}
	return nil
}

func prepareDir(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, ".probe-*"); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		return agreement.Errorf(agreement.CodeStore, "opening the store: can't write to its directory: %w", err).
			WithHint("let this user write to %s, or choose another home directory", dir)
	}
	return nil
}

func openBadger(o Options, log *slog.Logger) (db *badger.DB, err error) {
	// Badger asserts by panicking when its files make no sense.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errBadFiles, p)
		}
	}()
	if err := removeEmptyFiles(o.Dir); err != nil {
		return nil, err
	}
	return badger.Open(badger.DefaultOptions(o.Dir).
		WithSyncWrites(true).
		WithMetricsEnabled(false).
		WithMemTableSize(memTableSize).WithNumMemtables(2).
		WithNumLevelZeroTables(2).WithNumLevelZeroTablesStall(6).WithNumCompactors(2).
		WithBlockCacheSize(blockCacheSize).WithIndexCacheSize(indexCacheSize).
		WithValueThreshold(valueThreshold).WithValueLogFileSize(valueLogFileSize).
		WithChecksumVerificationMode(options.OnTableAndBlockRead).WithVerifyValueChecksum(true).
		WithEncryptionKey(o.Key).
		WithLogger(logger{log}))
}

var (
	errBadFiles = errors.New("its files make no sense")
	errInUse    = errors.New("its directory is locked")
)

func openError(dir string, err error) error {
	const doing = "opening the store"
	switch {
	// Badger formats the cause away, so its text is what there is to go by.
	case errors.Is(err, errInUse), strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return agreement.Errorf(agreement.CodeInUse, "%s: another process has %s open", doing, dir).
			WithHint("stop the other affiliate that runs on this home (its process id is in %s/LOCK)", dir)
	case errors.Is(err, badger.ErrEncryptionKeyMismatch),
		strings.Contains(err.Error(), badger.ErrEncryptionKeyMismatch.Error()):
		return agreement.Errorf(agreement.CodeStore, "%s: the key doesn't open %s", doing, dir).
			WithHint("use the keys and the setting store.encrypt that the store was made with")
	case errors.Is(err, os.ErrPermission):
		return agreement.Errorf(agreement.CodeStore, "%s: %w", doing, err).
			WithHint("let this user read and write everything in %s", dir)
	}
	return agreement.Errorf(agreement.CodeDamaged, "%s: %w", doing, err).
		WithHint("the files in %s are damaged or not a store; restore them from a backup", dir)
}

// storeError is how a failure of the database leaves this package.
func storeError(doing string, err error) error {
	var known *agreement.Error
	if errors.As(err, &known) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if errors.Is(err, badger.ErrDBClosed) {
		return agreement.Errorf(agreement.CodeStore, "%s: the store is closed", doing)
	}
	return agreement.Errorf(agreement.CodeStore, "%s: %w", doing, err).
		WithHint("see whether the disk of the store is full or failing")
}

func notFound(format string, args ...any) error {
	return agreement.Errorf(agreement.CodeNotFound, "%s: %w", fmt.Sprintf(format, args...), agreement.ErrNotFound)
}

func damaged(format string, args ...any) error {
	return agreement.Errorf(agreement.CodeDamaged, "%s: %w", fmt.Sprintf(format, args...), errDecode).
		WithHint("restore the store from a backup")
}

// logger lets Badger's warnings and errors through.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(f string, args ...any)   { l.log.Error(line(f, args), "part", "badger") }
func (l logger) Warningf(f string, args ...any) { l.log.Warn(line(f, args), "part", "badger") }
func (logger) Infof(string, ...any)             {}
func (logger) Debugf(string, ...any)            {}

func line(f string, args []any) string { return strings.TrimSpace(fmt.Sprintf(f, args...)) }

// shared runs fn while the database can't be closed.
func (s *Store) shared(fn func() error) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return badger.ErrDBClosed
	}
	return fn()
}

// view runs fn on a snapshot.
func (s *Store) view(fn func(*badger.Txn) error) error {
	return s.shared(func() error { return s.db.View(fn) })
}

// set writes one key, past the committer: for keys that nothing is decided on.
func (s *Store) set(key, value []byte) error {
	s.touched(int64(len(value)))
	err := s.shared(func() error {
		return s.db.Update(func(txn *badger.Txn) error { return txn.Set(key, value) })
	})
	if err != nil {
		return storeError("writing", err)
	}
	return nil
}

// getValue hands the value of key to fn, which must not keep it.
func getValue(txn *badger.Txn, key []byte, fn func([]byte) error) error {
	item, err := txn.Get(key)
	if err != nil {
		return err
	}
	return item.Value(fn)
}

// scan calls fn for every key with prefix, from start on (start has the
// prefix; nil begins with it), until fn returns false or an error.
func scan(txn *badger.Txn, prefix, start []byte, values bool, fn func(key []byte, item *badger.Item) (bool, error)) error {
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues, o.PrefetchSize = prefix, values, 16
	it := txn.NewIterator(o)
	defer it.Close()
	if start == nil {
		start = prefix
	}
	for it.Seek(start); it.ValidForPrefix(prefix); it.Next() {
		more, err := fn(it.Item().Key(), it.Item())
		if err != nil || !more {
			return err
		}
	}
	return nil
}
