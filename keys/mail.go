package keys

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// Sizes of the parts of a mail, in bytes.
const (
	MailboxSize = 32 // X25519 public key
	TagSize     = 16
	TokenSize   = 32
	ClaimSize   = sha256.Size
	// MaxMessage is the largest SignedMessage that a mail may hold.
	MaxMessage = 1 << 20
)

// Labels of the two keys that sender and recipient share for one mail.
const (
	labelMailTag   = "affiliate/mail-tag/1"
	labelMailToken = "affiliate/mail-token/1"
)

// SealMail seals a signed message to one affiliate, named by the recipient
// and the mailbox key of its record. Only the recipient can tell whose mail it
// is. Keepers may drop it after expires.
func SealMail(signed []byte, recipient string, mailboxKey []byte, expires time.Time) (*affiliatev1.Mail, error) {
	if len(signed) > MaxMessage {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "a message of %d bytes, the limit is %d", len(signed), MaxMessage)
	}
	to, err := ecdh.X25519().NewPublicKey(mailboxKey)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "reading a mailbox key: %w", err)
	}
	ephemeral, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "making a mailbox: %w", err)
	}
	m := &affiliatev1.Mail{Mailbox: ephemeral.PublicKey().Bytes(), ExpiresUnix: expires.Unix()}
	secret, err := mailSecret(ephemeral, to, m.Mailbox, mailboxKey)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "using a mailbox key: %w", err)
	}
	claim := sha256.Sum256(derive(secret, labelMailToken))
	m.Claim = claim[:]
	m.Tag = mailTag(secret, m)
	header, payload, err := Seal(signed, []string{recipient})
	if err != nil {
		return nil, err
	}
	m.Sealed = append(header, payload...)
	return m, nil
}

// Recognises reports whether a mail, with or without its content, is for this
// affiliate. It takes the same time whether or not the tag fits.
func (r *Ring) Recognises(m *affiliatev1.Mail) bool {
	if len(m.GetMailbox()) != MailboxSize || len(m.GetTag()) != TagSize || len(m.GetClaim()) != ClaimSize {
		return false
	}
	secret, err := r.mailSecret(m.Mailbox)
	if err != nil {
		return false
	}
	return hmac.Equal(mailTag(secret, m), m.Tag)
}

// ClaimToken returns the token whose SHA-256 is the mail's claim: it proves to
// a keeper that the mail is ours, and tells it nothing else.
func (r *Ring) ClaimToken(mailbox []byte) ([]byte, error) {
	secret, err := r.mailSecret(mailbox)
	if err != nil {
		return nil, err
	}
	return derive(secret, labelMailToken), nil
}

// ClaimFits reports whether a token takes a mail with the given claim.
func ClaimFits(claim, token []byte) bool {
	sum := sha256.Sum256(token)
	return len(token) == TokenSize && subtle.ConstantTimeCompare(sum[:], claim) == 1
}

// mailHeader is the size of a header with one recipient: a mail has no more.
const mailHeader = len(agePrefix) + hybridStanza + footerSize

// OpenMail returns the SignedMessage bytes inside a mail. The tag is not
// checked: see Recognises.
func (r *Ring) OpenMail(m *affiliatev1.Mail) ([]byte, error) {
	if len(m.GetSealed()) < mailHeader {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "a mail without a sealed message")
	}
	return r.Unseal(m.Sealed[:mailHeader], m.Sealed[mailHeader:], MaxMessage)
}

// mailSecret is what this affiliate shares with the sender of a mail.
func (r *Ring) mailSecret(mailbox []byte) ([]byte, error) {
	from, err := ecdh.X25519().NewPublicKey(mailbox)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "reading a mailbox: %w", err)
	}
	secret, err := mailSecret(r.mailbox, from, mailbox, r.mailbox.PublicKey().Bytes())
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "using a mailbox: %w", err)
	}
	return secret, nil
}

// mailSecret binds the shared secret to both public keys, so that it belongs
// to this pair only.
func mailSecret(own *ecdh.PrivateKey, other *ecdh.PublicKey, mailbox, mailboxKey []byte) ([]byte, error) {
	shared, err := own.ECDH(other) // an all-zero secret is an error
	if err != nil {
		return nil, err
	}
	return hkdf.Extract(sha256.New, shared, append(append([]byte(nil), mailbox...), mailboxKey...))
}

// mailTag authenticates the mailbox and the claim, not the content: that one
// is authenticated by age and by the signature inside.
func mailTag(secret []byte, m *affiliatev1.Mail) []byte {
	mac := hmac.New(sha256.New, derive(secret, labelMailTag))
	mac.Write(m.Mailbox)
	mac.Write(m.Claim)
	return mac.Sum(nil)[:TagSize]
}
