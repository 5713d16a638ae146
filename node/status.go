package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/p2p"
)

// pendingAlarm is the age at which a pending effect is called a problem.
const pendingAlarm = 5 * time.Minute

func (n *Node) status(ctx context.Context) (*affiliatev1.GetStatusResponse, error) {
	counts, err := n.store.CountPhases()
	if err != nil {
		return nil, err
	}
	kept, err := n.store.CountKeptMail()
	if err != nil {
		return nil, err
	}
	pending, oldest := n.queue.len()
	out := &affiliatev1.GetStatusResponse{
		Name: n.cfg.Name, Address: n.ring.Address(), Version: n.cfg.Version, Started: timestamppb.New(n.started),
		Chain: n.chainStatus(ctx), Network: n.networkStatus(kept), Agreements: counts,
		PendingEffects: int64(pending), OldestPending: unixOrNil(oldest), ContractEngine: n.engine.Version(),
	}
	out.Problems = append(problems(out, absent(n.host.Peers()), oldest), n.storeProblems(ctx)...)
	return out, nil
}

func (n *Node) chainStatus(ctx context.Context) *affiliatev1.ChainStatus {
	connected, lastErr, height, blockTime := n.chain.Health()
	out := &affiliatev1.ChainStatus{
		ChainId: n.cfg.Network, Connected: connected, Height: height, BlockTime: unixOrNil(blockTime),
		Error: lastErr, Endpoint: n.cfg.ChainEndpoint,
	}
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if !connected && lastErr == "" { // the follower hasn't begun: ask now
		if _, err := n.chain.Status(short); err != nil {
			out.Error = advised(err)
		}
	}
	if number, err := n.chain.AccountNumber(short, n.ring.Address()); err == nil {
		out.AccountNumber = number
	} else if connected && out.Error == "" {
		out.Error = advised(err)
	}
	return out
}

// advised is an error for people, with what to do about it.
func advised(err error) string {
	var known *agreement.Error
	if errors.As(err, &known) && known.Hint != "" {
		return err.Error() + "; " + known.Hint
	}
	return err.Error()
}

func (n *Node) networkStatus(kept int64) *affiliatev1.NetworkStatus {
	peerID, listen := n.host.Self()
	out := &affiliatev1.NetworkStatus{PeerId: peerID, Listen: listen, KeptMail: kept}
	for _, p := range n.host.Peers() {
		if p.Connected {
			out.Peers++
		}
		out.Known++
	}
	return out
}

// problems says in words what an operator should look at.
func problems(s *affiliatev1.GetStatusResponse, absent string, oldest time.Time) []string {
	var out []string
	if !s.Chain.Connected {
		out = append(out, fmt.Sprintf("the chain at %s can't be used: %s", s.Chain.Endpoint, s.Chain.Error))
	} else if s.Chain.Error != "" {
		out = append(out, "the chain: "+s.Chain.Error)
	}
	if s.Network.Peers == 0 {
		out = append(out, "no other affiliate is connected: check members and bootstrap under [p2p], on both sides")
	}
	if absent != "" {
		out = append(out, "not connected: "+absent)
	}
	if waiting := s.Agreements[agreement.Vetting.String()]; waiting > 0 {
		out = append(out, fmt.Sprintf("%d agreement(s) wait for a contract to be vetted: see `affiliate agreement list --phase %s`", waiting, agreement.Vetting))
	}
	if !oldest.IsZero() && time.Since(oldest) > pendingAlarm {
		out = append(out, fmt.Sprintf("something has been pending since %s: see `affiliate agreement list`", oldest.UTC().Format(time.RFC3339)))
	}
	return out
}

// storeProblems says what the store can't do.
func (n *Node) storeProblems(ctx context.Context) (out []string) {
	if err := n.store.Room(ctx); err != nil {
		out = append(out, "nothing new is taken in: "+advised(err))
	}
	damaged, err := n.store.Quarantined()
	switch {
	case err != nil:
		out = append(out, "the store: "+advised(err))
	case len(damaged) > 0:
		out = append(out, fmt.Sprintf("%d object(s) are damaged: `affiliate store verify --repair` fetches them from affiliates that have them", len(damaged)))
	}
	if problem := n.rotation().Problem; problem != "" {
		out = append(out, "the rotation of the encryption identity: "+problem)
	}
	return out
}

// maxAbsent is how many absent affiliates a status names.
const maxAbsent = 3

// absent names affiliates whose records are known and that aren't connected.
func absent(peers []p2p.Peer) string {
	var names []string
	for _, p := range peers {
		if !p.Connected {
			names = append(names, strings.TrimSpace(p.Name+" "+p.Address))
		}
	}
	if more := len(names) - maxAbsent; more > 0 {
		names = append(names[:maxAbsent], fmt.Sprintf("and %d more: see `affiliate peers`", more))
	}
	return strings.Join(names, ", ")
}

func viewPeer(p p2p.Peer) *affiliatev1.Peer {
	return &affiliatev1.Peer{
		Address: p.Address, Name: p.Name, PeerId: p.PeerID, Connected: p.Connected, Multiaddrs: p.Multiaddrs,
		RecordExpires: unixOrNil(p.Expires), Sequence: p.Sequence, Latency: durationpb.New(p.Latency),
	}
}
