package blob

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"

	"github.com/affiliate-node/affiliate/agreement"
)

const (
	testKeyID  = "affiliate-test"
	testSecret = "e2c17a9f-not-to-be-seen"
	testOwner  = "tp1owner"
	testPart   = 300_000 // bytes; real servers want 5 MiB
)

// server is an S3-compatible server on loopback, which checks signatures, and
// what is done to its answers.
type server struct {
	*httptest.Server
	storage *s3mem.Backend
	most    atomic.Int64 // bytes of a body
	first   atomic.Pointer[func(w http.ResponseWriter, r *http.Request) http.ResponseWriter]
}

func newServer(t testing.TB, secure bool) *server {
	t.Helper()
	s := &server{storage: s3mem.New()}
	for _, name := range []string{"payloads", "versions"} {
		if err := s.storage.CreateBucket(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	s3 := gofakes3.New(s.storage, gofakes3.WithV4Auth(map[string]string{testKeyID: testSecret})).Server()
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.first.Load(); f != nil {
			w = (*f)(w, r)
		}
		if w != nil {
			s.serve(w, r, s3)
		}
	}))
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// serve checks the hash in the signed header, as servers do, but this one.
func (s *server) serve(w http.ResponseWriter, r *http.Request, s3 http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	s.most.Store(max(s.most.Load(), int64(len(body))))
	sum := sha256.Sum256(body)
	said := r.Header.Get("X-Amz-Content-Sha256")
	if said != hex.EncodeToString(sum[:]) && (said != "UNSIGNED-PAYLOAD" || len(body) > 0) {
		answerError(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	s3.ServeHTTP(w, r)
}

func answerError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code)
}

// on makes f see every request first. It returns where the answer goes, nil
// if it has answered.
func (s *server) on(f func(w http.ResponseWriter, r *http.Request) http.ResponseWriter) {
	s.first.Store(&f)
}

func (s *server) address(prefix string) string {
	return "s3://payloads" + prefix + "?endpoint=" + s.URL
}

// open opens a bucket as an operator does, and lets it wait less.
func (s *server) open(t testing.TB, prefix string) *bucket {
	t.Helper()
	h, err := Bucket(t.Context(), s.address(prefix), BucketOptions{Owner: testOwner})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	b := h.(*bucket)
	b.pause, b.part = time.Millisecond, testPart
	return b
}

// store puts a key past the client.
func (s *server) store(t testing.TB, key string, b []byte) {
	t.Helper()
	meta := map[string]string{"Last-Modified": time.Now().UTC().Format(http.TimeFormat)}
	if _, err := s.storage.PutObject(t.Context(), "payloads", key, meta, bytes.NewReader(b), int64(len(b))); err != nil {
		t.Fatal(err)
	}
}

// keys returns what is in the bucket below a prefix, uploads included.
func (s *server) keys(t testing.TB, b *bucket, prefix string) (keys []string) {
	t.Helper()
	list, err := s.storage.ListBucket(t.Context(), "payloads", &gofakes3.Prefix{HasPrefix: true, Prefix: b.place.prefix + prefix}, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		keys = append(keys, o.Key)
	}
	uploads, err := b.core.ListMultipartUploads(t.Context(), b.place.bucket, b.place.prefix+prefix, "", "", delimiter, 1000)
	if err != nil && code(err) != "NoSuchUpload" {
		t.Fatal(err)
	}
	for _, u := range uploads.Uploads {
		keys = append(keys, u.Key+" (upload)")
	}
	return keys
}

func TestBucket(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	testHome(t, testPart, func(t testing.TB) Home { return s.open(t, "/node/one") })
	if left := s.keys(t, s.open(t, "/node/one"), ""); len(left) != 1 || left[0] != "node/one/owner" {
		t.Errorf("%q are left", left)
	}
	if s.most.Load() != testPart {
		t.Errorf("the largest request had %d bytes", s.most.Load())
	}
}

// Two prefixes of one bucket, and one of them the other's beginning, don't
// see each other.
func TestBucketPrefixes(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	homes := []*bucket{s.open(t, ""), s.open(t, "/payloads"), s.open(t, "/pay")}
	for i, h := range homes {
		mustPut(t, h, different(uint64(i), 1000))
	}
	for i, h := range homes {
		if got := list(t, h); len(got) != 1 || got[hashOf(different(uint64(i), 1000))] != 1000 {
			t.Errorf("home %d has %v", i, got)
		}
	}
}

