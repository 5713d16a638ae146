package keys

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"filippo.io/age"

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits of sealed data.
const (
	// MaxReaders is how many recipients one sealing may have. Each takes 1557
	// bytes of header.
	MaxReaders = 128
	// MaxHeader is the largest header that is looked at, in bytes.
	MaxHeader = 256 << 10
)

// A header's text. A stanza of the only kind that is accepted,
// mlkem768x25519, has one size: an opening line with the encapsulated key and
// a body line with the wrapped file key, both in unpadded base64.
const (
	agePrefix    = "age-encryption.org/v1\n" // starts every age file; a plain key file doesn't have it
	ageFooter    = "\n--- "
	hybridType   = "mlkem768x25519"
	hybridOpen   = "-> " + hybridType + " "
	hybridKey    = 1494 // characters of 1120 bytes
	hybridBody   = 43   // characters of 32 bytes
	hybridStanza = len(hybridOpen) + hybridKey + 1 + hybridBody + 1
	macOpen      = "--- "
	macText      = 43 // characters of 32 bytes
	footerSize   = len(macOpen) + macText + 1
)

const (
	fileKeySize = 16
	// labelHeaderMAC is from the age specification.
	labelHeaderMAC = "header"
)

// header is a parsed age header. It is not trusted before its MAC is verified
// with the file key.
type header struct {
	stanzas []stanza // one for each recipient
	mac     []byte   // 32 bytes
}

// stanza is a file key wrapped for one recipient.
type stanza struct {
	text   []byte // as it stands in the header
	parsed []*age.Stanza
}

// parseHeader takes what Seal writes and nothing else: 1 to MaxReaders
// post-quantum recipients, and no byte after the MAC line. The sizes are
// checked before memory is allocated. The stanzas are parts of b.
func parseHeader(b []byte) (*header, error) {
	if len(b) > MaxHeader {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "a sealed header of %d bytes, the limit is %d", len(b), MaxHeader)
	}
	rest, ok := bytes.CutPrefix(b, []byte(agePrefix))
	if !ok {
		return nil, agreement.Errorf(agreement.CodeDamaged, "sealed data has no age header")
	}
	count := (len(rest) - footerSize) / hybridStanza
	if count < 1 || count > MaxReaders || len(rest) != count*hybridStanza+footerSize {
		return nil, agreement.Errorf(agreement.CodeDamaged, "a sealed header of %d bytes isn't one of 1 to %d post-quantum recipients", len(b), MaxReaders)
	}
	h := &header{stanzas: make([]stanza, count)}
	for i := range h.stanzas {
		var err error
		if h.stanzas[i], err = parseStanza(rest[:hybridStanza:hybridStanza]); err != nil {
			return nil, agreement.Errorf(agreement.CodeDamaged, "recipient %d of a sealed header: %w", i+1, err)
		}
		rest = rest[hybridStanza:]
	}
	text, ok := bytes.CutPrefix(rest, []byte(macOpen))
	if ok {
		h.mac, ok = decodeLine(text)
	}
	if !ok {
		return nil, agreement.Errorf(agreement.CodeDamaged, "a sealed header doesn't end with its MAC line")
	}
	return h, nil
}

// parseStanza reads the text of one stanza, of the right size.
func parseStanza(text []byte) (stanza, error) {
	rest, ok := bytes.CutPrefix(text, []byte(hybridOpen))
	if !ok || len(text) != hybridStanza {
		return stanza{}, errors.New("not a post-quantum one")
	}
	if _, ok := decodeLine(rest[:hybridKey+1]); !ok {
		return stanza{}, errors.New("its key is malformed")
	}
	body, ok := decodeLine(rest[hybridKey+1:])
	if !ok {
		return stanza{}, errors.New("its body is malformed")
	}
	parsed := &age.Stanza{Type: hybridType, Args: []string{string(rest[:hybridKey])}, Body: body}
	return stanza{text, []*age.Stanza{parsed}}, nil
}

