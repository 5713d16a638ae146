package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
	"github.com/affiliate-node/affiliate/node/backup"
)

func (a *app) storeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "Check, measure, back up and restore the encrypted store"}
	cmd.AddCommand(a.storeVerifyCommand(), a.storeStatsCommand(), a.storeCompactCommand(), a.storeBackupCommand(), a.storeRestoreCommand())
	return group(cmd)
}

func (a *app) storeVerifyCommand() *cobra.Command {
	repair := false
	cmd := &cobra.Command{
		Use: "verify", Short: "Read every object and check it", Args: args(),
		Long: "Read every object and check that it is what was stored, while the node works. What is\n" +
			"damaged is listed and isn't read by anybody any more. With --repair it is fetched\n" +
			"from affiliates that have it. The exit status is 1 when something damaged is left.",
		RunE: a.call(0, func(ctx context.Context, c *client.Client, _ []string) error {
			bar := a.meter("verified")
			progress := func(p *affiliatev1.VerifyProgress) { bar.at(p.GetBytes()) }
			var broken error
			sum, err := c.Verify(ctx, repair, progress, func(f *affiliatev1.VerifyFinding) {
				bar.done()
				if err := a.emit(f, func(w io.Writer) { writeFinding(w, f) }); err != nil {
					broken = err
				}
			})
			bar.done()
			if err = cmp.Or(err, broken); err != nil {
				return err
			}
			if err := a.emit(sum, func(w io.Writer) { writeVerified(w, sum) }); err != nil {
				return err
			}
			if left := sum.GetDamaged() - sum.GetRepaired(); left > 0 {
				return a.damageLeft(left, repair)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "fetch what is damaged from affiliates that have it")
	return cmd
}

func (a *app) damageLeft(left int64, tried bool) error {
	err := agreement.Errorf(agreement.CodeDamaged, "damaged objects: %d", left)
	if tried {
		return err.WithHint("no affiliate that is connected has them: try again later, or restore a backup (docs/store.md)")
	}
	return err.WithHint("fetch them from others: %s", a.command("store verify --repair"))
}

func writeFinding(w io.Writer, f *affiliatev1.VerifyFinding) {
	state := "damaged: " + f.GetProblem()
	if f.GetRepaired() {
		state = "repaired from " + f.GetSource()
	}
	fields(w, "object", f.GetObjectId(), "content", f.GetContentHash(), "state", state)
}

func writeVerified(w io.Writer, s *affiliatev1.VerifySummary) {
	fields(w,
		"objects", fmt.Sprintf("%d, %s", s.GetObjects(), size(s.GetBytes())),
		"damaged", strconv.FormatInt(s.GetDamaged(), 10),
		"repaired", strconv.FormatInt(s.GetRepaired(), 10),
		"strays removed", strconv.FormatInt(s.GetStrays(), 10))
}

func (a *app) storeStatsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "stats", Short: "Show what takes the space", Args: args(),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, _ []string) error {
			res, err := c.Store.GetStoreStats(ctx, connect.NewRequest(&affiliatev1.GetStoreStatsRequest{}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) { writeStats(w, res.Msg) })
		}),
	}
}

func writeStats(w io.Writer, s *affiliatev1.StoreStats) {
	free, budget := "unknown", "none"
	if s.GetFreeBytes() >= 0 {
		free = size(s.GetFreeBytes())
	}
	if s.GetBudgetBytes() > 0 {
		budget = size(s.GetBudgetBytes())
	}
	some := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	fields(w,
		"objects", fmt.Sprintf("%d, %s; %d in files of their own", s.GetObjects(), size(s.GetBytes()), s.GetLargeObjects()),
		"kept by nothing", some(s.GetUnheldObjects()),
		"damaged", some(s.GetQuarantinedObjects()),
		"tombstones", some(s.GetTombstones()),
		"purged, on disk", purgedSince(s),
		"database", size(s.GetDatabaseBytes()),
		"payloads", size(s.GetPayloadBytes()),
		"budget", budget,
		"disk free", free,
		"kept free", size(s.GetReserveBytes()),
		"new work", s.GetRefuses())
	if len(s.GetHolders()) == 0 {
		return
	}
	var rows [][]string
	for _, h := range s.GetHolders() {
		rows = append(rows, []string{h.GetHolder(), strconv.FormatInt(h.GetObjects(), 10), size(h.GetBytes())})
	}
	table(w, []string{"PUT FOR", "OBJECTS", "BYTES"}, rows)
}

