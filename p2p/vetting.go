package p2p

import (
	"context"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// SetVetting says which contracts this affiliate has vetted; nil says nothing.
// v must keep what the wire demands of it and may not change any more. From now
// on whoever asks is told; the other affiliates hear of it by gossip a moment
// later, together with what else changes until then.
func (h *Host) SetVetting(v *affiliatev1.Vetting) {
	h.vetting.Store(v)
	if l := h.live.Load(); l != nil {
		l.announcer.renew()
		l.announcer.soon()
	}
}

// Refresh asks a connected affiliate for the records that it knows; its own is
// among them, and new. It connects to nobody.
func (h *Host) Refresh(ctx context.Context, address string) error {
	l, err := h.running()
	if err != nil {
		return err
	}
	a, ok := l.table.get(address)
	if !ok || !l.sessions.admitted(a.peer) {
		return agreement.Errorf(agreement.CodePeerUnreachable, "%s is not connected", address)
	}
	return l.pullRecords(ctx, a.peer)
}
