package exec

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// files lists what is in a cache, by kind: modules and native code.
func files(t *testing.T, dir string) (modules, native []string) {
	t.Helper()
	for pattern, list := range map[string]*[]string{"modules/*": &modules, "native/*/*": &native} {
		var err error
		if *list, err = filepath.Glob(filepath.Join(dir, versionDirectory(), pattern)); err != nil {
			t.Fatal(err)
		}
	}
	return modules, native
}

func loadHandmade(t *testing.T, e *Engine, h handmade) *Contract {
	t.Helper()
	c, err := e.Load(t.Context(), h.module())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A contract gives the same, compiled now or by an earlier process.
func TestCacheGivesTheSame(t *testing.T) {
	dir := t.TempDir()
	h := handmade{body: outputText()}
	var hash agreement.Hash
	for round := range 2 {
		e := engine(t, Config{CacheDir: dir})
		c := loadHandmade(t, e, h)
		if out := execute(t, e, c, Run{Time: at}); string(out[0].Content) != `"text"` {
			t.Errorf("round %d: %+v", round, out)
		}
		if round == 1 && c.Hash != hash {
			t.Errorf("the contract was %s and is %s", hash, c.Hash)
		}
		hash = c.Hash
		if modules, native := files(t, dir); len(modules) != 1 || len(native) != 1 {
			t.Errorf("round %d: the cache has %v and %v", round, modules, native)
		}
	}
}

func TestCacheIsClosedToOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	old := filepath.Join(dir, "wazero-v0.9.0")
	if err := os.MkdirAll(old, 0o755); err != nil { // an earlier version, too open
		t.Fatal(err)
	}
	loadHandmade(t, engine(t, Config{CacheDir: dir}), handmade{body: outputText()})
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() && filepath.Dir(path) != filepath.Join(dir, versionDirectory(), "native") && info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("what an earlier version left is still there: %v", err)
	}
}

func TestCacheDirThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{CacheDir: file}, nil); err == nil {
		t.Error("a file was taken for a directory")
	}
}

// A contract stays valid when others took its place in memory: it comes back
// from the cache, or from memory where there is no cache.
func TestDroppedModulesComeBack(t *testing.T) {
	dir := t.TempDir()
	for _, dir := range []string{dir, ""} {
		e, err := New(Config{CacheDir: dir}, nil)
		if err != nil {
			t.Fatal(err)
		}
		e.loaded.limit = 1 // room for one, in use
		a := loadHandmade(t, e, handmade{body: outputText()})
		b := loadHandmade(t, e, handmade{body: cat([]byte{1}, outputText())})
		if len(e.loaded.byHash) != 1 {
			t.Errorf("%d modules are loaded", len(e.loaded.byHash))
		}
		for _, c := range []*Contract{a, b, a} {
			if out := execute(t, e, c, Run{Time: at}); out[0].Outcome != agreement.Pass {
				t.Errorf("%+v", out)
			}
		}
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	modules, _ := files(t, dir)
	if len(modules) != 2 {
		t.Fatalf("the cache has %v", modules)
	}
}

// A kept module that is damaged is an error, not another contract, and loading
// it again mends it.
func TestDamagedModuleIsNoticed(t *testing.T) {
	dir := t.TempDir()
	e := engine(t, Config{CacheDir: dir})
	h := handmade{body: outputText()}
	c := loadHandmade(t, e, h)
	e = engine(t, Config{CacheDir: dir})
	modules, _ := files(t, dir)
	if err := os.WriteFile(modules[0], bytes.Repeat([]byte{1}, len(h.module())), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := e.Execute(t.Context(), c, Run{Time: at})
	wantCode(t, err, agreement.CodeDamaged, "damaged")
	if c = loadHandmade(t, e, h); execute(t, e, c, Run{Time: at})[0].Outcome != agreement.Pass {
		t.Error("it wasn't mended")
	}
}

// Native code that is damaged must not be run; the module is compiled again.
func TestDamagedNativeCodeIsNoticed(t *testing.T) {
	dir := t.TempDir()
	h := handmade{body: outputText()}
	loadHandmade(t, engine(t, Config{CacheDir: dir}), h)
	_, native := files(t, dir)
	code, err := os.ReadFile(native[0])
	if err != nil {
		t.Fatal(err)
	}
	code[len(code)/2] ^= 0xff
	if err := os.WriteFile(native[0], code, 0o600); err != nil {
		t.Fatal(err)
	}
	e := engine(t, Config{CacheDir: dir})
	c, err := e.Load(t.Context(), h.module())
	if err != nil {
		t.Fatal(err)
	}
	if out := execute(t, e, c, Run{Time: at}); string(out[0].Content) != `"text"` {
		t.Errorf("%+v", out)
	}
}
