package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/node/backup"
)

// storeAPI implements StoreService. A walk over everything, or a backup, keeps
// the disk busy: one of them at a time runs.
type storeAPI struct {
	n    *Node
	busy chan struct{}
}

func newStoreAPI(n *Node) storeAPI { return storeAPI{n, make(chan struct{}, 1)} }

// begin takes the place; the caller calls end.
func (a storeAPI) begin() (end func(), err error) {
	select {
	case a.busy <- struct{}{}:
		return func() { <-a.busy }, nil
	default:
		return nil, agreement.Errorf(agreement.CodeInUse, "the store is being verified, backed up or compacted already").
			WithHint("wait until that has ended")
	}
}

// GetStoreStats says what takes the space.
func (a storeAPI) GetStoreStats(ctx context.Context, _ *connect.Request[affiliatev1.GetStoreStatsRequest]) (*connect.Response[affiliatev1.StoreStats], error) {
	st, err := a.n.store.Stats(ctx)
	if err != nil {
		return nil, err
	}
	out := &affiliatev1.StoreStats{
		Objects: st.Objects, Bytes: st.Bytes, LargeObjects: st.Large, UnheldObjects: st.Unheld,
		QuarantinedObjects: st.Quarantined, Tombstones: st.Tombstones,
		DatabaseBytes: st.Tables + st.ValueLog, PayloadBytes: st.Home, FreeBytes: st.Free,
		BudgetBytes: st.Budget, ReserveBytes: st.Reserve,
	}
	for _, kind := range slices.Sorted(maps.Keys(st.Holders)) {
		share := st.Holders[kind]
		out.Holders = append(out.Holders, &affiliatev1.StoreShare{Holder: kind, Objects: share.Objects, Bytes: share.Bytes})
	}
	since, err := a.n.store.PurgedSince()
	if err != nil {
		return nil, err
	}
	if !since.IsZero() {
		out.PurgedSince = timestamppb.New(since)
	}
	err = a.n.store.Room(ctx)
	if agreement.CodeOf(err) == agreement.CodeDiskFull {
		out.Refuses, err = err.Error(), nil
	}
	return connect.NewResponse(out), err
}

// CompactStore removes from the database's files what was purged.
func (a storeAPI) CompactStore(ctx context.Context, _ *connect.Request[affiliatev1.CompactStoreRequest]) (*connect.Response[affiliatev1.CompactStoreResponse], error) {
	end, err := a.begin()
	if err != nil {
		return nil, err
	}
	defer end()
	c, err := a.n.store.Compact(ctx)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&affiliatev1.CompactStoreResponse{Before: c.Before, After: c.After}), nil
}

// progressEvery is how often a walk over all tells how far it is.
const progressEvery = time.Second

// VerifyStore reads every object, and repairs what is damaged if it is asked to.
func (a storeAPI) VerifyStore(ctx context.Context, req *connect.Request[affiliatev1.VerifyStoreRequest], out *connect.ServerStream[affiliatev1.VerifyStoreResponse]) error {
	end, err := a.begin()
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v := &verifyStream{out: out, last: time.Now(), failed: cancel}
	sum, err := a.n.verify(ctx, req.Msg.Repair, v.report)
	if err != nil {
		return err
	}
	return out.Send(&affiliatev1.VerifyStoreResponse{Step: &affiliatev1.VerifyStoreResponse_Summary{Summary: &affiliatev1.VerifySummary{
		Objects: sum.Objects, Bytes: sum.Bytes, Damaged: sum.Damaged, Repaired: sum.Repaired, Strays: sum.Strays,
	}}})
}

// verifyStream tells what a walk over all finds, and ends it when nobody
// listens any more.
type verifyStream struct {
	out            *connect.ServerStream[affiliatev1.VerifyStoreResponse]
	failed         context.CancelCauseFunc
	last           time.Time
	objects, bytes int64
}

func (v *verifyStream) report(r verified) {
	var err error
	if r.Problem != nil || r.Repaired {
		f := &affiliatev1.VerifyFinding{ObjectId: r.Object.String(), ContentHash: r.Content.String(), Repaired: r.Repaired, Source: r.Source}
		if r.Problem != nil {
			f.Problem = r.Problem.Error()
		}
		err = v.out.Send(&affiliatev1.VerifyStoreResponse{Step: &affiliatev1.VerifyStoreResponse_Finding{Finding: f}})
	}
	if v.objects, v.bytes = v.objects+1, v.bytes+r.Size; time.Since(v.last) >= progressEvery {
		v.last = time.Now()
		err = errors.Join(err, v.out.Send(&affiliatev1.VerifyStoreResponse{Step: &affiliatev1.VerifyStoreResponse_Progress{
			Progress: &affiliatev1.VerifyProgress{Objects: v.objects, Bytes: v.bytes},
		}}))
	}
	if err != nil {
		v.failed(err)
	}
}

// backupChunk is how much of a backup one message carries, in bytes.
const backupChunk = 256 << 10

// BackupStore writes a backup into the stream.
func (a storeAPI) BackupStore(ctx context.Context, req *connect.Request[affiliatev1.BackupStoreRequest], out *connect.ServerStream[affiliatev1.BackupStoreResponse]) error {
	end, err := a.begin()
	if err != nil {
		return err
	}
	defer end()
	h, err := a.backupHeader(ctx, req.Msg)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(backupStream{out}, backupChunk)
	sent := &counter{w: buffer}
	trailer, err := backup.Write(sent, a.n.ring, h, func(w io.Writer) (uint64, error) {
		return a.n.store.Backup(ctx, w, h.Since)
	})
	if err == nil {
		err = buffer.Flush()
	}
	if err != nil {
		return fmt.Errorf("backing up the store: %w", err)
	}
	a.n.log.Info("a backup was made", "since", h.Since, "upto", trailer.Upto, "size", sent.n)
	return out.Send(&affiliatev1.BackupStoreResponse{Summary: &affiliatev1.BackupSummary{
		Since: h.Since, Upto: trailer.Upto, Size: sent.n, Store: h.Store,
	}})
}

// backupHeader refuses to continue what isn't a backup of this very store.
func (a storeAPI) backupHeader(ctx context.Context, req *affiliatev1.BackupStoreRequest) (backup.Header, error) {
	id, err := backup.StoreOf(ctx, a.n.store)
	if err == nil && req.Since != 0 && req.Store != id {
		err = agreement.Errorf(agreement.CodeBadRequest, "the backup to continue isn't one of this store, or was made before the store was restored").
			WithHint("make a full backup: without --since")
	}
	return backup.Header{
		Network: a.n.cfg.Network, Store: id, Created: time.Now(), Since: req.Since, After: req.After,
	}, err
}

// backupStream sends what is written.
type backupStream struct {
	out *connect.ServerStream[affiliatev1.BackupStoreResponse]
}

// Write implements io.Writer.
func (s backupStream) Write(p []byte) (int, error) {
	if err := s.out.Send(&affiliatev1.BackupStoreResponse{Data: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// counter counts what passes.
type counter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
