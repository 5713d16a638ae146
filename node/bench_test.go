package node

import (
	"bytes"
	"crypto/rand"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/node/backup"
	"github.com/affiliate-node/affiliate/p2p"
	"github.com/affiliate-node/affiliate/store"
)

// benchSize is the content that is put and got, in bytes.
const benchSize = 1 << 30

// benchNode is a node that runs nothing, on a disk.
func benchNode(b *testing.B) *Node {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	ring, err := keys.Create(keys.Options{Dir: filepath.Join(b.TempDir(), "keys"), Unprotected: true, Prefix: "tp"})
	if err != nil {
		b.Fatal(err)
	}
	st, err := store.Open(store.Options{Dir: filepath.Join(b.TempDir(), "data"), Key: ring.DerivedKey("store")}, log)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	chain, err := chainclient.New(chainclient.Config{ChainID: testChain, Endpoint: "http://127.0.0.1:1", Prefix: "tp"}, ring, log)
	if err != nil {
		b.Fatal(err)
	}
	n, err := New(Config{
		Network: testChain, Prefix: "tp", MaxLifetime: time.Hour, AckWithin: time.Minute, MaxOpen: 8, MaxObjectSize: 2 * benchSize, Policy: approve,
	}, p2p.Config{Network: testChain, Prefix: "tp", Members: []string{"*"}}, Deps{Ring: ring, Store: st, Chain: chain, Log: log})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// repeated is content of any size that doesn't compress.
func repeated(block []byte, size int64) io.Reader {
	return io.LimitReader(&endless{block: block}, size)
}

type endless struct {
	block []byte
	at    int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.block[e.at:])
	e.at = (e.at + n) % len(e.block)
	return n, nil
}

// BenchmarkObject puts and gets 1 GiB, sealed, hashed, durable and verified,
// beside raw age on the same bytes in memory, for the same reader. What the
// process has more of memory while it does stands beside the 64 MiB it may.
func BenchmarkObject(b *testing.B) {
	n := benchNode(b)
	block := make([]byte, 1<<20)
	_, _ = rand.Read(block) // never fails
	to := []string{n.ring.Recipient()}
	var put, get, seal, open, granted []float64
	var peak int64
	var hash agreement.Hash
	for b.Loop() {
		before := resident()
		stop := watch(&peak, before)
		begin := time.Now()
		ref, err := n.sealFrom(b.Context(), repeated(block, benchSize), "application/octet-stream", "put", []string{n.ring.Address()}, nil)
		if err != nil {
			b.Fatal(err)
		}
		put = append(put, rate(begin))
		hash = agreement.Hash(ref.ContentHash)
		begin = time.Now()
		in, _, err := n.contentReader(b.Context(), hash)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{in}, make([]byte, 256<<10)); err != nil {
			b.Fatal(err)
		}
		get = append(get, rate(begin))
		_ = in.Close()
		stop()
		granted = append(granted, grantedIn(b, n, agreement.Hash(ref.ObjectId)))
		s, o := rawAge(b, n.ring, block, to)
		seal, open = append(seal, s), append(open, o)
		if err := n.forget(b.Context(), hash); err != nil {
			b.Fatal(err)
		}
		if err := n.store.Purge(b.Context(), agreement.Hash(ref.ObjectId), nil); err != nil {
			b.Fatal(err)
		}
	}
	for what, v := range map[string][2][]float64{"put-MB/s": {put, seal}, "get-MB/s": {get, open}} {
		b.ReportMetric(slices.Max(v[0]), what)
		b.ReportMetric(slices.Max(v[1]), "limit-"+what)
		b.ReportMetric(0.8, "goal-"+what)
	}
	b.ReportMetric(float64(peak)/(1<<20), "MiB/op")
	b.ReportMetric(64, "limit-MiB/op")
	b.ReportMetric(1, "goal-MiB/op")
	b.ReportMetric(slices.Min(granted), "grant-ms/op")
	b.ReportMetric(10, "limit-grant-ms/op")
	b.ReportMetric(1, "goal-grant-ms/op")
}

