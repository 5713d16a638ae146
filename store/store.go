// Package store owns everything durable of a node: sealed objects, agreements
// with their effects and events, mail, records, contracts and cursors, in one
// Badger database, and the payloads of large objects in a home beside it. It
// never opens what is sealed, and never interprets an agreement's state.
package store

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// KeySize is the length of Options.Key, in bytes.
const KeySize = 32

// DefaultMaxObjectSize is the largest sealed payload that is taken when
// Options says nothing, in bytes.
const DefaultMaxObjectSize = 4 << 30

// DefaultGrace is how long an object that nothing keeps is left, when Options
// says nothing.
const DefaultGrace = 10 * time.Minute

// DefaultCompactAfter is how long after a purge Run compacts the database, when
// Options says nothing.
const DefaultCompactAfter = 24 * time.Hour

// Options of a store.
type Options struct {
	Dir           string // made, with mode 0700, if it isn't there
	Key           []byte // KeySize bytes encrypt the database at rest; nil leaves it plain
	MaxObjectSize int64  // bytes of sealed payload; 0 means DefaultMaxObjectSize
	// Home is where payloads above 128 KiB lie; nil means files in the
	// directory "payloads" of Dir. The store closes it.
	Home    blob.Home
	Budget  int64         // bytes on disk beyond which no new work is taken in; 0: none
	Reserve int64         // bytes of the file system that new work must leave free
	Grace   time.Duration // how long an object is left that nothing keeps; 0 means DefaultGrace
	// CompactAfter is how long after a purge Run compacts the database; 0 means
	// DefaultCompactAfter.
	CompactAfter time.Duration
}

// Store is the node's database. All methods may be called concurrently.
type Store struct {
	db        *badger.DB
	log       *slog.Logger
	maxObject int64
	id        agreement.UUID

	// life guards db against being closed under a running operation: readers
	// and writers hold it shared, not twice, and Close takes it alone. It comes
	// before every other lock but that of a backup.
	life    sync.RWMutex
	closed  bool          // guarded by life
	ending  chan struct{} // closed once Close begins
	endOnce sync.Once

	queue  committer
	broken atomic.Pointer[error] // why nothing is written any more
	stuck  atomic.Bool           // Badger may hold a lock for ever, since it panicked
	high   highWater

	mu        sync.Mutex    // guards mem, changed and tombstone
	mem       memory        // what the last committed batch left
	changed   chan struct{} // closed and replaced when mem.lastEvent grows
	tombstone func(Object, string, time.Time) ([]byte, error)

	puts    inflight
	home    blob.Home
	room    room
	backups backups

	rewriting    sync.Mutex    // held while files of the value log are rewritten
	purges       atomic.Uint64 // since the store was opened
	compactAfter time.Duration
	compactNext  time.Time // when Run may compact again; its own

	dir             string
	free            func() int64 // bytes that the database's file system has left; -1: unknown
	budget, reserve int64
	grace           time.Duration
	soundUntil      atomic.Int64 // nanoseconds since 1970: how long the tables count as checked

	sinceTrim atomic.Int64  // bytes of values that were written or read
	trimDue   chan struct{} // holds one element when it is time
}

// Open opens the store, or makes it if there is none. All of the database's
// tables are read and checked. What a crash left of unfinished puts is removed
// by Run. Errors that an operator can act on are *agreement.Error with a hint:
// CodeInUse when another process has it open, CodeStore for the directory or
// the key, CodeDiskFull, CodeDamaged for the files.
func Open(o Options, log *slog.Logger) (*Store, error) {
	s, err := open(o, log)
	if err != nil && o.Home != nil {
		err = errors.Join(err, o.Home.Close())
	}
	return s, err
}

