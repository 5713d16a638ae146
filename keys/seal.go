package keys

import (
	"bytes"
	"io"

	"filippo.io/age"

	"github.com/affiliate-node/affiliate/agreement"
)

// The parts of the age format that size checks need.
const (
	ageNonce      = 16
	ageChunk      = 64 << 10
	ageOverhead   = 16      // Poly1305 tag of each chunk
	maxRecipient  = 4 << 10 // characters of a recipient; a hybrid one has 1959
	minAgePayload = ageNonce + ageOverhead
)

// SealTo encrypts what is written to plaintext to the recipients, in the age
// format. The header is the text through the MAC line; the payload, a nonce
// and chunks of 64 KiB, goes to w while plaintext is written. Joined they are
// an age file. Closing plaintext writes the end, without which nobody can open
// the payload; it doesn't close w. Errors of w come back unchanged. It takes
// about 128 KiB of memory, however much is sealed.
func SealTo(w io.Writer, recipients []string) (header []byte, plaintext io.WriteCloser, err error) {
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
	var start bytes.Buffer
	out := &redirect{&start}
	plaintext, err = age.Encrypt(out, to...)
	if err != nil {
		return nil, nil, agreement.Errorf(agreement.CodeInternal, "sealing: %w", err)
	}
	headerSize := start.Len() - ageNonce // Encrypt has written header and nonce
	header = start.Bytes()[:headerSize:headerSize]
	if _, err := w.Write(start.Bytes()[headerSize:]); err != nil {
		return nil, nil, err
	}
	out.Writer = w
	return header, plaintext, nil
}

// redirect is a writer whose destination changes.
type redirect struct{ io.Writer }

// Seal is SealTo for content in memory.
func Seal(content []byte, recipients []string) (header, payload []byte, err error) {
	var out bytes.Buffer
	out.Grow(minAgePayload + len(content) + len(content)/ageChunk*ageOverhead)
	header, w, err := SealTo(&out, recipients)
	if err != nil {
		return nil, nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, nil, agreement.Errorf(agreement.CodeInternal, "sealing: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, nil, agreement.Errorf(agreement.CodeInternal, "sealing: %w", err)
	}
	return header, out.Bytes(), nil
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

// PayloadSize returns how many bytes of payload a content of size bytes has
// once it is sealed.
func PayloadSize(size int64) int64 {
	chunks := max((size+ageChunk-1)/ageChunk, 1)
	return ageNonce + size + chunks*ageOverhead
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
