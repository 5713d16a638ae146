package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/affiliate-node/affiliate/client"
)

func (a *app) objectCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "object", Short: "Put content into the encrypted store, and get it out"}
	cmd.AddCommand(a.objectPutCommand(), a.objectGetCommand(), a.objectGrantCommand(), a.objectRevokeCommand(),
		a.objectReadersCommand(), a.objectDeleteCommand(), a.objectPinCommand())
	return group(cmd)
}

func (a *app) objectPutCommand() *cobra.Command {
	var media string
	cmd := &cobra.Command{
		Use: "put FILE", Short: `Store a file ("-": standard input) sealed to this affiliate`, Args: args("FILE"),
		RunE: a.call(0, func(ctx context.Context, c *client.Client, args []string) error {
			f, err := a.open(args[0])
			if err != nil {
				return fmt.Errorf("reading the content: %w", err)
			}
			defer f.Close() //nolint:errcheck // only read
			if media == "" {
				media = mediaOf(args[0])
			}
			bar := a.meter("stored")
			bar.total = fileSize(f)
			res, err := c.PutObject(ctx, media, io.TeeReader(f, bar))
			bar.done()
			if err != nil {
				return err
			}
			return a.emit(res, func(w io.Writer) {
				fields(w, "content hash", res.GetContentHash(), "size", size(res.GetSize()), "media type", media)
			})
		}),
	}
	cmd.Flags().StringVar(&media, "media-type", "", "media type (default: by the file's name)")
	return cmd
}

func (a *app) objectGetCommand() *cobra.Command {
	var out string
	var force bool
	cmd := &cobra.Command{
		Use: "get HASH", Short: "Write a stored content to standard output, or to a new file", Args: hashArgs("HASH"),
		Long: "Write the content with this hash to standard output, or with -o to a new file. A file\n" +
			"appears whole and checked, or not at all; what is written to standard output is\n" +
			"checked at the end: trust it only if the exit status is 0.",
		RunE: a.call(0, func(ctx context.Context, c *client.Client, args []string) error {
			return a.create(out, force, func(w io.Writer) error {
				bar := a.meter("received")
				if out == "-" && terminal(a.stdout) {
					bar.out = nil // it would be drawn into the content
				}
				_, err := c.GetObject(ctx, args[0], io.MultiWriter(w, bar), func(o client.Object) { bar.total = o.Size })
				bar.done()
				return err
			})
		}),
	}
	cmd.Flags().StringVarP(&out, "out", "o", "-", "new file to write; it gets its name when it is whole")
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it exists")
	return cmd
}

// create runs fn with a writer for path, or standard output for "-". A file
// gets its name when fn succeeds, and never replaces another unless force.
func (a *app) create(path string, force bool, fn func(io.Writer) error) error {
	if path == "-" {
		return fn(a.stdout)
	}
	if _, err := os.Lstat(path); err == nil && !force {
		return withHint(fmt.Errorf("%s exists", path), "choose another name, or remove it first")
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone when all went well
	if err = fn(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if force {
		err = os.Rename(f.Name(), path)
	} else {
		err = os.Link(f.Name(), path) // fails if somebody made path meanwhile
	}
	if errors.Is(err, fs.ErrExist) {
		return withHint(fmt.Errorf("%s exists", path), "choose another name, or remove it first")
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// meterStep is how many bytes pass between two drawings of a meter.
const meterStep = 1 << 20

// meter shows progress on a terminal, and nothing elsewhere.
type meter struct {
	out        io.Writer // nil: nothing is shown
	verb       string
	total, now int64 // bytes; total 0: not known
	drawn      int64
	shown      bool
}

func (a *app) meter(verb string) *meter {
	m := &meter{verb: verb}
	if terminal(a.stderr) && !a.json() {
		m.out = a.stderr
	}
	return m
}

// Write counts.
func (m *meter) Write(p []byte) (int, error) {
	m.at(m.now + int64(len(p)))
	return len(p), nil
}

// at says where it is now, in bytes.
func (m *meter) at(now int64) {
	m.now = now
	if m.out != nil && m.now-m.drawn >= meterStep {
		m.drawn = m.now
		m.draw()
	}
}

func (m *meter) draw() {
	m.shown = true
	line := fmt.Sprintf("%s %s", m.verb, size(m.now))
	if m.total > 0 {
		const width = 30
		filled := int(min(m.now*width/m.total, width))
		line = fmt.Sprintf("%s [%s%s] %3d%% of %s", m.verb, strings.Repeat("#", filled), strings.Repeat("-", width-filled), min(m.now*100/m.total, 100), size(m.total))
	}
	fmt.Fprintf(m.out, "\r%-70s", line) //nolint:errcheck // progress only
}

// done ends the line.
func (m *meter) done() {
	if m.shown {
		m.draw()
		fmt.Fprintln(m.out) //nolint:errcheck // progress only
		m.shown = false
	}
}

// fileSize is the size of a regular file, 0 for anything else.
func fileSize(r any) int64 {
	f, ok := r.(*os.File)
	if !ok {
		return 0
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}