func TestBucketAddresses(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	for address, want := range map[string]place{
		"s3://b?region=eu-west-1":                                     {bucket: "b", endpoint: amazon, secure: true, region: "eu-west-1"},
		"s3://b/x/y/?endpoint=https://s3.example.com":                 {bucket: "b", prefix: "x/y/", endpoint: "s3.example.com", secure: true, region: "us-east-1"},
		"s3://b/?endpoint=http://127.0.0.1:9000/&region=eu-central-1": {bucket: "b", endpoint: "127.0.0.1:9000", region: "eu-central-1"},
	} {
		if got, err := parsePlace(address); err != nil || got != want {
			t.Errorf("%s: %+v, %v", address, got, err)
		}
	}
	for _, address := range []string{
		"", "b", "gs://b", "s3://", "s3:///x", "s3://b", "s3://b?region=", "s3://" + testKeyID + ":" + testSecret + "@b?region=x",
		"s3://b?region=x&secret_key=" + testSecret, "s3://b?region=x&region=y", "s3://b?region=x#y", "s3://b?endpoint=s3.example.com",
		"s3://b?endpoint=ftp://x", "s3://b?endpoint=https://u:" + testSecret + "@x", "s3://b?endpoint=https://x/y", "s3://b?endpoint=https://x?y",
		"s3://b/x//y?region=z", "s3://b/../y?region=z", "s3://b/%zz" + testSecret, "s3://b?region=x&%zz=" + testSecret, "s3://b?endpoint=",
	} {
		_, err := Bucket(t.Context(), address, BucketOptions{Owner: "x"})
		var e *agreement.Error
		if !errors.As(err, &e) || e.Code != agreement.CodeBadRequest || e.Hint == "" || strings.Contains(fmt.Sprintf("%+v", e), testSecret) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestBucketRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, false)
	s.open(t, "/taken")
	if err := s.storage.SetVersioningConfiguration("versions", gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled}); err != nil {
		t.Fatal(err)
	}
	s.store(t, "strange/owner", []byte("me"))
	closed := httptest.NewServer(nil)
	closed.Close()
	for address, want := range map[string]struct {
		code  agreement.Code
		owner string
		hint  string
	}{
		s.address("/taken"):                        {agreement.CodeInUse, "tp1other", "prefix of its own"},
		s.address("/strange"):                      {agreement.CodeInUse, testOwner, "nothing else uses"},
		"s3://nothing?endpoint=" + s.URL:           {agreement.CodeStore, testOwner, "make the bucket first"},
		"s3://versions?endpoint=" + s.URL:          {agreement.CodeStore, testOwner, "without versioning"},
		s.address("/free"):                         {agreement.CodeBadRequest, strings.Repeat("x", 256), ""},
		s.address("/free") + "&region=":            {agreement.CodeBadRequest, "", ""},
		"s3://payloads?endpoint=" + closed.URL:     {agreement.CodeStore, testOwner, "does it answer"},
		"s3://Pay..loads?endpoint=" + s.URL:        {agreement.CodeStore, testOwner, ""},
		"s3://payloads?endpoint=https" + s.URL[4:]: {agreement.CodeStore, testOwner, "does it answer"},
	} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			h, err := Bucket(t.Context(), address, BucketOptions{Owner: want.owner})
			var e *agreement.Error
			if h != nil || !errors.As(err, &e) || e.Code != want.code || !strings.Contains(e.Hint, want.hint) || strings.Contains(err.Error()+e.Hint, testSecret) {
				t.Errorf("%v (%+v)", err, e)
			}
		})
	}
}

// Credentials come from the environment, a file or the machine, and without
// any the error says so. None of them shows in an error.
func TestBucketCredentials(t *testing.T) {
	s := newServer(t, false)
	role := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/role" {
			http.NotFound(w, r)
			return
		}
		_, _ = fmt.Fprintf(w, `{"AccessKeyId":%q,"SecretAccessKey":%q,"Expiration":"2999-01-01T00:00:00Z"}`, testKeyID, testSecret)
	}))
	defer role.Close()
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[node]\naws_access_key_id = "+testKeyID+"\naws_secret_access_key = "+testSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "none")
	for name, test := range map[string]struct{ id, secret, file, role, want string }{
		"environment":  {id: testKeyID, secret: testSecret, file: none, role: "/nothing"},
		"file":         {file: file, role: "/nothing"},
		"role":         {file: none, role: "/role"},
		"none":         {file: none, role: "/nothing", want: "there are no credentials"},
		"wrong secret": {id: testKeyID, secret: testSecret + "x", file: none, role: "/nothing", want: "bucket payloads"},
		"unknown":      {id: "nobody", secret: testSecret, file: none, role: "/nothing", want: "bucket payloads"},
	} {
		t.Setenv("AWS_ACCESS_KEY_ID", test.id)
		t.Setenv("AWS_SECRET_ACCESS_KEY", test.secret)
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", test.file)
		t.Setenv("AWS_PROFILE", "node")
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", role.URL+test.role)
		h, err := Bucket(t.Context(), s.address(""), BucketOptions{Owner: testOwner})
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			mustPut(t, h, different(1, 1000))
			text := fmt.Sprintf("%v %+v", h, h)
			if strings.Contains(text, testSecret) {
				t.Errorf("%s: the secret shows in %s", name, text)
			}
			continue
		}
		var e *agreement.Error
		if !errors.As(err, &e) || e.Code != agreement.CodeStore || e.Hint == "" || !strings.Contains(e.Text, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if text := fmt.Sprintf("%v %+v", err, e); strings.Contains(text, testSecret) {
			t.Errorf("%s: the secret shows in %s", name, text)
		}
	}
}
