package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

var testKey = bytes.Repeat([]byte{3}, KeySize)

func openTest(t testing.TB, path string, key []byte) *Index {
	t.Helper()
	x, err := Open(path, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

func entry(scope byte, record string, height int64, fields map[string]string) Entry {
	return Entry{Scope: agreement.UUID{scope}, Record: record, Agreement: agreement.UUID{scope, byte(height)}, Height: height, Fields: fields}
}

var loans = []Entry{
	entry(1, "loan", 10, map[string]string{"borrower": "Ann O'Neill", "amount": "250000", "date": "2026-11-02"}),
	entry(2, "loan", 11, map[string]string{"borrower": "Ånn Smith", "amount": "1000", "note": "borrower is Bob's friend"}),
	entry(2, "payment", 12, map[string]string{"payer": "Smith, Ann", "amount": "250"}),
}

func put(t testing.TB, x *Index, entries ...Entry) {
	t.Helper()
	if err := x.Put(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
}

func found(t testing.TB, x *Index, query string) string {
	t.Helper()
	entries, err := x.Search(t.Context(), query, 0)
	if err != nil {
		t.Fatalf("searching %q: %v", query, err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, fmt.Sprintf("%d/%s", e.Scope[0], e.Record))
	}
	return strings.Join(names, " ")
}

func TestSearch(t *testing.T) {
	t.Parallel()
	x := openTest(t, filepath.Join(t.TempDir(), "index.sqlite"), testKey)
	put(t, x, loans...)
	for query, want := range map[string]string{
		"ann":                              "2/payment 2/loan 1/loan",
		"ANN smith":                        "2/payment 2/loan",
		"borrower:ann":                     "2/loan 1/loan",
		`borrower:"ann o'neill"`:           "1/loan",
		`"smith ann"`:                      "2/payment",
		`"ann smith"`:                      "2/loan",
		`"ann sm"*`:                        "2/loan",
		"amount:250":                       "2/payment",
		"amount:250*":                      "2/payment 1/loan",
		"date:2026-11-02":                  "1/loan",
		"2026-11*":                         "1/loan",
		"borrower:ann amount:1000":         "2/loan",
		"friend borrower:ann":              "2/loan",
		"borrower:friend":                  "",
		"nobody:ann":                       "",
		"  ann\t\n":                        "2/payment 2/loan 1/loan",
		`ann' OR 1=1; DROP TABLE`:          "",
		"NEAR(ann smith)":                  "",
		"ann AND smith":                    "",
		"value:ann":                        "",
		`note:"bob's friend" borrower:ånn`: "2/loan",
	} {
		if got := found(t, x, query); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	got, err := x.Search(t.Context(), "o'neill", 1)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], loans[0]) {
		t.Errorf("an entry came back as %+v, %v", got, err)
	}
}

func TestBadQueries(t *testing.T) {
	t.Parallel()
	x := openTest(t, filepath.Join(t.TempDir(), "index.sqlite"), nil)
	for _, query := range []string{
		"", "  ", `"`, `"ann`, `a"b`, `"ann"bob`, `field:"ann`, ":ann", "ann :", "field:", `field:""`, "*", "-", "(", "field:*",
		"a\x00b", "\xff", strings.Repeat("a", MaxQuery+1), strings.Repeat("a ", MaxTerms+1),
	} {
		_, err := x.Search(t.Context(), query, 1)
		var e *agreement.Error
		if !errors.As(err, &e) || e.Code != agreement.CodeBadRequest || e.Hint == "" {
			t.Errorf("%.20q: %v", query, err)
		}
	}
}

func TestPutKeepsTheNewest(t *testing.T) {
	t.Parallel()
	x := openTest(t, filepath.Join(t.TempDir(), "index.sqlite"), nil)
	put(t, x, entry(1, "loan", 10, map[string]string{"state": "new"}))
	put(t, x, entry(1, "loan", 9, map[string]string{"state": "old"}))
	if found(t, x, "new") == "" || found(t, x, "old") != "" {
		t.Error("a smaller height replaced a greater one")
	}
	put(t, x, entry(1, "loan", 11, map[string]string{"state": "paid"}))
	if found(t, x, "paid") == "" || found(t, x, "new") != "" {
		t.Error("a greater height didn't replace a smaller one")
	}
	if n, err := x.Count(t.Context()); n != 1 || err != nil {
		t.Errorf("count is %d, %v", n, err)
	}
}

func all(entries []Entry, err error) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "index.sqlite")
	x := openTest(t, path, testKey)
	put(t, x, loans...)
	needs := func(x *Index) bool {
		n, err := x.NeedsRebuild(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if !needs(x) {
		t.Error("a new file needs no rebuild")
	}
	broken := errors.New("broken")
	if err := x.Rebuild(t.Context(), all(loans[:1], broken)); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	if found(t, x, "ann") != "2/payment 2/loan 1/loan" || !needs(x) {
		t.Error("a failed rebuild changed something")
	}
	if err := x.Rebuild(t.Context(), all(loans[:2], nil)); err != nil {
		t.Fatal(err)
	}
	if found(t, x, "ann") != "2/loan 1/loan" || needs(x) {
		t.Error("the index isn't what it was rebuilt from")
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	y := openTest(t, path, testKey)
	if found(t, y, "ann") != "2/loan 1/loan" || needs(y) {
		t.Error("a rebuilt index isn't there after reopening")
	}
}

func TestEncryptedAtRest(t *testing.T) {
	t.Parallel()
	for _, key := range [][]byte{nil, testKey} {
		dir := t.TempDir()
		x := openTest(t, filepath.Join(dir, "index.sqlite"), key)
		put(t, x, entry(1, "loan", 1, map[string]string{"borrower": "Wolkenkuckucksheim"}))
		plain := readAll(t, dir)
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		plain += readAll(t, dir)
		if strings.Contains(strings.ToLower(plain), "wolkenkuckucksheim") != (key == nil) {
			t.Errorf("with a key of %d bytes, the content is in the files: %v", len(key), key != nil)
		}
	}
}

// readAll reads every file, and holds it to mode 0600.
func readAll(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		s.Write(b)
	}
	return s.String()
}

func TestUnreadableFileIsMadeAnew(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, path string) []byte{
		"wrong key": func(*testing.T, string) []byte { return bytes.Repeat([]byte{4}, KeySize) },
		"no key":    func(*testing.T, string) []byte { return nil },
		"garbage": func(t *testing.T, path string) []byte {
			if err := os.WriteFile(path, bytes.Repeat([]byte("garbage "), 4096), 0o600); err != nil {
				t.Fatal(err)
			}
			return testKey
		},
		"cut short": func(t *testing.T, path string) []byte {
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
			return testKey
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "index.sqlite")
			x := openTest(t, path, testKey)
			if err := x.Rebuild(t.Context(), all(loans, nil)); err != nil {
				t.Fatal(err)
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			y := openTest(t, path, spoil(t, path))
			if needs, err := y.NeedsRebuild(t.Context()); !needs || err != nil {
				t.Fatalf("no rebuild is asked for: %v", err)
			}
			put(t, y, loans...)
			if found(t, y, "ann") != "2/payment 2/loan 1/loan" {
				t.Error("the new index doesn't work")
			}
		})
	}
}

func TestClearErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "index.sqlite")
	x := openTest(t, path, testKey)
	put(t, x, loans...)
	check := func(what string, err error, code agreement.Code) {
		t.Helper()
		var e *agreement.Error
		if !errors.As(err, &e) || e.Code != code {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := Open(path, testKey, slog.New(slog.DiscardHandler))
	check("second process", err, agreement.CodeInUse)
	_, err = Open(filepath.Join(path, "index.sqlite"), nil, slog.New(slog.DiscardHandler))
	check("no directory", err, agreement.CodeStore)
	_, err = Open(path, []byte("short"), slog.New(slog.DiscardHandler))
	check("short key", err, agreement.CodeStore)
	check("too large", x.Put(t.Context(), []Entry{entry(1, "a", 1, map[string]string{"f": strings.Repeat("x", MaxEntry)})}), agreement.CodeTooLarge)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = x.Search(t.Context(), "ann", 1)
	check("closed", err, agreement.CodeStore)
}

func TestContextEndsWaitAndWork(t *testing.T) {
	t.Parallel()
	x := openTest(t, filepath.Join(t.TempDir(), "index.sqlite"), nil)
	ctx, cancel := context.WithCancel(t.Context())
	err := x.Rebuild(ctx, func(yield func(Entry, error) bool) {
		yield(loans[0], nil)
		cancel()
		yield(loans[1], nil)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n, err := x.Count(t.Context()); n != 0 || err != nil {
		t.Errorf("%d entries of a cancelled rebuild, %v", n, err)
	}
	x.turn <- struct{}{}
	if _, err := x.Count(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-x.turn
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	x := openTest(t, filepath.Join(t.TempDir(), "index.sqlite"), nil)
	var wg sync.WaitGroup
	for i := range byte(4) {
		wg.Go(func() {
			for h := range int64(20) {
				if err := x.Put(context.Background(), []Entry{entry(i, "loan", h, map[string]string{"n": fmt.Sprint("n", h)})}); err != nil {
					t.Error(err)
				}
				if _, err := x.Search(context.Background(), "n:n*", 10); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := found(t, x, "n19"); len(strings.Fields(got)) != 4 {
		t.Errorf("found %q", got)
	}
}

// Words are looked for by their ends: those in order share their beginnings.
func TestScrubbedWordsAreGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	x := openTest(t, filepath.Join(dir, "index.sqlite"), nil)
	word := func(i int) string { return fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i)})) }
	const words = 200
	for i := range words {
		put(t, x, entry(byte(i), "loan", 1, map[string]string{"borrower": word(i)}))
	}
	for i := 0; i < words; i += 2 {
		put(t, x, entry(byte(i), "loan", 1, nil))
	}
	for range 2 { // the second time there is nothing to do
		if err := x.Scrub(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	all := readAll(t, dir)
	for i := range words {
		if there := strings.Contains(all, word(i)[16:]); there != (i%2 == 1) {
			t.Errorf("word %d is in the file: %v", i, there)
		}
		if got, want := found(t, x, word(i)) != "", i%2 == 1; got != want {
			t.Errorf("word %d is found: %v", i, got)
		}
	}
}
