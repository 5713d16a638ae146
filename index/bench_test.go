package index

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

func loan(i int) Entry {
	return Entry{Scope: agreement.NewUUID(), Record: "loan", Agreement: agreement.NewUUID(), Height: int64(i), Fields: map[string]string{
		"loan_id": fmt.Sprintf("LN-%07d", i), "borrower": fmt.Sprintf("Name%d Surname%d", i%997, i%4999),
		"amount": fmt.Sprint(1000 * (i % 500)), "state": "originated",
	}}
}

func BenchmarkPut(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			x := openTest(b, filepath.Join(b.TempDir(), "index.sqlite"), testKey)
			i := 0
			for b.Loop() {
				entries := make([]Entry, batch)
				for j := range entries {
					entries[j], i = loan(i), i+1
				}
				put(b, x, entries...)
			}
			b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// filled is an index of 30,000 loans.
func filled(b *testing.B) *Index {
	b.Helper()
	x := openTest(b, filepath.Join(b.TempDir(), "index.sqlite"), testKey)
	err := x.Rebuild(b.Context(), func(yield func(Entry, error) bool) {
		for i := range 30_000 {
			if !yield(loan(i), nil) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	return x
}

// BenchmarkScrub takes the fields of one record out of the file.
func BenchmarkScrub(b *testing.B) {
	x := filled(b)
	for b.Loop() {
		e := loan(7)
		put(b, x, e)
		e.Fields = nil
		put(b, x, e)
		if err := x.Scrub(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	x := filled(b)
	for name, query := range map[string]string{
		"one": "loan_id:LN-0012345", "some": "surname123", "two": "surname123 name123*", "every": "state:originated",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got, err := x.Search(b.Context(), query, 20); err != nil || len(got) == 0 {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}
