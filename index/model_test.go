package index

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestModel compares the index with a plain map under random puts, rebuilds
// and reopenings.
func TestModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	runs := 0
	words := []string{"ann", "bob", "annex", "250", "250000"}
	rapid.Check(t, func(r *rapid.T) {
		runs++
		path := filepath.Join(dir, fmt.Sprint(runs))
		x, err := Open(path, testKey, slog.New(slog.DiscardHandler))
		if err != nil {
			r.Fatal(err)
		}
		defer func() { _ = x.Close() }()
		model := map[string]Entry{}
		add := func(e Entry) {
			k := fmt.Sprint(e.Scope, e.Record)
			if old, ok := model[k]; !ok || e.Height >= old.Height {
				model[k] = e
			}
		}
		anEntry := rapid.Custom(func(r *rapid.T) Entry {
			value := rapid.Map(rapid.SliceOfN(rapid.SampledFrom(words), 0, 3), func(w []string) string { return strings.Join(w, " ") })
			return entry(rapid.ByteMax(3).Draw(r, "scope"), rapid.SampledFrom([]string{"a", "b"}).Draw(r, "record"),
				rapid.Int64Range(0, 5).Draw(r, "height"), rapid.MapOfN(rapid.SampledFrom([]string{"x", "y"}), value, 0, 2).Draw(r, "fields"))
		})
		r.Repeat(map[string]func(*rapid.T){
			"put": func(r *rapid.T) {
				entries := rapid.SliceOfN(anEntry, 0, 4).Draw(r, "entries")
				if err := x.Put(t.Context(), entries); err != nil {
					r.Fatal(err)
				}
				for _, e := range entries {
					add(e)
				}
			},
			"rebuild": func(r *rapid.T) {
				entries := rapid.SliceOfN(anEntry, 0, 4).Draw(r, "entries")
				if err := x.Rebuild(t.Context(), all(entries, nil)); err != nil {
					r.Fatal(err)
				}
				clear(model)
				for _, e := range entries {
					add(e)
				}
			},
			"reopen": func(r *rapid.T) {
				if err := x.Close(); err != nil {
					r.Fatal(err)
				}
				if x, err = Open(path, testKey, slog.New(slog.DiscardHandler)); err != nil {
					r.Fatal(err)
				}
			},
			"": func(r *rapid.T) {
				for _, w := range words {
					for _, field := range []string{"", "x"} {
						compare(r, x, model, field, w, false)
						compare(r, x, model, field, w, true)
					}
				}
			},
		})
	})
}

// compare checks one term against the model.
func compare(r *rapid.T, x *Index, model map[string]Entry, field, word string, prefix bool) {
	query := word
	if field != "" {
		query = field + ":" + word
	}
	if prefix {
		query += "*"
	}
	got, err := x.Search(context.Background(), query, MaxResults)
	if err != nil {
		r.Fatal(err)
	}
	want := map[string]Entry{}
	for k, e := range model {
		for name, value := range e.Fields {
			if field != "" && name != field {
				continue
			}
			if slices.ContainsFunc(strings.Fields(value), func(w string) bool { return w == word || prefix && strings.HasPrefix(w, word) }) {
				want[k] = e
			}
		}
	}
	have := map[string]Entry{}
	for _, e := range got {
		have[fmt.Sprint(e.Scope, e.Record)] = e
	}
	if len(have) != len(got) || !maps.EqualFunc(have, want, func(a, b Entry) bool { return reflect.DeepEqual(a, b) }) {
		r.Fatalf("%s: got %v, want %v", query, have, want)
	}
}

// FuzzSearch holds that no query makes SQLite complain.
func FuzzSearch(f *testing.F) {
	for _, s := range []string{"ann", `a:"b c"* d*`, `"`, "a'b", "NEAR(a b, 2)", "a^b", "-a", "{x}:a", "a\x00", "ǆ", "٣", "\U0001F600 a", `""""`, "a:b:c", "e\u0301"} {
		f.Add(s)
	}
	x, err := Open(filepath.Join(f.TempDir(), "index.sqlite"), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	put(f, x, loans...)
	f.Fuzz(func(t *testing.T, query string) {
		_, err := x.Search(t.Context(), query, 5)
		if err != nil && agreement.CodeOf(err) != agreement.CodeBadRequest {
			t.Fatal(err)
		}
		// Nor does a value.
		if err := x.Put(t.Context(), []Entry{entry(9, "fuzz", 1, map[string]string{query: query})}); err != nil && agreement.CodeOf(err) != agreement.CodeTooLarge {
			t.Fatal(err)
		}
	})
}

// TestMain makes the model test short enough for every run; the flags
// -rapid.checks and -rapid.steps make it longer.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.checks": "20", "rapid.steps": "12"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