// grantedIn is how long it takes to let one more reader open an object,
// durably, in milliseconds.
func grantedIn(b *testing.B, n *Node, id agreement.Hash) float64 {
	b.Helper()
	other, err := keys.Create(keys.Options{Dir: filepath.Join(b.TempDir(), "keys"), Unprotected: true, Prefix: "tp"})
	if err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	err = n.store.SetHeader(b.Context(), id, func(o *store.Object) (err error) {
		o.Audience = append(o.Audience, other.Address())
		o.Header, err = n.ring.Grant(o.Header, other.Recipient())
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(begin).Seconds() * 1e3
}

// BenchmarkBackup backs up 1 GiB in one object and 100 MB in 5,000 that the
// database has, encrypted and signed. Its memory stands beside the 64 MiB that a
// put may take.
func BenchmarkBackup(b *testing.B) {
	n := benchNode(b)
	block := make([]byte, 1<<20)
	_, _ = rand.Read(block) // never fails
	self := []string{n.ring.Address()}
	if _, err := n.sealFrom(b.Context(), repeated(block, benchSize), "application/octet-stream", "put", self, nil); err != nil {
		b.Fatal(err)
	}
	for i := range 5000 {
		if _, err := n.seal(b.Context(), block[i:i+20_000], "application/octet-stream", "put", self, nil); err != nil {
			b.Fatal(err)
		}
	}
	var peak int64
	var best float64
	for b.Loop() {
		stop := watch(&peak, resident())
		begin := time.Now()
		_, err := backup.Write(io.Discard, n.ring, backup.Header{Network: n.cfg.Network, Created: begin}, func(w io.Writer) (uint64, error) {
			return n.store.Backup(b.Context(), w, 0)
		})
		if err != nil {
			b.Fatal(err)
		}
		best = max(best, rate(begin))
		stop()
	}
	b.ReportMetric(best, "backup-MB/s")
	b.ReportMetric(float64(peak)/(1<<20), "MiB/op")
	b.ReportMetric(64, "limit-MiB/op")
	b.ReportMetric(1, "goal-MiB/op")
}

// BenchmarkSmallGet opens and reads content of 1 KiB, and gives the median.
func BenchmarkSmallGet(b *testing.B) {
	n := benchNode(b)
	ref, err := n.seal(b.Context(), make([]byte, 1<<10), "application/octet-stream", "put", []string{n.ring.Address()}, nil)
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		in, _, err := n.contentReader(b.Context(), agreement.Hash(ref.ContentHash))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			b.Fatal(err)
		}
		_ = in.Close()
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "us/op")
	b.ReportMetric(200, "limit-us/op")
	b.ReportMetric(1, "goal-us/op")
}

// BenchmarkSmallPut has 100 writers put contents of 1 KiB, sealed to this node,
// durably. Its limit is the store's: BenchmarkPutObject.
func BenchmarkSmallPut(b *testing.B) {
	n := benchNode(b)
	const writers, each = 100, 40
	var best float64
	for b.Loop() {
		var g errgroup.Group
		begin := time.Now()
		for range writers {
			g.Go(func() error {
				content := make([]byte, 1<<10)
				for range each {
					_, _ = rand.Read(content) // never fails
					if _, err := n.seal(b.Context(), content, "application/octet-stream", "put", []string{n.ring.Address()}, nil); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
		best = max(best, writers*each/time.Since(begin).Seconds())
	}
	b.ReportMetric(best, "objects/s")
}

func rate(begin time.Time) float64 { return benchSize / 1e6 / time.Since(begin).Seconds() }

// rawAge seals and opens as many bytes, 64 MiB in memory again and again.
func rawAge(b *testing.B, ring *keys.Ring, block []byte, to []string) (seal, open float64) {
	b.Helper()
	const piece = 64 << 20
	content := bytes.Repeat(block, piece/len(block))
	var sealed bytes.Buffer
	sealed.Grow(piece + piece/1000)
	var sealing, opening time.Duration
	for range benchSize / piece {
		sealed.Reset()
		begin := time.Now()
		header, w, err := keys.SealTo(&sealed, to)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		sealing += time.Since(begin)
		begin = time.Now()
		r, err := ring.Open(header, &sealed)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{r}, make([]byte, 256<<10)); err != nil {
			b.Fatal(err)
		}
		opening += time.Since(begin)
	}
	return benchSize / 1e6 / sealing.Seconds(), benchSize / 1e6 / opening.Seconds()
}

// watch notes the most memory that the process has above a number of bytes,
// until it is stopped.
func watch(peak *int64, above int64) (stop func()) {
	tick, end, done := time.NewTicker(20*time.Millisecond), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-tick.C:
				*peak = max(*peak, resident()-above)
			case <-end:
				return
			}
		}
	}()
	return func() { tick.Stop(); close(end); <-done }
}

// resident is the memory of this process that isn't mapped from a file, in
// bytes; what Go's runtime has, where the system doesn't tell.
func resident() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.Sys) //nolint:gosec // bytes of memory
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "RssAnon:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}
