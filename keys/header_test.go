package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/affiliate-node/affiliate/agreement"
)

// goldenHeader has fixed stanzas, and the MAC for a fixed file key.
func goldenHeader(t testing.TB, readers int) (*header, []byte) {
	t.Helper()
	h := new(header)
	for r := range readers {
		enc, body := make([]byte, 1120), make([]byte, 32)
		for i := range enc {
			enc[i] = byte(i*7 + r)
		}
		for i := range body {
			body[i] = byte(i + 100*r)
		}
		s, err := parseStanza(fmt.Appendf(nil, "-> mlkem768x25519 %s\n%s\n", strictBase64().EncodeToString(enc), strictBase64().EncodeToString(body)))
		if err != nil {
			t.Fatal(err)
		}
		h.stanzas = append(h.stanzas, s)
	}
	key := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	h.mac = h.computeMAC(key)
	return h, key
}

// The expected values were computed by another program, from the age
// specification.
func TestHeaderGolden(t *testing.T) {
	h, _ := goldenHeader(t, 2)
	b := h.bytes()
	const mac = "\n--- pqHNQZ0yUi0+RPQsZUyOQFaX6hu/P2D4aIWRax8vqyg\n"
	if !strings.HasSuffix(string(b), mac) {
		t.Errorf("the header ends in %q, want %q", b[len(b)-len(mac):], mac)
	}
	sum := sha256.Sum256(b)
	const want = "cefecdda369eb15bd33829c76313f76a8682ad4b915a80c53ef1f3c3939014ce"
	if hex.EncodeToString(sum[:]) != want || len(b) != 3184 {
		t.Errorf("header of %d bytes with SHA-256 %x", len(b), sum)
	}
}

// What age writes is read, and written back byte for byte, for every number
// of readers.
func TestHeaderOfAgeIsKept(t *testing.T) {
	for readers := 1; readers <= MaxReaders; readers += 1 + readers/3 {
		header, _ := sealedFor(t, readers, nil)
		h, err := parseHeader(header)
		if err != nil {
			t.Fatalf("%d readers: %v", readers, err)
		}
		if len(h.stanzas) != readers || !bytes.Equal(h.bytes(), header) {
			t.Errorf("%d readers: %d stanzas, or other bytes", readers, len(h.stanzas))
		}
		if n, err := Readers(header); n != readers || err != nil {
			t.Errorf("%d readers counted as %d, %v", readers, n, err)
		}
	}
}

