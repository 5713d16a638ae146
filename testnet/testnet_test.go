package testnet

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/config"
	"github.com/affiliate-node/affiliate/keys"
)

// childMode makes this test binary play a child process.
const childMode = "TESTNET_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "":
		os.Exit(m.Run())
	case "sleep": // until its standard input ends, which it never does
		os.Stdout.WriteString("here\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
		select {}
	default:
		os.Stdout.WriteString("one\ntwo\nlast words\n")
		os.Exit(3)
	}
}

func child(t *testing.T, mode string) *Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(childMode, mode)
	p := &Process{Name: "child", Path: self, Log: filepath.Join(t.TempDir(), "child.log")}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// eventually waits for a condition, with a deadline.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waiting for %s", what)
		}
	}
}

func TestProcessKilledAndStartedAgain(t *testing.T) {
	p := child(t, "sleep")
	for start := 1; start <= 2; start++ {
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "its first line", func() bool { return len(p.Tail(10)) == start })
		if !p.Running() || p.Died() != nil || p.Pid() == 0 {
			t.Fatalf("running %t, died %v, pid %d", p.Running(), p.Died(), p.Pid())
		}
		if err := p.Start(); err == nil {
			t.Fatal("a running process was started twice")
		}
		if p.PeakRSS() == 0 {
			t.Error("no resident size")
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if p.Running() || p.Died() != nil || p.Pid() != 0 {
			t.Fatalf("after kill: running %t, died %v, pid %d", p.Running(), p.Died(), p.Pid())
		}
	}
	if p.PeakRSS() == 0 {
		t.Error("the resident size is forgotten after the end")
	}
}

func TestProcessThatEndsByItself(t *testing.T) {
	p := child(t, "fail")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end", func() bool { return !p.Running() })
	err := p.Died()
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Fatalf("died: %v", err)
	}
	var out bytes.Buffer
	(*Net)(nil).ShowLogs(&out, err)
	if !strings.Contains(out.String(), "last words") {
		t.Errorf("the log isn't shown: %q", out.String())
	}
	if got := p.Tail(2); !slices.Equal(got, []string{"two", "last words"}) {
		t.Errorf("tail %q", got)
	}
}

func TestPortsAreFree(t *testing.T) {
	first, err := freePorts(8)
	if err != nil {
		t.Fatal(err)
	}
	if !allFree(first, 8) || first < portsFrom || first+8 > portsTo {
		t.Errorf("ports from %d", first)
	}
}

func TestPDFOffsets(t *testing.T) {
	pdf := makePDF("Loan", 1, pdfSide)
	if len(pdf) < 300_000 || len(pdf) > 320_000 {
		t.Errorf("%d bytes", len(pdf))
	}
	if !bytes.Equal(pdf, makePDF("Loan", 1, pdfSide)) || bytes.Equal(pdf, makePDF("Loan", 2, pdfSide)) {
		t.Error("the seed doesn't decide the bytes")
	}
	start := regexp.MustCompile(`startxref\n(\d+)\n%%EOF\n$`).FindSubmatch(pdf)
	if start == nil || !bytes.HasPrefix(pdf, []byte("%PDF-1.4\n")) {
		t.Fatal("no header or no startxref")
	}
	at, _ := strconv.Atoi(string(start[1]))
	if !bytes.HasPrefix(pdf[at:], []byte("xref\n")) {
		t.Fatal("startxref points elsewhere")
	}
	for i, entry := range regexp.MustCompile(`(\d{10}) 00000 n `).FindAllSubmatch(pdf[at:], -1) {
		offset, _ := strconv.Atoi(string(entry[1]))
		if !bytes.HasPrefix(pdf[offset:], []byte(strconv.Itoa(i+1)+" 0 obj\n")) {
			t.Errorf("entry %d points elsewhere", i+1)
		}
	}
}

func TestConfigIsWhatTheNodeReads(t *testing.T) {
	dir := t.TempDir()
	n := &Net{Dir: dir, Endpoints: []string{"http://127.0.0.1:1234"}, opts: Options{AskAffiliate: 2, CosignLifetime: cosignLifetime}}
	for i, text := range testKeys {
		key, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		address, err := keys.AddressOf(prefix, key)
		if err != nil {
			t.Fatal(err)
		}
		home := filepath.Join(dir, affiliateName(i))
		if err := os.MkdirAll(home, 0o700); err != nil {
			t.Fatal(err)
		}
		n.Affiliates = append(n.Affiliates, &Affiliate{
			Process: &Process{Name: affiliateName(i)}, Config: filepath.Join(home, config.FileName),
			Socket: filepath.Join(home, "affiliate.sock"), Address: address, PeerID: testPeerID,
			Listen: []string{"/ip4/127.0.0.1/udp/2000/quic-v1", "/ip4/127.0.0.1/tcp/2000"},
		})
	}
	if err := n.writeConfigs(); err != nil {
		t.Fatal(err)
	}
	for i, a := range n.Affiliates {
		c, err := config.Load(a.Config)
		if err != nil {
			t.Fatal(err)
		}
		if c.Affiliate.Name != a.Name || c.Chain.ID != chainID || len(c.P2P.Members) != 3 || len(c.P2P.Bootstrap) != 4 {
			t.Errorf("%s: %+v", a.Name, c)
		}
		want := config.Approve
		if i == 2 {
			want = config.Ask
		}
		if c.Policy.Default != want || (i == 2) != (len(c.Policy.Rules) == 1) {
			t.Errorf("%s: policy %+v", a.Name, c.Policy)
		}
	}
}

