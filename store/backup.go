package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// Backup writes a backup: of everything where since is 0, and otherwise of
// what changed since a backup that went up to that version. It says up to which
// version it goes. The store works on meanwhile; the backup is of one moment.
// One backup runs at a time, and it takes a few megabytes of memory.
//
// It is neither encrypted nor signed, though payloads are ciphertext: the
// caller does that. An object that is damaged is in it as such, and doesn't
// stop it. CodeBadRequest says that the store doesn't know any more what has
// been deleted since then, and a full backup is due.
func (s *Store) Backup(ctx context.Context, w io.Writer, since uint64) (upto uint64, err error) {
	s.backups.turn.Lock()
	defer s.backups.turn.Unlock() // Close waits for it
	if err := s.goingOn(); err != nil {
		return 0, err
	}
	if err := s.startDeletions(ctx); err != nil {
		return 0, fmt.Errorf("backing up: %w", err)
	}
	// Payloads of this moment stay until all are read.
	s.backups.removal.Lock()
	defer s.backups.removal.Unlock()
	err = guarded(func() error {
		txn := s.db.NewTransaction(false)
		defer txn.Discard()
		upto = txn.ReadTs()
		return (&backup{s: s, ctx: ctx, txn: txn, since: since, upto: upto}).run(w)
	})
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, storeError("backing up", err)
	}
	return upto, nil
}

// backup is one that is being written, on one snapshot.
type backup struct {
	s           *Store
	ctx         context.Context //nolint:containedctx // a backup is one operation
	txn         *badger.Txn
	since, upto uint64
	out         *frameWriter
}

func (b *backup) run(w io.Writer) (err error) {
	if err := b.check(); err != nil {
		return err
	}
	if b.out, err = newFrameWriter(w); err != nil {
		return err
	}
	if err := b.out.frame(frameHead, head{b.s.id, b.since, b.upto, time.Now()}.encode()); err != nil {
		return err
	}
	for _, step := range []func() error{b.deletions, b.rows, b.payloads, b.out.end} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (b *backup) check() error {
	if b.since == 0 {
		return nil
	}
	var from uint64
	err := getValue(b.txn, backupsKey(), func(v []byte) (err error) { from, err = decodeNumber(v); return err })
	if err != nil {
		return err
	}
	if b.since < from {
		return agreement.Errorf(agreement.CodeBadRequest, "the store doesn't know any more what was deleted since version %d", b.since).
			WithHint("make a full backup, without --since")
	}
	if b.since > b.upto {
		return agreement.Errorf(agreement.CodeBadRequest, "the store is at version %d, and was never at %d", b.upto, b.since).
			WithHint("that backup is of another store; make a full backup, without --since")
	}
	return nil
}

// each goes through the rows that are newer than the last backup.
func (b *backup) each(prefix []byte, fn func(key []byte, r row) error) error {
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues, o.SinceTs = prefix, false, b.since
	return scanWith(b.txn, o, nil, func(key []byte, r row) (bool, error) {
		if err := errors.Join(b.ctx.Err(), b.s.goingOn()); err != nil {
			return false, err
		}
		return true, fn(key, r)
	})
}

// deletions writes which keys are gone. Some of them may be there again, among
// the rows.
func (b *backup) deletions() error {
	if b.since == 0 {
		return nil
	}
	err := b.each([]byte{prefixDeleted}, func(_ []byte, r row) error { return r.value(b.out.deleted) })
	if err != nil {
		return err
	}
	return b.out.flush(frameDeleted, true)
}

func (b *backup) rows() error {
	bad := map[agreement.Hash]bool{}
	err := b.each(nil, func(key []byte, r row) error {
		if skipped(key) || key[0] == prefixDeleted {
			return nil
		}
		err := r.sealed(func(v []byte) error {
			if _, err := unseal(key, v); err != nil {
				return err
			}
			b.s.touched(int64(len(v)))
			return b.out.row(key, v, r.item.ExpiresAt())
		})
		if !errors.Is(err, errDecode) {
			return err
		}
		switch key[0] {
		case prefixObject, prefixPayload, prefixLeaves:
			id, err := lastHash(key)
			bad[id] = true
			return err
		}
		return agreement.Errorf(agreement.CodeDamaged, "the value of key %x is damaged: %w", key, err).
			WithHint("`affiliate store verify` says what else is; an earlier backup may have it")
	})
	if err == nil {
		err = b.out.flush(frameRows, true)
	}
	for id := range bad {
		if err == nil {
			err = b.damaged(id)
		}
	}
	return err
}

func (b *backup) damaged(id agreement.Hash) error {
	b.out.tally.damaged++
	return b.out.frame(frameDamaged, id[:])
}

// payloads writes those in the home that are new: their leaves are written
// with them, and never changed.
func (b *backup) payloads() error {
	return b.each([]byte{prefixLeaves}, func(key []byte, r row) error {
		id, err := lastHash(key)
		if err != nil {
			return err
		}
		o, found, err := findIn(b.txn, id)
		if err != nil || found != good || !o.large() {
			return err // what is in quarantine is so in the backup, too
		}
		return b.payload(o)
	})
}

// payload writes one that is read through its tree. What turns out to be
// damaged is cut short by the frame that says so.
func (b *backup) payload(o Object) error {
	r, err := b.open(o)
	if err == nil {
		defer r.Close()
		err = b.copy(o.ID, r)
	}
	if err != nil && agreement.CodeOf(err) == agreement.CodeDamaged {
		_, version, _ := objectIn(b.txn, o.ID)
		b.s.log.Error("a damaged object is backed up as such", "object", o.ID, "error", b.s.suspect(o.ID, version, err))
		return b.damaged(o.ID)
	}
	return err
}

// open opens the payload that an object has in the snapshot, though it may
// have been purged since.
func (b *backup) open(o Object) (io.ReadCloser, error) {
	var leaves []byte
	err := getValue(b.txn, leavesKey(o.ID), func(v []byte) error { leaves = bytes.Clone(v); return nil })
	if err != nil {
		return nil, readError(err, "the tree of object %s", o.ID)
	}
	tree, err := blob.NewTree(o.ID, o.SealedSize, leaves)
	if err != nil {
		return nil, err
	}
	return tree.Open(b.ctx, b.s.home, 0, -1)
}

func (b *backup) copy(id agreement.Hash, r io.Reader) error {
	if err := b.out.frame(framePayload, id[:]); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			b.out.tally.bytes += uint64(n)
			if err := b.out.frame(frameBytes, buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			b.out.tally.payloads++
			return nil
		}
		if err != nil {
			return err
		}
	}
}
