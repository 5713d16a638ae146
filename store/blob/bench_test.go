package blob

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
)

// gibibyte is what the streams are measured with.
const gibibyte = 1 << 30

// beside measures work and its limit in turns, so that both see the same
// machine, and reports the medians and their ratio.
func beside(b *testing.B, size int64, limit, work func() error) {
	b.Helper()
	took := func(f func() error) float64 {
		start := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		return time.Since(start).Seconds()
	}
	var limits, works []float64
	for b.Loop() {
		limits = append(limits, took(limit))
		works = append(works, took(work))
	}
	slices.Sort(limits)
	slices.Sort(works)
	l, w := limits[len(limits)/2], works[len(works)/2]
	b.ReportMetric(float64(size)/w/1e6, "MB/s")
	b.ReportMetric(float64(size)/l/1e6, "limit-MB/s")
	b.ReportMetric(l/w, "ratio")
	b.ReportMetric(0, "ns/op") // it is of both
}

// The limit is plain BLAKE3 written to in the same pieces.
func BenchmarkHasher(b *testing.B) {
	p := noise(64 << 20)
	for _, piece := range []int{GroupSize, batchSize, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", piece>>10), func(b *testing.B) {
			feed := func(w io.Writer) {
				for at := 0; at < len(p); at += piece {
					_, _ = w.Write(p[at : at+piece])
				}
			}
			beside(b, int64(len(p)),
				func() error { h := blake3.New(32, nil); feed(h); h.Sum(nil); return nil },
				func() error { h := NewHasher(); feed(h); h.Sum(); return nil })
		})
	}
}

// The proof of all leaves, which comes before the first byte of a read.
func BenchmarkNewTree(b *testing.B) {
	for _, size := range []int64{1 << 20, gibibyte, 4 * gibibyte} {
		var s subtrees
		leaves := Leaves(noise(int(LeavesSize(size))))
		for at := 0; at < len(leaves); at += leafSize {
			s.push(leafWords(leaves[at:]))
		}
		id := rootOf(s.root())
		b.Run(fmt.Sprintf("%dMiB", size>>20), func(b *testing.B) {
			for b.Loop() {
				if _, err := NewTree(id, size, leaves); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func rawWrite(path string, p []byte, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	for n := int64(0); n < size && err == nil; n += int64(len(p)) {
		_, err = f.Write(p)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	return os.Remove(path)
}

func sinkWrite(b *testing.B, h Home, p []byte, size int64) (agreement.Hash, Leaves, error) {
	s := NewSink(b.Context(), h, 0, size)
	defer s.Abort()
	for n := int64(0); n < size; n += int64(len(p)) {
		if _, err := s.Write(p); err != nil {
			return agreement.Hash{}, nil, err
		}
	}
	got, err := s.Finish()
	if err == nil {
		err = s.Commit()
	}
	return got.ID, got.Leaves, err
}

// The limit is a file written in the same pieces with the same syncs.
func BenchmarkWrite1GiB(b *testing.B) {
	p := noise(batchSize)
	b.Run("file", func(b *testing.B) {
		dir := b.TempDir()
		h := openFiles(b, dir)
		id := agreement.Hash{1}
		beside(b, gibibyte,
			func() error { return rawWrite(filepath.Join(dir, "raw"), p, gibibyte) },
			func() error {
				w, err := h.Create(b.Context())
				for n := 0; n < gibibyte && err == nil; n += len(p) {
					_, err = w.Write(p)
				}
				if err == nil {
					err = w.Commit(id)
				}
				if err == nil {
					err = h.Remove(b.Context(), id)
				}
				return err
			})
	})
	b.Run("hashed", func(b *testing.B) {
		dir := b.TempDir()
		h := openFiles(b, dir)
		peak := memory(b)
		beside(b, gibibyte,
			func() error { return rawWrite(filepath.Join(dir, "raw"), p, gibibyte) },
			func() error {
				id, _, err := sinkWrite(b, h, p, gibibyte)
				if err == nil {
					err = h.Remove(b.Context(), id)
				}
				return err
			})
		b.ReportMetric(peak(), "peak-MB")
	})
}

// The limits are reading the file, and reading and hashing it.
func BenchmarkRead1GiB(b *testing.B) {
	dir := b.TempDir()
	h := openFiles(b, dir)
	id, leaves, err := sinkWrite(b, h, noise(batchSize), gibibyte)
	if err != nil {
		b.Fatal(err)
	}
	path := fileOf(b, dir, id)
	buf := make([]byte, batchSize)
	raw := func(w io.Writer) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, buf)
		return err
	}
	verified := func() error {
		tree, err := NewTree(id, gibibyte, leaves)
		if err != nil {
			return err
		}
		r, err := tree.Open(b.Context(), h, 0, -1)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf)
		if err == nil && n != gibibyte {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	b.Run("raw", func(b *testing.B) {
		beside(b, gibibyte, func() error { return raw(io.Discard) }, verified)
	})
	b.Run("raw+blake3", func(b *testing.B) {
		peak := memory(b)
		beside(b, gibibyte, func() error { return raw(blake3.New(32, nil)) }, verified)
		b.ReportMetric(peak(), "peak-MB")
	})
}

// memory returns what tells how far the memory of the process has risen since
// the call, 0 where the system doesn't say.
func memory(b *testing.B) func() (megabytes float64) {
	b.Helper()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak is what it is now
	before := status("VmHWM:")
	return func() float64 { return (status("VmHWM:") - before) / 1000 }
}

// status reads a line of /proc/self/status, in kB.
func status(name string) (kilobytes float64) {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			_, _ = fmt.Sscan(rest, &kilobytes)
		}
	}
	return kilobytes
}
