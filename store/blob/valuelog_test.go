package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/affiliate-node/affiliate/agreement"
)

// ways are the two that payloads could be kept: files, and chunks of 1 MiB in
// Badger's value log with the store's options.
type way struct {
	put    func(id agreement.Hash, payload []byte) error
	get    func(id agreement.Hash, size int) error
	remove func(id agreement.Hash, size int) error
	settle func() error // makes what was written and removed old
	tidy   func() error // gives room back
}

func fileWay(b *testing.B, dir string) way {
	h := openFiles(b, dir)
	return way{
		put: func(id agreement.Hash, payload []byte) error {
			w, err := h.Create(b.Context())
			if err == nil {
				_, err = w.Write(payload)
			}
			if err == nil {
				err = w.Commit(id)
			}
			return err
		},
		get: func(id agreement.Hash, size int) error {
			r, err := h.Open(b.Context(), id, 0, int64(size))
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }()
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, batchSize))
			return err
		},
		remove: func(id agreement.Hash, _ int) error { return h.Remove(b.Context(), id) },
		settle: func() error { return nil },
		tidy:   func() error { return nil },
	}
}

func chunkKeys(id agreement.Hash, size int) (keys [][]byte) {
	for i := 0; i*valueLogChunk < size; i++ {
		keys = append(keys, binary.BigEndian.AppendUint32(id[:len(id):len(id)], uint32(i)))
	}
	return keys
}

const valueLogChunk = 1 << 20

func valueLogWay(b *testing.B, dir string) way {
	o := badger.DefaultOptions(dir).
		WithSyncWrites(true).WithMetricsEnabled(false).
		WithMemTableSize(16 << 20).WithNumMemtables(2).
		WithNumLevelZeroTables(2).WithNumLevelZeroTablesStall(6).WithNumCompactors(2).
		WithBlockCacheSize(16 << 20).WithIndexCacheSize(16 << 20).
		WithValueThreshold(1 << 10).WithValueLogFileSize(128 << 20).
		WithChecksumVerificationMode(options.OnTableAndBlockRead).WithVerifyValueChecksum(true).
		WithEncryptionKey(make([]byte, 32)).WithLogger(nil).WithCompactL0OnClose(true)
	db, err := badger.Open(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	// Only compaction tells the collector what is dead, and only what is in
	// tables is compacted, two of which are merged when the database closes.
	// Keys of large payloads are so small that a store would come there by
	// itself after many gigabytes.
	settle := func() error {
		err := db.Close()
		if err == nil {
			db, err = badger.Open(o)
		}
		if err == nil {
			err = db.Flatten(2)
		}
		return err
	}
	return way{
		settle: settle,
		put: func(id agreement.Hash, payload []byte) error {
			for i, k := range chunkKeys(id, len(payload)) {
				chunk := payload[i*valueLogChunk : min(len(payload), (i+1)*valueLogChunk)]
				if err := db.Update(func(txn *badger.Txn) error { return txn.Set(k, chunk) }); err != nil {
					return err
				}
			}
			return nil
		},
		get: func(id agreement.Hash, size int) error {
			for _, k := range chunkKeys(id, size) {
				err := db.View(func(txn *badger.Txn) error {
					item, err := txn.Get(k)
					if err == nil {
						_, err = item.ValueCopy(nil)
					}
					return err
				})
				if err != nil {
					return err
				}
			}
			return nil
		},
		remove: func(id agreement.Hash, size int) error {
			return db.Update(func(txn *badger.Txn) error {
				for _, k := range chunkKeys(id, size) {
					if err := txn.Delete(k); err != nil {
						return err
					}
				}
				return nil
			})
		},
		tidy: func() error {
			for {
				if err := db.RunValueLogGC(0.5); errors.Is(err, badger.ErrNoRewrite) {
					return nil
				} else if err != nil {
					return err
				}
			}
		},
	}
}

// taken returns the room that a directory takes on disk, in MB.
func taken(b *testing.B, dir string) float64 {
	var bytes int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += onDisk(info)
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return float64(bytes) / 1e6
}

// BenchmarkFilesOrValueLog is what the decision to keep large payloads in
// files rests on. One operation is a whole life of 512 MiB of payloads.
func BenchmarkFilesOrValueLog(b *testing.B) {
	const total = 512 << 20
	ways := []struct {
		name string
		make func(*testing.B, string) way
	}{{"files", fileWay}, {"value-log", valueLogWay}}
	for _, size := range []int{64 << 10, 128 << 10, 256 << 10, 1 << 20, 16 << 20, 256 << 20} {
		for _, w := range ways {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, w.name), func(b *testing.B) {
				payload := noise(size)
				for b.Loop() {
					dir := b.TempDir()
					peak := memory(b)
					way := w.make(b, dir)
					phase := func(f func(id agreement.Hash) error) float64 {
						start := time.Now()
						for i := range total / size {
							if err := f(hashOf(fmt.Append(nil, i))); err != nil {
								b.Fatal(err)
							}
						}
						return time.Since(start).Seconds()
					}
					b.ReportMetric(total/1e6/phase(func(id agreement.Hash) error { return way.put(id, payload) }), "write-MB/s")
					b.ReportMetric(total/1e6/phase(func(id agreement.Hash) error { return way.get(id, size) }), "read-MB/s")
					if err := way.settle(); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(1000*phase(func(id agreement.Hash) error { return way.remove(id, size) }), "remove-ms")
					if err := way.tidy(); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(taken(b, dir), "left-MB")
					start := time.Now()
					if err := errors.Join(way.settle(), way.tidy()); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(1000*time.Since(start).Seconds(), "gc-ms")
					b.ReportMetric(taken(b, dir), "left-after-MB")
					b.ReportMetric(peak(), "peak-MB")
					b.ReportMetric(0, "ns/op")
				}
			})
		}
	}
}