// sealedFor is an age file for some identities and strangers.
func sealedFor(t testing.TB, readers int, content []byte, ids ...*age.HybridIdentity) (header, payload []byte) {
	t.Helper()
	var to []age.Recipient
	for len(to) < readers-len(ids) {
		stranger, err := age.GenerateHybridIdentity()
		if err != nil {
			t.Fatal(err)
		}
		to = append(to, stranger.Recipient())
	}
	for _, id := range ids {
		to = append(to, id.Recipient())
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(b.Bytes(), []byte(ageFooter)) + len(ageFooter) + macText + 1
	return b.Bytes()[:i:i], b.Bytes()[i:]
}

func TestHostileHeaders(t *testing.T) {
	r := newTestRing(t)
	good, _ := sealedFor(t, 2, nil, r.identities()[0].key)
	lines := bytes.SplitAfter(good, []byte("\n"))
	edit := func(change func([][]byte) [][]byte) []byte {
		return bytes.Join(change(slicesOf(lines)), nil)
	}
	replace := func(line int, old, with string) []byte {
		return edit(func(l [][]byte) [][]byte { l[line] = bytes.Replace(l[line], []byte(old), []byte(with), 1); return l })
	}
	last := func(line int) []byte { // the same bytes, decoded loosely
		return edit(func(l [][]byte) [][]byte {
			s := l[line]
			i := len(s) - 2
			j := strings.IndexByte(base64Alphabet, s[i])
			s[i] = base64Alphabet[j^1]
			return l
		})
	}
	many, _ := sealedFor(t, MaxReaders, nil)
	stanza := good[len(agePrefix) : len(agePrefix)+hybridStanza]
	cases := map[string][]byte{
		"empty":              nil,
		"intro only":         []byte(agePrefix),
		"no stanza":          append([]byte(agePrefix), lines[5]...),
		"other version":      replace(0, "v1", "v2"),
		"too many stanzas":   bytes.Replace(many, stanzaStart, append(bytes.Clone(stanza), stanzaStart...), 1),
		"CRLF everywhere":    bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
		"CRLF in the intro":  replace(0, "\n", "\r\n"),
		"CR for a character": edit(func(l [][]byte) [][]byte { l[2][5] = '\r'; return l }),
		"LF for a character": edit(func(l [][]byte) [][]byte { l[1][100] = '\n'; return l }),
		"line cut":           edit(func(l [][]byte) [][]byte { l[1] = append(l[1][:len(l[1])-3], '\n'); return l }),
		"line too long":      replace(1, "\n", "AAAA\n"),
		"endless line":       replace(1, "\n", strings.Repeat("A", MaxHeader-len(good))+"\n"),
		"empty body line":    replace(2, "\n", "\n\n"),
		"another argument":   replace(1, "\n", " x\n"),
		"another type":       replace(1, "mlkem768x25519", "mlkem768p256xx"),
		"padding":            replace(2, "\n", "=\n"),
		"URL alphabet":       edit(func(l [][]byte) [][]byte { l[2][5] = '-'; return l }),
		"loose key":          last(1),
		"loose body":         last(2),
		"loose MAC":          last(5),
		"no MAC":             edit(func(l [][]byte) [][]byte { return l[:5] }),
		"empty MAC":          edit(func(l [][]byte) [][]byte { l[5] = []byte("--- \n"); return l }),
		"MAC without end":    bytes.TrimSuffix(good, []byte("\n")),
		"trailing line":      append(bytes.Clone(good), '\n'),
		"trailing bytes":     append(bytes.Clone(good), 0),
		"trailing stanza":    append(bytes.Clone(good), stanza...),
		"two MAC lines":      append(bytes.Clone(good), lines[5]...),
	}
	for name, b := range cases {
		if _, err := parseHeader(b); agreement.CodeOf(err) != agreement.CodeDamaged {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.Open(b, nil); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	_, err := parseHeader(make([]byte, MaxHeader+1))
	wantCode(t, err, agreement.CodeTooLarge)
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

var stanzaStart = []byte("-> ")

func slicesOf(lines [][]byte) [][]byte {
	c := make([][]byte, len(lines))
	for i, l := range lines {
		c[i] = bytes.Clone(l)
	}
	return c
}

// A well-formed header with a wrong MAC opens nothing and is never built upon.
func TestHeaderMACIsVerifiedFirst(t *testing.T) {
	r, other := newTestRing(t), newTestRing(t)
	good, payload := sealedFor(t, 3, []byte("x"), r.identities()[0].key)
	h, err := parseHeader(good)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := sealedFor(t, 1, nil)
	f, err := parseHeader(foreign)
	if err != nil {
		t.Fatal(err)
	}
	forged := map[string]*header{
		"another MAC":     {h.stanzas, f.mac},
		"stanza added":    {append(h.stanzas[:3:3], f.stanzas[0]), h.mac},
		"stanza removed":  {h.stanzas[1:], h.mac},
		"stanzas swapped": {[]stanza{h.stanzas[1], h.stanzas[0], h.stanzas[2]}, h.mac},
	}
	for name, f := range forged {
		b := f.bytes()
		if n, err := Readers(b); err != nil || n == 0 {
			t.Errorf("%s: not well formed: %v", name, err)
		}
		_, err := r.Open(b, bytes.NewReader(payload))
		wantCode(t, err, agreement.CodeDamaged)
		_, err = r.Grant(b, other.Recipient())
		wantCode(t, err, agreement.CodeDamaged)
		_, _, err = r.Rewrap(b)
		wantCode(t, err, agreement.CodeDamaged)
	}
}

// A stanza that makes the key exchange itself fail is damage, not a panic.
func TestImpossibleKeyShare(t *testing.T) {
	r := newTestRing(t)
	s, err := parseStanza(fmt.Appendf(nil, "%s%s\n%s\n", hybridOpen, strings.Repeat("A", hybridKey), strings.Repeat("A", hybridBody)))
	if err != nil {
		t.Fatal(err)
	}
	h := &header{[]stanza{s}, make([]byte, 32)}
	if _, err := r.Open(h.bytes(), nil); err == nil {
		t.Error("opened")
	}
}

// Inputs are edits of good headers: bytes taken out, others put in. They are
// close to what is accepted, and short.
func FuzzHeader(f *testing.F) {
	text, err := os.ReadFile("testdata/format1/unprotected/encryption.key")
	if err != nil {
		f.Fatal(err)
	}
	id, err := age.ParseHybridIdentity(strings.TrimSpace(string(text)))
	if err != nil {
		f.Fatal(err)
	}
	own, err := os.ReadFile("testdata/format1/unprotected.age") // made by age for this identity
	if err != nil {
		f.Fatal(err)
	}
	golden, _ := goldenHeader(f, 3)
	good := [][]byte{own[:mailHeader], golden.bytes()}
	f.Add(false, uint(0), uint(0), []byte(nil))
	f.Add(true, uint(0), uint(0), []byte(nil))
	f.Add(false, uint(mailHeader), uint(0), []byte("\n"))
	f.Add(true, uint(len(agePrefix)), uint(hybridStanza), []byte(nil))
	f.Add(true, uint(len(agePrefix)+hybridStanza-5), uint(3), []byte("\r=A"))
	f.Add(false, uint(mailHeader-2), uint(1), []byte("B"))
	f.Add(false, uint(0), uint(mailHeader), []byte(agePrefix+"-> X25519 AAAA\n\n--- AAAA\n"))
	f.Fuzz(func(t *testing.T, many bool, at, out uint, in []byte) {
		b := good[0]
		if many {
			b = good[1]
		}
		at = min(at, uint(len(b)))
		out = min(out, uint(len(b))-at)
		checkHeader(t, slices.Concat(b[:at], in, b[at+out:]), id)
	})
}

// checkHeader holds a decoder's answer against age's.
func checkHeader(t *testing.T, b []byte, id *age.HybridIdentity) {
	h, err := parseHeader(b)
	if err != nil {
		if code := agreement.CodeOf(err); code != agreement.CodeDamaged && code != agreement.CodeTooLarge {
			t.Errorf("code %s", code)
		}
		return
	}
	if !bytes.Equal(h.bytes(), b) { // one text for one header
		t.Error("written back as other bytes")
	}
	if kept, err := age.ExtractHeader(bytes.NewReader(b)); err != nil || !bytes.Equal(kept, b) {
		t.Errorf("age reads it otherwise: %v", err)
	}
	_, _, ours := h.unwrap([]identity{{number: 1, key: id}})
	if _, theirs := age.DecryptHeader(b, id); (ours == nil) != (theirs == nil) {
		t.Errorf("opening: %v, of age: %v", ours, theirs)
	}
}
