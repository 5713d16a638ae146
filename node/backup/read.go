package backup

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"

	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/keys"
)

// maxSealed bounds the header of the encrypted part, in bytes: it has one
// reader.
const maxSealed = 64 << 10

// File is a backup that can be read more than once.
type File struct {
	Header  Header
	Trailer Trailer

	in     io.ReaderAt
	start  int64  // where the encrypted part begins
	signed []byte // the trailer's line
	sig    []byte
}

// Describe reads what a backup of size bytes says of itself: its header and
// trailer. It proves nothing of them; Check does. CodeDamaged when it isn't a
// backup or not a whole one.
func Describe(in io.ReaderAt, size int64) (*File, error) {
	f := &File{in: in}
	if err := f.readHeader(size); err != nil {
		return nil, err
	}
	return f, f.readTrailer(size)
}

func (f *File) readHeader(size int64) error {
	line, err := readLine(bufio.NewReader(io.NewSectionReader(f.in, 0, min(size, maxLine))))
	if err != nil {
		return err
	}
	if json.Unmarshal(line, &f.Header) != nil || f.Header.Format == "" {
		return damaged("it isn't a backup: its first line isn't a backup's")
	}
	if f.Header.Format != format {
		return agreement.Errorf(agreement.CodeDamaged, "it has the format %.64q, and this program knows %q", f.Header.Format, format).
			WithHint("use the version of affiliate that made it")
	}
	f.start = int64(len(line))
	return nil
}

// readLine reads through the next newline; io.EOF comes as damage.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return nil, damaged("it isn't a backup, or its beginning is missing")
	}
	return line, err
}

// readTrailer finds the two last lines.
func (f *File) readTrailer(size int64) error {
	tail := make([]byte, min(size-f.start, maxLine))
	if _, err := f.in.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	missing := damaged("its end is missing: it was cut off, or never finished")
	lines := bytes.SplitAfter(tail, []byte{'\n'})
	if len(lines) < 4 || len(lines[len(lines)-1]) != 0 {
		return missing
	}
	f.signed = lines[len(lines)-3]
	var err error
	f.sig, err = base64.StdEncoding.DecodeString(string(bytes.TrimSuffix(lines[len(lines)-2], []byte{'\n'})))
	if err != nil || json.Unmarshal(f.signed, &f.Trailer) != nil || f.Trailer.Digest == "" {
		return missing
	}
	if want := size - int64(len(f.signed)+len(lines[len(lines)-2])); f.Trailer.Size != want || want <= f.start {
		return damaged("it says that it has %d bytes before its end, and has %d", f.Trailer.Size, want)
	}
	return nil
}

// Check proves that the backup is whole and of this affiliate: it verifies the
// signature and reads all that it covers. CodeNotAuthorized for a backup of
// another affiliate or network, CodeDamaged for one that isn't what was written.
func (f *File) Check(ring *keys.Ring, network string) error {
	switch {
	case f.Header.Address != ring.Address():
		return agreement.Errorf(agreement.CodeNotAuthorized, "it is a backup of %.128q, and this home is that of %s", f.Header.Address, ring.Address()).
			WithHint("restore it in the home with that affiliate's keys")
	case f.Header.Network != network:
		return agreement.Errorf(agreement.CodeWrongNetwork, "it is a backup from the network %.128q, and this home is for %q", f.Header.Network, network).
			WithHint("see chain.id in affiliate.toml")
	case !keys.VerifyFor(keys.ForBackup, ring.AccountKey(), f.signed, f.sig):
		return agreement.Errorf(agreement.CodeBadSignature, "its signature isn't this affiliate's: it was changed, or is damaged at its end").
			WithHint("use another copy of it")
	}
	hash := blake3.New(32, nil)
	if _, err := io.CopyBuffer(onlyWriter{hash}, f.section(0), make([]byte, 256<<10)); err != nil {
		return err
	}
	return f.compare(hash.Sum(nil))
}

func (f *File) compare(got []byte) error {
	if hex.EncodeToString(got) != f.Trailer.Digest {
		return damaged("it isn't what was signed: some of its bytes have changed")
	}
	return nil
}

func (f *File) section(from int64) *io.SectionReader {
	return io.NewSectionReader(f.in, from, f.Trailer.Size-from)
}

// Continues reports why a backup can't be applied after another one; nil for
// the other means that it is to be the first.
func (f *File) Continues(other *File) error {
	switch {
	case other == nil && f.Header.Since != 0:
		return agreement.Errorf(agreement.CodeBadRequest, "it is an incremental backup, and what it continues isn't given").
			WithHint("give all parts in order, the full backup first: --from FULL --from INCREMENT …")
	case other == nil:
		return nil
	case f.Header.Since == 0:
		return agreement.Errorf(agreement.CodeBadRequest, "it is a full backup, and continues nothing").
			WithHint("give one full backup, and then the incremental ones that continue it")
	case f.Header.Store != other.Header.Store || f.Header.Since != other.Trailer.Upto || f.Header.After != other.Trailer.Digest:
		return agreement.Errorf(agreement.CodeBadRequest, "it doesn't continue the one before it: another backup is missing between them, or they are in the wrong order").
			WithHint("each incremental backup must follow the one that was its --since")
	}
	return nil
}

// Open returns the store's part. It is hashed once more while it is read, so
// that a file that changed after Check is noticed: the end comes only if it is
// what was signed.
func (f *File) Open(ring *keys.Ring) (io.Reader, error) {
	hash := blake3.New(32, nil)
	in := bufio.NewReaderSize(io.TeeReader(f.section(0), hash), 128<<10)
	if _, err := readLine(in); err != nil {
		return nil, err
	}
	var header []byte
	for !bytes.HasPrefix(header[lastLine(header):], []byte("--- ")) {
		line, err := in.ReadSlice('\n')
		if err != nil || len(header)+len(line) > maxSealed {
			return nil, damaged("its encrypted part has no beginning")
		}
		header = append(header, line...)
	}
	// The newline behind the encrypted part belongs to the text, not to it.
	left := f.Trailer.Size - f.start - int64(len(header)) - 1
	if left < 0 {
		return nil, damaged("it has no encrypted part")
	}
	plain, err := ring.Open(header, io.LimitReader(in, left))
	if err != nil {
		return nil, err
	}
	return &proving{plain: plain, rest: in, end: func() error { return f.compare(hash.Sum(nil)) }}, nil
}

// lastLine is where the last whole line of b begins.
func lastLine(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	return bytes.LastIndexByte(b[:len(b)-1], '\n') + 1
}

// proving reads to the end, and then proves the whole.
type proving struct {
	plain, rest io.Reader
	end         func() error
}

// Read implements io.Reader.
func (p *proving) Read(b []byte) (int, error) {
	n, err := p.plain.Read(b)
	if err != io.EOF { //nolint:errorlint // as readers return it
		return n, err
	}
	if _, err := io.Copy(io.Discard, p.rest); err != nil {
		return n, err
	}
	if err := p.end(); err != nil {
		return n, err
	}
	return n, io.EOF
}

// onlyWriter hides that a hash could do more, so that CopyBuffer uses the buffer.
type onlyWriter struct{ io.Writer }
