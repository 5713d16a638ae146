package keys

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/affiliate-node/affiliate/agreement"
)

// openedBy reports whether a ring, and age with its identities, open it.
func openedBy(t testing.TB, r *Ring, header, payload, content []byte) bool {
	t.Helper()
	got, err := r.Unseal(header, payload, int64(len(content)))
	if err != nil {
		wantCode(t, err, agreement.CodeNotAuthorized)
		return false
	}
	var ids []age.Identity
	for _, id := range r.identities() {
		ids = append(ids, id.key)
	}
	in, err := age.Decrypt(io.MultiReader(bytes.NewReader(header), bytes.NewReader(payload)), ids...)
	if err != nil {
		t.Fatalf("age: %v", err)
	}
	of, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(of, content) || !bytes.Equal(got, content) {
		t.Fatalf("opened otherwise: %v", err)
	}
	return true
}

func TestGrant(t *testing.T) {
	a, b, c := newTestRing(t), newTestRing(t), newTestRing(t)
	content := []byte("the content")
	before, payload, err := Seal(content, []string{a.Recipient(), b.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	if openedBy(t, c, before, payload, content) {
		t.Fatal("opened before it was granted")
	}
	header := before
	for i := range 3 { // any reader can grant, and to whoever has it already
		if header, err = []*Ring{a, b, c}[i].Grant(header, c.Recipient()); err != nil {
			t.Fatal(err)
		}
		if n, err := Readers(header); err != nil || n != 3+i {
			t.Errorf("%d readers, %v", n, err)
		}
		unsigned := len(before) - footerSize
		if !bytes.Equal(header[:unsigned], before[:unsigned]) {
			t.Error("the stanzas of the others changed")
		}
		for _, r := range []*Ring{a, b, c} {
			if !openedBy(t, r, header, payload, content) {
				t.Error("a reader can't open it")
			}
		}
	}
	_, err = newTestRing(t).Grant(before, c.Recipient())
	wantCode(t, err, agreement.CodeNotAuthorized)
	classic, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Grant(before, classic.Recipient().String())
	wantCode(t, err, agreement.CodeBadMessage)
}

func TestGrantStopsAtTheLimit(t *testing.T) {
	a := newTestRing(t)
	header, _ := sealedFor(t, MaxReaders-1, nil, a.identities()[0].key)
	header, err := a.Grant(header, a.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Grant(header, a.Recipient())
	wantCode(t, err, agreement.CodeTooLarge)
	if _, err := parseHeader(header); err != nil {
		t.Errorf("the largest header: %v", err)
	}
}

func TestRewrap(t *testing.T) {
	a, b := newTestRing(t), newTestRing(t)
	content := []byte("the content")
	for position := range 3 {
		to := []string{b.Recipient(), b.Recipient(), b.Recipient()}
		to[position] = a.Recipient()
		before, payload, err := Seal(content, to)
		if err != nil {
			t.Fatal(err)
		}
		if same, changed, err := a.Rewrap(before); err != nil || changed || !bytes.Equal(same, before) {
			t.Errorf("nothing was to do: %v, %v", changed, err)
		}
		old := a.Recipient()
		id, err := a.Rotate(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		after, changed, err := a.Rewrap(before)
		if err != nil || !changed || len(after) != len(before) {
			t.Fatalf("changed %v, %v", changed, err)
		}
		for i := range 3 {
			start := len(agePrefix) + i*hybridStanza
			if same := bytes.Equal(after[start:start+hybridStanza], before[start:start+hybridStanza]); same == (i == position) {
				t.Errorf("own stanza %d: stanza %d the same: %v", position, i, same)
			}
		}
		if same, changed, err := a.Rewrap(after); err != nil || changed || !bytes.Equal(same, after) {
			t.Errorf("nothing was left to do: %v, %v", changed, err)
		}
		if err := a.EndRotation(id.Number); err != nil {
			t.Fatal(err)
		}
		if openedBy(t, a, before, payload, content) || !openedBy(t, a, after, payload, content) || !openedBy(t, b, after, payload, content) {
			t.Error("after the rotation only the new header is open")
		}
		if _, _, err := a.Rewrap(before); agreement.CodeOf(err) != agreement.CodeNotAuthorized {
			t.Errorf("with a forgotten identity: %v", err)
		}
		if old == a.Recipient() {
			t.Error("the recipient is the same")
		}
	}
}

// To take a reader's access away, seal the content again, from stream to
// stream: it gets a new file key, so that what the reader knows is of no use.
func ExampleRing_Open_revoke() {
	dir, err := os.MkdirTemp("", "revoke")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	affiliate := func(name string) *Ring {
		r, err := Create(Options{Dir: filepath.Join(dir, name), Unprotected: true, Prefix: "tp"})
		if err != nil {
			panic(err)
		}
		return r
	}
	lender, auditor := affiliate("lender"), affiliate("auditor")
	header, payload, err := Seal([]byte("the loan's terms"), []string{lender.Recipient(), auditor.Recipient()})
	if err != nil {
		panic(err)
	}

	content, err := lender.Open(header, bytes.NewReader(payload))
	if err != nil {
		panic(err)
	}
	var again bytes.Buffer // a file, in a store
	newHeader, w, err := SealTo(&again, []string{lender.Recipient()})
	if err != nil {
		panic(err)
	}
	if _, err := io.Copy(w, content); err != nil { // fails unless content is whole
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}

	_, err = auditor.Open(newHeader, bytes.NewReader(again.Bytes()))
	fmt.Println("auditor:", err)
	_, err = auditor.Open(header, bytes.NewReader(again.Bytes())) // with the old file key
	if err == nil {
		in, _ := auditor.Open(header, bytes.NewReader(again.Bytes()))
		_, err = io.ReadAll(in)
	}
	fmt.Println("auditor, old header:", agreement.CodeOf(err))
	read, err := lender.Unseal(newHeader, again.Bytes(), 100)
	fmt.Println("lender:", string(read), err)
	// Output:
	// auditor: NOT_AUTHORIZED: the data is sealed to others
	// auditor, old header: DAMAGED
	// lender: the loan's terms <nil>
}
