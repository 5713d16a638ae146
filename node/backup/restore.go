package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/store"
)

// Restorer makes stores from backups.
type Restorer struct {
	Ring    *keys.Ring
	Network string // chain id
	Log     *slog.Logger
	// Options says how a store in a directory is opened. It is called for each
	// time, because the store closes what is in them.
	Options func(dir string) (store.Options, error)
}

// Restore makes the store of a directory from a full backup and those that
// continue it. All of them are checked before anything is written, and the
// directory, which must not exist or be empty, appears whole or not at all.
func (r Restorer) Restore(ctx context.Context, dir string, parts []*File) error {
	var last *File
	for i, p := range parts {
		err := p.Continues(last)
		if err == nil {
			err = p.Check(r.Ring, r.Network)
		}
		if err != nil {
			return fmt.Errorf("backup %d of %d: %w", i+1, len(parts), err)
		}
		last = p
	}
	parent := filepath.Dir(dir)
	temp, err := os.MkdirTemp(parent, ".restore-*") // mode 0700
	if err != nil {
		return fmt.Errorf("restoring the store: %w", err)
	}
	defer os.RemoveAll(temp)
	made := filepath.Join(temp, "store")
	if err := r.fill(ctx, made, parts); err != nil {
		return fmt.Errorf("restoring the store: %w", err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) { // only an empty one goes
		return fmt.Errorf("putting the store in its place: %w", err)
	}
	if err := os.Rename(made, dir); err != nil {
		return fmt.Errorf("putting the store in its place: %w", err)
	}
	return syncDir(parent)
}

// fill makes the store in a directory of its own.
func (r Restorer) fill(ctx context.Context, dir string, parts []*File) error {
	var in []io.Reader
	for _, p := range parts {
		part, err := p.Open(r.Ring)
		if err != nil {
			return err
		}
		in = append(in, part)
	}
	o, err := r.Options(dir)
	if err != nil {
		return err
	}
	if err := store.Restore(ctx, o, in...); err != nil {
		return err
	}
	if o, err = r.Options(dir); err != nil {
		return err
	}
	s, err := store.Open(o, r.Log)
	if err != nil {
		return err
	}
	_, err = Renew(ctx, s)
	return errors.Join(err, s.Close())
}

// syncDir makes new names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator's own choice
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