// testKeys are public points that nobody keeps money on: 1, 2 and 3 times the
// curve's generator.
var testKeys = []string{
	"0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
	"02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
	"02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
}

const testPeerID = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"

func TestReportJSONHasStepsOnly(t *testing.T) {
	var out, people bytes.Buffer
	r := &Report{Out: &out, Err: &people, JSON: true}
	r.Begin()
	r.Title("heading")
	r.Line("text")
	r.Step(Step{Step: 7, Affiliate: "chain", Agreement: "id", Result: "ok"}, time.Now().Add(2*time.Second), "loan")
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	if got["step"] != float64(7) || got["affiliate"] != "chain" || got["agreement"] != "id" || got["result"] != "ok" || len(got) != 5 {
		t.Errorf("%v", got)
	}
	if ms := got["milliseconds"].(float64); ms < 1900 || ms > 2000 {
		t.Errorf("%v milliseconds", ms)
	}
	if !strings.Contains(people.String(), "heading") || !strings.Contains(people.String(), "text") {
		t.Errorf("people read %q", people.String())
	}
}

func TestStepsAfterTheCommitAreShownAfterIt(t *testing.T) {
	var out bytes.Buffer
	r := &Report{Out: &out, JSON: true}
	r.Begin()
	o := newObserver(&Net{}, r)
	id := agreement.NewUUID()
	o.Follow(id, "loan")
	a := &Affiliate{Process: &Process{Name: "affiliate-0"}}
	for _, step := range []int{6, 8, 9} {
		o.add(id.String(), seenEvent{Affiliate: a, Step: step, At: time.Now()})
	}
	o.committed(id.String(), chainCommit{Height: 3, Signed: 1, All: 1})
	o.add(id.String(), seenEvent{Affiliate: a, Step: 10, At: time.Now()})
	o.add(agreement.NewUUID().String(), seenEvent{Affiliate: a, Step: 1, At: time.Now()}) // not followed
	var steps []int
	for _, m := range regexp.MustCompile(`"step":(\d+)`).FindAllStringSubmatch(out.String(), -1) {
		n, _ := strconv.Atoi(m[1])
		steps = append(steps, n)
	}
	if want := []int{6, 7, 8, 9, 10}; !slices.Equal(steps, want) {
		t.Errorf("shown %v, want %v", steps, want)
	}
}

func TestFigures(t *testing.T) {
	for _, c := range []struct {
		f    Figure
		want string
	}{
		{Figure{Name: "a", Value: 30, Unit: "/s", Limit: 40, Goal: 0.5}, "a 30 /s 40 0.75 0.50 met\n"},
		{Figure{Name: "a", Value: 10, Unit: "/s", Limit: 40, Goal: 0.5}, "a 10 /s 40 0.25 0.50 short\n"},
		{Figure{Name: "a", Value: 50, Unit: "ms", Limit: 40, Less: true, Goal: 0.5}, "a 50 ms 40 0.80 0.50 met\n"},
		{Figure{Name: "a", Value: 50, Unit: "ms"}, "a 50 ms - - - -\n"},
	} {
		var out bytes.Buffer
		if err := c.f.Print(&out); err != nil || out.String() != c.want {
			t.Errorf("%q, want %q (%v)", out.String(), c.want, err)
		}
	}
	got := goFigures("exec", "goos: linux\nBenchmarkRun/1KB-2   100   250 ns/op   50 limit-ns/op   16 B/op\nPASS\n")
	if len(got) != 2 || got[0].Name != "exec/Run/1KB" || got[0].Limit != 50 || !got[0].Less || got[1].Unit != "B/op" {
		t.Errorf("%+v", got)
	}
}

func TestTransactionsAreRecognised(t *testing.T) {
	id, other := agreement.NewUUID(), agreement.NewUUID()
	tx := append([]byte("something "), id[:]...)
	if !carries(tx, id) || carries(tx, other) {
		t.Error("a transaction is recognised by the agreement's id")
	}
}

func TestBadOptions(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"too few":       {Dir: t.TempDir(), Affiliates: 2, Validators: 1},
		"no validators": {Dir: t.TempDir(), Affiliates: 3},
		"used":          {Dir: full, Affiliates: 3, Validators: 1},
	} {
		if err := o.check(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
