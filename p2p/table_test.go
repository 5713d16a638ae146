package p2p

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
)

func entry(address string, sequence uint64, expires time.Time) *affiliate {
	return &affiliate{record: &affiliatev1.AffiliateRecord{Address: address, Sequence: sequence, ExpiresUnix: expires.Unix()}}
}

func TestTableTakesTheHighestSequence(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	later := now.Add(time.Hour)
	table := newTable("self", []string{"a", "b"})
	steps := []struct {
		address  string
		sequence uint64
		want     putResult
		current  uint64
	}{
		{"a", 5, putNewer, 5}, {"a", 4, putOlder, 5}, {"a", 5, putSame, 5}, {"a", 6, putNewer, 6},
		{"b", 1, putNewer, 1}, {"self", 1, putNewer, 1}, {"a", math.MaxUint64, putNewer, math.MaxUint64},
	}
	for i, s := range steps {
		if got := table.put(entry(s.address, s.sequence, later), now); got != s.want {
			t.Errorf("step %d: %v", i, got)
		}
		if a, ok := table.get(s.address); !ok || a.record.Sequence != s.current {
			t.Errorf("step %d: current %v", i, a)
		}
	}
	if table.put(entry("c", 1, later), now) != putNobody {
		t.Error("took a stranger's record")
	}
}

func TestTableIsBounded(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	table := newTable("self", []string{"*"})
	address := func(i int) string { return string(rune('A' + i)) }
	for i := range MaxAffiliates {
		expires := now.Add(time.Hour)
		if i == 17 {
			expires = now.Add(time.Minute)
		}
		if table.put(entry(address(i), 1, expires), now) != putNewer {
			t.Fatalf("no room for %d", i)
		}
	}
	if table.put(entry("one more", 1, now.Add(time.Hour)), now) != putNobody {
		t.Error("the table has no bound")
	}
	if table.put(entry(address(3), 2, now.Add(time.Hour)), now) != putNewer {
		t.Error("a full table refuses news")
	}
	if now = now.Add(2 * time.Minute); table.put(entry("one more", 1, now.Add(time.Hour)), now) != putNewer {
		t.Error("an expired record keeps its place")
	}
	if len(table.all()) != MaxAffiliates {
		t.Errorf("%d records", len(table.all()))
	}
}

func TestStoredRecordsAreChecked(t *testing.T) {
	a := run(t, "a")
	own, _ := a.table.get(a.address())
	mem := newMemory()
	mem.records[a.address()] = own.signed
	mem.records["tp1another"] = own.signed
	mem.records["tp1garbage"] = []byte("garbage")
	expired := func(ago time.Duration) *keys.Ring {
		ring := newTestRing(t)
		rec := proto.CloneOf(own.record)
		rec.Address, rec.AccountKey, rec.ExpiresUnix = ring.Address(), ring.AccountKey(), time.Now().Add(-ago).Unix()
		rec.PeerId, _ = newTestNode(t, testConfig("away"), ring, newMemory()).Self() // or b might be connected to it
		signed, err := ring.SignRecord(rec)
		if err != nil {
			t.Fatal(err)
		}
		if mem.records[ring.Address()], err = proto.Marshal(signed); err != nil {
			t.Fatal(err)
		}
		return ring
	}
	lately, longAgo := expired(time.Hour), expired(keepExpired+time.Hour)
	b := newTestNode(t, testConfig("b"), newTestRing(t), mem)
	if all := b.table.all(); len(all) != 2 {
		t.Errorf("loaded %d records", len(all))
	}
	if _, ok := b.Affiliate(a.address()); !ok {
		t.Error("a good record is passed over")
	}
	if _, ok := b.Affiliate(lately.Address()); !ok {
		t.Error("the keys of an affiliate that was away for an hour are forgotten")
	}
	if _, ok := b.Affiliate(longAgo.Address()); ok {
		t.Error("an old record is still good")
	}
	b.start(t)
	err := b.Send(testContext(t), lately.Address(), mailTo(t, lately, 10))
	if wantCode(t, err, agreement.CodePeerUnreachable); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("sending to an expired address: %v", err)
	}
}

func TestDelays(t *testing.T) {
	c := &connector{l: &live{Host: &Host{times: defaultTimings()}}}
	for failures := range 100 {
		d := c.delay(failures)
		low, high := 750*time.Millisecond, 375*time.Second
		if failures <= quickRetries {
			high = 1250 * time.Millisecond
		}
		if failures >= 12 {
			low = 225 * time.Second
		}
		if d < low || d > high {
			t.Errorf("after %d failures: %v", failures, d)
		}
	}
}

func TestFrames(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 16383, 16384, 1 << 20} {
		m := &affiliatev1.Mail{Sealed: make([]byte, n)}
		var b bytes.Buffer
		if err := writeFrame(&b, m, proto.Size(m)); err != nil {
			t.Fatal(err)
		}
		raw := b.Bytes()
		var got affiliatev1.Mail
		if err := readFrame(bufio.NewReader(&b), &got, proto.Size(m)); err != nil || len(got.Sealed) != n {
			t.Errorf("%d bytes: %v", n, err)
		}
		if n == 0 {
			continue
		}
		wantCode(t, readFrame(bufio.NewReader(bytes.NewReader(raw)), &got, proto.Size(m)-1), agreement.CodeTooLarge)
		wantCode(t, writeFrame(io.Discard, m, proto.Size(m)-1), agreement.CodeTooLarge)
		if err := readFrame(bufio.NewReader(bytes.NewReader(raw[:len(raw)-1])), &got, 1<<21-1); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut short: %v", err)
		}
	}
	if err := readFrame(bufio.NewReader(bytes.NewReader(nil)), new(affiliatev1.Mail), 10); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
}

// A frame that decodes is within its limit and encodes to the same bytes; no
// input makes the decoder panic or allocate above the limit.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{}, 10)
	f.Add([]byte{0x80, 0x00}, 10)
	f.Add([]byte{0xff, 0xff, 0xff, 0x01}, 1<<20)
	f.Add([]byte{2, 0x2a, 0}, 100)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = max(0, limit%(1<<20))
		r := bufio.NewReader(bytes.NewReader(b))
		size, err := frameSize(r, limit)
		if err != nil {
			return
		}
		if size > limit {
			t.Fatalf("size %d over limit %d", size, limit)
		}
		m := new(affiliatev1.Mail)
		if err := readBody(r, m, size); err != nil {
			return
		}
		_ = checkMail(m, true)
		var again bytes.Buffer
		if err := writeFrame(&again, m, math.MaxInt); err != nil {
			t.Fatal(err)
		}
	})
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{"a\nb\x1b[2Jc": "a b [2Jc", "ok": "ok", "\xff\xfe": "", "": ""} {
		if got := oneLine(in, 100); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
	if got := oneLine("ééé", 3); got != "é" {
		t.Errorf("cut inside a letter: %q", got)
	}
}
