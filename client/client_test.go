package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

func wantCode(t *testing.T, what string, err error, code agreement.Code) *agreement.Error {
	t.Helper()
	var e *agreement.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("%s: got %v, want %s", what, err, code)
	}
	return e
}

func TestDialSaysWhyNobodyAnswers(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(dir, "none"): "there is no socket at",
		stale:                      "nobody serves the socket",
		file:                       "socket",
		strings.Repeat("x", 200):   "at most 107 bytes",
	} {
		_, err := Dial(path)
		e := wantCode(t, path, err, CodeNoDaemon)
		if !strings.Contains(e.Text, text) || e.Hint == "" {
			t.Errorf("%s: %q, hint %q", path, e.Text, e.Hint)
		}
	}
}

// An error keeps the code, text and hint that the node gave it.
func TestErrorsAreTheNodes(t *testing.T) {
	f := newFake()
	c := dialFake(t, f)
	call := func(err error) error {
		f.getStatus = func() (*affiliatev1.GetStatusResponse, error) { return nil, err }
		_, err = c.Node.GetStatus(t.Context(), connect.NewRequest(&affiliatev1.GetStatusRequest{}))
		return err
	}

	err := call(detailed(connect.CodeUnavailable, agreement.Errorf(agreement.CodeChainUnreachable, "no chain").WithHint("look at it")))
	e := wantCode(t, "detailed", err, agreement.CodeChainUnreachable)
	if e.Text != "no chain" || e.Hint != "look at it" || CategoryOf(err) != agreement.Retry {
		t.Errorf("got %+v, category %s", e, CategoryOf(err))
	}
	var r *Refusal
	if !errors.As(err, &r) || r.CorrelationID != "id-7" {
		t.Errorf("no correlation id in %v", err)
	}

	// A newer node's code keeps its category.
	ce := connect.NewError(connect.CodeInternal, errors.New("odd"))
	if d, err := connect.NewErrorDetail(&affiliatev1.ErrorDetail{Code: "NEW_CODE", Category: string(agreement.AskPeer)}); err == nil {
		ce.AddDetail(d)
	}
	if err := call(ce); CategoryOf(err) != agreement.AskPeer {
		t.Errorf("category %s of %v", CategoryOf(err), err)
	}

	wantCode(t, "without detail", call(connect.NewError(connect.CodeInvalidArgument, errors.New("bad"))), agreement.CodeBadRequest)
	wantCode(t, "plain", call(errors.New("boom")), agreement.CodeInternal)
	_, err = c.Contracts.ListContracts(t.Context(), connect.NewRequest(&affiliatev1.ListContractsRequest{}))
	wantCode(t, "a service that the node doesn't have", err, agreement.CodeBadRequest)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Node.GetStatus(ctx, connect.NewRequest(&affiliatev1.GetStatusRequest{}))
	wantCode(t, "given up", err, CodeCanceled)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v is not context.Canceled", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	_, err = c.Node.GetStatus(ctx, connect.NewRequest(&affiliatev1.GetStatusRequest{}))
	wantCode(t, "too late", err, CodeTimeout)
}

// A node that goes away while a client exists is named as such.
func TestNodeGoesAway(t *testing.T) {
	f := newFake()
	socket := filepath.Join(t.TempDir(), "s")
	stop := f.serve(t, socket)
	c, err := Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	_, err = c.Agreement(t.Context(), "a")
	wantCode(t, "unary", err, CodeNoDaemon)
	err = c.Watch(t.Context(), &affiliatev1.WatchRequest{}, func(*affiliatev1.Event) error { return nil })
	wantCode(t, "stream", err, CodeNoDaemon)
	_, err = c.PutObject(t.Context(), "", strings.NewReader("x"))
	wantCode(t, "put", err, CodeNoDaemon)
}

