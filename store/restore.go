package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// Restore makes a store of a full backup and of those that continue it, in
// their order. It is made in a directory beside o.Dir, read and checked as a
// whole, and only then put in place; o.Dir must be empty or not there. A
// backup that is damaged, cut short or doesn't continue the one before is
// CodeDamaged or CodeBadRequest, and nothing is left of it but, in a home that
// isn't in o.Dir, payloads. The store gets a new id; what was damaged when the
// backup was made is in quarantine.
func Restore(ctx context.Context, o Options, parts ...io.Reader) error {
	err := restore(ctx, o, parts)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return storeError("restoring the store", err)
	}
	return nil
}

func restore(ctx context.Context, o Options, parts []io.Reader) (err error) {
	var s *Store
	var tmp string
	defer func() { // the home is closed in any case
		if s != nil {
			err = errors.Join(err, s.Close())
		} else if o.Home != nil {
			err = errors.Join(err, o.Home.Close())
		}
		if tmp != "" {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := checkEmpty(o.Dir); err != nil {
		return err
	}
	above, name := filepath.Split(filepath.Clean(o.Dir))
	if err := os.MkdirAll(filepath.Clean(above), 0o700); err != nil {
		return err
	}
	if tmp, err = os.MkdirTemp(filepath.Clean(above), name+".restoring-*"); err != nil {
		return err
	}
	inner := o
	inner.Dir, inner.Budget, inner.Reserve = tmp, 0, 0
	if s, err = open(inner, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if err := (&restoration{s: s, damaged: map[agreement.Hash]bool{}}).run(ctx, parts); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	return putInPlace(tmp, o.Dir)
}

// checkEmpty makes sure that a directory is empty or not there.
func checkEmpty(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(files) > 0 {
		err = agreement.Errorf(agreement.CodeBadRequest, "%s isn't empty", dir).
			WithHint("restore into another home directory, or move what is there away")
	}
	return err
}

// putInPlace gives a directory its name, durably.
func putInPlace(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(filepath.Clean(to)))
}

// syncDir makes durable what has changed among a directory's names.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// restoration is one that goes on.
type restoration struct {
	s       *Store
	at      head                    // of the last part
	damaged map[agreement.Hash]bool // when a backup was made
	tally   tally                   // of the part that is read

	sink *blob.Sink // of the payload that is read; nil between them
	of   Object
	got  int64 // bytes of it
}

func (r *restoration) run(ctx context.Context, parts []io.Reader) error {
	if len(parts) == 0 {
		return agreement.Errorf(agreement.CodeBadRequest, "there is no backup to restore")
	}
	for i, p := range parts {
		if err := r.part(ctx, i, p); err != nil {
			if known := (*agreement.Error)(nil); !errors.As(err, &known) {
				err = agreement.Errorf(agreement.CodeDamaged, "%w", err).WithHint("use another copy of the backup")
			}
			return fmt.Errorf("backup %d of %d: %w", i+1, len(parts), err)
		}
	}
	return r.finish(ctx)
}

// part applies one backup.
func (r *restoration) part(ctx context.Context, i int, in io.Reader) error {
	defer r.abort()
	f, err := newFrameReader(in)
	if err != nil {
		return err
	}
	kind, body, err := f.next()
	if err != nil {
		return err
	}
	if kind != frameHead {
		return errNoBackup
	}
	if err := r.begin(i, body); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		kind, body, err := f.next()
		if err != nil {
			return err
		}
		if kind == frameEnd {
			return r.end(body)
		}
		if err := r.frame(ctx, kind, body); err != nil {
			return err
		}
	}
}

// begin makes sure that a part continues the one before.
func (r *restoration) begin(i int, body []byte) error {
	h, err := decodeHead(body)
	if err != nil {
		return err
	}
	switch {
	case i == 0 && h.since != 0:
		return agreement.Errorf(agreement.CodeBadRequest, "it continues another backup, up to version %d", h.since).
			WithHint("give the full backup first, and then those that continue it, in their order")
	case i > 0 && (h.store != r.at.store || h.since != r.at.upto):
		return agreement.Errorf(agreement.CodeBadRequest, "it continues version %d of store %s, and the one before goes up to version %d of store %s",
			h.since, h.store, r.at.upto, r.at.store).WithHint("give all backups from the full one on, in their order")
	case h.upto < h.since:
		return errDecode
	}
	r.at, r.tally = h, tally{}
	return nil
}

func (r *restoration) end(body []byte) error {
	v, err := decodeEnding(body)
	if err == nil && r.sink != nil {
		err = errors.New("it ends in the middle of a payload")
	}
	if err == nil && v.tally != r.tally {
		err = fmt.Errorf("it has %+v, and should have %+v", r.tally, v.tally)
	}
	return err
}

func (r *restoration) frame(ctx context.Context, kind byte, body []byte) error {
	if r.sink != nil && kind != frameBytes && kind != frameDamaged {
		return errors.New("a payload is cut short")
	}
	switch kind {
	case frameDeleted:
		return r.apply(func(txn *badger.Txn) error {
			return eachKey(body, func(key []byte) error {
				r.tally.deleted++
				return errors.Join(checkKey(key), txn.Delete(bytes.Clone(key)))
			})
		})
	case frameRows:
		return r.apply(func(txn *badger.Txn) error {
			return eachRow(body, func(key, value []byte, expires uint64) error {
				r.tally.rows++
				return setRow(txn, key, value, expires)
			})
		})
	case framePayload:
		return r.beginPayload(ctx, body)
	case frameBytes:
		return r.bytes(body)
	case frameDamaged:
		return r.lost(body)
	}
	return fmt.Errorf("it has a part of kind %q", kind)
}

// apply writes a frame, past the committer: nobody else uses the store.
func (r *restoration) apply(fn func(*badger.Txn) error) error {
	if free := r.s.free(); free >= 0 && free < floor {
		return agreement.Errorf(agreement.CodeDiskFull, "the disk has %d bytes left, and %d are kept free", free, int64(floor)).
			WithHint("free space on it, or restore to another disk")
	}
	return r.s.shared(func() error { return r.s.db.Update(fn) })
}

// checkKey refuses keys that no backup has.
func checkKey(key []byte) error {
	const longest = 1024
	if len(key) == 0 || len(key) > longest || skipped(key) || key[0] == prefixDeleted || key[0] == '!' {
		return fmt.Errorf("it has a key %x", key[:min(len(key), 64)])
	}
	return nil
}

func setRow(txn *badger.Txn, key, value []byte, expires uint64) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if _, err := unseal(key, value); err != nil {
		return fmt.Errorf("the value of key %x: %w", key, err)
	}
	if expires != 0 && expires <= uint64(time.Now().Unix()) { //nolint:gosec // after 1970
		return txn.Delete(bytes.Clone(key))
	}
	return txn.SetEntry(&badger.Entry{Key: bytes.Clone(key), Value: bytes.Clone(value), ExpiresAt: expires})
}

