package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

func TestSealForReadersOnly(t *testing.T) {
	a, b, c := newTestRing(t), newTestRing(t), newTestRing(t)
	for _, size := range []int{0, 1, ageChunk - 1, ageChunk, ageChunk + 1, 3*ageChunk + 5} {
		content := bytes.Repeat([]byte{'x'}, size)
		header, payload, err := Seal(content, []string{a.Recipient(), b.Recipient()})
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := contentSize(int64(len(payload))); !ok || n != int64(size) {
			t.Errorf("size %d computed as %d, %v", size, n, ok)
		}
		for _, r := range []*Ring{a, b} {
			if got, err := r.Unseal(header, payload, int64(size)); err != nil || !bytes.Equal(got, content) {
				t.Errorf("size %d: %v", size, err)
			}
		}
		_, err = c.Unseal(header, payload, int64(size))
		wantCode(t, err, agreement.CodeNotAuthorized)
		if size > 0 {
			_, err = a.Unseal(header, payload, int64(size)-1)
			wantCode(t, err, agreement.CodeTooLarge)
		}
		in, err := age.Decrypt(io.MultiReader(bytes.NewReader(header), bytes.NewReader(payload)), a.identities()[0].key)
		if err != nil {
			t.Fatalf("not an age file: %v", err)
		}
		if got, err := io.ReadAll(in); err != nil || !bytes.Equal(got, content) {
			t.Errorf("age reads something else: %v", err)
		}
	}
}

