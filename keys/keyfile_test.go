package keys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

func TestKeyFileOpensKeys(t *testing.T) {
	dir := t.TempDir()
	home, path := filepath.Join(dir, "home"), filepath.Join(dir, "key")
	if err := MakeKeyFile(path, home); err != nil {
		t.Fatal(err)
	}
	wantCode(t, MakeKeyFile(path, home), agreement.CodeInUse)
	pass, err := ReadKeyFile(path, home)
	if err != nil || len(pass) != 2*DerivedKeySize {
		t.Fatalf("%d bytes, %v", len(pass), err)
	}
	o := Options{Dir: filepath.Join(home, "keys"), Passphrase: pass, Prefix: "tp", Origin: "the key file " + path, work: fastWork}
	made, err := Create(o)
	if err != nil {
		t.Fatal(err)
	}
	if o.Passphrase, err = ReadKeyFile(path, home); err != nil {
		t.Fatal(err)
	}
	opened, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	sameRing(t, made, opened)

	other := filepath.Join(dir, "photo")
	if err := os.WriteFile(other, bytes.Repeat([]byte("any file's bytes "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if o.Passphrase, err = ReadKeyFile(other, home); err != nil {
		t.Fatal(err)
	}
	_, err = Open(o)
	wantCode(t, err, agreement.CodeBadRequest)
	if err == nil || !strings.Contains(err.Error(), "the key file ") {
		t.Errorf("the error doesn't say what is wrong: %v", err)
	}
}

// Every byte of a key file counts, and the derivation stays as it is.
func TestKeyFileDerivation(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	seen := map[string]bool{}
	for i, content := range []string{strings.Repeat("k", MinKeyFile), strings.Repeat("k", MinKeyFile) + "\n", strings.Repeat("k", MaxKeyFile)} {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		pass, err := ReadKeyFile(path, home)
		if err != nil || seen[string(pass)] {
			t.Errorf("file %d: %v", i, err)
		}
		seen[string(pass)] = true
	}
	if !seen["a83cd3b92391c1a6d80ecc159880d817d4ea2315d0381833d67a398f77b7d040"] {
		t.Errorf("derived otherwise: %v", seen)
	}
}

func TestKeyFileRefused(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	write := func(name string, size int, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Repeat([]byte{'k'}, size), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := func(name, to string) string {
		path := filepath.Join(dir, name)
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	inside := write("home/keys/k", MinKeyFile, 0o600)
	cases := map[string]string{
		"missing": filepath.Join(dir, "none"), "inside": inside, "through a link to the file": link("l", inside),
		"through a link to the home": filepath.Join(link("h", home), "keys", "k"), "short": write("short", MinKeyFile-1, 0o600),
		"long": write("long", MaxKeyFile+1, 0o600), "group": write("group", MinKeyFile, 0o640), "world": write("world", MinKeyFile, 0o604),
		"directory": dir, "by a way round": filepath.Join(home, "..", "home", "k2"),
	}
	write("home/k2", MinKeyFile, 0o600)
	for name, path := range cases {
		_, err := ReadKeyFile(path, home)
		wantCode(t, err, agreement.CodeBadRequest)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	var e *agreement.Error
	if _, err := ReadKeyFile(inside, home); !errors.As(err, &e) || e.Hint == "" || !strings.Contains(e.Text, "inside the home") {
		t.Errorf("got %v", err)
	}
	for _, path := range []string{filepath.Join(home, "new"), filepath.Join(dir, "h", "new"), filepath.Join(dir, "no", "new")} {
		wantCode(t, MakeKeyFile(path, home), agreement.CodeBadRequest)
	}
	for _, path := range []string{dir + "/home2", dir + "/..k"} { // only like the home
		if err := MakeKeyFile(path, home); err != nil {
			t.Error(err)
		}
	}
}
