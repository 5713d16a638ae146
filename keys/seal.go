package keys

import (
	"bytes"
	"errors"
	"io"

	"filippo.io/age"

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits of sealed data.
const (
	// MaxReaders is how many recipients one sealing may have. Each takes about
	// 1.6 KB of header.
	MaxReaders = 128
	// MaxHeader is the largest header that is looked at, in bytes.
	MaxHeader = 256 << 10
)

// The parts of the age format that size checks need.
const (
	ageFooter     = "\n--- "
	ageNonce      = 16
	ageChunk      = 64 << 10
	ageOverhead   = 16 // Poly1305 tag of each chunk
	hybridStanza  = "-> mlkem768x25519 "
	stanzaPrefix  = "\n-> "
	maxRecipient  = 4 << 10 // characters of a recipient; a hybrid one has 1959
	minAgePayload = ageNonce + ageOverhead
)

// Seal encrypts content to the recipients in the age format. The header is
// the text through the MAC line, the payload is the nonce and the chunks;
// joined they are an age file.
func Seal(content []byte, recipients []string) (header, payload []byte, err error) {
	if len(recipients) == 0 || len(recipients) > MaxReaders {
		return nil, nil, agreement.Errorf(agreement.CodeBadRequest, "an object is sealed to 1 to %d readers, not %d", MaxReaders, len(recipients))
	}
	to := make([]age.Recipient, 0, len(recipients))
	for _, s := range recipients {
		r, err := parseRecipient(s)
		if err != nil {
			return nil, nil, err
		}
		to = append(to, r)
	}
	var out bytes.Buffer
	out.Grow(len(content) + len(content)/ageChunk*ageOverhead + len(recipients)*(2<<10) + 256)
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, nil, agreement.Errorf(agreement.CodeInternal, "sealing: %w", err)
	}
	headerSize := out.Len() - ageNonce // Encrypt has written header and nonce
	if _, err := w.Write(content); err != nil {
		return nil, nil, agreement.Errorf(agreement.CodeInternal, "sealing: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, nil, agreement.Errorf(agreement.CodeInternal, "sealing: %w", err)
	}
	b := out.Bytes()
	return b[:headerSize:headerSize], b[headerSize:], nil
}

// parseRecipient accepts hybrid post-quantum recipients only.
func parseRecipient(s string) (*age.HybridRecipient, error) {
	if len(s) > maxRecipient {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "a recipient of %d characters", len(s))
	}
	r, err := age.ParseHybridRecipient(s)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "not a post-quantum age recipient")
	}
	return r, nil
}

// Unseal opens what Seal made, for one of its recipients. CodeTooLarge when
// the content is larger than limit bytes (checked before it is opened),
// CodeNotAuthorized when it is sealed to others, CodeDamaged otherwise.
func (r *Ring) Unseal(header, payload []byte, limit int64) ([]byte, error) {
	if err := checkHeader(header); err != nil {
		return nil, err
	}
	size, ok := contentSize(int64(len(payload)))
	if !ok {
		return nil, agreement.Errorf(agreement.CodeDamaged, "a sealed payload can't have %d bytes", len(payload))
	}
	if size > limit {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "sealed content of %d bytes, the limit is %d", size, limit)
	}
	in, err := age.Decrypt(io.MultiReader(bytes.NewReader(header), bytes.NewReader(payload)), r.identity)
	var noMatch *age.NoIdentityMatchError
	if errors.As(err, &noMatch) {
		return nil, agreement.Errorf(agreement.CodeNotAuthorized, "the data is sealed to others")
	}
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeDamaged, "opening sealed data: %w", err)
	}
	content := make([]byte, size)
	if _, err := io.ReadFull(in, content); err != nil {
		return nil, agreement.Errorf(agreement.CodeDamaged, "opening sealed data: %w", err)
	}
	if _, err := io.ReadFull(in, make([]byte, 1)); err != io.EOF { // the end is authenticated too
		return nil, agreement.Errorf(agreement.CodeDamaged, "sealed data doesn't end where it should")
	}
	return content, nil
}

// checkHeader refuses, before parsing, what no Seal writes: other kinds of
// recipients, too many of them, bytes after the MAC line.
func checkHeader(header []byte) error {
	if len(header) > MaxHeader {
		return agreement.Errorf(agreement.CodeTooLarge, "a sealed header of %d bytes, the limit is %d", len(header), MaxHeader)
	}
	rest, ok := bytes.CutPrefix(header, []byte(agePrefix))
	if !ok {
		return agreement.Errorf(agreement.CodeDamaged, "sealed data has no age header")
	}
	stanzas := bytes.Count(header, []byte(stanzaPrefix))
	hybrid := bytes.Count(rest, []byte("\n"+hybridStanza))
	if bytes.HasPrefix(rest, []byte(hybridStanza)) {
		hybrid++
	}
	if stanzas == 0 || stanzas > MaxReaders || stanzas != hybrid {
		return agreement.Errorf(agreement.CodeDamaged, "a sealed header with %d recipients, %d of them post-quantum", stanzas, hybrid)
	}
	footer := bytes.Index(header, []byte(ageFooter))
	if footer < 0 || bytes.IndexByte(header[footer+1:], '\n') != len(header)-footer-2 {
		return agreement.Errorf(agreement.CodeDamaged, "a sealed header doesn't end with its MAC line")
	}
	return nil
}

// contentSize computes the content's size from the payload's, false where no
// content gives such a payload.
func contentSize(payload int64) (int64, bool) {
	if payload < minAgePayload {
		return 0, false
	}
	chunks := (payload - ageNonce + ageChunk + ageOverhead - 1) / (ageChunk + ageOverhead)
	size := payload - ageNonce - chunks*ageOverhead
	if size < 0 || (chunks > 1 && size <= (chunks-1)*ageChunk) {
		return 0, false
	}
	return size, true
}
