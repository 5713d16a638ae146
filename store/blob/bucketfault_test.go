package blob

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/affiliate-node/affiliate/agreement"
)

// cutWriter ends the connection in the middle of an answer.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

func isPayload(r *http.Request) bool { return strings.Contains(r.URL.Path, "/"+payloadsPrefix) }

// A server that fails now and then, before or after it has done what it was
// asked, or breaks off in the middle of an answer, isn't noticed.
func TestBucketPassingFaults(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	h := s.open(t, "")
	var n atomic.Int64
	s.on(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		switch k := n.Add(1); {
		case k%5 == 1:
			answerError(w, http.StatusServiceUnavailable, "SlowDown")
			return nil
		case k%5 == 3:
			panic(http.ErrAbortHandler) // the connection ends
		case k%5 == 4 && r.Method != http.MethodGet:
			return &cutWriter{ResponseWriter: w} // done, but the answer is lost
		case r.Method == http.MethodGet && isPayload(r):
			return &cutWriter{ResponseWriter: w, left: 200_000}
		}
		return w
	})
	for i, size := range []int{10, 100_000, testPart, 5*testPart + 5} {
		b := different(uint64(i), size)
		id, err := put(t.Context(), h, b)
		if err != nil {
			t.Fatal(size, err)
		}
		if got := stored(t, h, id, 0, int64(size)+1); !bytes.Equal(got, b) {
			t.Fatalf("%d of %d bytes came", len(got), size)
		}
		if err := h.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
}

// A fault that stays ends the work after a few attempts, with the code and
// the advice that fit, and leaves nothing that can be seen.
func TestBucketLastingFaults(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	h := s.open(t, "")
	small, large := different(1, 1000), different(2, 2*testPart)
	id := mustPut(t, h, different(3, 1000))
	var n atomic.Int64
	for _, fault := range []struct {
		status int
		code   string
		want   agreement.Code
		hint   string
		tries  int64
	}{
		{http.StatusServiceUnavailable, "SlowDown", agreement.CodeStore, "log", attempts},
		{http.StatusForbidden, "AccessDenied", agreement.CodeStore, "allow to list", 1},
		{http.StatusForbidden, "SignatureDoesNotMatch", agreement.CodeStore, "credentials in the node's environment", 1},
		{http.StatusInsufficientStorage, "QuotaExceeded", agreement.CodeDiskFull, "quota", 1},
		{http.StatusForbidden, "XMinioAdminBucketQuotaExceeded", agreement.CodeDiskFull, "quota", 1},
		{0, "", agreement.CodeStore, "does it answer", 2 * attempts}, // the transport tries again as well
	} {
		s.on(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
			if n.Add(1); fault.status == 0 {
				panic(http.ErrAbortHandler)
			}
			if r.Method == http.MethodHead && fault.want == agreement.CodeDiskFull {
				n.Add(-1)
				return w // only writing is refused
			}
			answerError(w, fault.status, fault.code)
			return nil
		})
		check := func(doing string, err error) {
			t.Helper()
			var e *agreement.Error
			if !errors.As(err, &e) || e.Code != fault.want || !strings.Contains(e.Hint, fault.hint) || n.Load() > fault.tries {
				t.Errorf("%s, %s: %v (%+v) after %d attempts", fault.code, doing, err, e, n.Load())
			}
			n.Store(0)
		}
		check("list", h.List(t.Context(), nil))
		_, err := h.Open(t.Context(), id, 0, 10)
		check("open", err)
		_, err = put(t.Context(), h, small)
		check("put", err)
		_, err = put(t.Context(), h, large)
		check("put of parts", err)
		check("sweep", h.Sweep(t.Context()))
		check("remove", h.Remove(t.Context(), id))
		s.on(func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter { return w })
		if got := list(t, h); len(got) != 1 || got[id] != 1000 {
			t.Errorf("%s: the list is %v", fault.code, got)
		}
	}
}

