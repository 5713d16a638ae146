package node

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/api/affiliate/v1/affiliatev1connect"
)

// storeAPI implements StoreService. A walk over everything, or a backup, keeps
// the disk busy: one of them at a time runs.
type storeAPI struct {
	affiliatev1connect.UnimplementedStoreServiceHandler // until BackupStore is there
	n                                                   *Node
	busy                                                chan struct{}
}

func newStoreAPI(n *Node) storeAPI { return storeAPI{n: n, busy: make(chan struct{}, 1)} }

// begin takes the place; the caller calls end.
func (a storeAPI) begin() (end func(), err error) {
	select {
	case a.busy <- struct{}{}:
		return func() { <-a.busy }, nil
	default:
		return nil, agreement.Errorf(agreement.CodeInUse, "the store is being verified or backed up already").
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
	err = a.n.store.Room(ctx)
	if agreement.CodeOf(err) == agreement.CodeDiskFull {
		out.Refuses, err = err.Error(), nil
	}
	return connect.NewResponse(out), err
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
