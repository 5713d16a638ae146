package store

import (
	"bytes"
	"os"
	"testing"
)

func TestMapping(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"7f0000000000-7f0000001000 rw-s 00000000 fe:00 12                         /home/a b/data/000001.vlog": true,
		"7f0000000000-7f0000001000 rw-p 00000000 fe:00 12                         /home/a b/data/000001.vlog": false,
		"7f0000000000-7f0000001000 rw-s 00000000 fe:00 12                         /home/other/000001.vlog":    false,
		"7f0000000000-7f0000001000 rw-p 00000000 00:00 0":                                                     false,
		"nonsense /home/a b/data/x": false,
		"":                          false,
	} {
		start, end, ok := mapping(line, "/home/a b/data/")
		if ok != want || ok && (start != 0x7f0000000000 || end != 0x7f0000001000) {
			t.Errorf("%s: %x %x %v", line, start, end, ok)
		}
	}
}

// TestTrim reads everything back after its memory was given back.
func TestTrim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := dir + "-link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(link) })
	s := openTest(t, link)
	o, p := randomObject(smallPayload)
	if err := s.PutObject(t.Context(), o, bytes.NewReader(p)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := trim(s.dir); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(readPayload(t, s, o.ID, 0), p) {
			t.Fatal("the payload differs")
		}
		checkWhole(t, s)
	}
}
