package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

const (
	socketProbe = 2 * time.Second // to learn whether somebody serves a socket
	// Calls under way get finishCalls to end after a stop signal; streams,
	// which end never, are cut then. stopServer is the end of all patience.
	finishCalls  = time.Second
	stopServer   = 5 * time.Second
	headerLimit  = 64 << 10 // bytes
	headerWithin = 10 * time.Second
	idleAfter    = 2 * time.Minute
)

// listenSocket makes the node's Unix socket, mode 0600. It replaces a socket
// that an earlier run left, and nothing else.
func listenSocket(path string) (net.Listener, error) {
	if err := checkSocketDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, socketInUse(path)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on the socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protecting the socket: %w", err), l.Close())
	}
	return l, nil
}

// checkSocketDir refuses a directory that others can enter: whoever reaches
// the socket can do everything that the affiliate can.
func checkSocketDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return withHint(fmt.Errorf("looking at the socket's directory: %w", err), "mkdir -m 700 %s", dir)
	}
	if !info.IsDir() {
		return fmt.Errorf("the socket's directory %s is not a directory", dir)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return withHint(fmt.Errorf("other users can enter the socket's directory %s (mode %04o)", dir, info.Mode().Perm()), "chmod 700 %s", dir)
	}
	return nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at the socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return withHint(fmt.Errorf("%s exists and is not a socket", path), "move it away, or set api.socket to another path")
	}
	conn, err := net.DialTimeout("unix", path, socketProbe)
	if err == nil {
		conn.Close() //nolint:errcheck,gosec // only a probe
		return socketInUse(path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("looking whether a node serves the socket: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the socket of an earlier run: %w", err)
	}
	return nil
}

func socketInUse(path string) error {
	return agreement.Errorf(agreement.CodeInUse, "a node is running already: it serves %s", path).
		WithHint("use it (affiliate status), or stop it first")
}

// server serves HTTP on one listener until its context ends.
type server struct {
	listener net.Listener
	handler  http.Handler
	log      *slog.Logger
}

// run blocks until ctx ends, then lets calls finish for a moment.
func (s server) run(ctx context.Context) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	h := &http.Server{
		Handler: s.handler, Protocols: protocols, ReadHeaderTimeout: headerWithin, IdleTimeout: idleAfter,
		MaxHeaderBytes: headerLimit, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return base },
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		patience, cancel := context.WithTimeout(base, stopServer)
		defer cancel()
		timer := time.AfterFunc(finishCalls, cut)
		defer timer.Stop()
		stopped <- h.Shutdown(patience)
	})
	err := h.Serve(s.listener)
	if stop() { // ctx has not ended: the listener broke
		return fmt.Errorf("serving %s: %w", s.listener.Addr(), err)
	}
	if err := <-stopped; err != nil {
		return errors.Join(h.Close())
	}
	return nil
}
