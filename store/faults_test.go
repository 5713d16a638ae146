package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// sample is a store on disk with something of everything, and what is in it.
type sample struct {
	dir  string
	rows map[string]string
}

// fillSample fills a store, and closes it twice in between so that there are
// tables.
func fillSample(ctx context.Context, dir string) (s *Store, err error) {
	for round := range byte(3) {
		if s != nil {
			if err := s.Close(); err != nil {
				return nil, err
			}
		}
		if s, err = Open(Options{Dir: dir, Key: testKey}, slog.New(slog.DiscardHandler)); err != nil {
			return nil, err
		}
		for revision := range uint64(3) {
			c := typicalChange(agreement.ID{1 + round}, revision)
			c.Blobs = map[string][]byte{"terms": bytes.Repeat([]byte{round}, 5000)}
			if _, err := s.Commit(ctx, c); err != nil {
				return s, err
			}
		}
		for _, size := range []int{10, 3000, 90_000, smallPayload + 1000} {
			o, p := randomObject(size)
			err := errors.Join(s.PutObject(ctx, o, bytes.NewReader(p)), s.Hold(ctx, o.ID, "pin", time.Unix(5e9, 0)))
			if err != nil {
				return s, err
			}
		}
		if _, err := s.Backup(ctx, io.Discard, 0); err != nil { // deletions are noted
			return s, err
		}
		o, p := randomObject(5000)
		err := errors.Join(s.PutObject(ctx, o, bytes.NewReader(p)), s.Purge(ctx, o.ID, []byte("stone")))
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// sampleDir names the directory for a process that fills a store and waits to
// be killed.
const sampleDir = "AFFILIATE_STORE_SAMPLE_DIR"

func sampleWriter(dir string) error {
	if _, err := fillSample(context.Background(), dir); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

// makeSample fills a store, which is then either closed, or left by a process
// that was killed.
func makeSample(t *testing.T, crashed bool) sample {
	t.Helper()
	m := sample{dir: filepath.Join(t.TempDir(), "sample")}
	if crashed {
		child := startChild(t, sampleDir+"="+m.dir)
		child.kill(t)
		for _, name := range append(m.files(t, "*.mem"), m.files(t, "*.vlog")...) {
			cutZeros(t, filepath.Join(m.dir, name))
		}
		m.rows = m.open(t)
		return m
	}
	s, err := fillSample(t.Context(), m.dir)
	if err != nil {
		t.Fatal(err)
	}
	m.rows = dump(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// cutZeros makes a log shorter that was made longer than it is filled.
func cutZeros(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const some = 64 << 10
	if used := int64(len(bytes.TrimRight(b, "\x00"))); used+some < int64(len(b)) {
		if err := os.Truncate(path, used+some); err != nil {
			t.Fatal(err)
		}
	}
}

// open returns what is in a copy of the sample.
func (m sample) open(t *testing.T) map[string]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	m.copyTo(t, m.dir, dir)
	return dump(t, openTest(t, dir))
}

// child is a process of this test binary that does what its environment says.
type child struct {
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

// startChild returns when the process is ready.
func startChild(t *testing.T, env string, more ...func(*exec.Cmd)) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0], "-test.run=^$")}
	c.cmd.Env = append(os.Environ(), env)
	c.cmd.Stderr = &c.stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range more {
		change(c.cmd)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewScanner(out)
	if !c.lines.Scan() || c.lines.Text() != "ready" {
		err := c.cmd.Wait()
		t.Fatalf("the process says %q: %s, %v", c.lines.Text(), c.stderr.String(), err)
	}
	return c
}

func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // was killed
}

// copyTo copies a directory.
func (sample) copyTo(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "LOCK" {
			err = os.Remove(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// control holds that the sample is whole as it is.
func (m sample) control(t *testing.T) {
	t.Helper()
	if outcome := m.harmed(t, "nothing", manifestFile, func(b []byte) []byte { return b }); outcome != "whole" {
		t.Fatalf("without harm the sample is %s", outcome)
	}
}

// files lists those whose names match, below the directory.
func (m sample) files(t *testing.T, pattern string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(m.dir, path)
		if ok, _ := filepath.Match(pattern, name); ok {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatalf("the sample has no %s", pattern)
	}
	return names
}

// harmed copies the sample, changes one of its files, and holds that opening
// says so, or every row is what it was or said to be damaged.
func (m sample) harmed(t *testing.T, what, name string, change func(b []byte) []byte) (outcome string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "harmed")
	m.copyTo(t, m.dir, dir)
	defer os.RemoveAll(dir) //nolint:errcheck // of a test
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b = change(b); b == nil {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Dir: dir, Key: testKey}, slog.New(slog.DiscardHandler))
	if err != nil {
		var e *agreement.Error
		if !errors.As(err, &e) || e.Hint == "" || e.Code != agreement.CodeDamaged && e.Code != agreement.CodeStore {
			t.Errorf("%s: opening says %v", what, err)
		}
		return "refused"
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("%s: closing: %v", what, err)
		}
	}()
	return m.compare(t, what, s)
}

func (m sample) compare(t *testing.T, what string, s *Store) (outcome string) {
	t.Helper()
	damaged := 0
	for k, want := range m.rows {
		b, err := s.copyOf([]byte(k))
		switch {
		case errors.Is(err, errDecode):
			damaged++
		case err != nil:
			t.Errorf("%s: key %x: %v", what, k, err)
		case string(seal([]byte(k), b)) != want && k[0] != prefixQuarantine:
			if k[0] != prefixPayload { // their names tell
				t.Errorf("%s: key %x has another value", what, k)
			}
			damaged++
		}
	}
	bad := 0
	v, err := s.Verify(t.Context(), func(o Object, err error) {
		if err != nil {
			bad++
		}
		if _, again := s.Object(o.ID); (err == nil) != (again == nil) {
			t.Errorf("%s: object %s is verified with %v and read with %v", what, o.ID, err, again)
		}
	})
	if err != nil && agreement.CodeOf(err) != agreement.CodeDamaged {
		t.Errorf("%s: verifying: %v", what, err)
	}
	if damaged > 0 && err == nil && bad == 0 {
		t.Errorf("%s: %d rows are damaged, and verifying finds %+v", what, damaged, v)
	}
	if damaged+bad > 0 || err != nil {
		return "reported"
	}
	return "whole"
}

// fileKind is a kind of files in a store, and how often one is harmed.
type fileKind struct {
	pattern string
	crashed bool
	times   int
}

var fileKinds = []fileKind{
	{"MANIFEST", false, 12}, {"KEYREGISTRY", false, 12}, {"DISCARD", false, 6}, {highWaterFile, false, 6},
	{"*.sst", false, 25}, {"*.vlog", false, 25}, {"payloads/*/*", false, 8},
	{"*.mem", true, 16}, {"*.vlog", true, 12}, {"MANIFEST", true, 4},
}

// harms is a multiple of how often files are harmed.
var harms = flag.Int("harms", 1, "how often TestFlippedBits and TestCutFiles repeat what they do")

// each harms a file of every kind.
func (k fileKind) each(t *testing.T, m sample, change func(b []byte) (harmed []byte, how string)) {
	t.Helper()
	names, outcomes := m.files(t, k.pattern), map[string]int{}
	for range k.times * *harms {
		name := names[rand.IntN(len(names))]
		var how string
		outcome := m.harmed(t, fmt.Sprintf("%s, crashed %v", name, k.crashed), name, func(b []byte) []byte {
			b, how = change(b)
			return b
		})
		outcomes[outcome]++
		if t.Failed() {
			t.Fatalf("%s of %s", how, name)
		}
	}
	t.Logf("%s, crashed %v: %v", k.pattern, k.crashed, outcomes)
}

// within draws a place in what is used of a file: often near its start or its
// end.
func within(b []byte) int {
	used := max(1, len(bytes.TrimRight(b, "\x00")))
	switch rand.IntN(3) {
	case 0:
		return rand.IntN(min(used, 64))
	case 1:
		return used - 1 - rand.IntN(min(used, 64))
	}
	return rand.IntN(used)
}

// TestFlippedBits flips one bit in a file of every kind.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	for _, crashed := range []bool{false, true} {
		m := makeSample(t, crashed)
		m.control(t)
		for _, k := range fileKinds {
			if k.crashed != crashed {
				continue
			}
			k.each(t, m, func(b []byte) ([]byte, string) {
				at, bit := within(b), rand.IntN(8)
				b[at] ^= 1 << bit
				return b, fmt.Sprintf("bit %d at byte %d", bit, at)
			})
		}
	}
}

// TestCutFiles cuts files of every kind short, empties and removes them.
func TestCutFiles(t *testing.T) {
	t.Parallel()
	for _, crashed := range []bool{false, true} {
		m := makeSample(t, crashed)
		m.control(t)
		for _, k := range fileKinds {
			if k.crashed != crashed || k.pattern == highWaterFile {
				continue
			}
			k.each(t, m, func(b []byte) ([]byte, string) {
				switch rand.IntN(6) {
				case 0:
					return nil, "removing"
				case 1:
					return []byte{}, "emptying"
				}
				at := within(b)
				return b[:at], fmt.Sprintf("cutting at byte %d", at)
			})
		}
	}
}
