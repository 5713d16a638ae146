package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

var errDisk = errors.New("the disk is on fire")

// failAfter writes n bytes, then fails.
type failAfter struct{ n int }

func (f *failAfter) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

func noise(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(n)})
	rng.Read(b) //nolint:errcheck // never fails
	return b
}

// What is sealed by stream, in pieces of any size, is opened by stream, at any
// place and as a whole, and has the sizes that were computed.
func TestStreamsAgree(t *testing.T) {
	r := newTestRing(t)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 3*ageChunk+1), rapid.SampledFrom([]int{0, 1, ageChunk - 1, ageChunk, ageChunk + 1, 2 * ageChunk})).Draw(t, "size")
		content := noise(size)
		var payload bytes.Buffer
		header, w, err := SealTo(&payload, []string{r.Recipient()})
		if err != nil {
			t.Fatal(err)
		}
		for rest := content; len(rest) > 0; {
			n := min(rapid.IntRange(1, 2*ageChunk).Draw(t, "piece"), len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if int64(payload.Len()) != PayloadSize(int64(size)) {
			t.Fatalf("%d bytes of payload, computed %d", payload.Len(), PayloadSize(int64(size)))
		}
		in, err := r.Open(header, iotest.HalfReader(bytes.NewReader(payload.Bytes())))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(in); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("opened otherwise: %v", err)
		}
		if got, err := r.Unseal(header, payload.Bytes(), int64(size)); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("unsealed otherwise: %v", err)
		}
	})
}

// A payload that isn't whole never ends in io.EOF, and what comes before the
// error is the content.
func TestOpenVerifiesToTheEnd(t *testing.T) {
	r := newTestRing(t)
	content := noise(2*ageChunk + 100)
	header, payload, err := Seal(content, []string{r.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	const sealedChunk = ageChunk + ageOverhead
	cases := map[string][]byte{}
	for _, cut := range []int{0, 1, ageNonce - 1, ageNonce, ageNonce + 1, ageNonce + ageOverhead, ageNonce + sealedChunk, ageNonce + sealedChunk + 1, ageNonce + 2*sealedChunk, len(payload) - 1} {
		cases[fmt.Sprint("cut at ", cut)] = payload[:cut]
	}
	for _, bit := range []int{0, ageNonce, ageNonce + sealedChunk, ageNonce + 2*sealedChunk - 1, len(payload) - 1} {
		b := bytes.Clone(payload)
		b[bit] ^= 0x80
		cases[fmt.Sprint("flipped at ", bit)] = b
	}
	cases["one byte more"] = append(bytes.Clone(payload), 0)
	cases["a chunk more"] = append(bytes.Clone(payload), payload[ageNonce:ageNonce+sealedChunk]...)
	cases["chunks swapped"] = append(append(bytes.Clone(payload[:ageNonce]), payload[ageNonce+sealedChunk:ageNonce+2*sealedChunk]...), append(bytes.Clone(payload[ageNonce:ageNonce+sealedChunk]), payload[ageNonce+2*sealedChunk:]...)...)
	for name, b := range cases {
		in, err := r.Open(header, bytes.NewReader(b))
		var got []byte
		if err == nil {
			got, err = io.ReadAll(in)
		}
		wantCode(t, err, agreement.CodeDamaged)
		if !bytes.HasPrefix(content, got) {
			t.Errorf("%s: wrong bytes were returned", name)
		}
	}
}

// Errors of the other side are not taken for damage.
func TestErrorsOfTheSourcePass(t *testing.T) {
	r := newTestRing(t)
	header, payload, err := Seal(noise(3*ageChunk), []string{r.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	gone := agreement.Errorf(agreement.CodePeerUnreachable, "the line is cut")
	for _, cut := range []int{0, 5, ageNonce, 100, ageChunk + 100, len(payload)} {
		for _, want := range []error{errDisk, gone, io.ErrUnexpectedEOF} {
			in, err := r.Open(header, io.MultiReader(bytes.NewReader(payload[:cut]), iotest.ErrReader(want)))
			if err == nil {
				_, err = io.Copy(io.Discard, in)
			}
			if !errors.Is(err, want) || agreement.CodeOf(err) == agreement.CodeDamaged {
				t.Errorf("after %d bytes: %v, want %v", cut, err, want)
			}
		}
	}
	if _, _, err := SealTo(&failAfter{ageNonce - 1}, []string{r.Recipient()}); !errors.Is(err, errDisk) {
		t.Errorf("sealing: %v", err)
	}
	_, w, err := SealTo(&failAfter{ageNonce + ageChunk}, []string{r.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(make([]byte, 2*ageChunk))
	if !errors.Is(err, errDisk) || !errors.Is(w.Close(), errDisk) {
		t.Errorf("writing: %v", err)
	}
}

// What isn't closed can't be opened.
func TestSealWithoutEnd(t *testing.T) {
	r := newTestRing(t)
	for _, size := range []int{0, 10, ageChunk, 2 * ageChunk} {
		var payload bytes.Buffer
		header, w, err := SealTo(&payload, []string{r.Recipient()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(noise(size)); err != nil {
			t.Fatal(err)
		}
		in, err := r.Open(header, &payload)
		if err == nil {
			_, err = io.Copy(io.Discard, in)
		}
		wantCode(t, err, agreement.CodeDamaged)
	}
}

// zeros is n bytes that are nowhere.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), z.n)]
	clear(p)
	z.n -= int64(len(p))
	return len(p), nil
}

// Memory doesn't grow with what is sealed and opened.
func TestStreamsTakeLittleMemory(t *testing.T) {
	const size = 64 << 20
	r := newTestRing(t)
	pr, pw := io.Pipe()
	headers := make(chan []byte, 1)
	go func() {
		header, w, err := SealTo(pw, []string{r.Recipient()})
		headers <- header
		if err == nil {
			_, err = io.Copy(w, &zeros{size})
			err = errors.Join(err, w.Close())
		}
		pw.CloseWithError(err) //nolint:errcheck // never fails
	}()
	nonce := make([]byte, ageNonce) // is written before SealTo returns
	if _, err := io.ReadFull(pr, nonce); err != nil {
		t.Fatal(err)
	}
	in, err := r.Open(<-headers, io.MultiReader(bytes.NewReader(nonce), pr))
	if err != nil {
		t.Fatal(err)
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, total := uint64(0), int64(0)
	for buf := make([]byte, 32<<10); ; {
		n, err := in.Read(buf)
		total += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if total%(8<<20) == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}
	}
	if total != size || peak > before.HeapAlloc+(2<<20) {
		t.Errorf("%d bytes with %d KiB more than before", total, (int64(peak)-int64(before.HeapAlloc))>>10)
	}
}