// strictBase64 has one text for given bytes. It skips line breaks, so that
// what it decodes must be checked for them.
func strictBase64() *base64.Encoding { return base64.RawStdEncoding.Strict() }

// decodeLine decodes canonical base64 up to the line break that must end it.
func decodeLine(line []byte) ([]byte, bool) {
	text, ok := bytes.CutSuffix(line, []byte("\n"))
	if !ok || bytes.ContainsAny(text, "\r\n") {
		return nil, false
	}
	b, err := strictBase64().AppendDecode(nil, text)
	return b, err == nil
}

// newStanza wraps a file key for one more recipient.
func newStanza(fileKey []byte, to *age.HybridRecipient) (stanza, error) {
	wrapped, err := to.Wrap(fileKey)
	if err != nil {
		return stanza{}, agreement.Errorf(agreement.CodeInternal, "wrapping a file key: %w", err)
	}
	if len(wrapped) != 1 || len(wrapped[0].Args) != 1 {
		return stanza{}, agreement.Errorf(agreement.CodeInternal, "age wraps a file key in another form")
	}
	text := make([]byte, 0, hybridStanza)
	text = append(append(append(text, "-> "...), wrapped[0].Type...), ' ')
	text = append(append(text, wrapped[0].Args[0]...), '\n')
	text = append(strictBase64().AppendEncode(text, wrapped[0].Body), '\n')
	made, err := parseStanza(text)
	if err != nil {
		return stanza{}, agreement.Errorf(agreement.CodeInternal, "age wraps a file key in another form: %w", err)
	}
	return made, nil
}

// appendUnsigned appends what the MAC covers.
func (h *header) appendUnsigned(b []byte) []byte {
	b = append(b, agePrefix...)
	for _, s := range h.stanzas {
		b = append(b, s.text...)
	}
	return append(b, macOpen[:len(macOpen)-1]...)
}

// bytes returns the header's text.
func (h *header) bytes() []byte {
	b := make([]byte, 0, len(agePrefix)+len(h.stanzas)*hybridStanza+footerSize)
	b = append(h.appendUnsigned(b), ' ')
	return append(strictBase64().AppendEncode(b, h.mac), '\n')
}

// computeMAC returns the MAC that a header of these stanzas has under a file
// key: HMAC-SHA-256 under HKDF-SHA-256 of the file key.
func (h *header) computeMAC(fileKey []byte) []byte {
	mac := hmac.New(sha256.New, derive(fileKey, labelHeaderMAC))
	mac.Write(h.appendUnsigned(nil))
	return mac.Sum(nil)
}

// place is where a header was opened: with which identity, at which stanza.
type place struct {
	identity, stanza int
}

// unwrap finds the file key, with the identities in their order, and verifies
// the header with it. CodeNotAuthorized when no stanza is for any of them.
func (h *header) unwrap(ids []identity) ([]byte, place, error) {
	for i, id := range ids {
		for j, s := range h.stanzas {
			key, err := id.key.Unwrap(s.parsed)
			if errors.Is(err, age.ErrIncorrectIdentity) {
				continue
			}
			if err != nil {
				return nil, place{}, agreement.Errorf(agreement.CodeDamaged, "recipient %d of a sealed header: %w", j+1, err)
			}
			if len(key) != fileKeySize || !hmac.Equal(h.computeMAC(key), h.mac) {
				return nil, place{}, agreement.Errorf(agreement.CodeDamaged, "the MAC of a sealed header is wrong")
			}
			return key, place{i, j}, nil
		}
	}
	return nil, place{}, agreement.Errorf(agreement.CodeNotAuthorized, "the data is sealed to others")
}

// Readers returns how many recipients a header has, after checking that it is
// well formed. Whether it is genuine only a recipient can tell. Errors:
// CodeTooLarge, CodeDamaged.
func Readers(header []byte) (int, error) {
	h, err := parseHeader(header)
	if err != nil {
		return 0, err
	}
	return len(h.stanzas), nil
}
