package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// leaveSocket makes a socket as a killed process leaves it.
func leaveSocket(path string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}

func privateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSocketReplacesAStaleOneOnly(t *testing.T) {
	path := filepath.Join(privateDir(t), "s")
	if err := leaveSocket(path); err != nil {
		t.Fatal(err)
	}
	l, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := listenSocket(path); agreement.CodeOf(err) != agreement.CodeInUse {
		t.Errorf("a served socket was taken: %v", err)
	}
	if conn, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first listener is gone: %v", err)
	} else {
		conn.Close()
	}
}

func TestSocketNeverRemovesAFile(t *testing.T) {
	path := filepath.Join(privateDir(t), "s")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(path); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "data" {
		t.Errorf("the file is gone: %v", err)
	}
}

func TestSocketWantsAPrivateDirectory(t *testing.T) {
	dir := privateDir(t)
	for _, mode := range []os.FileMode{0o755, 0o710, 0o702} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if l, err := listenSocket(filepath.Join(dir, "s")); err == nil {
			l.Close()
			t.Errorf("directory of mode %o was accepted", mode)
		}
	}
}

// A stop lets a call finish, and cuts a stream that would never end.
func TestServerStops(t *testing.T) {
	path := filepath.Join(privateDir(t), "s")
	l, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	entered := make(chan struct{}, 2)
	released := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/call", func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-released
		w.Write([]byte("done"))
	})
	mux.HandleFunc("/stream", func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- server{l, mux, slog.New(slog.DiscardHandler)}.run(ctx) }()

	h := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	answer := make(chan string, 1)
	go func() {
		res, err := h.Get("http://x/call")
		if err != nil {
			answer <- err.Error()
			return
		}
		b, _ := io.ReadAll(res.Body)
		answer <- string(b)
	}()
	go h.Get("http://x/stream")
	<-entered
	<-entered
	cancel()
	close(released)
	if got := <-answer; got != "done" {
		t.Errorf("the call under way got %q", got)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(stopServer + 5*time.Second):
		t.Fatal("the server did not stop")
	}
}
