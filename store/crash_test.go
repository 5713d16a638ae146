package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

// crashDir names the directory for a process of this test binary that does
// nothing but write until it is killed.
const crashDir = "AFFILIATE_STORE_CRASH_DIR"

// crashRounds is how often the writer is killed.
const crashRounds = 20

// crashWriter writes with many goroutines, and prints a line for each write
// once it is acknowledged.
func crashWriter(dir string) error {
	s, err := Open(Options{Dir: dir, Key: testKey}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	g, ctx := errgroup.WithContext(context.Background())
	for range 4 {
		g.Go(func() error { return crashCommits(ctx, s) })
		g.Go(func() error { return crashMail(ctx, s) })
	}
	for _, size := range []int{100, 60_000, 3<<20 + 17, 5 << 20} {
		g.Go(func() error { return crashObjects(ctx, s, size) })
	}
	return g.Wait()
}

func crashCommits(ctx context.Context, s *Store) error {
	id := agreement.NewUUID()
	for revision := uint64(0); ; revision++ {
		c := typicalChange(id, revision)
		c.Open = revision%3 != 0
		events, err := s.Commit(ctx, c)
		if err != nil {
			return err
		}
		fmt.Println("commit", id, revision+1, events[1].Sequence)
	}
}

func crashMail(ctx context.Context, s *Store) error {
	for {
		id := agreement.Hash(append(bytes.Clone(idBytes()), idBytes()...))
		if _, err := s.PutMail(ctx, id, make([]byte, 3000)); err != nil {
			return err
		}
		fmt.Println("mail", id)
		if id[0]%2 == 0 {
			continue
		}
		if err := s.DropMail(ctx, id); err != nil {
			return err
		}
		fmt.Println("drop", id)
	}
}

func idBytes() []byte {
	id := agreement.NewUUID()
	return id[:]
}

func crashObjects(ctx context.Context, s *Store, size int) error {
	for {
		o, p := randomObject(size)
		if err := s.PutObject(ctx, o, bytes.NewReader(p)); err != nil {
			return err
		}
		fmt.Println("object", o.ID)
		if o.ID[0]%4 == 0 {
			if err := s.Purge(ctx, o.ID, nil); err != nil {
				return err
			}
			fmt.Println("deleted", o.ID)
		}
	}
}

// acknowledged is what the killed writers were told.
type acknowledged struct {
	revisions map[agreement.ID]uint64
	lastEvent uint64
	mail      map[agreement.Hash]string
	objects   map[agreement.Hash]string
	lines     int
}

func (a *acknowledged) take(t *testing.T, line string) {
	t.Helper()
	f := strings.Fields(line)
	a.lines++
	switch f[0] {
	case "commit":
		id, err := agreement.ParseUUID(f[1])
		if err != nil {
			t.Fatal(err)
		}
		var revision, seq uint64
		if _, err := fmt.Sscan(f[2]+" "+f[3], &revision, &seq); err != nil {
			t.Fatal(err)
		}
		a.revisions[id], a.lastEvent = revision, max(a.lastEvent, seq)
	case "mail", "drop", "object", "deleted":
		id, err := agreement.ParseHash(f[1])
		if err != nil {
			t.Fatal(err)
		}
		if f[0] == "mail" || f[0] == "drop" {
			a.mail[id] = f[0]
		} else {
			a.objects[id] = f[0]
		}
	}
}

// TestKill kills a process that writes, again and again, and finds everything
// that was acknowledged, and nothing half.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := &acknowledged{revisions: map[agreement.ID]uint64{}, mail: map[agreement.Hash]string{}, objects: map[agreement.Hash]string{}}
	for range crashRounds {
		killWriter(t, dir, a)
	}
	s := openTest(t, dir)
	checkWhole(t, s)
	a.check(t, s)
	t.Logf("%d writes were acknowledged, %d events", a.lines, s.LastEvent())
}

// killWriter starts a writer, which also checks that what the last one left
// can be opened, and kills it after a random time: one in three before it has
// opened the store.
func killWriter(t *testing.T, dir string, a *acknowledged) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if rand.IntN(3) > 0 && (!lines.Scan() || lines.Text() != "ready") {
		t.Fatalf("the writer didn't start: %s, %v", stderr.String(), cmd.Wait())
	}
	timer := time.AfterFunc(time.Duration(1+rand.IntN(120))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for lines.Scan() {
		a.take(t, lines.Text())
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the writer wasn't killed: %v: %s", err, stderr.String())
	}
}

func (a *acknowledged) check(t *testing.T, s *Store) {
	t.Helper()
	for id, revision := range a.revisions {
		if _, got, err := s.Agreement(id); err != nil || got < revision || got > revision+1 {
			t.Errorf("agreement %s is at revision %d, %d was acknowledged: %v", id, got, revision, err)
		}
	}
	if s.LastEvent() < a.lastEvent {
		t.Errorf("the last event is %d, %d was acknowledged", s.LastEvent(), a.lastEvent)
	}
	for id, what := range a.mail {
		_, pending := s.copyOf(inboxKey(id))
		_, consumed := s.copyOf(consumedKey(id))
		if what == "drop" && consumed != nil || pending != nil && consumed != nil || pending == nil && consumed == nil {
			t.Errorf("message %s: acknowledged %s, pending: %v, consumed: %v", id, what, pending, consumed)
		}
	}
	for id, what := range a.objects {
		if _, err := s.Object(id); err != nil && what == "object" && id[0]%4 != 0 || err == nil && what == "deleted" {
			t.Errorf("object %s: acknowledged %s: %v", id, what, err)
		}
	}
}
