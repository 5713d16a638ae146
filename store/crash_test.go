package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
)

// crashDir names the directory for a process of this test binary that does
// nothing but write until it is killed.
const crashDir = "AFFILIATE_STORE_CRASH_DIR"

// kills is how often the writer is killed; suite store-kill does so more often.
var kills = flag.Int("kills", 20, "how often TestKill kills the process that writes")

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
	for _, size := range []int{100, 60_000, 70_000, smallPayload, smallPayload + 1, 3<<20 + 17} {
		g.Go(func() error { return crashObjects(ctx, s, size) })
	}
	g.Go(func() error { return crashCollection(ctx, s) })
	if rand.IntN(4) == 0 {
		g.Go(func() error { return crashCompaction(ctx, s) })
	}
	g.Go(func() error { _, err := s.Backup(ctx, io.Discard, 0); return err }) // notes deletions from then on
	return g.Wait()
}

// crashCollection purges what nothing keeps, and sweeps, all the time.
func crashCollection(ctx context.Context, s *Store) error {
	for {
		if err := errors.Join(s.collectObjects(ctx, time.Now().Add(2*s.grace)), s.sweep(ctx)); err != nil {
			return err
		}
	}
}

// crashCompaction compacts all the time; now and then something is in its way.
func crashCompaction(ctx context.Context, s *Store) error {
	for {
		if _, err := s.Compact(ctx); err != nil && agreement.CodeOf(err) != agreement.CodeInUse {
			return err
		}
	}
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

// crashObjects puts objects and changes their headers and references. Most it
// purges, or leaves to the collection.
func crashObjects(ctx context.Context, s *Store, size int) error {
	for n := 0; ; n++ {
		o, err := crashPut(ctx, s, size, n%2 == 0)
		if err != nil {
			return err
		}
		fmt.Println("object", o.ID)
		err = s.SetHeader(ctx, o.ID, func(o *Object) error { o.Header = append(o.Header, 1); return nil })
		if err != nil {
			return err
		}
		fmt.Println("header", o.ID, len(o.Header)+1)
		if err := s.Hold(ctx, o.ID, "pin", time.Time{}); err != nil {
			return err
		}
		fmt.Println("held", o.ID)
		switch n % 5 {
		case 0: // stays
			continue
		case 1:
			fmt.Println("purging", o.ID)
			err = s.Purge(ctx, o.ID, []byte("stone"))
		default:
			fmt.Println("releasing", o.ID)
			for _, name := range []string{"put", "pin"} {
				err = errors.Join(err, s.ReleaseObject(ctx, o.ID, name))
			}
		}
		if err != nil {
			return err
		}
		if n%5 == 1 {
			fmt.Println("purged", o.ID)
		}
	}
}

func crashPut(ctx context.Context, s *Store, size int, named bool) (Object, error) {
	o, p := randomObject(size)
	if named {
		return o, s.PutObject(ctx, o, bytes.NewReader(p))
	}
	d, err := s.NewDraft(ctx)
	if err != nil {
		return o, err
	}
	defer d.Discard()
	if _, err := d.Write(p); err != nil {
		return o, err
	}
	return d.Keep(ctx, o, time.Time{})
}

// acknowledged is what the killed writers were told.
type acknowledged struct {
	revisions map[agreement.ID]uint64
	lastEvent uint64
	mail      map[agreement.Hash]string
	objects   map[agreement.Hash]string // the last that was said of it
	headers   map[agreement.Hash]int
	held      map[agreement.Hash]bool
	lines     int
}

func newAcknowledged() *acknowledged {
	return &acknowledged{
		revisions: map[agreement.ID]uint64{}, mail: map[agreement.Hash]string{},
		objects: map[agreement.Hash]string{}, headers: map[agreement.Hash]int{}, held: map[agreement.Hash]bool{},
	}
}

func (a *acknowledged) take(t *testing.T, line string) {
	t.Helper()
	f := strings.Fields(line)
	if len(f) < 2 {
		return // it is ready
	}
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
	default:
		a.takeObject(t, f)
	}
}

func (a *acknowledged) takeObject(t *testing.T, f []string) {
	t.Helper()
	id, err := agreement.ParseHash(f[1])
	if err != nil {
		t.Fatal(err)
	}
	switch f[0] {
	case "mail", "drop":
		a.mail[id] = f[0]
	case "header":
		n, err := strconv.Atoi(f[2])
		if err != nil {
			t.Fatal(err)
		}
		a.headers[id] = n
	case "held":
		a.held[id] = true
	default:
		a.objects[id] = f[0]
	}
}

// TestKill kills a process that writes, again and again, and finds everything
// that was acknowledged, and nothing half.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := newAcknowledged()
	for n := range *kills {
		if err := stopWriter(t, dir, a, (*os.Process).Kill); err == nil || err.Exited() {
			t.Fatalf("the writer wasn't killed: %v", err)
		}
		if n%20 == 19 || n == *kills-1 {
			a.check(t, dir)
		}
	}
	t.Logf("%d writes were acknowledged before %d kills, %d objects", a.lines, *kills, len(a.objects))
}

// stopWriter starts a writer, which also checks that what the last one left
// can be opened, and stops it after a random time: one in three before it has
// opened the store. It returns how the process ended, if not by itself.
func stopWriter(t *testing.T, dir string, a *acknowledged, stop func(*os.Process) error) *exec.ExitError {
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
		err := cmd.Wait()
		t.Fatalf("the writer didn't start: %s, %v", stderr.String(), err)
	}
	stopped := make(chan error, 1)
	time.AfterFunc(time.Duration(1+rand.IntN(400))*time.Millisecond, func() { stopped <- stop(cmd.Process) })
	for lines.Scan() {
		a.take(t, lines.Text())
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if err := <-stopped; err != nil {
		t.Fatalf("stopping the writer: %v: %s", err, stderr.String())
	}
	return exit
}

// check opens the store and holds it to what was acknowledged.
func (a *acknowledged) check(t *testing.T, dir string) {
	t.Helper()
	s := openTest(t, dir)
	checkWhole(t, s)
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
		a.checkObject(t, s, id, what)
	}
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(rows(t, s, prefixPutting)); n != 0 {
		t.Errorf("%d unfinished objects are left", n)
	}
	if v, err := s.Verify(t.Context(), nil); err != nil || v.Damaged+v.Mended+v.Strays != 0 {
		t.Errorf("verified %+v, %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func (a *acknowledged) checkObject(t *testing.T, s *Store, id agreement.Hash, what string) {
	t.Helper()
	o, err := s.Object(id)
	switch {
	case what == "object" && err != nil, what == "purged" && !errors.Is(err, agreement.ErrNotFound):
		t.Errorf("object %s: acknowledged %s: %v", id, what, err)
	case what == "object":
		refs, err := s.References(id)
		if err != nil || len(o.Header) < a.headers[id] || a.held[id] && len(refs) != 2 {
			t.Errorf("object %s has %d bytes of header instead of %d, and is kept by %v: %v", id, len(o.Header), a.headers[id], refs, err)
		}
	case err != nil && !errors.Is(err, agreement.ErrNotFound):
		t.Errorf("object %s: acknowledged %s: %v", id, what, err)
	}
}
