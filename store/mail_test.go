package store

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

func mail(t *testing.T, n uint32, size int, expires time.Time) (m *affiliatev1.Mail, token []byte) {
	t.Helper()
	token = fmt.Appendf(nil, "token %d", n)
	claim := sha256.Sum256(token)
	mailbox := make([]byte, mailboxSize)
	mailbox[0], mailbox[1] = byte(n>>8), byte(n)
	return &affiliatev1.Mail{Mailbox: mailbox, Tag: make([]byte, tagSize), Claim: claim[:], Sealed: make([]byte, size), ExpiresUnix: expires.Unix()}, token
}

func TestKeptMail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openTest(t, dir)
	now, ctx := time.Now(), t.Context()
	for n := range uint32(5) {
		m, _ := mail(t, n, 2000, now.Add(time.Duration(n+1)*time.Hour))
		for range 2 {
			if err := s.KeepMail(ctx, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	var after []byte
	for n := 0; ; n++ {
		page, err := s.KeptMail(after, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			if n != 5 {
				t.Errorf("%d mails are listed", n)
			}
			break
		}
		if len(page[0].GetSealed()) != 0 {
			t.Error("the list has sealed bytes")
		}
		after = page[0].GetMailbox()
	}
	m, token := mail(t, 4, 2000, now.Add(5*time.Hour))
	_, err := s.ClaimMail(ctx, m.GetMailbox(), []byte("wrong"))
	wantCode(t, "wrong token", err, agreement.CodeNotFound)
	for range 2 { // an answer that got lost can be asked for again
		got, err := s.ClaimMail(ctx, m.GetMailbox(), token)
		if err != nil || got.String() != m.String() {
			t.Errorf("claimed %v, %v", got, err)
		}
	}
	checkWhole(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir)
	if err := s.dropExpiredMail(ctx, now.Add(3*time.Hour+time.Second)); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, s)
	if n, err := s.CountKeptMail(); n != 1 || err != nil { // 0, 1, 2 expired and 4 was claimed
		t.Errorf("%d mails are kept, %v", n, err)
	}
}

func TestMailQuotas(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	m, _ := mail(t, 1, MaxKeptMailSize+1, later)
	wantCode(t, "too large", s.KeepMail(ctx, m), agreement.CodeTooLarge)
	m, _ = mail(t, 1, 10, time.Now())
	wantCode(t, "expired", s.KeepMail(ctx, m), agreement.CodeExpired)
	m, _ = mail(t, 1, 10, later)
	m.Tag = nil
	wantCode(t, "no tag", s.KeepMail(ctx, m), agreement.CodeBadMessage)

	full := s.memory()
	full.kept, full.inbox = MaxKeptMail, MaxInboxMessages
	s.publish(full)
	m, _ = mail(t, 1, 10, later)
	wantCode(t, "count of kept mail", s.KeepMail(ctx, m), agreement.CodeBackpressure)
	_, err := s.PutMail(ctx, agreement.Hash{1}, nil)
	wantCode(t, "count of messages", err, agreement.CodeBackpressure)
	full.kept, full.keptBytes, full.inbox, full.inboxBytes = 0, MaxKeptBytes, 0, MaxInboxBytes
	s.publish(full)
	wantCode(t, "bytes of kept mail", s.KeepMail(ctx, m), agreement.CodeBackpressure)
	_, err = s.PutMail(ctx, agreement.Hash{1}, make([]byte, 1))
	wantCode(t, "bytes of messages", err, agreement.CodeBackpressure)
}

func TestMailLifetimeIsCapped(t *testing.T) {
	t.Parallel()
	s := openTest(t, t.TempDir())
	m, _ := mail(t, 1, 10, time.Now().Add(365*24*time.Hour))
	if err := s.KeepMail(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := s.dropExpiredMail(t.Context(), time.Now().Add(MaxKeptLifetime+time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.CountKeptMail(); n != 0 {
		t.Errorf("%d mails outlive the longest lifetime", n)
	}
	checkWhole(t, s)
}
