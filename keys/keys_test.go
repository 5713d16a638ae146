package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	decred "github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// newTestRing makes unprotected keys, which is fast.
func newTestRing(t testing.TB) *Ring {
	t.Helper()
	r, err := Create(Options{Dir: filepath.Join(t.TempDir(), "keys"), Unprotected: true, Prefix: "tp"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantCode(t testing.TB, err error, code agreement.Code) {
	t.Helper()
	var e *agreement.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got error %v, want code %s", err, code)
	}
}

func sameRing(t *testing.T, a, b *Ring) {
	t.Helper()
	if a.Address() != b.Address() || a.Recipient() != b.Recipient() || !a.NodeKey().Equal(b.NodeKey()) ||
		!a.MailboxKey().Equal(b.MailboxKey()) || !bytes.Equal(a.DerivedKey("x"), b.DerivedKey("x")) {
		t.Error("opening gives other keys than creating")
	}
}

func TestProtectedKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home", "keys")
	o := Options{Dir: dir, Passphrase: []byte("correct horse"), Prefix: "tp"}
	made, err := Create(o)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	opened, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("unlocked in %v", time.Since(start))
	sameRing(t, made, opened)
	_, err = Create(o)
	wantCode(t, err, agreement.CodeInUse)

	_, err = Open(Options{Dir: dir, Passphrase: []byte("wrong"), Prefix: "tp"})
	wantCode(t, err, agreement.CodeBadRequest)
	_, err = Open(Options{Dir: dir, Unprotected: true, Prefix: "tp"})
	wantCode(t, err, agreement.CodeBadRequest)

	secrets := [][]byte{o.Passphrase, made.root, []byte(hex.EncodeToString(made.root)), []byte(made.identities()[0].key.String()), made.node.Seed(), made.account.Serialize()}
	err = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		b, err := os.ReadFile(path)
		for _, s := range secrets {
			if bytes.Contains(b, s) {
				t.Errorf("%s holds a secret in the clear", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnprotectedKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	o := Options{Dir: dir, Unprotected: true, Prefix: "pb"}
	_, err := Open(o)
	wantCode(t, err, agreement.CodeNotFound)
	if err := os.Mkdir(dir, 0o755); err != nil { // an empty directory is taken over
		t.Fatal(err)
	}
	made, err := Create(o)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(made.Address(), "pb1") || !strings.HasPrefix(made.Recipient(), "age1pq1") {
		t.Errorf("address %s, recipient %.10s", made.Address(), made.Recipient())
	}
	opened, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	sameRing(t, made, opened)
	_, err = Open(Options{Dir: dir, Passphrase: []byte("x"), Prefix: "pb"})
	wantCode(t, err, agreement.CodeBadRequest)
	_, err = Create(Options{Dir: dir + "2", Prefix: "pb"})
	wantCode(t, err, agreement.CodeBadRequest)
}

func TestOpenRefusesWhatOthersCanRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	o := Options{Dir: dir, Unprotected: true, Prefix: "tp"}
	if _, err := Create(o); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		path string
		mode os.FileMode
	}{
		{dir, 0o750}, {dir, 0o701}, {filepath.Join(dir, fileRoot), 0o644}, {filepath.Join(dir, fileNode), 0o620},
		{filepath.Join(dir, dirKeyringTest), 0o755}, {filepath.Join(dir, dirKeyringTest, accountName+".info"), 0o640},
	}
	for _, c := range cases {
		before, err := os.Stat(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(c.path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err = Open(o)
		wantCode(t, err, agreement.CodeBadRequest)
		if err == nil || !strings.Contains(err.Error(), c.path) {
			t.Errorf("the error doesn't name %s: %v", c.path, err)
		}
		if err := os.Chmod(c.path, before.Mode()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenReportsDamage(t *testing.T) {
	for _, name := range []string{fileRoot, fileIdentities, fileNode, filepath.Join(dirKeyringTest, accountName+".info")} {
		dir := filepath.Join(t.TempDir(), "keys")
		o := Options{Dir: dir, Unprotected: true, Prefix: "tp"}
		if _, err := Create(o); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("AGE-SECRET-KEY-PQ-1GARBAGE"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(o)
		wantCode(t, err, agreement.CodeDamaged)
		if err != nil && strings.Contains(err.Error(), "GARBAGE") {
			t.Errorf("the error quotes a key file: %v", err)
		}
	}
}

// The chain's own code must accept our signatures, and we its.
func TestSignLikeTheChain(t *testing.T) {
	r := newTestRing(t)
	msg := []byte("what is signed")
	sig, err := r.Sign(msg)
	if err != nil {
		t.Fatal(err)
	}
	pub := &secp256k1.PubKey{Key: r.AccountKey()}
	if !pub.VerifySignature(msg, sig) || !Verify(r.AccountKey(), msg, sig) {
		t.Error("a good signature is refused")
	}
	theirs, err := (&secp256k1.PrivKey{Key: r.account.Serialize()}).Sign(msg)
	if err != nil || !bytes.Equal(theirs, sig) {
		t.Errorf("the chain signs differently: %x, %v", theirs, err)
	}
}

func TestVerifyIsStrict(t *testing.T) {
	r := newTestRing(t)
	msg := []byte("what is signed")
	sig, err := r.Sign(msg)
	if err != nil {
		t.Fatal(err)
	}
	var s decred.ModNScalar
	s.SetByteSlice(sig[32:])
	s.Negate()
	high := s.Bytes()
	flipped := bytes.Clone(sig)
	flipped[10] ^= 1
	overflow := bytes.Clone(sig)
	copy(overflow, bytes.Repeat([]byte{0xff}, 32))
	bad := map[string][]byte{
		"high s": append(bytes.Clone(sig[:32]), high[:]...), "flipped": flipped, "short": sig[:63],
		"long": append(bytes.Clone(sig), 0), "zero": make([]byte, 64), "r above the order": overflow, "none": nil,
	}
	for name, b := range bad {
		if Verify(r.AccountKey(), msg, b) {
			t.Errorf("%s: accepted", name)
		}
	}
	uncompressed := r.account.PubKey().SerializeUncompressed()
	if Verify(uncompressed, msg, sig) || Verify(nil, msg, sig) || Verify(r.AccountKey(), append(msg, 0), sig) {
		t.Error("a wrong key or message is accepted")
	}
	if _, err := AddressOf("tp", uncompressed); err == nil {
		t.Error("an uncompressed key has an address")
	}
}

func TestDerivedKeysAreSeparate(t *testing.T) {
	r := newTestRing(t)
	seen := map[string]bool{string(r.MailboxKey().Bytes()): true}
	for _, purpose := range []string{"store", "index", "", "mailbox-key/1"} {
		k := r.DerivedKey(purpose)
		if len(k) != sha256.Size || seen[string(k)] {
			t.Errorf("purpose %q has key %x", purpose, k)
		}
		seen[string(k)] = true
	}
}
