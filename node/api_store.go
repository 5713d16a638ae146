package node

import (
	"context"
	"maps"
	"slices"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/api/affiliate/v1/affiliatev1connect"
)

// storeAPI implements StoreService. A walk over everything, or a backup, keeps
// the disk busy: one of them at a time runs.
type storeAPI struct {
	affiliatev1connect.UnimplementedStoreServiceHandler
	n    *Node
	busy chan struct{}
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
