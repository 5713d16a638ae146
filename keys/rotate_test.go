package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/affiliate-node/affiliate/agreement"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 999, time.FixedZone("", 3600))

// fastWork makes passphrases cheap to use.
const fastWork = 10

// All protection there is: a passphrase, or none.
func eachProtection(t *testing.T, test func(t *testing.T, o Options)) {
	for name, o := range map[string]Options{
		"protected": {Passphrase: []byte("correct horse"), Prefix: "tp", work: fastWork}, "unprotected": {Unprotected: true, Prefix: "tp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.Dir = filepath.Join(t.TempDir(), "keys")
			test(t, o)
		})
	}
}

// A rotation changes the encryption identity and nothing else, lasts over a
// restart, and ends when it is told to.
func TestRotation(t *testing.T) {
	eachProtection(t, func(t *testing.T, o Options) {
		r, err := Create(o)
		if err != nil {
			t.Fatal(err)
		}
		first := r.Recipient()
		address, node, mailbox, storeKey := r.Address(), r.NodeKey(), r.MailboxKey(), r.DerivedKey("store")
		check := func(r *Ring, want ...int) {
			t.Helper()
			if r.Address() != address || !r.NodeKey().Equal(node) || !r.MailboxKey().Equal(mailbox) || !bytes.Equal(r.DerivedKey("store"), storeKey) {
				t.Error("another key changed")
			}
			var got []int
			for _, id := range r.Identities() {
				got = append(got, id.Number)
			}
			if !slices.Equal(got, want) {
				t.Errorf("identities %v, want %v", got, want)
			}
		}
		check(r, 1)
		header, payload, err := Seal([]byte("x"), []string{first})
		if err != nil {
			t.Fatal(err)
		}
		id, err := r.Rotate(noon)
		if err != nil {
			t.Fatal(err)
		}
		if id.Recipient == first || id.Recipient != r.Recipient() || id.Created.Format(time.RFC3339Nano) != "2026-11-22T11:00:00Z" {
			t.Errorf("rotated to %d of %s", id.Number, id.Created)
		}
		again, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*Ring{r, again} {
			check(r, 2, 1)
			if r.Identities()[0] != id || r.Identities()[1].Recipient != first {
				t.Error("other identities")
			}
			if !openedBy(t, r, header, payload, []byte("x")) {
				t.Error("a previous identity doesn't open")
			}
		}
		wantCode(t, again.EndRotation(1), agreement.CodeBadRequest)
		if err := again.EndRotation(2); err != nil {
			t.Fatal(err)
		}
		if again, err = Open(o); err != nil {
			t.Fatal(err)
		}
		check(again, 2)
		if openedBy(t, again, header, payload, []byte("x")) {
			t.Error("a forgotten identity opens")
		}
		if _, err := again.Rotate(noon); err != nil { // numbers aren't used twice
			t.Fatal(err)
		}
		check(again, 3, 2)
	})
}