// At whatever call an upload fails for good, nothing of the payload is there,
// and what is left goes with a sweep.
func TestBucketFailsAtAnyCall(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	h := s.open(t, "")
	b := different(1, 2*testPart+10)
	id, _ := Sum(b)
	for last := int64(1); ; last++ {
		var n atomic.Int64
		s.on(func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter {
			if n.Add(1) < last {
				return w
			}
			answerError(w, http.StatusForbidden, "AccessDenied")
			return nil
		})
		_, err := put(t.Context(), h, b)
		s.on(func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter { return w })
		got := list(t, h)
		if size, there := got[id]; there && size != int64(len(b)) || !there && err == nil {
			t.Fatalf("failed from call %d on: %v, the list is %v", last, err, got)
		}
		h.old = 0
		if err := h.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := s.keys(t, h, unfinishedPrefix); len(left) != 0 {
			t.Fatalf("failed from call %d on: %q are left", last, left)
		}
		if err == nil {
			return
		}
		if err := h.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

// Bytes that change on the way are refused by the server, those that change
// in it are found when they are read.
func TestBucketDamage(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	h := s.open(t, "")
	b := different(1, testPart+7*GroupSize)
	tree := treeOf(t, b)
	s.on(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if r.Method == http.MethodPut && r.ContentLength > 1000 {
			body, _ := io.ReadAll(r.Body)
			body[len(body)/2] ^= 4
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		return w
	})
	for _, size := range []int{5000, len(b)} {
		if _, err := put(t.Context(), h, b[:size]); err == nil || !strings.Contains(err.Error(), "XAmzContentSHA256Mismatch") {
			t.Errorf("%d bytes changed on the way: %v", size, err)
		}
	}
	s.on(func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter { return w })
	if got := list(t, h); len(got) != 0 {
		t.Errorf("the list is %v", got)
	}
	for name, bad := range map[string][]byte{
		"flipped":   append(bytes.Clone(b[:len(b)-1]), b[len(b)-1]^1),
		"truncated": b[:len(b)-1],
		"extended":  append(bytes.Clone(b), 0),
		"empty":     {},
		"missing":   nil,
	} {
		mustPut(t, h, b)
		if _, err := get(t.Context(), tree, h, 0, -1); err != nil {
			t.Fatal(err)
		}
		if bad != nil {
			s.store(t, h.key(tree.ID()), bad)
		} else if err := h.Remove(t.Context(), tree.ID()); err != nil {
			t.Fatal(err)
		}
		_, err := get(t.Context(), tree, h, 0, -1)
		if agreement.CodeOf(err) != agreement.CodeDamaged || !strings.Contains(err.Error(), tree.ID().String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A server that says nothing more is given up after the time for it, and
// asked again.
func TestBucketSilence(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	h := s.open(t, "")
	b := different(1, 300_000)
	id := mustPut(t, h, b)
	h.silence = time.Second // for one that is asked again, and answers
	var asked, hang atomic.Int64
	over := make(chan struct{})
	defer close(over)
	s.on(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if asked.Add(1); asked.Load() <= hang.Load() {
			select {
			case <-over:
			case <-r.Context().Done():
			}
			panic(http.ErrAbortHandler)
		}
		return w
	})
	hang.Store(1)
	if got := stored(t, h, id, 5, 1<<20); !bytes.Equal(got, b[5:]) || asked.Load() < 2 {
		t.Errorf("%d bytes came, asked %d times", len(got), asked.Load())
	}
	hang.Store(1000)
	h.silence = 20 * time.Millisecond
	asked.Store(0)
	if _, err := h.Open(t.Context(), id, 0, 10); !errors.Is(err, errSilence) || asked.Load() > 2*attempts {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
	calls := 0
	err := h.try(t.Context(), 20*time.Millisecond, func(ctx context.Context) error {
		calls++
		_, err := h.core.StatObject(ctx, "payloads", "x", minio.StatObjectOptions{})
		return err
	})
	if !errors.Is(err, errSilence) || calls != attempts {
		t.Errorf("called %d times: %v", calls, err)
	}
}

// What a process that ended has left goes with a sweep once it is old.
func TestBucketLeftovers(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	h := s.open(t, "/node")
	for range 3 {
		w, err := h.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(different(1, 2*testPart)); err != nil {
			t.Fatal(err)
		}
		if err := w.(*bucketWriter).arrived(); err != nil {
			t.Fatal(err)
		}
	}
	s.store(t, "node/unfinished/X", []byte("x"))
	if left := s.keys(t, h, unfinishedPrefix); len(left) != 4 {
		t.Fatalf("%q are there", left)
	}
	again := s.open(t, "/node")
	for _, old := range []time.Duration{sweepAge, 0} {
		again.old = old
		if err := again.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := s.keys(t, h, unfinishedPrefix); (len(left) == 4) != (old > 0) {
			t.Errorf("%q are left", left)
		}
	}
}

func TestBucketManyPages(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	h := s.open(t, "")
	for i := range 2*pageSize + 1 {
		s.store(t, h.key(hashOf(fmt.Append(nil, i))), []byte("xyz"))
	}
	if u := usage(t, h); len(list(t, h)) != 2*pageSize+1 || u.Bytes != 3*(2*pageSize+1) || u.Free != -1 {
		t.Errorf("%d payloads, %+v", len(list(t, h)), u)
	}
}

// A writer holds two parts, however much is written.
func TestBucketWriterMemory(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	h := s.open(t, "")
	w, err := h.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	b, buffers := different(1, testPart/2+1), map[*byte]bool{}
	for range 12 {
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		part := w.(*bucketWriter).part
		if cap(part) > testPart {
			t.Fatalf("a part has room for %d bytes", cap(part))
		}
		if cap(part) == testPart {
			buffers[&part[:1][0]] = true
		}
	}
	if len(buffers) > 2 {
		t.Errorf("%d parts were made", len(buffers))
	}
}

func TestBucketOverTLS(t *testing.T) {
	t.Parallel()
	s := newServer(t, true)
	_, err := Bucket(t.Context(), s.address(""), BucketOptions{Owner: testOwner})
	if agreement.CodeOf(err) != agreement.CodeStore || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody known: %v", err)
	}
	p, err := parsePlace(s.address(""))
	if err != nil {
		t.Fatal(err)
	}
	h := newBucket(p)
	h.transport.TLSClientConfig = &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	if err := h.check(t.Context(), testOwner); err != nil {
		t.Fatal(err)
	}
	b := different(1, 2*partSize+100) // as large as they really are
	id := mustPut(t, h, b)
	if got := stored(t, h, id, 0, 3*partSize); !bytes.Equal(got, b) {
		t.Errorf("%d bytes came", len(got))
	}
	clear(t, h)
}
