package keys

import (
	"bytes"
	"crypto/sha256"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// Domain tags of what the account key signs. A signature made for one can't
// stand for another, nor for a transaction, whose sign bytes never start so.
const (
	tagMessage = "affiliate/message/1"
	tagRecord  = "affiliate/record/1"
)

// Limits of affiliate records.
const (
	MaxRecord         = 16 << 10 // bytes of a SignedAffiliateRecord
	MaxName           = 64       // bytes
	MaxAddrs          = 16
	MaxAddrSize       = 256 // bytes of one multiaddr
	MaxPeerID         = 128 // bytes
	MaxVetted         = 256 // contracts that a record names
	MaxRecordLifetime = 366 * 24 * time.Hour
)

// domain joins a tag and what is signed under it: tag, zero byte, content.
func domain(tag string, content []byte) []byte {
	b := make([]byte, 0, len(tag)+1+len(content))
	b = append(b, tag...)
	b = append(b, 0)
	return append(b, content...)
}

// SignMessage returns the SignedMessage bytes of m, whose sender must be this
// affiliate.
func (r *Ring) SignMessage(m *affiliatev1.Message) ([]byte, error) {
	if m.GetFrom() != r.address {
		return nil, agreement.Errorf(agreement.CodeInternal, "a message of %q signed by %s", m.GetFrom(), r.address)
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "encoding a message: %w", err)
	}
	sig, err := r.Sign(domain(tagMessage, body))
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "signing a message: %w", err)
	}
	signed, err := proto.Marshal(&affiliatev1.SignedMessage{Body: body, Signature: sig, AccountKey: r.public})
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "encoding a message: %w", err)
	}
	if len(signed) > MaxMessage {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "a message of %d bytes, the limit is %d", len(signed), MaxMessage)
	}
	return signed, nil
}

// VerifyMessage decodes SignedMessage bytes and checks that Message.from
// signed them. The id is SHA-256 of the body. Network and recipient are left
// to the caller. Errors: CodeTooLarge, CodeBadMessage, CodeBadSignature.
func VerifyMessage(prefix string, signed []byte) (*affiliatev1.Message, agreement.Hash, error) {
	if len(signed) > MaxMessage {
		return nil, agreement.Hash{}, agreement.Errorf(agreement.CodeTooLarge, "a message of %d bytes, the limit is %d", len(signed), MaxMessage)
	}
	var s affiliatev1.SignedMessage
	if err := proto.Unmarshal(signed, &s); err != nil {
		return nil, agreement.Hash{}, agreement.Errorf(agreement.CodeBadMessage, "decoding a signed message: %w", err)
	}
	if !Verify(s.AccountKey, domain(tagMessage, s.Body), s.Signature) {
		return nil, agreement.Hash{}, agreement.Errorf(agreement.CodeBadSignature, "the signature of a message is wrong")
	}
	m := new(affiliatev1.Message)
	if err := proto.Unmarshal(s.Body, m); err != nil {
		return nil, agreement.Hash{}, agreement.Errorf(agreement.CodeBadMessage, "decoding a message: %w", err)
	}
	from, err := AddressOf(prefix, s.AccountKey)
	if err != nil {
		return nil, agreement.Hash{}, err
	}
	if m.From != from {
		return nil, agreement.Hash{}, agreement.Errorf(agreement.CodeBadSignature, "a message of %q is signed by %s", m.From, from)
	}
	return m, agreement.Hash(sha256.Sum256(s.Body)), nil
}

// SenderOf tells whom a message that was verified before is from; empty if it
// can't be read.
func SenderOf(signed []byte) string {
	var s affiliatev1.SignedMessage
	var m affiliatev1.Message
	if proto.Unmarshal(signed, &s) != nil || proto.Unmarshal(s.Body, &m) != nil {
		return ""
	}
	return m.From
}

