package keys

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"

	"filippo.io/age"

	"github.com/affiliate-node/affiliate/agreement"
)

// Open returns a reader of what was sealed. It verifies every chunk before it
// hands it out, and the end before it returns io.EOF: content is whole only
// then. The current identity is tried before previous ones. Errors, here and
// while reading: CodeNotAuthorized when the data is sealed to others,
// CodeDamaged when it isn't what was sealed; those of payload come back
// unchanged. It takes about 192 KiB of memory, however much is opened.
func (r *Ring) Open(header []byte, payload io.Reader) (io.Reader, error) {
	key, err := r.fileKey(header)
	if err != nil {
		return nil, err
	}
	in, err := age.Decrypt(io.MultiReader(bytes.NewReader(header), source{payload}), age.NewInjectedFileKeyIdentity(key))
	if err != nil {
		return nil, openError(err)
	}
	return opened{in}, nil
}

// Opens reports whether this affiliate can open what the header belongs to: nil,
// or an error as of Open. The Open that follows costs less by as much.
func (r *Ring) Opens(header []byte) error {
	_, err := r.fileKey(header)
	return err
}

// Unseal is Open for a payload in memory. CodeTooLarge when the content is
// larger than limit bytes, which is checked before it is opened; else as Open.
func (r *Ring) Unseal(header, payload []byte, limit int64) ([]byte, error) {
	size, err := sealedSize(int64(len(payload)))
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "sealed content of %d bytes, the limit is %d", size, limit)
	}
	in, err := r.Open(header, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	content := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead)) // room for the reading that finds the end
	if _, err := content.ReadFrom(in); err != nil {
		return nil, err
	}
	if int64(content.Len()) != size {
		return nil, agreement.Errorf(agreement.CodeDamaged, "sealed data holds %d bytes, not %d", content.Len(), size)
	}
	return content.Bytes(), nil
}

// maxOpened is of how many headers a ring remembers the file key: opening one
// takes two key exchanges, most of the time that a small object takes.
const maxOpened = 1024

// fileKey parses and verifies a header with this affiliate's identities.
func (r *Ring) fileKey(header []byte) ([]byte, error) {
	name := sha256.Sum256(header)
	if key, ok := r.opened.Get(name); ok {
		return bytes.Clone(key), nil
	}
	h, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	held := r.held.Load()
	key, _, err := h.unwrap(*held)
	if err != nil {
		return nil, err
	}
	r.opened.Add(name, bytes.Clone(key))
	if r.held.Load() != held { // forgotten meanwhile
		r.opened.Remove(name)
	}
	return key, nil
}

// sealedSize is contentSize with an error.
func sealedSize(payload int64) (int64, error) {
	size, ok := contentSize(payload)
	if !ok {
		return 0, agreement.Errorf(agreement.CodeDamaged, "a sealed payload can't have %d bytes", payload)
	}
	return size, nil
}

// opened gives the errors of a reader their codes.
type opened struct{ r io.Reader }

func (o opened) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	return n, openError(err)
}

// openError tells errors of the source, which pass, from damage.
func openError(err error) error {
	var s sourceError
	switch {
	case err == nil || err == io.EOF: //nolint:errorlint // age's own, never wrapped
		return err
	case errors.As(err, &s):
		return s.error
	}
	return agreement.Errorf(agreement.CodeDamaged, "opening sealed data: %w", err)
}

// sourceError marks an error as the source's own, so that it can be found
// again under what age says of it.
type sourceError struct{ error }

func markSource(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // as readers return it
		return err
	}
	return sourceError{err}
}

// source marks the errors of a reader.
type source struct{ r io.Reader }

func (s source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	return n, markSource(err)
}
