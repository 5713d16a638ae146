package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"affiliate": func() { os.Exit(mainExit()) }})
}

// The scripts in testdata/script are the specification of the command line.
// A fake node serves $NODE; $HOME is a directory that has nothing, and
// module.wasm a contract that the fake node takes.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "user")
			if err := os.Mkdir(home, 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(e.WorkDir, "module.wasm"), []byte("\x00asm\n"), 0o600); err != nil {
				return err
			}
			node := filepath.Join(e.WorkDir, "node.sock")
			stop, err := serveFake(node)
			if err != nil {
				return err
			}
			e.Defer(func() { stop() }) //nolint:errcheck // only a test's socket
			e.Vars = append(e.Vars, "HOME="+home, "NODE="+node, "LENDER="+lender, "INVESTOR="+investor, "COMPLETES="+completes, "FAILS="+fails, "AWAY="+away)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits,
			"mode":  mode,
			"stale": stale,
			"zeros": zeros,
			"flip":  flip,
			"cut":   cut,

			"freeport": freePort,
			"running":  running,

			"bucket":      startBucket,
			"inbucket":    inBucket,
			"emptybucket": emptyBucket,
			"closebucket": closeBucket,
			"setting":     setting,
		},
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
	})
}

// exits STATUS affiliate ARGS… runs the command and compares its status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM ARGS…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = strconv.Itoa(exit.ExitCode())
	} else if err != nil {
		ts.Check(err)
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

// mode MODE FILE compares a file's permissions.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := "0" + strconv.FormatInt(int64(info.Mode().Perm()), 8); (got == args[0]) == neg {
		ts.Fatalf("%s has mode %s", args[1], got)
	}
}

// stale FILE leaves a socket that nobody serves.
func stale(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(leaveSocket(ts.MkAbs(args[0])))
}

// zeros FILE SIZE writes a large file.
func zeros(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(f.Truncate(n))
	ts.Check(f.Close())
}

// flip FILE OFFSET changes one bit of a file; an offset below zero counts from
// its end.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	b, at := content(ts, args)
	b[at] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// cut FILE OFFSET ends a file there.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	b, at := content(ts, args)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b[:at], 0o600))
}

func content(ts *testscript.TestScript, args []string) (b []byte, at int) {
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err = os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	return b, at
}

// freePort VAR sets a variable to a TCP port that was free just now.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Check(l.Close())
	ts.Setenv(args[0], port)
}

// startWithin is how long a node may take to serve its socket, in a test on a
// busy machine.
const startWithin = 30 * time.Second

// running HOME waits until the node of a home directory answers.
func running(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(startWithin)
	for {
		if ts.Exec("affiliate", "--home", args[0], "status") == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no node serves %s: %s", args[0], ts.ReadFile("stderr"))
		}
	}
}
