package keys

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// files reads a key directory.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		out[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestProtect(t *testing.T) {
	t.Parallel()
	o := Options{Dir: filepath.Join(t.TempDir(), "keys"), Passphrase: []byte("correct horse"), Prefix: "tp", work: 4}
	made, err := Create(o)
	if err != nil {
		t.Fatal(err)
	}
	before := files(t, o.Dir)
	next := o
	next.Passphrase = []byte("battery staple")
	wantCode(t, Protect(o, nil), agreement.CodeBadRequest)
	wantCode(t, Protect(next, next.Passphrase), agreement.CodeBadRequest)
	for path, content := range files(t, o.Dir) {
		if !bytes.Equal(content, before[path]) {
			t.Errorf("%s changed, though nothing was to", path)
		}
	}

	root := filepath.Join(o.Dir, fileRoot)
	if err := os.WriteFile(root+".new", []byte("of a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Protect(o, next.Passphrase); err != nil {
		t.Fatal(err)
	}
	for path, content := range files(t, o.Dir) {
		if bytes.Equal(content, before[path]) == (path == root) {
			t.Errorf("%s: only the root secret's file is to change", path)
		}
	}
	_, err = Open(o)
	wantCode(t, err, agreement.CodeBadRequest)
	opened, err := Open(next)
	if err != nil {
		t.Fatal(err)
	}
	sameRing(t, made, opened)

	plain := Options{Dir: filepath.Join(t.TempDir(), "plain"), Unprotected: true, Prefix: "tp"}
	if _, err := Create(plain); err != nil {
		t.Fatal(err)
	}
	wantCode(t, Protect(plain, next.Passphrase), agreement.CodeBadRequest)
}
