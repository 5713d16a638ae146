package keys

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"filippo.io/age"
)

// benchSize is how much the benchmarks seal at a time, in bytes.
const benchSize = 64 << 20

// compare runs ours and the limit in turns, so that other load on the machine
// hits both alike, and reports the throughput of ours and its ratio to the
// limit's.
func compare(b *testing.B, ours, limit func() error) {
	var spent [2]time.Duration
	for b.Loop() {
		for i, run := range []func() error{ours, limit} {
			start := time.Now()
			if err := run(); err != nil {
				b.Fatal(err)
			}
			spent[i] += time.Since(start)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(b.N)*benchSize/1e6/spent[0].Seconds(), "MB/s")
	b.ReportMetric(float64(spent[1])/float64(spent[0]), "of-age")
}

// drain reads like a consumer with a buffer of its own.
func drain(w io.Writer, r io.Reader, buf []byte) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, buf)
	return err
}

// BenchmarkStreams measures sealing and opening beside age itself, on the same
// bytes in memory.
func BenchmarkStreams(b *testing.B) {
	r := newTestRing(b)
	id := r.identities()[0].key
	content := noise(benchSize)
	header, payload, err := Seal(content, []string{r.Recipient()})
	if err != nil {
		b.Fatal(err)
	}
	whole := append(bytes.Clone(header), payload...)
	buf := make([]byte, 64<<10)
	seal := func(w io.WriteCloser, err error) error {
		if err != nil {
			return err
		}
		return errors.Join(drain(w, bytes.NewReader(content), buf), w.Close())
	}
	open := func(in io.Reader, err error) error {
		if err != nil {
			return err
		}
		return drain(io.Discard, in, buf)
	}
	b.Run("seal", func(b *testing.B) {
		compare(b, func() error {
			_, w, err := SealTo(io.Discard, []string{r.Recipient()})
			return seal(w, err)
		}, func() error { return seal(age.Encrypt(io.Discard, id.Recipient())) })
	})
	b.Run("open", func(b *testing.B) {
		compare(b, func() error { return open(r.Open(header, bytes.NewReader(payload))) },
			func() error { return open(age.Decrypt(bytes.NewReader(whole), id)) })
	})
}

// BenchmarkHeader measures what one header costs: the last of its readers
// opens it, with one identity and with as many as a ring may hold.
func BenchmarkHeader(b *testing.B) {
	r, many := newTestRing(b), newTestRing(b)
	oldest := many.identities()[0].key
	for range MaxIdentities - 1 {
		if _, err := many.Rotate(noon); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		ring    *Ring
		id      *age.HybridIdentity
		readers int
	}{{"1-reader", r, r.identities()[0].key, 1}, {"3-readers", r, r.identities()[0].key, 3}, {"128-readers", r, r.identities()[0].key, MaxReaders}, {"128-readers-8-identities", many, oldest, MaxReaders}} {
		header, _ := sealedFor(b, c.readers, nil, c.id)
		b.Run(c.name+"/open", func(b *testing.B) {
			for b.Loop() {
				c.ring.opened.Purge()
				if _, err := c.ring.fileKey(header); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/parse", func(b *testing.B) {
			for b.Loop() {
				if _, err := parseHeader(header); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	header, _ := sealedFor(b, 3, nil, r.identities()[0].key)
	to := many.Recipient()
	b.Run("grant", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Grant(header, to); err != nil {
				b.Fatal(err)
			}
		}
	})
	own, _ := sealedFor(b, 3, nil, oldest)
	b.Run("rewrap", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := many.Rewrap(own); err != nil {
				b.Fatal(err)
			}
		}
	})
}
