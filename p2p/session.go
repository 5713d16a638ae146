package p2p

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/affiliate-node/affiliate/agreement"
)

// session is what is known of a connected peer: nothing but its key until its
// hello is accepted, then whose node it is.
type session struct {
	admitted chan struct{} // closed when address is set
	gone     chan struct{} // closed when the last connection has closed
	sending  chan struct{} // a slot for every mail being sent
	meters   map[protocol.ID]*meter

	mu      sync.Mutex
	address string // guarded by mu; set once, before admitted is closed
}

// maxSending bounds the mails on their way to one peer; more wait. It is
// below what the other side serves at once.
const maxSending = 64

func newSession() *session {
	s := &session{
		admitted: make(chan struct{}), gone: make(chan struct{}),
		sending: make(chan struct{}, maxSending), meters: map[protocol.ID]*meter{},
	}
	for proto, q := range quotas() {
		s.meters[proto] = &meter{quota: q}
	}
	return s
}

// isAdmitted reports whether the peer has said who it is.
func (s *session) isAdmitted() bool {
	select {
	case <-s.admitted:
		return true
	default:
		return false
	}
}

// admit notes whose node the peer is: true for the first time, false when it
// was known already, an error when it claims to be somebody else now.
func (s *session) admit(address string) (first bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.address {
	case address:
		return false, nil
	case "":
		s.address = address
		close(s.admitted)
		return true, nil
	}
	return false, agreement.Errorf(agreement.CodeNotAMember, "the node of %s now claims to be %s", s.address, address)
}

func (s *session) who() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// sessions holds a session for every connected peer, and for how long a peer
// is refused.
type sessions struct {
	mu      sync.Mutex
	byPeer  map[peer.ID]*session  // guarded by mu
	refused map[peer.ID]time.Time // guarded by mu; until when
	lastErr map[peer.ID]string    // guarded by mu; of connecting
	warned  map[peer.ID]struct{}  // guarded by mu; of peers that refuse this affiliate
}

// maxRemembered bounds the peers of which an error or a refusal is remembered.
const maxRemembered = 4 * MaxAffiliates

func newSessions() *sessions {
	return &sessions{byPeer: map[peer.ID]*session{}, refused: map[peer.ID]time.Time{}, lastErr: map[peer.ID]string{}, warned: map[peer.ID]struct{}{}}
}

func (t *sessions) get(id peer.ID) (*session, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.byPeer[id]
	return s, ok
}

// opened returns the session of a peer that has a new connection.
func (t *sessions) opened(id peer.ID) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.byPeer[id]
	if !ok {
		s = newSession()
		t.byPeer[id] = s
	}
	return s
}

// closed ends the session of a peer if no connection is left.
func (t *sessions) closed(id peer.ID, connections func() int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.byPeer[id]
	if !ok || connections() > 0 {
		return false
	}
	delete(t.byPeer, id)
	close(s.gone)
	return true
}

func (t *sessions) admitted(id peer.ID) bool {
	s, ok := t.get(id)
	return ok && s.isAdmitted()
}

func (t *sessions) countAdmitted() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, s := range t.byPeer {
		if s.isAdmitted() {
			n++
		}
	}
	return n
}

// strangers counts the connected peers that have not said who they are.
func (t *sessions) strangers() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, s := range t.byPeer {
		if !s.isAdmitted() {
			n++
		}
	}
	return n
}

// refuse keeps a peer away until a time.
func (t *sessions) refuse(id peer.ID, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.refused) >= maxRemembered {
		clear(t.refused)
	}
	t.refused[id] = until
}

func (t *sessions) isRefused(id peer.ID, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	until, ok := t.refused[id]
	if ok && now.After(until) {
		delete(t.refused, id)
		return false
	}
	return ok
}

// note remembers why a peer isn't connected; nil forgets it.
func (t *sessions) note(id peer.ID, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.lastErr, id)
		return
	}
	if len(t.lastErr) >= maxRemembered {
		clear(t.lastErr)
	}
	t.lastErr[id] = oneLine(err.Error(), maxReason)
}

// firstRefusal says whether it is news that a peer refuses this affiliate: it
// is once, until welcome.
func (t *sessions) firstRefusal(id peer.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.warned[id]; known {
		return false
	}
	if len(t.warned) >= maxRemembered {
		clear(t.warned)
	}
	t.warned[id] = struct{}{}
	return true
}

// welcome is for a peer that has taken this affiliate.
func (t *sessions) welcome(id peer.ID) {
	t.note(id, nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.warned, id)
}

func (t *sessions) noted(id peer.ID) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastErr[id]
}

// await waits until a connected peer has said who it is, for at most limit.
func (t *sessions) await(ctx context.Context, id peer.ID, limit time.Duration) (*session, error) {
	s, ok := t.get(id)
	if !ok {
		return nil, agreement.Errorf(agreement.CodePeerUnreachable, "peer %s is not connected", id)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.admitted:
		return s, nil
	case <-s.gone:
		return nil, agreement.Errorf(agreement.CodePeerUnreachable, "peer %s hung up before saying who it is", id)
	case <-timer.C:
		return nil, agreement.Errorf(agreement.CodePeerUnreachable, "peer %s didn't say in %s who it is", id, limit)
	case <-ctx.Done():
		return nil, agreement.Errorf(agreement.CodePeerUnreachable, "waiting for peer %s to say who it is: %w", id, ctx.Err())
	}
}
