package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/errgroup"
	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
)

var testKey = bytes.Repeat([]byte{7}, KeySize)

func openTest(t testing.TB, dir string) *Store {
	t.Helper()
	return openWith(t, Options{Dir: dir, Key: testKey})
}

// openWith opens a store, which the end of the test closes.
func openWith(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// typicalChange is what one step of an agreement writes: 2 KiB of state, two
// effects with 1 KiB of mail each, two events.
func typicalChange(id agreement.ID, revision uint64) Change {
	c := Change{Agreement: id, Revision: revision, State: make([]byte, 2<<10), Open: true, Phase: fmt.Sprint("phase", revision%8)}
	for i := range uint64(2) {
		c.Add = append(c.Add, Effect{Seq: 2*revision + i + 1, Kind: 1, To: "tp1somebody", Sealed: make([]byte, 1<<10), Created: time.Now()})
		c.Events = append(c.Events, Event{Time: time.Now(), Step: 2, Kind: "sent", Text: "the proposal is on its way"})
	}
	c.DoneEffect = 2*max(revision, 1) - 1
	if revision == 0 {
		c.DoneEffect = 0
	}
	return c
}

// report gives a figure beside its limit, and the goal: the part of the limit
// that is enough.
func report(b *testing.B, unit string, value, limit, goal float64) {
	b.Helper()
	b.ReportMetric(value, unit)
	b.ReportMetric(limit, "limit-"+unit)
	b.ReportMetric(goal, "goal-"+unit)
}

// perSecond is how often so many writers at once get something written.
func perSecond(b *testing.B, writers, times int, write func(writer, n int) error) float64 {
	b.Helper()
	begin := time.Now()
	var g errgroup.Group
	for w := range writers {
		g.Go(func() error {
			for n := range times / writers {
				if err := write(w, n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	return float64(times) / time.Since(begin).Seconds()
}

// rawBadger writes values of a size in transactions of their own, which Badger
// batches, in the same database: the limit of what the store does.
func rawBadger(s *Store, size int) func(int, int) error {
	var count atomic.Int64
	return func(int, int) error {
		value := make([]byte, size)
		_, _ = rand.Read(value) // never fails
		return s.db.Update(func(txn *badger.Txn) error { return txn.Set(fmt.Appendf(nil, "z%016d", count.Add(1)), value) })
	}
}

// byTurns runs writers and their limit by turns, and reports the best of each.
func byTurns(b *testing.B, unit string, writers int, write, limit func(int, int) error) {
	b.Helper()
	var ours, raw float64
	for b.Loop() {
		times := 40 * max(writers, 10)
		ours, raw = max(ours, perSecond(b, writers, times, write)), max(raw, perSecond(b, writers, times, limit))
	}
	report(b, unit, ours, raw, 0.5)
}

// BenchmarkCommit writes steps of agreements, each of some 4 KiB in 10 rows.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openTest(b, b.TempDir())
			ids, revisions := make([]agreement.ID, writers), make([]uint64, writers)
			for i := range ids {
				ids[i] = agreement.NewUUID()
			}
			byTurns(b, "commits/s", writers, func(w, _ int) error {
				_, err := s.Commit(context.Background(), typicalChange(ids[w], revisions[w]))
				revisions[w]++
				return err
			}, rawBadger(s, 4<<10))
		})
	}
}

func randomObject(size int) (Object, []byte) {
	p := make([]byte, size)
	_, _ = rand.Read(p)
	return Object{
		ID: blake3.Sum256(p), ContentHash: blake3.Sum256(p), Size: int64(size), SealedSize: int64(size),
		MediaType: "application/octet-stream", Audience: []string{"tp1a", "tp1b"}, Owner: "put",
		Created: time.Now().UTC(), Header: make([]byte, 4<<10),
	}, p
}

// BenchmarkPutObject puts sealed objects of 1 KiB, each with a header of 4 KiB,
// durably, beside values of 1 KiB.
func BenchmarkPutObject(b *testing.B) {
	for _, writers := range []int{1, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openTest(b, b.TempDir())
			byTurns(b, "objects/s", writers, func(int, int) error {
				o, p := randomObject(1 << 10)
				return s.PutObject(context.Background(), o, bytes.NewReader(p))
			}, rawBadger(s, 1<<10))
		})
	}
}

// BenchmarkOpen opens a store of a million objects of 1 KiB, 5.5 GB.
func BenchmarkOpen(b *testing.B) {
	const objects, batch = 1_000_000, 100
	dir := b.TempDir()
	s, err := Open(Options{Dir: dir, Key: testKey}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	perSecond(b, 4, objects/batch, func(int, int) error {
		return s.update(context.Background(), 14*batch, batch*6<<10, func(w *writer) error {
			for range batch {
				o, p := randomObject(1 << 10)
				if err := w.hold(o.ID, Reference{Name: o.Owner}); err != nil {
					return err
				}
				w.set(payloadKey(o.ID), p)
				w.set(objectKey(o.ID), o.encode())
				w.set(contentKey(o.ContentHash, o.ID), nil)
				w.mem.totals.objects++
				w.mem.totals.bytes += o.SealedSize
			}
			return nil
		})
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	var took time.Duration
	for b.Loop() {
		begin := time.Now()
		if s, err = Open(Options{Dir: dir, Key: testKey}, slog.New(slog.DiscardHandler)); err != nil {
			b.Fatal(err)
		}
		took += time.Since(begin)
		if got := s.memory().totals.objects; got != objects {
			b.Fatalf("%d objects", got)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, "s/op", took.Seconds()/float64(b.N), 2, 1)
}

// BenchmarkVerify verifies 1 GiB in 32 objects, beside reading the same files
// and computing their BLAKE3.
func BenchmarkVerify(b *testing.B) {
	const objects, size = 32, 32 << 20
	dir := b.TempDir()
	s := openTest(b, dir)
	for range objects {
		o, p := randomObject(size)
		if err := s.PutObject(b.Context(), o, bytes.NewReader(p)); err != nil {
			b.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "payloads", "??", "*"))
	if err != nil || len(files) != objects {
		b.Fatal(files, err)
	}
	mbs := func(begin time.Time) float64 { return objects * size / 1e6 / time.Since(begin).Seconds() }
	var ours, raw float64
	for b.Loop() {
		begin := time.Now()
		if v, err := s.Verify(b.Context(), nil); err != nil || v.Objects != objects || v.Damaged != 0 {
			b.Fatal(v, err)
		}
		ours = max(ours, mbs(begin))
		begin = time.Now()
		for _, path := range files {
			hashFile(b, path)
		}
		raw = max(raw, mbs(begin))
	}
	report(b, "verified-MB/s", ours, raw, 0.8)
}

func hashFile(b *testing.B, path string) {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyBuffer(blake3.New(32, nil), struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		b.Fatal(err)
	}
}