func open(o Options, log *slog.Logger) (*Store, error) {
	if len(o.Key) != 0 && len(o.Key) != KeySize {
		return nil, agreement.Errorf(agreement.CodeStore, "opening the store: the key has %d bytes, not %d", len(o.Key), KeySize)
	}
	if err := prepareDir(o.Dir); err != nil {
		return nil, openError(o.Dir, err)
	}
	if free := freeBytes(o.Dir); free >= 0 && free < badgerNeeds {
		return nil, openError(o.Dir, agreement.Errorf(agreement.CodeDiskFull, "the disk has %d bytes left, and it may take %d", free, int64(badgerNeeds)).
			WithHint("free space on the disk of %s", o.Dir))
	}
	to := &logger{log: log}
	var db *badger.DB
	err := whileInUse(func() (err error) {
		if db, err = openBadger(o, to); err != nil {
			err = openError(o.Dir, err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s := &Store{
		db: db, log: log, home: o.Home, dir: o.Dir,
		maxObject: cmp.Or(max(0, o.MaxObjectSize), DefaultMaxObjectSize), grace: cmp.Or(o.Grace, DefaultGrace),
		compactAfter: cmp.Or(o.CompactAfter, DefaultCompactAfter),
		budget:       o.Budget, reserve: o.Reserve, free: func() int64 { return freeBytes(o.Dir) },
		ending: make(chan struct{}), changed: make(chan struct{}), trimDue: make(chan struct{}, 1),
	}
	s.queue.turn = make(chan struct{}, 1)
	s.puts.busy = map[agreement.Hash]chan struct{}{}
	fail := s.fail
	to.bad.Store(&fail)
	if err := s.load(); err != nil {
		return nil, errors.Join(openError(o.Dir, err), db.Close())
	}
	if s.home == nil {
		err = whileInUse(func() (err error) { s.home, err = blob.Files(filepath.Join(o.Dir, "payloads")); return err })
		if err != nil {
			return nil, errors.Join(err, s.high.close(), db.Close())
		}
	}
	return s, nil
}

// whileInUse tries again for a moment: a process that ends has its locks a
// little longer, and so has one that this process is just starting.
func whileInUse(fn func() error) error {
	const tries, pause = 10, 20 * time.Millisecond
	var err error
	for range tries {
		if err = fn(); agreement.CodeOf(err) != agreement.CodeInUse || err == nil {
			break
		}
		time.Sleep(pause)
	}
	return err
}

// ID names the store. It is made with it, and a restored one gets another.
func (s *Store) ID() agreement.UUID { return s.id }

// SignTombstones says how the tombstone of an object is made that Run purges;
// without, none is left.
func (s *Store) SignTombstones(sign func(o Object, reason string, at time.Time) ([]byte, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tombstone = sign
}

// How long Close waits for Badger, which tries for ever where it can't write,
// and then where it has panicked.
const (
	closeTime      = 2 * time.Minute
	closeTimeStuck = 5 * time.Second
)

// Close waits for running operations and closes the database. Later calls
// fail; a second Close does nothing. Where the disk has no room for what is
// still in memory it is CodeDiskFull and the store stays open; a process that
// ends then loses nothing, as after a crash.
func (s *Store) Close() error {
	if err := s.roomToClose(); err != nil {
		return err
	}
	s.endOnce.Do(func() { close(s.ending) })
	s.backups.turn.Lock() // a backup ends by itself now
	defer s.backups.turn.Unlock()
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	wait := closeTime
	if s.stuck.Load() {
		wait = closeTimeStuck
	}
	done := make(chan error, 1)
	go func() { done <- guarded(s.db.Close) }()
	var err error
	select {
	case err = <-done:
	case <-time.After(wait):
		err = errors.New("the database doesn't end; the next opening takes up what it has not written")
	}
	if err := errors.Join(err, s.home.Close(), s.high.close()); err != nil {
		return storeError("closing the store", err)
	}
	return nil
}

// badgerNeeds is what Badger may write when it opens and when it closes, in
// bytes: what its logs have that isn't in tables. Into mapped files, so that
// without room the process would end.
const badgerNeeds = 2 * memTableSize

// roomToClose makes sure that there is room for what Badger writes at its end.
func (s *Store) roomToClose() error {
	s.life.RLock()
	defer s.life.RUnlock()
	free := s.free()
	if s.closed || free < 0 || free >= badgerNeeds {
		return nil
	}
	return agreement.Errorf(agreement.CodeDiskFull, "closing the store: the disk has %d bytes left, and it may take %d", free, int64(badgerNeeds)).
		WithHint("free space and try again; if the process ends as it is, nothing is lost")
}

// load checks the format and the high water mark, and fills the totals.
func (s *Store) load() error {
	isNew, err := s.checkFormat()
	if err != nil {
		return err
	}
	if err := s.loadMemory(); err != nil {
		return err
	}
	last, ok, err := readHighWater(s.dir)
	if err != nil {
		return err
	}
	if !ok {
		s.log.Warn("the file of the last acknowledged write makes no sense, and is made anew", "file", filepath.Join(s.dir, highWaterFile))
	}
	if batch := s.memory().totals.batch; batch < last {
		return agreement.Errorf(agreement.CodeDamaged, "write %d was acknowledged, and the database ends with %d", last, batch).
			WithHint("files in %s are cut short or missing; restore the store from a backup", s.dir)
	}
	if s.high, err = openHighWater(s.dir); err != nil {
		return err
	}
	s.high.set(s.memory().totals.batch)
	if isNew {
		err = s.begin()
	} else {
		s.id, err = s.readID()
	}
	if err != nil {
		err = errors.Join(err, s.high.close())
	}
	return err
}

// begin writes what a new store has.
func (s *Store) begin() error {
	s.id = agreement.NewUUID()
	return s.commit(2, func(w *writer) error {
		w.set(formatKey(), encodeNumber(formatVersion))
		w.set(storeIDKey(), s.id[:])
		return nil
	})
}

func (s *Store) readID() (id agreement.UUID, err error) {
	b, err := s.copyOf(storeIDKey())
	if err == nil && len(b) != len(id) {
		err = errDecode
	}
	if err != nil {
		return id, readError(err, "the store's id")
	}
	return agreement.UUID(b), nil
}

// checkFormat reports whether the store has no format because it is new.
func (s *Store) checkFormat() (isNew bool, err error) {
	var found uint64
	err = s.view(func(txn *badger.Txn) error {
		err := getValue(txn, formatKey(), func(b []byte) (err error) { found, err = decodeNumber(b); return err })
		if !errors.Is(err, badger.ErrKeyNotFound) {
			return err
		}
		isNew = true
		return scan(txn, nil, nil, func([]byte, row) (bool, error) { isNew = false; return false, errDecode })
	})
	switch {
	case err != nil:
		return false, readError(err, "the store's format")
	case isNew || found == formatVersion:
		return isNew, nil
	case found < formatVersion:
		return false, agreement.Errorf(agreement.CodeStore, "the store has format %d, and this program writes format %d", found, formatVersion).
			WithHint("nothing converts it: begin with a new home directory, or run the version of affiliate that wrote it")
	}
	return false, agreement.Errorf(agreement.CodeStore, "the store has format %d, and this program knows format %d", found, formatVersion).
		WithHint("run the version of affiliate that wrote it")
}

// prepareDir makes the directory, and makes sure that files can be made in it.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cantWrite(dir, err)
	}
	f, err := os.CreateTemp(dir, ".probe-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return cantWrite(dir, err)
	}
	return nil
}

func cantWrite(dir string, err error) error {
	code, hint, ok := causeOf(err)
	if !ok {
		code, hint = agreement.CodeStore, fmt.Sprintf("let this user write to %s, or choose another home directory", dir)
	}
	return agreement.Errorf(code, "can't write to its directory: %w", err).WithHint("%s", hint)
}
