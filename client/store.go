package client

import (
	"context"
	"fmt"
	"io"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// Backup writes a backup of the node's store to w. What was written is a
// backup only if Backup returns no error; CodeDamaged when the node ended
// without having finished it.
func (c *Client) Backup(ctx context.Context, req *affiliatev1.BackupStoreRequest, w io.Writer) (*affiliatev1.BackupSummary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Store.BackupStore(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	defer stream.Close() //nolint:errcheck // nothing is written
	var summary *affiliatev1.BackupSummary
	var size int64
	for stream.Receive() {
		m := stream.Msg()
		if m.GetSummary() != nil {
			summary = m.GetSummary()
		}
		if _, err := w.Write(m.GetData()); err != nil {
			return nil, fmt.Errorf("writing the backup: %w", err)
		}
		size += int64(len(m.GetData()))
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	if summary == nil || summary.GetSize() != size {
		return nil, agreement.Errorf(agreement.CodeDamaged, "the backup isn't whole: %d bytes came", size).
			WithHint("see the node's log, and make it again")
	}
	return summary, nil
}

// Verify has the node read everything in its store, and with repair fetch what
// is damaged from others. progress and finding are told while it goes on;
// either may be nil.
func (c *Client) Verify(ctx context.Context, repair bool, progress func(*affiliatev1.VerifyProgress), finding func(*affiliatev1.VerifyFinding)) (*affiliatev1.VerifySummary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Store.VerifyStore(ctx, connect.NewRequest(&affiliatev1.VerifyStoreRequest{Repair: repair}))
	if err != nil {
		return nil, err
	}
	defer stream.Close() //nolint:errcheck // nothing is written
	var summary *affiliatev1.VerifySummary
	for stream.Receive() {
		switch step := stream.Msg().GetStep().(type) {
		case *affiliatev1.VerifyStoreResponse_Progress:
			if progress != nil {
				progress(step.Progress)
			}
		case *affiliatev1.VerifyStoreResponse_Finding:
			if finding != nil {
				finding(step.Finding)
			}
		case *affiliatev1.VerifyStoreResponse_Summary:
			summary = step.Summary
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	if summary == nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "the node ended without saying what it found").
			WithHint("see its log, and try again")
	}
	return summary, nil
}