func TestUnsealRefusesDamage(t *testing.T) {
	r := newTestRing(t)
	header, payload, err := Seal([]byte("the content"), []string{r.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	classic, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var other bytes.Buffer
	if w, err := age.Encrypt(&other, classic.Recipient()); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	split := bytes.Index(other.Bytes(), []byte(ageFooter)) + len(ageFooter) + 44
	flip := func(b []byte, i int) []byte { b = bytes.Clone(b); b[i] ^= 1; return b }
	cases := map[string][2][]byte{
		"no header":        {nil, payload},
		"header cut":       {header[:len(header)-5], payload},
		"two headers":      {append(bytes.Clone(header), header...), payload},
		"MAC changed":      {flip(header, len(header)-10), payload},
		"payload changed":  {header, flip(payload, 20)},
		"payload cut":      {header, payload[:len(payload)-1]},
		"payload too long": {header, append(bytes.Clone(payload), 0)},
		"payload empty":    {header, nil},
		"classic":          {other.Bytes()[:split], other.Bytes()[split:]},
	}
	for name, c := range cases {
		if _, err := r.Unseal(c[0], c[1], 1<<20); agreement.CodeOf(err) != agreement.CodeDamaged {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = r.Unseal(append(header, bytes.Repeat([]byte{'\n'}, MaxHeader)...), payload, 1<<20)
	wantCode(t, err, agreement.CodeTooLarge)
}

func TestSealRefusesOtherRecipients(t *testing.T) {
	classic, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range [][]string{nil, {"age1"}, {classic.Recipient().String()}, {strings.Repeat("a", 1<<20)}} {
		if _, _, err := Seal(nil, to); err == nil {
			t.Errorf("sealed to %.20q", to)
		}
	}
}

func TestMail(t *testing.T) {
	a, b := newTestRing(t), newTestRing(t)
	signed := []byte("a signed message")
	m, err := SealMail(signed, b.Recipient(), b.MailboxKey().PublicKey().Bytes(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	listed := proto.CloneOf(m)
	listed.Sealed = nil
	if !b.Recognises(m) || !b.Recognises(listed) || a.Recognises(m) {
		t.Error("only the recipient recognises a mail")
	}
	if got, err := b.OpenMail(m); err != nil || !bytes.Equal(got, signed) {
		t.Errorf("opening: %v", err)
	}
	_, err = a.OpenMail(m)
	wantCode(t, err, agreement.CodeNotAuthorized)

	token, err := b.ClaimToken(m.Mailbox)
	if err != nil || !ClaimFits(m.Claim, token) {
		t.Errorf("the recipient's token: %v", err)
	}
	if sum := sha256.Sum256(token); !bytes.Equal(sum[:], m.Claim) {
		t.Error("the claim isn't the token's SHA-256")
	}
	token, err = a.ClaimToken(m.Mailbox)
	if err != nil || ClaimFits(m.Claim, token) {
		t.Errorf("another's token fits: %v", err)
	}
	second, err := SealMail(signed, b.Recipient(), b.MailboxKey().PublicKey().Bytes(), time.Now())
	if err != nil || bytes.Equal(second.Tag, m.Tag) || bytes.Equal(second.Mailbox, m.Mailbox) || bytes.Equal(second.Claim, m.Claim) {
		t.Error("two mails to one affiliate can be linked")
	}
	for i, change := range []func(*affiliatev1.Mail){
		func(m *affiliatev1.Mail) { m.Claim[0] ^= 1 }, func(m *affiliatev1.Mail) { m.Tag[0] ^= 1 },
		func(m *affiliatev1.Mail) { m.Mailbox[0] ^= 1 }, func(m *affiliatev1.Mail) { m.Mailbox = make([]byte, 32) },
		func(m *affiliatev1.Mail) { m.Tag = nil }, func(m *affiliatev1.Mail) { m.Mailbox = m.Mailbox[:31] },
	} {
		c := proto.CloneOf(m)
		change(c)
		if b.Recognises(c) {
			t.Errorf("change %d is not noticed", i)
		}
	}
}

func TestMessage(t *testing.T) {
	a := newTestRing(t)
	m := &affiliatev1.Message{Network: "net", From: a.Address(), To: "tp1x", AgreementId: make([]byte, 16)}
	signed, err := a.SignMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	got, id, err := VerifyMessage("tp", signed)
	if err != nil || !proto.Equal(got, m) {
		t.Fatalf("verifying: %v", err)
	}
	var s affiliatev1.SignedMessage
	if err := proto.Unmarshal(signed, &s); err != nil || id != sha256.Sum256(s.Body) {
		t.Errorf("id %s, %v", id, err)
	}
	_, _, err = VerifyMessage("pb", signed)
	wantCode(t, err, agreement.CodeBadSignature)
	sig, err := a.Sign(domain(tagRecord, s.Body)) // signed for another purpose
	if err != nil {
		t.Fatal(err)
	}
	s.Signature = sig
	forged, err := proto.Marshal(&s)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = VerifyMessage("tp", forged)
	wantCode(t, err, agreement.CodeBadSignature)
	m.From = "tp1somebodyelse"
	if _, err := a.SignMessage(m); err == nil {
		t.Error("signed in another's name")
	}
	_, _, err = VerifyMessage("tp", make([]byte, MaxMessage+1))
	wantCode(t, err, agreement.CodeTooLarge)
}

func testRecord(r *Ring, now time.Time) *affiliatev1.AffiliateRecord {
	return &affiliatev1.AffiliateRecord{
		Network: "net", Address: r.Address(), AccountKey: r.AccountKey(), Name: "Lender", Recipient: r.Recipient(),
		MailboxKey: r.MailboxKey().PublicKey().Bytes(), PeerId: "12D3KooW", Multiaddrs: []string{"/ip4/127.0.0.1/tcp/1"},
		Sequence: 1, ExpiresUnix: now.Add(time.Hour).Unix(),
	}
}

// vetting names n contracts.
func vetting(n int) *affiliatev1.Vetting {
	v := new(affiliatev1.Vetting)
	for i := range n {
		v.Contracts = append(v.Contracts, binary.BigEndian.AppendUint64(make([]byte, 24), uint64(i)))
	}
	return v
}

func TestRecord(t *testing.T) {
	a, b := newTestRing(t), newTestRing(t)
	now := time.Unix(1_700_000_000, 0)
	sign := func(change func(*affiliatev1.AffiliateRecord)) *affiliatev1.SignedAffiliateRecord {
		rec := testRecord(a, now)
		change(rec)
		s, err := a.SignRecord(rec)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := sign(func(*affiliatev1.AffiliateRecord) {})
	if rec, err := VerifyRecord("tp", "net", good, now); err != nil || rec.Name != "Lender" {
		t.Fatalf("a good record: %v", err)
	}
	largest := sign(func(r *affiliatev1.AffiliateRecord) { // all of it at once fits
		r.Name, r.PeerId, r.Sequence, r.Vetting = strings.Repeat("n", MaxName), strings.Repeat("p", MaxPeerID), math.MaxUint64, vetting(MaxVetted)
		r.Multiaddrs = slices.Repeat([]string{strings.Repeat("/", MaxAddrSize)}, MaxAddrs)
	})
	if rec, err := VerifyRecord("tp", "net", largest, now); err != nil || len(rec.Vetting.Contracts) != MaxVetted {
		t.Fatalf("the largest record: %d bytes, %v", len(largest.Record), err)
	}
	_, err := VerifyRecord("tp", "other", good, now)
	wantCode(t, err, agreement.CodeWrongNetwork)
	_, err = VerifyRecord("tp", "net", good, now.Add(time.Hour))
	wantCode(t, err, agreement.CodeExpired)
	_, err = VerifyRecord("tp", "net", nil, now)
	wantCode(t, err, agreement.CodeBadSignature)

	forged := sign(func(rec *affiliatev1.AffiliateRecord) { rec.AccountKey = b.AccountKey() })
	_, err = VerifyRecord("tp", "net", forged, now)
	wantCode(t, err, agreement.CodeBadSignature)
	if _, err := b.SignRecord(testRecord(a, now)); err == nil {
		t.Error("signed another's record")
	}
	for i, change := range []func(*affiliatev1.AffiliateRecord){
		func(r *affiliatev1.AffiliateRecord) { r.Name = strings.Repeat("n", MaxName+1) },
		func(r *affiliatev1.AffiliateRecord) { r.Name = "\x1b[2J" },
		func(r *affiliatev1.AffiliateRecord) { r.MailboxKey = nil },
		func(r *affiliatev1.AffiliateRecord) { r.PeerId = "" },
		func(r *affiliatev1.AffiliateRecord) { r.Multiaddrs = make([]string, MaxAddrs+1) },
		func(r *affiliatev1.AffiliateRecord) { r.Multiaddrs = []string{strings.Repeat("/", MaxAddrSize+1)} },
		func(r *affiliatev1.AffiliateRecord) { r.Sequence = 0 },
		func(r *affiliatev1.AffiliateRecord) { r.Recipient = "age1" },
		func(r *affiliatev1.AffiliateRecord) { r.Vetting = vetting(MaxVetted + 1) },
		func(r *affiliatev1.AffiliateRecord) { r.Vetting = vetting(2); slices.Reverse(r.Vetting.Contracts) },
		func(r *affiliatev1.AffiliateRecord) {
			r.Vetting = vetting(2)
			r.Vetting.Contracts[0] = r.Vetting.Contracts[1]
		},
		func(r *affiliatev1.AffiliateRecord) {
			r.Vetting = vetting(1)
			r.Vetting.Contracts[0] = make([]byte, 31)
		},
		func(r *affiliatev1.AffiliateRecord) { r.ExpiresUnix = now.Add(2 * MaxRecordLifetime).Unix() },
	} {
		if _, err := VerifyRecord("tp", "net", sign(change), now); agreement.CodeOf(err) != agreement.CodeBadMessage {
			t.Errorf("change %d: %v", i, err)
		}
	}
}

// No input from outside makes the decoders panic or accept.
func FuzzDecoders(f *testing.F) {
	r := newTestRing(f)
	header, payload, err := Seal([]byte("x"), []string{r.Recipient()})
	if err != nil {
		f.Fatal(err)
	}
	signed, err := r.SignMessage(&affiliatev1.Message{From: r.Address()})
	if err != nil {
		f.Fatal(err)
	}
	other := newTestRing(f)
	f.Add([]byte(nil))
	f.Add(append(header, payload...))
	f.Add(signed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := other.OpenMail(&affiliatev1.Mail{Mailbox: b, Sealed: b}); err == nil {
			t.Error("opened another's mail")
		}
		for i := range min(len(b), 4) {
			_, _ = r.Unseal(b[:i*len(b)/4], b[i*len(b)/4:], 1<<10)
		}
		if m, _, err := VerifyMessage("tp", b); err == nil { // a fuzz worker's seeds are signed by another ring
			var s affiliatev1.SignedMessage
			if err := proto.Unmarshal(b, &s); err != nil || !Verify(s.AccountKey, domain(tagMessage, s.Body), s.Signature) {
				t.Errorf("accepted a message of %q that nobody signed", m.From)
			}
		}
		if _, err := VerifyRecord("tp", "net", &affiliatev1.SignedAffiliateRecord{Record: b, Signature: b}, time.Now()); err == nil {
			t.Error("accepted a record")
		}
		if other.Recognises(&affiliatev1.Mail{Mailbox: b, Tag: b, Claim: b}) {
			t.Error("recognised noise")
		}
	})
}
