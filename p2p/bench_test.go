package p2p

import (
	"bytes"
	"io"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

func BenchmarkSend4KiB(b *testing.B) {
	from, to := pair(b)
	m := mailTo(b, to.ring, 4<<10)
	s, _ := to.sessions().get(from.id)
	meter := s.meters[protoMail] // one after another is already more than a peer may send for long
	meter.mu.Lock()
	meter.quota.rate, meter.quota.burst = 1e6, 1e6
	meter.mu.Unlock()
	ctx := b.Context()
	for b.Loop() {
		if err := from.Send(ctx, to.address(), m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFetch10MiB(b *testing.B) {
	from, to := pair(b)
	content := bytes.Repeat([]byte("0123456789abcdef"), 10<<20/16)
	to.keepObject(agreement.Hash{1}, content)
	b.SetBytes(int64(len(content)))
	ctx := b.Context()
	for b.Loop() {
		_, r, err := from.Fetch(ctx, to.address(), agreement.Hash{1}, 0)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n != int64(len(content)) {
			b.Fatal(n, err)
		}
		_ = r.Close()
	}
}