// SignRecord signs an affiliate record, which must be this affiliate's own.
func (r *Ring) SignRecord(rec *affiliatev1.AffiliateRecord) (*affiliatev1.SignedAffiliateRecord, error) {
	if rec.GetAddress() != r.address {
		return nil, agreement.Errorf(agreement.CodeInternal, "the record of %q signed by %s", rec.GetAddress(), r.address)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(rec)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "encoding an affiliate record: %w", err)
	}
	sig, err := r.Sign(domain(tagRecord, b))
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "signing an affiliate record: %w", err)
	}
	return &affiliatev1.SignedAffiliateRecord{Record: b, Signature: sig}, nil
}

// VerifyRecord decodes an affiliate record and checks that its affiliate
// signed it, that it belongs to the network, that it has not expired and that
// its parts have their sizes. The peer id and the multiaddrs are not parsed.
// Errors: CodeTooLarge, CodeBadMessage, CodeBadSignature, CodeWrongNetwork,
// CodeExpired.
func VerifyRecord(prefix, network string, s *affiliatev1.SignedAffiliateRecord, now time.Time) (*affiliatev1.AffiliateRecord, error) {
	if len(s.GetRecord()) > MaxRecord {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "an affiliate record of %d bytes, the limit is %d", len(s.GetRecord()), MaxRecord)
	}
	rec := new(affiliatev1.AffiliateRecord)
	if err := proto.Unmarshal(s.GetRecord(), rec); err != nil {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "decoding an affiliate record: %w", err)
	}
	if !Verify(rec.AccountKey, domain(tagRecord, s.GetRecord()), s.GetSignature()) {
		return nil, agreement.Errorf(agreement.CodeBadSignature, "the signature of an affiliate record is wrong")
	}
	address, err := AddressOf(prefix, rec.AccountKey)
	if err != nil {
		return nil, err
	}
	if rec.Address != address {
		return nil, agreement.Errorf(agreement.CodeBadSignature, "the record of %q is signed by %s", rec.Address, address)
	}
	if rec.Network != network {
		return nil, agreement.Errorf(agreement.CodeWrongNetwork, "the record of %s is for network %q, not %q", address, rec.Network, network)
	}
	if err := checkRecord(rec); err != nil {
		return nil, err
	}
	expires := time.Unix(rec.ExpiresUnix, 0)
	if !now.Before(expires) {
		return nil, agreement.Errorf(agreement.CodeExpired, "the record of %s expired at %s", address, expires.UTC().Format(time.RFC3339))
	}
	if expires.After(now.Add(MaxRecordLifetime)) {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "the record of %s lives longer than %s", address, MaxRecordLifetime)
	}
	return rec, nil
}

// checkRecord holds the parts of a record to their limits.
func checkRecord(rec *affiliatev1.AffiliateRecord) error {
	bad := func(what string) error {
		return agreement.Errorf(agreement.CodeBadMessage, "the record of %s has a bad %s", rec.Address, what)
	}
	switch {
	case len(rec.Name) > MaxName || !printable(rec.Name):
		return bad("name")
	case len(rec.MailboxKey) != MailboxSize:
		return bad("mailbox key")
	case len(rec.PeerId) == 0 || len(rec.PeerId) > MaxPeerID:
		return bad("peer id")
	case len(rec.Multiaddrs) > MaxAddrs:
		return bad("number of multiaddrs")
	case rec.Sequence == 0:
		return bad("sequence")
	}
	for _, a := range rec.Multiaddrs {
		if len(a) == 0 || len(a) > MaxAddrSize {
			return bad("multiaddr")
		}
	}
	if _, err := parseRecipient(rec.Recipient); err != nil {
		return bad("recipient")
	}
	if !ascending(rec.GetVetting().GetContracts()) {
		return bad("list of vetted contracts")
	}
	return nil
}

// ascending holds the hashes of vetted contracts to number, size and order.
func ascending(hashes [][]byte) bool {
	if len(hashes) > MaxVetted {
		return false
	}
	for i, h := range hashes {
		if len(h) != len(agreement.Hash{}) || i > 0 && bytes.Compare(hashes[i-1], h) >= 0 {
			return false
		}
	}
	return true
}

// printable refuses what could play tricks on a terminal.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return false
		}
	}
	return true
}