// purgedSince says that the files have bytes that were purged.
func purgedSince(s *affiliatev1.StoreStats) string {
	if s.GetPurgedSince() == nil {
		return ""
	}
	return "small objects, since " + when(s.GetPurgedSince()) + ", until the database is compacted"
}

func (a *app) storeCompactCommand() *cobra.Command {
	return &cobra.Command{
		Use: "compact", Short: "Remove from the disk what was purged", Args: args(),
		Long: "Rewrite the database until its files hold nothing any more of what was purged, and give\n" +
			"up the space, while the node works. It happens by itself some time after a purge\n" +
			"(store.compact_after).",
		RunE: a.call(0, func(ctx context.Context, c *client.Client, _ []string) error {
			res, err := c.Store.CompactStore(ctx, connect.NewRequest(&affiliatev1.CompactStoreRequest{}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) {
				fields(w, "database", fmt.Sprintf("%s, %s before", size(res.Msg.GetAfter()), size(res.Msg.GetBefore())))
			})
		}),
	}
}

func (a *app) storeBackupCommand() *cobra.Command {
	var to, since string
	var force bool
	cmd := &cobra.Command{
		Use: "backup --to FILE", Short: "Back up the store while the node runs",
		Long: `Write a backup of the store to a new file, or to standard output for "-", while the
node works. It is encrypted to this affiliate, and signed. With --since it has only
what is newer than another backup, which it takes to restore it.

A backup holds no keys: without a copy of HOME/keys nobody can open it.`,
		Args: func(cmd *cobra.Command, have []string) error {
			if to == "" {
				return usage(cmd, "--to FILE is missing")
			}
			return args()(cmd, have)
		},
		RunE: a.call(0, func(ctx context.Context, c *client.Client, _ []string) error {
			req, err := continuing(since)
			if err != nil {
				return err
			}
			var sum *affiliatev1.BackupSummary
			err = a.create(to, force, func(w io.Writer) error {
				bar := a.meter("saved")
				defer bar.done()
				var err error
				sum, err = c.Backup(ctx, req, io.MultiWriter(w, bar))
				return err
			})
			if err != nil || to == "-" {
				return err
			}
			return a.emit(sum, func(w io.Writer) {
				fields(w, "backup", to, "size", size(sum.GetSize()), "goes up to", strconv.FormatUint(sum.GetUpto(), 10))
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", `new file to write; "-": standard output`)
	f.StringVar(&since, "since", "", "backup that this one continues")
	f.BoolVar(&force, "force", false, "replace the file if it exists")
	return cmd
}

// continuing makes the request for a backup that continues the one in a file.
func continuing(file string) (*affiliatev1.BackupStoreRequest, error) {
	if file == "" {
		return &affiliatev1.BackupStoreRequest{}, nil
	}
	f, err := openBackup(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return &affiliatev1.BackupStoreRequest{Since: f.Trailer.Upto, Store: f.Header.Store, After: f.Trailer.Digest}, nil
}

// backupFile is an open backup.
type backupFile struct {
	*backup.File
	on *os.File
}

// Close closes the file.
func (f backupFile) Close() error { return f.on.Close() }

func openBackup(path string) (f backupFile, err error) {
	if f.on, err = os.Open(path); err != nil { //nolint:gosec // the operator's own choice
		return f, fmt.Errorf("reading the backup: %w", err)
	}
	info, err := f.on.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = withHint(fmt.Errorf("it is not a regular file"), "write it to a file first")
	}
	if err == nil {
		f.File, err = backup.Describe(f.on, info.Size())
	}
	if err != nil {
		return f, cmp.Or(fmt.Errorf("the backup %s: %w", path, err), f.on.Close())
	}
	return f, nil
}