// Proposing draws an id once, so that a repeated request is the same one.
func TestProposeSetsTheID(t *testing.T) {
	c := dialFake(t, newFake())
	req := &affiliatev1.ProposeRequest{}
	_, err := c.Propose(t.Context(), req)
	wantCode(t, "the fake has no Propose", err, agreement.CodeBadRequest)
	first := req.GetAgreementId()
	if _, err := agreement.ParseUUID(first); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Propose(t.Context(), req)
	if req.GetAgreementId() != first {
		t.Error("the id was drawn again")
	}
}

func TestObjectsOfAllSizes(t *testing.T) {
	f := newFake()
	c := dialFake(t, f)
	for _, n := range []int{0, 1, ChunkSize - 1, ChunkSize, ChunkSize + 1, 3*ChunkSize + 7} {
		content := bytes.Repeat([]byte("abcdefg"), n/7+1)[:n]
		res, err := c.PutObject(t.Context(), "text/plain", iotest.HalfReader(bytes.NewReader(content)))
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		var got bytes.Buffer
		var announced Object
		o, err := c.GetObject(t.Context(), res.GetContentHash(), &got, func(o Object) { announced = o })
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if !bytes.Equal(got.Bytes(), content) || o != announced || o.Size != int64(n) || o.MediaType != "text/plain" {
			t.Errorf("%d bytes came back as %d, %+v", n, got.Len(), o)
		}
	}
}

func TestObjectsThatFail(t *testing.T) {
	f := newFake()
	c := dialFake(t, f)
	broken := errors.New("disk on fire")
	_, err := c.PutObject(t.Context(), "", io.MultiReader(bytes.NewReader(make([]byte, 2*ChunkSize)), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("reading failed with %v", err)
	}
	if len(f.objects) != 0 {
		t.Error("half an object was stored")
	}
	_, err = c.PutObject(t.Context(), "", io.LimitReader(zeros{}, 50<<20))
	if e := wantCode(t, "too large", err, agreement.CodeTooLarge); e.Hint != "smaller" {
		t.Errorf("hint %q", e.Hint)
	}

	res, err := c.PutObject(t.Context(), "", strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	f.spoil = true
	_, err = c.GetObject(t.Context(), res.GetContentHash(), io.Discard, nil)
	wantCode(t, "spoilt", err, agreement.CodeDamaged)
	_, err = c.GetObject(t.Context(), strings.Repeat("0", 64), io.Discard, nil)
	wantCode(t, "unknown", err, agreement.CodeNotFound)
	_, err = c.GetObject(t.Context(), "xyz", io.Discard, nil)
	wantCode(t, "no hash", err, agreement.CodeBadRequest)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Wait ends with the agreement, not with the stream, and shows every event
// once although the node restarts in between.
func TestWaitOutlastsTheNode(t *testing.T) {
	f := newFake()
	socket := filepath.Join(t.TempDir(), "s")
	stop := f.serve(t, socket)
	c, err := Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	f.add("collecting", false)
	f.add("executing", false)

	var seen []uint64
	restarted := false
	a, err := c.WaitEvents(t.Context(), "a", func(e *affiliatev1.Event) {
		seen = append(seen, e.GetSequence())
		if e.GetSequence() == 2 && !restarted {
			restarted = true
			stop()
			f.add("committed", false)
			stop = f.serve(t, socket)
			f.add("complete", true)
			f.add("complete", true) // what ends an agreement is often several events at once
		}
	})
	defer func() { stop() }()
	if err != nil {
		t.Fatal(err)
	}
	if !a.GetFinal() || !reflect.DeepEqual(seen, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("saw events %v, ended as %v", seen, a)
	}

	if a, err = c.Wait(t.Context(), "a"); err != nil || a.GetPhase() != "complete" {
		t.Errorf("waiting for what is over: %v, %v", a, err)
	}
	_, err = c.Wait(t.Context(), "b")
	wantCode(t, "an agreement that isn't there", err, agreement.CodeNotFound)
}

func TestWaitEndsWithItsContext(t *testing.T) {
	c := dialFake(t, newFake())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Wait(ctx, "a")
	wantCode(t, "no end", err, CodeTimeout)
}
