package p2p

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	mss "github.com/multiformats/go-multistream"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

func negotiate(s network.Stream, proto string) error { return mss.SelectProtoOrFail(proto, s) }

func pair(t testing.TB) (a, b *testNode) {
	t.Helper()
	a = run(t, "a")
	b = run(t, "b", a)
	eventually(t, "connected", func() bool { return a.connectedTo(b) && b.connectedTo(a) })
	return a, b
}

func TestSend(t *testing.T) {
	a, b := pair(t)
	ctx := testContext(t)
	m := mailTo(t, b.ring, 4<<10)
	if err := a.Send(ctx, b.address(), m); err != nil {
		t.Fatal(err)
	}
	if !b.has(m.Mailbox) {
		t.Error("the receipt came before the mail was stored")
	}
	largest := mailTo(t, b.ring, 1<<20)
	if err := a.Send(ctx, b.address(), largest); err != nil {
		t.Errorf("the largest mail: %v", err)
	}
	largest.Sealed = make([]byte, MailLimit)
	wantCode(t, a.Send(ctx, b.address(), largest), agreement.CodeTooLarge)
	wantCode(t, a.Send(ctx, b.address(), mailTo(t, a.ring, 10)), agreement.CodeBadMessage) // not b's
	wantCode(t, a.Send(ctx, "tp1nobody", m), agreement.CodePeerUnreachable)
	if !agreement.Retryable(a.Send(ctx, "tp1nobody", m)) {
		t.Error("an unreachable peer is worth another attempt")
	}

	var wg sync.WaitGroup
	for range 300 { // more at once than are sent at once
		wg.Go(func() {
			if err := a.Send(ctx, b.address(), mailTo(t, b.ring, 100)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b.stop()
	wantCode(t, a.Send(ctx, b.address(), m), agreement.CodePeerUnreachable)
}

func TestRefusals(t *testing.T) {
	a, b := pair(t)
	ctx := testContext(t)
	cases := []struct {
		err    error
		code   agreement.Code
		text   string
		hidden string
	}{
		{agreement.Errorf(agreement.CodeNotAuthorized, "not\nfor you"), agreement.CodeNotAuthorized, "not for you", "\n"},
		{fmt.Errorf("storing: %w", agreement.Errorf(agreement.CodeBackpressure, "disk is busy")), agreement.CodeBackpressure, "disk is busy", ""},
		{errors.New("secret path /home/x"), agreement.CodeInternal, "internal error", "secret"},
		{agreement.Errorf("not a code", "x"), agreement.CodePeerRefused, "x", ""},
		{agreement.Errorf(agreement.CodeRejected, "%s", strings.Repeat("long ", 10_000)), agreement.CodeRejected, "long long", ""},
	}
	for _, c := range cases {
		b.mu.Lock()
		b.onMail = func(string, *affiliatev1.Mail) error { return c.err }
		b.mu.Unlock()
		err := a.Send(ctx, b.address(), mailTo(t, b.ring, 100))
		wantCode(t, err, c.code)
		if err == nil || !strings.Contains(err.Error(), c.text) || (c.hidden != "" && strings.Contains(err.Error(), c.hidden)) {
			t.Errorf("refused with %v, want %q without %q", err, c.text, c.hidden)
		}
	}
	b.mu.Lock()
	b.onMail = func(from string, _ *affiliatev1.Mail) error {
		if from == a.address() {
			panic("provoked")
		}
		return nil
	}
	b.mu.Unlock()
	if err := a.Send(ctx, b.address(), mailTo(t, b.ring, 100)); err == nil {
		t.Error("a panic became a receipt")
	}
}

func TestBackpressure(t *testing.T) {
	a, b := pair(t)
	ctx := testContext(t)
	s, _ := b.sessions().get(a.id)
	for _, m := range s.meters {
		m.mu.Lock()
		m.quota.burst = 0
		m.mu.Unlock()
	}
	wantCode(t, a.Send(ctx, b.address(), mailTo(t, b.ring, 100)), agreement.CodeBackpressure)
	_, _, err := a.Fetch(ctx, b.address(), agreement.Hash{1}, 0)
	wantCode(t, err, agreement.CodeBackpressure)
	wantCode(t, a.live.Load().pullMail(ctx, b.id, b.address()), agreement.CodeBackpressure)
}

func TestMeter(t *testing.T) {
	m := &meter{quota: quota{rate: 10, burst: 3, active: 2}}
	now := time.Unix(1000, 0)
	for i, want := range []bool{true, true, false} {
		if m.enter(now) != want {
			t.Errorf("stream %d: two at once, not three", i+1)
		}
	}
	m.leave()
	m.leave()
	if !m.enter(now) {
		t.Error("the third of the burst")
	}
	m.leave()
	if m.enter(now) || m.enter(now.Add(50*time.Millisecond)) || !m.enter(now.Add(101*time.Millisecond)) {
		t.Error("a tenth of a second gives one more")
	}
}

func TestFetch(t *testing.T) {
	a, b := pair(t)
	ctx := testContext(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // 3.2 MB
	id, short := agreement.Hash{1}, agreement.Hash{2}
	b.keepObject(id, content)
	b.keepObject(short, nil)
	for _, offset := range []int64{0, 1, 100_000, int64(len(content)) - 1, int64(len(content))} {
		response, r, err := a.Fetch(ctx, b.address(), id, offset)
		if err != nil {
			t.Fatal(err)
		}
		if string(response.Header) != "header" {
			t.Errorf("header %q", response.Header)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, content[offset:]) {
			t.Errorf("offset %d: %d bytes, %v", offset, len(got), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	_, _, err := a.Fetch(ctx, b.address(), agreement.Hash{9}, 0)
	wantCode(t, err, agreement.CodeNotFound)
	_, _, err = a.Fetch(ctx, b.address(), id, int64(len(content))+1)
	wantCode(t, err, agreement.CodeBadMessage)
	_, _, err = a.Fetch(ctx, b.address(), id, -1)
	wantCode(t, err, agreement.CodeBadMessage)

	_, r, err := a.Fetch(ctx, b.address(), id, 0) // given up in the middle
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Error(err)
	}
	_ = r.Close()

	cancelled, cancel := context.WithCancel(ctx)
	_, r, err = a.Fetch(cancelled, b.address(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(r); err == nil {
		t.Error("read on after ctx ended")
	}
	_ = r.Close()
}

// A peer that sends less than it announced must not pass for complete.
func TestFetchNoticesTheEnd(t *testing.T) {
	a, b := pair(t)
	b.live.Load().handle(protoObject, func(_ context.Context, c *call) error {
		ref := &affiliatev1.ObjectRef{SealedSize: 1000}
		if err := writeFrame(c.stream, &affiliatev1.FetchObjectResponse{Ref: ref}, responseLimit); err != nil {
			return err
		}
		_, err := c.stream.Write(make([]byte, 999))
		return err
	})
	_, r, err := a.Fetch(testContext(t), b.address(), agreement.Hash{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err == nil || n != 999 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// Whatever an admitted peer sends, the node answers or resets, and goes on.
func TestHostileFrames(t *testing.T) {
	a, b := pair(t)
	ctx := testContext(t)
	frames := map[string][]byte{
		"nothing":            nil,
		"announces 2 MiB":    {0xff, 0xff, 0x7f},
		"announces 4 GiB":    {0xff, 0xff, 0xff, 0xff, 0x0f},
		"endless length":     bytes.Repeat([]byte{0xff}, 1000),
		"length not minimal": {0x80, 0x00},
		"cut short":          {0x10, 1, 2},
		"garbage":            append([]byte{0x05}, bytes.Repeat([]byte{0xff}, 5)...),
		"empty message":      {0x00},
		"noise":              bytes.Repeat([]byte{7, 3, 0x80, 0x81}, 5000),
	}
	for _, proto := range []protocol.ID{protoHello, protoRecords, protoMail, protoObject, protoKept} {
		for name, frame := range frames {
			var s network.Stream
			eventually(t, "a stream", func() bool { // a bad hello ends a connection, a moment later
				var err error
				s, err = b.live.Load().open(ctx, a.id, proto)
				return err == nil
			})
			_ = s.SetDeadline(time.Now().Add(testLimit))
			_, _ = s.Write(frame)
			_ = s.CloseWrite()
			answer, err := io.ReadAll(s)
			var timeout interface{ Timeout() bool }
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("%s, %s: no answer", proto, name)
			}
			if proto == protoMail && err == nil && bytes.Contains(answer, []byte{0x08, 0x01}) {
				t.Errorf("%s, %s: stored", proto, name)
			}
			_ = s.Reset()
			eventually(t, "still connected, or again", func() bool { return b.connectedTo(a) && a.connectedTo(b) })
		}
	}
	last := mailTo(t, a.ring, 100)
	eventually(t, "mail goes through after all that", func() bool { return b.Send(ctx, a.address(), last) == nil })
	if n := a.taken(); n != 1 {
		t.Errorf("%d mails were taken", n)
	}
}