func TestRotationsAreLimited(t *testing.T) {
	r := newTestRing(t)
	for range MaxIdentities - 1 {
		if _, err := r.Rotate(noon); err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.Rotate(noon)
	wantCode(t, err, agreement.CodeInUse)
	opened, err := Open(Options{Dir: r.dir, Unprotected: true, Prefix: "tp"})
	if err != nil || len(opened.Identities()) != MaxIdentities {
		t.Errorf("%v", err)
	}
}

// Rings are used while they are rotated.
func TestRotationWhileInUse(t *testing.T) {
	r := newTestRing(t)
	header, payload, err := Seal([]byte("x"), []string{r.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if _, err := r.Unseal(header, payload, 1); err != nil {
					t.Error(err)
				}
				if h, p, err := Seal([]byte("y"), []string{r.Recipient()}); err != nil || !openedBy(t, r, h, p, []byte("y")) {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		if _, err := r.Rotate(noon); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// When the directory can't be written the old identity stays in use.
func TestRotationThatFails(t *testing.T) {
	r := newTestRing(t)
	before := r.Recipient()
	if err := os.Mkdir(filepath.Join(r.dir, fileIdentities+".new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, fileIdentities+".new", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := r.Rotate(noon)
	wantCode(t, err, agreement.CodeInternal)
	if r.Recipient() != before || len(r.Identities()) != 1 {
		t.Error("an identity is used that wasn't written")
	}
}

// fixture copies a key directory that was made by an earlier version.
func fixture(t *testing.T, name string) (Options, map[string]string) {
	t.Helper()
	o := Options{Dir: filepath.Join(t.TempDir(), "keys"), Prefix: "tp", work: fastWork}
	if o.Passphrase = []byte("correct horse"); name == "unprotected" {
		o.Passphrase, o.Unprotected = nil, true
	}
	if err := os.CopyFS(o.Dir, os.DirFS(filepath.Join("testdata/format1", name))); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(o.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o600)
		if d.IsDir() {
			mode = 0o700
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join("testdata/format1", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	return o, want
}

// Key directories of earlier versions give the same keys, now and once they
// have the present format; an interrupted change is taken up.
func TestFormat1(t *testing.T) {
	crashes := map[string]func(t *testing.T, before, after string){
		"never": func(*testing.T, string, string) {},
		"before the root secret": func(t *testing.T, before, after string) {
			if err := os.Remove(filepath.Join(after, fileRoot)); err != nil {
				t.Fatal(err)
			}
			restore(t, before, after)
			for _, junk := range []string{fileRoot + ".new", fileIdentities + ".new"} {
				if err := os.WriteFile(filepath.Join(after, junk), []byte("half a f"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		},
		"after the root secret": restore,
	}
	for _, name := range []string{"protected", "unprotected"} {
		for moment, crash := range crashes {
			if name == "protected" && moment != "never" { // scrypt is slow
				continue
			}
			t.Run(name+" crash "+moment, func(t *testing.T) {
				t.Parallel()
				o, want := fixture(t, name)
				before, _ := fixture(t, name)
				checkFixture(t, o, name, want)
				crash(t, before.Dir, o.Dir)
				r := checkFixture(t, o, name, want)
				if exists(filepath.Join(o.Dir, fileFormat1)) {
					t.Error("the old file is still there")
				}
				if _, err := r.Rotate(noon); err != nil {
					t.Fatal(err)
				}
				if err := r.EndRotation(2); err != nil {
					t.Fatal(err)
				}
				r, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				if hex.EncodeToString(r.DerivedKey("store")) != want["store_key"] || len(r.Identities()) != 1 {
					t.Error("the rotation changed the store's key, or didn't end")
				}
			})
		}
	}
}

func restore(t *testing.T, before, after string) {
	b, err := os.ReadFile(filepath.Join(before, fileFormat1))
	if err == nil {
		err = os.WriteFile(filepath.Join(after, fileFormat1), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func checkFixture(t *testing.T, o Options, name string, want map[string]string) *Ring {
	t.Helper()
	r, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	recipient := sha256.Sum256([]byte(r.Recipient()))
	got := map[string]string{
		"address": r.Address(), "recipient_sha256": hex.EncodeToString(recipient[:]), "node_seed": hex.EncodeToString(r.node.Seed()),
		"mailbox_key": hex.EncodeToString(r.MailboxKey().Bytes()), "store_key": hex.EncodeToString(r.DerivedKey("store")),
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %s, want %s", k, got[k], v)
		}
	}
	if id := r.Identities()[0]; id.Number != 1 || !id.Created.IsZero() {
		t.Errorf("identity %d of %s", id.Number, id.Created)
	}
	b, err := os.ReadFile(filepath.Join("testdata/format1", name+".age"))
	if err != nil {
		t.Fatal(err)
	}
	split := bytes.Index(b, []byte(ageFooter)) + 1 + footerSize
	if !openedBy(t, r, b[:split], b[split:], []byte("sealed before rotation")) {
		t.Error("what was sealed before isn't opened")
	}
	return r
}

// A directory that can't be written is used as it is, and only not rotated.
func TestFormat1ReadOnly(t *testing.T) {
	o, want := fixture(t, "unprotected")
	blocker := filepath.Join(o.Dir, fileIdentities+".new")
	if err := os.MkdirAll(filepath.Join(blocker, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := checkFixture(t, o, "unprotected", want)
	_, err := r.Rotate(noon)
	wantCode(t, err, agreement.CodeInternal)
	if len(r.Identities()) != 1 || exists(filepath.Join(o.Dir, fileRoot)) {
		t.Error("the directory was changed")
	}
}

// The identities' file is one that age reads, and is read strictly.
func TestIdentitiesText(t *testing.T) {
	r := newTestRing(t)
	if _, err := r.Rotate(noon); err != nil {
		t.Fatal(err)
	}
	ids := slices.Clone(r.identities())
	ids[1].created = time.Time{}
	text := encodeIdentities(ids)
	got, err := parseIdentities(text)
	if err != nil || !bytes.Equal(encodeIdentities(got), text) {
		t.Fatalf("%v\n%s", err, text)
	}
	of, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil || len(of) != 2 {
		t.Errorf("age reads %d identities, %v", len(of), err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	swapped := lines[0] + lines[3] + lines[4] + lines[1] + lines[2]
	for name, bad := range map[string]string{
		"empty": "", "title only": lines[0], "no number": strings.Replace(string(text), "# 2", "# x", 1),
		"number 0": strings.Replace(string(text), "# 1", "# 0", 1), "twice": strings.Replace(string(text), "# 1", "# 2", 1),
		"order": swapped, "other title": strings.Replace(string(text), "identities 1", "identities 2", 1),
		"cut": string(text[:len(text)-1]), "half": strings.Join(lines[:4], ""), "CRLF": strings.ReplaceAll(string(text), "\n", "\r\n"),
		"zone": strings.Replace(string(text), "11:00:00Z", "12:00:00+01:00", 1), "small letters": strings.ToLower(string(text)),
		"sign": strings.Replace(string(text), "# 2", "# +2", 1), "more": string(text) + "\n",
		"too many": lines[0] + strings.Repeat(lines[1]+lines[2], MaxIdentities+1),
	} {
		if _, err := parseIdentities([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzIdentities(f *testing.F) {
	r := newTestRing(f)
	f.Add(encodeIdentities(r.identities()))
	f.Add([]byte(identitiesTitle + "\n# 1 unknown\nAGE-SECRET-KEY-PQ-1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if ids, err := parseIdentities(b); err == nil && !bytes.Equal(encodeIdentities(ids), b) {
			t.Errorf("written back as %s", encodeIdentities(ids))
		}
	})
}

// TestForgottenIdentitiesOpenNothing: what was opened with an identity can't be
// opened without it, although file keys are remembered.
func TestForgottenIdentitiesOpenNothing(t *testing.T) {
	r := newTestRing(t)
	header, payload, err := Seal([]byte("content"), []string{r.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := r.Unseal(header, payload, 100); err != nil || string(got) != "content" {
			t.Fatal(got, err)
		}
	}
	id, err := r.Rotate(noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Unseal(header, payload, 100); err != nil {
		t.Fatal(err)
	}
	if err := r.EndRotation(id.Number); err != nil {
		t.Fatal(err)
	}
	_, err = r.Unseal(header, payload, 100)
	wantCode(t, err, agreement.CodeNotAuthorized)
}
