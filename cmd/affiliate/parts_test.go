package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/config"
	"github.com/affiliate-node/affiliate/node"
)

const rfc8032PeerID = "12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV"

// The public key of RFC 8032's first test vector, and its peer id as
// go-libp2p v0.51 writes it.
func TestPeerID(t *testing.T) {
	key, err := hex.DecodeString("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
	if err != nil {
		t.Fatal(err)
	}
	if got := peerID(ed25519.PublicKey(key)); got != rfc8032PeerID {
		t.Errorf("peer id %s, want %s", got, rfc8032PeerID)
	}
}

// On a terminal a long transfer shows how far it is, in one line.
func TestMeter(t *testing.T) {
	var b bytes.Buffer
	m := meter{out: &b, verb: "stored", total: 4 << 20}
	for range 3 {
		m.Write(make([]byte, 1<<20))
	}
	m.done()
	lines := strings.Split(strings.TrimSpace(b.String()), "\r")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "stored [######################--------]  75% of 4.0 MiB" {
		t.Errorf("last line %q", last)
	}
	b.Reset()
	m = meter{out: &b}
	m.Write(make([]byte, 1000))
	m.done()
	if b.Len() > 0 {
		t.Errorf("a short transfer shows %q", b.String())
	}
}

// A file that can't be completed isn't there at all.
func TestCreateIsWholeOrNothing(t *testing.T) {
	a := &app{stdout: io.Discard}
	path := filepath.Join(t.TempDir(), "f")
	broken := errors.New("broken")
	err := a.create(path, false, func(w io.Writer) error {
		io.WriteString(w, "half")
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// Somebody else makes the file while ours is being written.
	err = a.create(path, false, func(io.Writer) error { return os.WriteFile(path, []byte("theirs"), 0o600) })
	if b, _ := os.ReadFile(path); err == nil || string(b) != "theirs" {
		t.Errorf("their file became %q, error %v", b, err)
	}
}

// The figures are served on loopback, from the daemon's own registry.
func TestMetrics(t *testing.T) {
	d := &daemon{metrics: prometheus.NewRegistry()}
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "affiliate_test_total", Help: "For this test."})
	counter.Add(3)
	d.metrics.MustRegister(counter)
	d.log = (&app{stderr: io.Discard}).logger(config.Log{Level: "debug", Format: "json"})
	w := httptest.NewRecorder()
	d.metricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(w.Body.String(), "affiliate_test_total 3") {
		t.Errorf("got %s", w.Body)
	}

	if l, err := listenMetrics(""); l != nil || err != nil {
		t.Errorf("metrics that are off: %v, %v", l, err)
	}
	l, err := listenMetrics("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = listenMetrics(l.Addr().String())
	if agreement.CodeOf(err) != agreement.CodeInUse {
		t.Errorf("a port in use: %v", err)
	}
}

// Every error is one line, whatever it is made of, and has the right status.
func TestDescribe(t *testing.T) {
	tests := map[string]struct {
		err  error
		want failure
	}{
		"refusal":      {agreement.Errorf(agreement.CodeUnknownRole, "no such role").WithHint("look"), failure{Code: "UNKNOWN_ROLE", Category: "fix_request", Text: "no such role", Hint: "look", Exit: exitRefused}},
		"peer":         {agreement.Errorf(agreement.CodeDiverged, "differs"), failure{Code: "DIVERGED", Category: "ask_peer", Text: "differs", Exit: exitRefused}},
		"retry":        {agreement.Errorf(agreement.CodeChainUnreachable, "no chain"), failure{Code: "CHAIN_UNREACHABLE", Category: "retry", Text: "no chain", Exit: exitFailure}},
		"in start":     {failed(agreement.Errorf(agreement.CodeBadRequest, "bad")), failure{Code: "BAD_REQUEST", Category: "fix_request", Text: "bad", Exit: exitFailure}},
		"several":      {errors.Join(errors.New("one"), errors.New("two\x1b[0m")), failure{Text: "one; two?[0m", Exit: exitFailure}},
		"with a cause": {agreement.Errorf(agreement.CodeBadJSON, "input: %w", io.EOF), failure{Code: "BAD_JSON", Category: "fix_request", Text: "input: EOF", Exit: exitRefused}},
	}
	for name, tt := range tests {
		if got := describe(tt.err); got != tt.want {
			t.Errorf("%s: %+v\nwant %+v", name, got, tt.want)
		}
	}
}

func TestPolicyStars(t *testing.T) {
	got := policy(config.Policy{Default: config.Ask, Rules: []config.Rule{{Contract: "loan", Proposer: "*", Action: config.Approve}, {Contract: "*", Action: config.Reject}}})
	want := []node.Rule{{Contract: "loan", Action: "approve"}, {Action: "reject"}}
	if got.Default != "ask" || len(got.Rules) != 2 || got.Rules[0] != want[0] || got.Rules[1] != want[1] {
		t.Errorf("got %+v", got)
	}
}

// Parts that were opened are closed when a later one fails, and once only.
func TestCloseInReverse(t *testing.T) {
	var order []int
	d := &daemon{}
	for i := range 3 {
		d.closers = append(d.closers, func() error { order = append(order, i); return nil })
	}
	if err := errors.Join(d.close(), d.close()); err != nil || len(order) != 3 || order[0] != 2 || order[2] != 0 {
		t.Errorf("closed %v, %v", order, err)
	}
	if err := ignoreCanceled(context.Canceled); err != nil {
		t.Error(err)
	}
}