// beginPayload begins a payload, whose object the rows have brought.
func (r *restoration) beginPayload(ctx context.Context, body []byte) error {
	id, err := agreement.HashFromBytes(body)
	if err != nil {
		return err
	}
	o, found, err := r.s.find(id)
	if err != nil {
		return err
	}
	if found != good || !o.large() {
		return fmt.Errorf("it has a payload of object %s, but not the object", id)
	}
	if err := r.apply(func(txn *badger.Txn) error { return txn.Set(puttingKey(id), nil) }); err != nil {
		return err
	}
	r.got = 0
	r.of, r.sink = o, blob.NewSink(ctx, r.s.home, 0, math.MaxInt64)
	return nil
}

// bytes adds to a payload, and ends it when it has all its bytes.
func (r *restoration) bytes(body []byte) error {
	if r.sink == nil || len(body) == 0 {
		return errors.New("it has bytes that belong to no payload")
	}
	r.tally.bytes += uint64(len(body))
	if _, err := r.sink.Write(body); err != nil {
		return err
	}
	if r.got += int64(len(body)); r.got < r.of.SealedSize {
		return nil
	}
	p, err := r.sink.Finish()
	if err != nil {
		return err
	}
	leaves, err := r.s.Leaves(r.of.ID)
	if err != nil {
		return err
	}
	if p.ID != r.of.ID || p.Size != r.of.SealedSize || !bytes.Equal(p.Leaves, leaves) {
		return fmt.Errorf("the payload of object %s has the hash %s", r.of.ID, p.ID)
	}
	if err := r.sink.Commit(); err != nil {
		return err
	}
	r.sink = nil
	r.tally.payloads++
	return nil
}

// lost notes an object that couldn't be read, and ends its payload if it was
// begun.
func (r *restoration) lost(body []byte) error {
	id, err := agreement.HashFromBytes(body)
	if err != nil {
		return err
	}
	r.abort()
	r.tally.damaged++
	r.damaged[id] = true
	if there, err := r.s.hasKey(objectKey(id)); err != nil || !there {
		return err
	}
	q := Quarantine{Since: time.Now(), Reason: "it was damaged when the backup was made"}
	k := quarantineKey(id)
	return r.apply(func(txn *badger.Txn) error { return txn.Set(k, seal(k, q.encode())) })
}

func (r *restoration) abort() {
	if r.sink != nil {
		r.sink.Abort()
		r.sink = nil
	}
}

// finish removes payloads of objects that a later part has purged, sets the
// totals, and reads everything once more.
func (r *restoration) finish(ctx context.Context) error {
	s := r.s
	if err := s.loadMemory(); err != nil {
		return err
	}
	var t totals
	err := s.view(func(txn *badger.Txn) (err error) {
		t, _, err = countTotals(ctx, txn)
		return err
	})
	if err != nil {
		return err
	}
	err = s.commit(1, func(w *writer) error {
		t.batch = w.mem.totals.batch
		w.mem.totals = t
		w.counted = true
		return nil
	})
	if err == nil {
		err = s.sweep(ctx)
	}
	if err == nil {
		err = r.verify(ctx)
	}
	return err
}

// verify reads everything. Only what was damaged when the backup was made may
// be so.
func (r *restoration) verify(ctx context.Context) error {
	known, err := r.s.keysAfter([]byte{prefixQuarantine}, nil, math.MaxInt)
	if err != nil {
		return err
	}
	for _, k := range known {
		id, err := lastHash(k)
		if err != nil {
			return err
		}
		r.damaged[id] = true
	}
	var bad error
	_, err = r.s.Verify(ctx, func(o Object, err error) {
		if bad == nil && !r.damaged[o.ID] {
			bad = err
		}
	})
	return errors.Join(err, bad)
}
