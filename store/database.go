package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Badger's settings. A transaction may hold 15 % of the memtable, from which
// maxBatchEntries follows.
const (
	memTableSize     = 16 << 20
	blockCacheSize   = 16 << 20
	indexCacheSize   = 16 << 20
	valueThreshold   = 1 << 10 // larger values live in the value log
	valueLogFileSize = 128 << 20
)

// errBadFiles is under every error about files that make no sense.
var errBadFiles = errors.New("its files make no sense")

func badgerSettings(o Options, log *logger) badger.Options {
	return badger.DefaultOptions(o.Dir).
		WithSyncWrites(true).WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithMemTableSize(memTableSize).WithNumMemtables(2).
		WithNumLevelZeroTables(2).WithNumLevelZeroTablesStall(6).WithNumCompactors(2).
		WithBlockCacheSize(blockCacheSize).WithIndexCacheSize(indexCacheSize).
		WithValueThreshold(valueThreshold).WithValueLogFileSize(valueLogFileSize).
		WithCompression(options.None).
		WithChecksumVerificationMode(options.OnBlockRead).WithVerifyValueChecksum(true).
		WithEncryptionKey(o.Key).
		WithLogger(log)
}

// openBadger opens the database once its files have been looked at: Badger
// itself ends the process, or throws data away, on some kinds of damage.
func openBadger(o Options, log *logger) (db *badger.DB, err error) {
	settings := badgerSettings(o, log)
	if err = guarded(func() error { return inspect(settings) }); err != nil {
		return nil, err
	}
	if err = guarded(func() error { return checkOrphans(settings) }); err != nil {
		return nil, err
	}
	err = guarded(func() (err error) { db, err = badger.Open(settings); return err })
	return db, err
}

// guarded runs what reads Badger's files. They are mapped: where the disk
// can't give a page the process would end. And Badger asserts by panicking.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &panicked{p, debug.Stack()}
		}
	}()
	return fn()
}

// panicked is the error that guarded makes of a panic.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("%v: %v", errBadFiles, p.value) }
func (p *panicked) Unwrap() error { return errBadFiles }

// shared runs fn while the database can't be closed.
func (s *Store) shared(fn func() error) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return badger.ErrDBClosed
	}
	err := guarded(fn)
	var p *panicked
	if errors.As(err, &p) {
		s.stuck.Store(true)
		s.log.Error("the database's files can't be read, or make no sense", "error", p, "stack", string(p.stack))
	}
	return err
}

// view runs fn on a snapshot.
func (s *Store) view(fn func(*badger.Txn) error) error {
	return s.shared(func() error { return s.db.View(fn) })
}

// getValue hands the value of key to fn, which must not keep it.
func getValue(txn *badger.Txn, key []byte, fn func([]byte) error) error {
	item, err := txn.Get(key)
	if err == nil {
		err = row{item}.value(fn)
	}
	if !errors.Is(err, errMoved) {
		return err
	}
	// Its file may have been rewritten, and removed, since the key was read.
	if item, err = txn.Get(key); err != nil {
		return err
	}
	return row{item}.value(fn)
}

// errMoved is a value that isn't where its key says.
var errMoved = fmt.Errorf("%w: the value log can't give it", errDecode)

// copyOf returns the value of key.
func (s *Store) copyOf(key []byte) (value []byte, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return getValue(txn, key, func(b []byte) error { value = append([]byte{}, b...); return nil })
	})
	return value, err
}

// hasKey reports whether the key is there.
func (s *Store) hasKey(key []byte) (there bool, err error) {
	err = s.view(func(txn *badger.Txn) error {
		there, err = hasIn(txn, key)
		return err
	})
	return there, err
}

func hasIn(txn *badger.Txn, key []byte) (bool, error) {
	_, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// scan calls fn for every key with prefix, from start on (start has the
// prefix; nil begins with it), until fn returns false or an error. The key is
// fn's only until it returns.
func scan(txn *badger.Txn, prefix, start []byte, fn func(key []byte, r row) (bool, error)) error {
	o := badger.DefaultIteratorOptions
	o.Prefix = prefix
	// Badger would read ahead in goroutines of its own, where a page that the
	// disk can't give ends the process.
	o.PrefetchValues = false
	return scanWith(txn, o, start, fn)
}

func scanWith(txn *badger.Txn, o badger.IteratorOptions, start []byte, fn func(key []byte, r row) (bool, error)) error {
	it := txn.NewIterator(o)
	defer it.Close()
	if start == nil {
		start = o.Prefix
	}
	for it.Seek(start); it.ValidForPrefix(o.Prefix); it.Next() {
		more, err := fn(it.Item().Key(), row{it.Item()})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// row is one key with its value.
type row struct{ item *badger.Item }

// value hands the value to fn, which must not keep it. One that can't be
// read, or isn't what was written, is errDecode.
func (r row) value(fn func([]byte) error) error {
	return r.sealed(func(b []byte) error {
		value, err := unseal(r.item.Key(), b)
		if err != nil {
			return err
		}
		return fn(value)
	})
}

// sealed hands the value to fn with its checksum, not looked at.
func (r row) sealed(fn func([]byte) error) error {
	return r.item.Value(func(b []byte) error {
		if len(b) == 0 && r.item.ValueSize() > 0 {
			return errMoved // Badger logs why, and returns nothing
		}
		return fn(b)
	})
}

// checksumSize is how many bytes the checksum of a value takes.
const checksumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// seal appends the checksum of key and value. Badger has checksums of its own,
// but not of everything: it decrypts a value with an initialisation vector
// that nothing covers, and trusts its pointers. A value of no bytes stays so,
// a payload is checked by its name, and the format is read by every version.
func seal(key, value []byte) []byte {
	if len(value) == 0 || unsealed(key) {
		return value
	}
	sum := checksum(key, value)
	return append(value[:len(value):len(value)], byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
}

func unsealed(key []byte) bool { return key[0] == prefixPayload || key[0] == prefixFormat }

// unseal checks and removes what seal has appended.
func unseal(key, b []byte) ([]byte, error) {
	if len(b) == 0 || unsealed(key) {
		return b, nil
	}
	n := len(b) - checksumSize
	if n <= 0 {
		return nil, errDecode
	}
	sum := checksum(key, b[:n])
	if [checksumSize]byte(b[n:]) != [checksumSize]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)} {
		return nil, fmt.Errorf("%w: its checksum is another", errDecode)
	}
	return b[:n:n], nil
}

// logger lets Badger's warnings and errors through.
type logger struct {
	log *slog.Logger
	bad atomic.Pointer[func(error)] // is told what Badger logs where it should fail
}

// syncFailed is how Badger says that values which it acknowledges aren't
// durable.
const syncFailed = "Error while curlf sync"

func (l *logger) Errorf(f string, args ...any) {
	text := line(f, args)
	l.log.Error(text, "part", "badger")
	if bad := l.bad.Load(); bad != nil && strings.HasPrefix(f, syncFailed) {
		(*bad)(errors.New(text))
	}
}
func (l *logger) Warningf(f string, args ...any) { l.log.Warn(line(f, args), "part", "badger") }
func (*logger) Infof(string, ...any)             {}
func (*logger) Debugf(string, ...any)            {}

func line(f string, args []any) string { return strings.TrimSpace(fmt.Sprintf(f, args...)) }
