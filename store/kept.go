package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// Quotas of mail kept for absent affiliates. What is over them is refused
// with CodeBackpressure.
const (
	MaxKeptMail     = 4096               // mails
	MaxKeptBytes    = 256 << 20          // sealed bytes in all
	MaxKeptMailSize = 512 << 10          // sealed bytes of one mail: gossip's limit and room for its growth
	MaxKeptLifetime = 7 * 24 * time.Hour // whatever the mail says
	ClaimGrace      = 10 * time.Minute   // a claimed mail stays this long, for an answer that got lost
)

const (
	mailboxSize = 32
	tagSize     = 16
)

// KeepMail keeps a mail for an affiliate that is away, until it expires. The
// first mail of a mailbox stays; another one with the same mailbox changes
// nothing.
func (s *Store) KeepMail(ctx context.Context, m *affiliatev1.Mail) error {
	now := time.Now()
	if len(m.GetMailbox()) != mailboxSize || len(m.GetTag()) != tagSize || len(m.GetClaim()) != sha256.Size {
		return agreement.Errorf(agreement.CodeBadMessage, "keeping mail: its mailbox, tag or claim has another size than it should")
	}
	if len(m.GetSealed()) > MaxKeptMailSize {
		return agreement.Errorf(agreement.CodeTooLarge, "keeping mail: it has %d bytes, more than %d", len(m.GetSealed()), MaxKeptMailSize)
	}
	if m.GetExpiresUnix() <= now.Unix() {
		return agreement.Errorf(agreement.CodeExpired, "keeping mail: it has expired")
	}
	drop := min(m.GetExpiresUnix(), now.Add(MaxKeptLifetime).Unix())
	row := kept{
		tag: [tagSize]byte(m.GetTag()), claim: agreement.Hash(m.GetClaim()),
		expires: m.GetExpiresUnix(), drop: drop, size: uint64(len(m.GetSealed())),
	}
	err := s.update(ctx, 3, int64(len(m.GetSealed())), func(w *writer) error {
		if there, err := w.has(keptKey(m.GetMailbox())); err != nil || there {
			return err
		}
		if w.mem.kept >= MaxKeptMail || w.mem.keptBytes+int64(row.size) > MaxKeptBytes { //nolint:gosec // checked above
			return agreement.Errorf(agreement.CodeBackpressure, "no more mail is kept: %d mails, %d bytes", w.mem.kept, w.mem.keptBytes)
		}
		w.set(keptKey(m.GetMailbox()), row.encode())
		w.set(keptSealedKey(m.GetMailbox()), m.GetSealed())
		w.set(keptExpiryKey(drop, m.GetMailbox()), nil)
		w.mem.kept++
		w.mem.keptBytes += int64(row.size) //nolint:gosec // checked above
		return nil
	})
	if err != nil {
		return fmt.Errorf("keeping mail: %w", err)
	}
	return nil
}

// KeptMail lists kept mail in the order of mailboxes, after one or (nil) from
// the first, without the sealed bytes.
func (s *Store) KeptMail(after []byte, limit int) ([]*affiliatev1.Mail, error) {
	limit = min(limit, MaxKeptMail)
	if limit <= 0 || len(after) > mailboxSize {
		return nil, nil
	}
	var mails []*affiliatev1.Mail
	now := time.Now().Unix()
	err := s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixKept}, keptKey(after), func(k []byte, item row) (bool, error) {
			var row kept
			if err := item.value(func(b []byte) (err error) { row, err = decodeKept(b); return err }); err != nil {
				return false, err
			}
			if !bytes.Equal(k[1:], after) && row.drop > now {
				mails = append(mails, row.mail(bytes.Clone(k[1:])))
			}
			return len(mails) < limit, nil
		})
	})
	if err != nil {
		return nil, readError(err, "the kept mail")
	}
	return mails, nil
}

