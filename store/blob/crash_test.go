package blob

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

// crashDir names the directory for a process of this test binary that does
// nothing but write until it is killed.
const crashDir = "AFFILIATE_BLOB_CRASH_DIR"

// crashRounds is how often the writer is killed.
const crashRounds = 15

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, crashWriter(dir))
		os.Exit(1)
	}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": testKeyID, "AWS_SECRET_ACCESS_KEY": testSecret, "AWS_SESSION_TOKEN": "", "AWS_REGION": ""} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func crashWriter(dir string) error {
	h, err := Files(dir)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	g, ctx := errgroup.WithContext(context.Background())
	for range 3 {
		g.Go(func() error { return crashPayloads(ctx, h) })
	}
	g.Go(func() error {
		for {
			if err := h.Sweep(ctx); err != nil {
				return err
			}
		}
	})
	return g.Wait()
}

func crashPayloads(ctx context.Context, h Home) error {
	for {
		b := binary.NativeEndian.AppendUint64(nil, rand.Uint64())
		b = append(b, make([]byte, rand.IntN(300_000))...)
		s := NewSink(ctx, h, 0, 1<<40)
		if _, err := s.Write(b); err != nil {
			return err
		}
		p, err := s.Finish()
		if err == nil {
			err = s.Commit()
		}
		if err != nil {
			return err
		}
		fmt.Println("put", p.ID)
		if rand.IntN(2) == 0 {
			fmt.Println("removing", p.ID)
			if err := h.Remove(ctx, p.ID); err != nil {
				return err
			}
			fmt.Println("removed", p.ID)
		}
	}
}

// However often the process is killed while it writes, every payload under a
// hash is whole, all that were acknowledged are there, and a sweep removes
// the rest.
func TestCrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	last := map[string]string{} // by hash
	for range crashRounds {
		killWriter(t, dir, last)
		h, err := Files(dir)
		if err != nil {
			t.Fatal(err)
		}
		there := list(t, h)
		for id, size := range there {
			if got := hashOf(stored(t, h, id, 0, size)); got != id {
				t.Fatalf("%d bytes under %s have the hash %s", size, id, got)
			}
		}
		for id, what := range last {
			h, err := agreement.ParseHash(id)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := there[h]; !ok && what == "put" || ok && what == "removed" {
				t.Errorf("%s was %s; there: %t", id, what, ok)
			}
		}
		if err := errors.Join(h.Sweep(t.Context()), h.Close()); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, unfinishedDir)); err == nil && len(left) > 0 {
			t.Errorf("%d unfinished files are left", len(left))
		}
	}
	t.Logf("%d payloads were acknowledged", len(last))
}

func killWriter(t *testing.T, dir string, last map[string]string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the writer didn't start: %s, %v", stderr.String(), cmd.Wait())
	}
	timer := time.AfterFunc(time.Duration(rand.IntN(120))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for lines.Scan() {
		var what, id string
		if _, err := fmt.Sscan(lines.Text(), &what, &id); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		last[id] = what
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the writer wasn't killed: %v: %s", err, stderr.String())
	}
}
