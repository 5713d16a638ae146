// Package backup owns the file format of a backup: a line that says whose it
// is and where it continues, the store's own backup encrypted to the affiliate,
// and a signed line at the end. It never looks into the store's part, and holds
// no more than some hundred kilobytes, however large a backup is.
package backup

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"

	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/keys"
)

const (
	format = "affiliate-backup/1"
	// maxLine bounds each line of text in a backup, in bytes.
	maxLine = 4 << 10
)

// Header is the first line of a backup, JSON. Anybody can read it.
type Header struct {
	Format  string    `json:"format"`
	Address string    `json:"address"` // of the affiliate
	Network string    `json:"network"` // chain id
	Store   string    `json:"store"`   // hex; a store that was restored is another one
	Created time.Time `json:"created"`
	Since   uint64    `json:"since"` // 0: a full backup; else Upto of the one that it continues
	After   string    `json:"after"` // Digest of that one, or empty
}

// Trailer is the last line but one, JSON. The last line is the account key's
// signature over it.
type Trailer struct {
	Upto   uint64 `json:"upto"`   // version of the store that the backup goes up to
	Size   int64  `json:"size"`   // bytes before the trailer
	Digest string `json:"digest"` // BLAKE3-256 of these, hex
}

// Write writes a backup. dump writes the store's part and tells up to which
// version it goes. What was written is a backup only if Write returns no error.
func Write(w io.Writer, ring *keys.Ring, h Header, dump func(io.Writer) (upto uint64, err error)) (Trailer, error) {
	h.Format, h.Address, h.Created = format, ring.Address(), h.Created.UTC()
	out := &digester{w: w, hash: blake3.New(32, nil)}
	if err := writeLine(out, h); err != nil {
		return Trailer{}, err
	}
	late := &behind{}
	sealed, plain, err := keys.SealTo(late, []string{ring.Recipient()})
	if err != nil {
		return Trailer{}, err
	}
	if err := late.begin(out, sealed); err != nil {
		return Trailer{}, err
	}
	upto, err := dump(plain)
	if err == nil {
		err = plain.Close()
	}
	if err == nil {
		_, err = out.Write([]byte{'\n'})
	}
	if err != nil {
		return Trailer{}, err
	}
	t := Trailer{Upto: upto, Size: out.size, Digest: hex.EncodeToString(out.hash.Sum(nil))}
	return t, writeTrailer(w, ring, t)
}

func writeTrailer(w io.Writer, ring *keys.Ring, t Trailer) error {
	var line bytes.Buffer
	if err := writeLine(&line, t); err != nil {
		return err
	}
	sig, err := ring.SignFor(keys.ForBackup, line.Bytes())
	if err != nil {
		return fmt.Errorf("signing the backup: %w", err)
	}
	line.WriteString(base64.StdEncoding.EncodeToString(sig) + "\n")
	_, err = w.Write(line.Bytes())
	return err
}

func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}

// digester hashes and counts what passes.
type digester struct {
	w    io.Writer
	hash hash.Hash
	size int64
}

func (d *digester) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	d.hash.Write(p[:n]) //nolint:errcheck // never fails
	d.size += int64(n)
	return n, err
}

// behind holds what comes until the header that belongs before it is known.
type behind struct {
	held bytes.Buffer
	w    io.Writer
}

func (b *behind) begin(w io.Writer, first []byte) error {
	b.w = w
	if _, err := w.Write(first); err != nil {
		return err
	}
	_, err := w.Write(b.held.Bytes())
	b.held = bytes.Buffer{}
	return err
}

// Write implements io.Writer.
func (b *behind) Write(p []byte) (int, error) {
	if b.w == nil {
		return b.held.Write(p)
	}
	return b.w.Write(p)
}

// damaged is the error about a file that isn't a whole backup.
func damaged(form string, args ...any) error {
	return agreement.Errorf(agreement.CodeDamaged, form, args...).
		WithHint("use another copy of it; `affiliate store backup` makes a new one")
}