func (v kept) mail(mailbox []byte) *affiliatev1.Mail {
	return &affiliatev1.Mail{
		Mailbox: mailbox, Tag: slices.Clone(v.tag[:]), Claim: slices.Clone(v.claim[:]), ExpiresUnix: v.expires,
	}
}

// ClaimMail hands a kept mail to whoever knows its token. It stays for
// ClaimGrace, so that an answer that got lost can be asked for again. A wrong
// token gives agreement.ErrNotFound as well.
func (s *Store) ClaimMail(ctx context.Context, mailbox, token []byte) (*affiliatev1.Mail, error) {
	var mail *affiliatev1.Mail
	now := time.Now()
	err := s.update(ctx, 3, 0, func(w *writer) error {
		row, err := readKept(w, mailbox)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(token)
		if subtle.ConstantTimeCompare(sum[:], row.claim[:]) != 1 || row.drop <= now.Unix() {
			return badger.ErrKeyNotFound
		}
		mail = row.mail(bytes.Clone(mailbox))
		err = w.get(keptSealedKey(mailbox), func(b []byte) error { mail.Sealed = bytes.Clone(b); return nil })
		if grace := now.Add(ClaimGrace).Unix(); err == nil && grace < row.drop {
			w.del(keptExpiryKey(row.drop, mailbox))
			row.drop = grace
			w.set(keptKey(mailbox), row.encode())
			w.set(keptExpiryKey(row.drop, mailbox), nil)
		}
		return err
	})
	if err != nil {
		return nil, readError(err, "kept mail")
	}
	return mail, nil
}

func readKept(w *writer, mailbox []byte) (row kept, err error) {
	if len(mailbox) != mailboxSize {
		return row, badger.ErrKeyNotFound
	}
	err = w.get(keptKey(mailbox), func(b []byte) (err error) { row, err = decodeKept(b); return err })
	return row, err
}

// CountKeptMail returns how many mails are kept. It reads nothing from disk.
func (s *Store) CountKeptMail() (int64, error) { return s.memory().kept, nil }

// expired is one mail whose time is over.
type expired struct {
	drop    int64
	mailbox []byte
}

// dropExpiredMail removes the mail whose time was over at now.
func (s *Store) dropExpiredMail(ctx context.Context, now time.Time) error {
	for {
		due, err := s.expiredMail(now)
		if err != nil {
			return err
		}
		err = s.update(ctx, 3*len(due), 0, func(w *writer) error { return dropKept(w, due) })
		if err != nil {
			return fmt.Errorf("dropping expired mail: %w", err)
		}
		if len(due) < pageSize {
			return nil
		}
	}
}

func (s *Store) expiredMail(now time.Time) (due []expired, err error) {
	err = s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixKeptExpiry}, nil, func(k []byte, _ row) (bool, error) {
			drop, mailbox, err := splitExpiry(k)
			if err != nil || drop > now.Unix() {
				return false, err
			}
			due = append(due, expired{drop, bytes.Clone(mailbox)})
			return len(due) < pageSize, nil
		})
	})
	if err != nil {
		return nil, readError(err, "the expiry of kept mail")
	}
	return due, nil
}

func splitExpiry(k []byte) (drop int64, mailbox []byte, err error) {
	if len(k) != 1+8+mailboxSize {
		return 0, nil, damaged("an expiry key has %d bytes", len(k))
	}
	return int64(binary.BigEndian.Uint64(k[1:])), k[9:], nil //nolint:gosec // written from an int64
}

func dropKept(w *writer, due []expired) error {
	count, size := int64(0), int64(0)
	for _, d := range due {
		row, err := readKept(w, d.mailbox)
		if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
			return err
		}
		w.del(keptExpiryKey(d.drop, d.mailbox))
		if err != nil || row.drop != d.drop {
			continue
		}
		w.del(keptKey(d.mailbox))
		w.del(keptSealedKey(d.mailbox))
		count, size = count+1, size+int64(row.size) //nolint:gosec // was the length of a slice
	}
	w.mem.kept -= count
	w.mem.keptBytes -= size
	return nil
}
