package node

import (
	"context"
	"errors"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/devchain"
	"github.com/affiliate-node/affiliate/exec"
	"github.com/affiliate-node/affiliate/index"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/p2p"
	"github.com/affiliate-node/affiliate/store"
)

const testChain = "node-test-1"

// network is real nodes on a real chain, but for the wire: the test carries
// their messages, and may change what a dishonest affiliate says.
type network struct {
	t     *testing.T
	nodes []*Node
	// tamper changes a message of node from before it is signed; nil changes nothing.
	tamper func(from int, m *affiliatev1.Message)
}

// modules are the example contracts, built once for all tests.
var modules = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "contracts")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := map[string][]byte{}
	for _, name := range []string{"loan", "payment"} {
		file := filepath.Join(dir, name)
		cmd := osexec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", file, "../examples/"+name)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, errors.New(string(text))
		}
		if out[name], err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	return out, nil
})

// compiled is the engines' cache, shared by all tests; TestMain removes it.
var compiled = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "compiled") })

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := compiled(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// newNetwork starts a chain and opens nodes; all hold the contracts.
func newNetwork(t *testing.T, policies ...Policy) *network {
	t.Helper()
	wasm, err := modules()
	if err != nil {
		t.Fatal(err)
	}
	rings := make([]*keys.Ring, len(policies))
	var accounts []devchain.Account
	for i := range rings {
		rings[i], err = keys.Create(keys.Options{Dir: filepath.Join(t.TempDir(), "keys"), Unprotected: true, Prefix: "tp"})
		if err != nil {
			t.Fatal(err)
		}
		accounts = append(accounts, devchain.Account{Address: rings[i].Address(), PublicKey: rings[i].AccountKey()})
	}
	chain := devchain.StartTest(t, devchain.Genesis{ChainID: testChain, Accounts: accounts})
	net := &network{t: t}
	cache, err := compiled()
	net.must(err)
	for i, ring := range rings {
		net.nodes = append(net.nodes, net.open(ring, rings, chain.Endpoint, cache, policies[i]))
	}
	for _, n := range net.nodes {
		for _, name := range []string{"loan", "payment"} {
			if _, _, err := n.publish(t.Context(), wasm[name]); err != nil {
				t.Fatalf("publishing %s: %v", name, err)
			}
		}
		go func() { _ = n.follow(t.Context()) }()
	}
	return net
}

func (net *network) open(ring *keys.Ring, all []*keys.Ring, endpoint, cache string, policy Policy) *Node {
	net.t.Helper()
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(store.Options{Dir: filepath.Join(net.t.TempDir(), "data"), MaxObjectSize: 16 << 20}, log)
	net.must(err)
	net.t.Cleanup(func() { _ = st.Close() })
	for _, other := range all {
		if other != ring {
			net.must(st.SaveAffiliate(other.Address(), net.record(other)))
		}
	}
	ix, err := index.Open(filepath.Join(net.t.TempDir(), "index.sqlite"), nil, log)
	net.must(err)
	net.t.Cleanup(func() { _ = ix.Close() })
	engine, err := exec.New(exec.Config{CacheDir: cache, Workers: 2, Timeout: 20 * time.Second}, log)
	net.must(err)
	net.t.Cleanup(func() { _ = engine.Close(context.Background()) })
	client, err := chainclient.New(chainclient.Config{
		ChainID: testChain, Endpoint: endpoint, Prefix: "tp", Fee: "auto", GasLimit: 4_000_000,
		CosignLifetime: 5 * time.Second, PollInterval: 50 * time.Millisecond,
	}, ring, log)
	net.must(err)
	n, err := New(Config{
		Name: "test", Network: testChain, Prefix: "tp", ChainEndpoint: endpoint, Lifetime: time.Minute,
		MaxLifetime: time.Hour, AckWithin: time.Minute, MaxOpen: 100, MaxObjectSize: 16 << 20, Policy: policy,
	}, p2p.Config{Network: testChain, Prefix: "tp", Members: []string{"*"}}, Deps{
		Ring: ring, Store: st, Index: ix, Engine: engine, Chain: client, Log: log,
	})
	net.must(err)
	return n
}

func (net *network) must(err error) {
	net.t.Helper()
	if err != nil {
		net.t.Fatal(err)
	}
}

func (net *network) record(ring *keys.Ring) []byte { return net.recordWith(ring, ring) }

// recordWith is an affiliate's record with the encryption keys of another ring.
func (net *network) recordWith(ring, encryption *keys.Ring) []byte {
	signed, err := ring.SignRecord(&affiliatev1.AffiliateRecord{
		Network: testChain, Address: ring.Address(), AccountKey: ring.AccountKey(), Name: "test",
		Recipient: encryption.Recipient(), MailboxKey: encryption.MailboxKey().PublicKey().Bytes(),
		PeerId: net.peerID(ring), Multiaddrs: []string{"/ip4/127.0.0.1/tcp/1"},
		Sequence: 1, ExpiresUnix: time.Now().Add(time.Hour).Unix(),
	})
	net.must(err)
	raw, err := proto.Marshal(signed)
	net.must(err)
	return raw
}

func (net *network) peerID(ring *keys.Ring) string {
	h, err := p2p.New(p2p.Config{Network: testChain, Prefix: "tp"}, ring, noRecords{}, nil, nil, slog.New(slog.DiscardHandler))
	net.must(err)
	id, _ := h.Self()
	return id
}

// noRecords is an empty table of affiliates.
type noRecords struct{}

func (noRecords) SaveAffiliate(string, []byte) error     { return nil }
func (noRecords) Affiliates() (map[string][]byte, error) { return nil, nil }

// until carries everything out, and all messages over, until cond holds.
func (net *network) until(what string, cond func() bool) {
	net.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			net.t.Fatalf("waited too long for %s", what)
		}
		if !net.pump() {
			select { // the chain goes on by itself
			case <-net.t.Context().Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// pump does what is due at every node once, and reports whether there was any.
func (net *network) pump() bool {
	did := false
	for i, n := range net.nodes {
		for _, id := range n.timers.dueByClock(time.Now()) {
			n.applyQuietly(net.t.Context(), id, agreement.Tick{})
		}
		for c := range classCount {
			task, _, ok := n.queue.next(c)
			if !ok {
				continue
			}
			did = true
			if c == classSend {
				net.carry(i, task)
			} else {
				n.carryOut(net.t.Context(), task)
			}
			n.queue.done(task)
		}
	}
	return did
}

// carry brings one message to its recipient.
func (net *network) carry(from int, t task) {
	n, e := net.nodes[from], t.effect
	ctx := net.t.Context()
	s, err := n.state(e.Agreement)
	net.must(err)
	m, err := n.message(ctx, s, *e)
	if err == nil {
		if net.tamper != nil {
			net.tamper(from, m)
		}
		err = net.hand(from, m)
	}
	if agreement.Retryable(err) {
		n.retry(ctx, t, err)
		return
	}
	kind := agreement.EffectKind(e.Kind)
	var event agreement.Event = agreement.Delivered{To: e.To, Kind: kind, Via: "test"}
	if err != nil {
		event = agreement.Undeliverable{To: e.To, Kind: kind, Code: agreement.CodeOf(err), Text: err.Error()}
	}
	_, err = n.apply(ctx, e.Agreement, event, cause{effect: e.Seq})
	net.must(err)
}

// hand signs and seals a message, and gives it to its recipient's node.
func (net *network) hand(from int, m *affiliatev1.Message) error {
	signed, err := net.nodes[from].ring.SignMessage(m)
	net.must(err)
	to := net.nodes[net.at(m.To)]
	mail, err := keys.SealMail(signed, to.ring.Recipient(), to.ring.MailboxKey().PublicKey().Bytes(), time.Now().Add(time.Hour))
	net.must(err)
	return to.HandleMail(net.t.Context(), m.From, mail)
}

func (net *network) at(address string) int {
	for i, n := range net.nodes {
		if n.ring.Address() == address {
			return i
		}
	}
	net.t.Fatalf("no node %s", address)
	return -1
}

// phase is where an agreement stands at a node.
func (net *network) phase(node int, id agreement.ID) agreement.Phase {
	s, err := net.nodes[node].state(id)
	net.must(err)
	return s.Phase
}

// settled waits until an agreement is final at every node, and returns its states.
func (net *network) settled(id agreement.ID) []agreement.State {
	net.t.Helper()
	net.until("the agreement to end everywhere", func() bool {
		for i := range net.nodes {
			if !net.phase(i, id).Final() {
				return false
			}
		}
		return true
	})
	var out []agreement.State
	for _, n := range net.nodes {
		s, err := n.state(id)
		net.must(err)
		out = append(out, s)
	}
	return out
}
