package store

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// crash goes on with the files as they are now, which is what a process that
// is killed leaves.
func (d *driver) crash(r *rapid.T) {
	d.crashes++
	run, _, _ := strings.Cut(filepath.Base(d.dir), "-")
	left := filepath.Join(filepath.Dir(d.dir), fmt.Sprintf("%s-crashed-%d", run, d.crashes))
	for { // a copy isn't of one moment, where Badger tidies up
		before := d.names(r)
		if text, err := exec.Command("cp", "-a", "--sparse=always", d.dir, left).CombinedOutput(); err == nil && slices.Equal(d.names(r), before) {
			break
		} else if err != nil && !strings.Contains(string(text), "No such file") {
			r.Fatalf("%v: %s", err, text)
		}
		if err := os.RemoveAll(left); err != nil {
			r.Fatal(err)
		}
	}
	if err := d.s.Close(); err != nil {
		r.Fatal(err)
	}
	if err := os.RemoveAll(d.dir); err != nil {
		r.Fatal(err)
	}
	d.s, d.dir = nil, left
	d.reopen(r)
}

// names are those of the files, with their sizes.
func (d *driver) names(r *rapid.T) (all []string) {
	err := filepath.WalkDir(d.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			all = append(all, fmt.Sprint(path, info.Size()))
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		r.Fatal(err)
	}
	return all
}

// compact does so now and then, because it takes longer than all else.
func (d *driver) compact(r *rapid.T) {
	if rapid.IntRange(0, 3).Draw(r, "compact") > 0 {
		return
	}
	if _, err := d.s.Compact(context.Background()); err != nil {
		r.Fatal(err)
	}
	if since, err := d.s.PurgedSince(); err != nil || !since.IsZero() {
		r.Fatalf("after a compaction there are purged bytes since %v, %v", since, err)
	}
}
