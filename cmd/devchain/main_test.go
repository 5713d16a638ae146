package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/devchain"
)

const (
	patience = 20 * time.Second
	address  = "tp18427pnwf35jskwz5pzmrxquaaz4rdfpe4wm75n"
	key      = "02326914ebfc3ac89858b70f8d041cc3406aba3ef22990ab32a949e8e8711b9a3f"
	otherKey = "02803dad60c81a8edea80da08b2828536a21745566c04b41cfe0d77c21407f4cc2"
)

// call runs the command line args as a user would.
func call(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestMistakesGetOneLine(t *testing.T) {
	dir := t.TempDir()
	account := address + ":" + key
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "no command given"},
		{"run", 2, `unknown command "run"`},
		{"init", 2, "no directory given"},
		{"init --dir DIR extra", 2, `unexpected argument "extra"`},
		{"init --dir DIR --colour red", 2, "colour"},
		{"init --dir DIR --validators 0", 2, "0 validators"},
		{"init --dir DIR --validators many", 2, "many"},
		{"init --dir DIR --base-port 65535", 2, "base port 65535"},
		{"init --dir DIR --block-time 1us", 2, "block time"},
		{"init --dir DIR --chain-id a/b", 2, `chain id "a/b"`},
		{"init --dir DIR --account " + address, 2, "ADDRESS:PUBKEYHEX"},
		{"init --dir DIR --account " + address + ":zz", 2, "public key"},
		{"init --dir DIR --account " + account + ":0", 2, "amount"},
		{"init --dir DIR --account " + address + ":" + otherKey, 2, "the public key belongs to"},
		{"init --dir DIR --account pb1qqqq:" + key, 2, "pb1qqqq"},
		{"init --dir DIR --account " + account + " --account " + account, 2, "given twice"},
		{"start", 2, "--home is missing"},
		{"start --home DIR/nowhere", 1, "not the home of a validator"},
		{"start --home DIR --log-level loud", 2, "log-level"},
	} {
		code, out, errOut := call(t, strings.Fields(strings.ReplaceAll(c.args, "DIR", dir))...)
		if code != c.code || out != "" || !strings.Contains(errOut, c.want) || strings.Count(errOut, "\n") != 1 {
			t.Errorf("devchain %s: exit %d, %q; want exit %d and one line with %q", c.args, code, errOut, c.code, c.want)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for args, want := range map[string]string{"-h": "devchain init", "init -h": "-base-port", "start -h": "-home", "version": "devchain"} {
		if code, out, errOut := call(t, strings.Fields(args)...); code != 0 || errOut != "" || !strings.Contains(out, want) {
			t.Errorf("devchain %s: exit %d, %q, %q", args, code, out, errOut)
		}
	}
}

// A network's life as a user sees it: init, start, a second start, a port in
// use, init over it, stop.
func TestInitAndStart(t *testing.T) {
	dir := t.TempDir()
	port := freePorts(t)
	code, out, errOut := call(t, "init", "--dir", dir, "--chain-id", "local-1", "--base-port", fmt.Sprint(port), "--block-time", "20ms", "--account", address+":"+key+":5")
	if code != 0 {
		t.Fatalf("init: exit %d: %s", code, errOut)
	}
	var n devchain.Network
	if err := json.Unmarshal([]byte(out), &n); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n.ChainID != "local-1" || len(n.Homes) != 1 || n.Homes[0] != filepath.Join(dir, "validator0") || n.Endpoints[0] != fmt.Sprintf("http://127.0.0.1:%d", port) {
		t.Fatalf("network %+v", n)
	}
	if code, _, errOut := call(t, "init", "--dir", dir); code != 1 || !strings.Contains(errOut, "exists already") {
		t.Errorf("init over a network: exit %d: %s", code, errOut)
	}
	blocker, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := call(t, "start", "--home", n.Homes[0]); code != 1 || !strings.Contains(errOut, "is in use") || strings.Count(errOut, "\n") != 1 {
		t.Errorf("port in use: exit %d: %s", code, errOut)
	}
	if err := blocker.Close(); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	var log bytes.Buffer
	go func() { done <- run(ctx, []string{"start", "--home", n.Homes[0]}, &log, &log) }()
	awaitHeight(t, n.Endpoints[0])
	if code, _, errOut := call(t, "start", "--home", n.Homes[0]); code != 1 || !strings.Contains(errOut, "another process runs on") {
		t.Errorf("second start: exit %d: %s", code, errOut)
	}
	stop()
	select {
	case code := <-done:
		if code != 0 {
			t.Errorf("exit %d after the signal: %s", code, &log)
		}
	case <-time.After(patience):
		t.Error("does not stop")
	}
}

// freePorts finds two ports in a row that nobody uses.
func freePorts(t *testing.T) int {
	t.Helper()
	for range 50 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := first.Addr().(*net.TCPAddr).Port
		second, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		_ = first.Close()
		if err != nil {
			continue
		}
		_ = second.Close()
		return port
	}
	t.Fatal("no free ports")
	return 0
}

// awaitHeight waits for the chain's third block.
func awaitHeight(t *testing.T, endpoint string) {
	t.Helper()
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	deadline := time.After(patience)
	for {
		res, err := http.Get(endpoint + "/block?height=3")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ticks.C:
		case <-deadline:
			t.Fatalf("no third block within %s: %v", patience, err)
		}
	}
}
