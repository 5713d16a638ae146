package node

import (
	"crypto/sha256"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/p2p"
	"github.com/affiliate-node/affiliate/store"
)

// bare is a node with keys and a store, whose network doesn't run and whose
// chain doesn't answer: enough for what is decided without them.
func bare(t *testing.T) *Node { return bareOn(t, "http://127.0.0.1:1") }

// bareOn is bare with the RPC address of a chain, and the records of others.
func bareOn(t *testing.T, endpoint string, others ...*keys.Ring) *Node {
	t.Helper()
	net := &network{t: t}
	log := slog.New(slog.DiscardHandler)
	ring := newRing(t)
	st, err := store.Open(store.Options{Dir: filepath.Join(t.TempDir(), "data")}, log)
	net.must(err)
	t.Cleanup(func() { _ = st.Close() })
	for _, other := range others {
		net.must(st.SaveAffiliate(other.Address(), net.record(other)))
	}
	chain, err := chainclient.New(chainclient.Config{ChainID: testChain, Endpoint: endpoint, Prefix: "tp"}, ring, log)
	net.must(err)
	n, err := New(Config{
		Network: testChain, Prefix: "tp", MaxLifetime: time.Hour, AckWithin: time.Minute, MaxOpen: 8,
		MaxObjectSize: 1 << 20, Policy: approve,
	}, p2p.Config{Network: testChain, Prefix: "tp", Members: []string{"*"}}, Deps{Ring: ring, Store: st, Chain: chain, Log: log})
	net.must(err)
	return n
}

func newRing(t *testing.T) *keys.Ring {
	t.Helper()
	ring, err := keys.Create(keys.Options{Dir: filepath.Join(t.TempDir(), "keys"), Unprotected: true, Prefix: "tp"})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// proposed is a proposal by another affiliate to a node.
func proposed(n *Node, body []byte) agreement.Proposed {
	return agreement.Proposed{
		Opening: agreement.Opening{
			ID: agreement.NewUUID(), Self: n.ring.Address(), Contract: agreement.Hash{3}, Scope: agreement.UUID{4},
			Participants: []agreement.Party{{Address: "tp1proposer", Role: "OWNER"}, {Address: n.ring.Address(), Role: "SERVICER"}},
			Deadline:     time.Now().Add(time.Hour), AckWithin: time.Minute,
		},
		Stated:  agreement.Hash{5},
		Offered: &agreement.Body{Round: 1, Digest: digestOf(body), Timeout: time.Now().Add(time.Minute).UnixNano()},
	}
}

// mail puts a message into a node's inbox, as the cause of an event.
func mail(t *testing.T, n *Node, content string) cause {
	t.Helper()
	id := agreement.Hash(sha256.Sum256([]byte(content)))
	if _, err := n.store.PutMail(t.Context(), id, []byte(content)); err != nil {
		t.Fatal(err)
	}
	return cause{mail: id}
}

// hostOf is a host of the same node that knows other records.
func (net *network) hostOf(n *Node, records p2p.Records) *p2p.Host {
	net.t.Helper()
	host, err := p2p.New(p2p.Config{Network: testChain, Prefix: "tp", Members: []string{"*"}}, n.ring, records, n, nil, slog.New(slog.DiscardHandler))
	net.must(err)
	return host
}
