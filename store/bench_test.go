package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
)

var testKey = bytes.Repeat([]byte{7}, KeySize)

func openTest(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, Key: testKey}, slog.New(slog.DiscardHandler))
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

func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openTest(b, b.TempDir())
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					id := agreement.NewUUID()
					for revision := uint64(0); left.Add(-1) >= 0; revision++ {
						if _, err := s.Commit(context.Background(), typicalChange(id, revision)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

// BenchmarkRawBadger is the limit for Commit: the same number of bytes in
// transactions of their own, which Badger batches.
func BenchmarkRawBadger(b *testing.B) {
	for _, writers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := openTest(b, b.TempDir())
			var left, n atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						err := s.db.Update(func(txn *badger.Txn) error {
							return txn.Set(fmt.Appendf(nil, "z%016d", n.Add(1)), make([]byte, 4<<10))
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
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

func BenchmarkPutObject(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20, 16 << 20} {
		for _, writers := range []int{1, 100} {
			if size > 1<<20 && writers > 1 {
				continue
			}
			b.Run(fmt.Sprintf("bytes=%d/writers=%d", size, writers), func(b *testing.B) {
				s := openTest(b, b.TempDir())
				b.SetBytes(int64(size))
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				b.ResetTimer()
				for range writers {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							o, p := randomObject(size)
							if err := s.PutObject(context.Background(), o, bytes.NewReader(p)); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
			})
		}
	}
}

func BenchmarkGetObject(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			s := openTest(b, b.TempDir())
			o, p := randomObject(size)
			if err := s.PutObject(context.Background(), o, bytes.NewReader(p)); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			for b.Loop() {
				r, err := s.Payload(context.Background(), o.ID, 0)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, r); n != int64(size) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
