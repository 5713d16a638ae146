package main

import (
	"context"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
	"github.com/rogpeppe/go-internal/testscript"
)

var buckets sync.Map // *s3 by the script's directory

// s3 is an S3-compatible server on loopback, of one script.
type s3 struct {
	*httptest.Server
	storage *s3mem.Backend
	bucket  string
}

// startBucket VAR NAME serves an empty bucket and sets a variable to its
// address; programs find its credentials in their environment.
func startBucket(ts *testscript.TestScript, _ bool, args []string) {
	const id, secret = "TESTKEY", "testsecret"
	s := &s3{storage: s3mem.New(), bucket: args[1]}
	ts.Check(s.storage.CreateBucket(context.Background(), s.bucket))
	s.Server = httptest.NewServer(gofakes3.New(s.storage, gofakes3.WithV4Auth(map[string]string{id: secret})).Server())
	ts.Defer(s.Close)
	ts.Setenv(args[0], "s3://"+s.bucket+"/affiliate?endpoint="+s.URL)
	ts.Setenv("AWS_ACCESS_KEY_ID", id)
	ts.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	buckets.Store(ts.Getenv("WORK"), s)
}

func bucketOf(ts *testscript.TestScript) *s3 {
	s, ok := buckets.Load(ts.Getenv("WORK"))
	if !ok {
		ts.Fatalf("no bucket was started")
	}
	return s.(*s3)
}

func (s *s3) payloads(ts *testscript.TestScript) []*gofakes3.Content {
	list, err := s.storage.ListBucket(context.Background(), s.bucket, &gofakes3.Prefix{HasPrefix: true, Prefix: "affiliate/payloads/"}, gofakes3.ListBucketPage{})
	ts.Check(err)
	return list.Contents
}

// inBucket COUNT compares how many payloads lie in the bucket.
func inBucket(ts *testscript.TestScript, _ bool, args []string) {
	if got := strconv.Itoa(len(bucketOf(ts).payloads(ts))); got != args[0] {
		ts.Fatalf("%s payloads, want %s", got, args[0])
	}
}

// emptyBucket removes all payloads.
func emptyBucket(ts *testscript.TestScript, _ bool, _ []string) {
	s := bucketOf(ts)
	for _, c := range s.payloads(ts) {
		_, err := s.storage.DeleteObject(context.Background(), s.bucket, c.Key)
		ts.Check(err)
	}
}

func closeBucket(ts *testscript.TestScript, _ bool, _ []string) { bucketOf(ts).Close() }

// setting HOME NAME VALUE changes a text in a home's configuration.
func setting(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0] + "/affiliate.toml")
	b, err := os.ReadFile(path)
	ts.Check(err)
	line := regexp.MustCompile(`(?m)^#? *` + regexp.QuoteMeta(args[1]) + ` = .*$`)
	if len(line.FindAll(b, -1)) != 1 {
		ts.Fatalf("%s doesn't have one setting %s", path, args[1])
	}
	text := line.ReplaceAllLiteralString(string(b), args[1]+" = "+strconv.Quote(args[2]))
	ts.Check(os.WriteFile(path, []byte(strings.TrimSpace(text)+"\n"), 0o600))
}
