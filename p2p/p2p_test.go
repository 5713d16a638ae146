package p2p

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
)

const (
	testNetwork = "testing-1"
	testLimit   = time.Minute // of every wait in a test: a busy machine under the race detector is slow
)

// memory is a Records and a Handler that remember in memory.
type memory struct {
	mu      sync.Mutex
	records map[string][]byte
	mail    map[string]*affiliatev1.Mail // direct or pulled, by mailbox
	gossip  map[string]*affiliatev1.Mail
	kept    map[string]*affiliatev1.Mail
	peers   []string

	objects map[agreement.Hash][]byte
	onMail  func(from string, m *affiliatev1.Mail) error // before it is taken
	keep    bool                                         // gossiped mail is kept
}

func newMemory() *memory {
	return &memory{
		records: map[string][]byte{}, mail: map[string]*affiliatev1.Mail{}, gossip: map[string]*affiliatev1.Mail{},
		kept: map[string]*affiliatev1.Mail{}, objects: map[agreement.Hash][]byte{}, keep: true,
	}
}

func (m *memory) SaveAffiliate(address string, signed []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records[address] = signed
	return nil
}

func (m *memory) Affiliates() (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.records), nil
}

func (m *memory) HandleMail(_ context.Context, from string, mail *affiliatev1.Mail) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.onMail != nil {
		if err := m.onMail(from, mail); err != nil {
			return err
		}
	}
	m.mail[string(mail.Mailbox)] = mail
	return nil
}

func (m *memory) HandleGossip(_ context.Context, mail *affiliatev1.Mail) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gossip[string(mail.Mailbox)] = mail
	if m.keep {
		m.kept[string(mail.Mailbox)] = mail
	}
	return nil
}

func (m *memory) OpenObject(_ context.Context, _ string, id agreement.Hash, offset int64) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	m.mu.Lock()
	b, ok := m.objects[id]
	m.mu.Unlock()
	if !ok {
		return nil, nil, agreement.Errorf(agreement.CodeNotFound, "no object %s", id)
	}
	ref := &affiliatev1.ObjectRef{ObjectId: id[:], SealedSize: int64(len(b))}
	return &affiliatev1.FetchObjectResponse{Header: []byte("header"), Ref: ref}, io.NopCloser(bytes.NewReader(b[min(offset, int64(len(b))):])), nil
}

// OpenLeaves gives as many zeros as an object has bytes.
func (m *memory) OpenLeaves(ctx context.Context, from string, id agreement.Hash) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	response, body, err := m.OpenObject(ctx, from, id, 0)
	if err == nil {
		response.Leaves = response.Ref.SealedSize
	}
	return response, body, err
}

// OpenContract knows contracts as objects of the same name.
func (m *memory) OpenContract(ctx context.Context, from string, contract agreement.Hash) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	return m.OpenObject(ctx, from, contract, 0)
}

// OpenTerms knows terms as the object whose name begins with the agreement's id.
func (m *memory) OpenTerms(ctx context.Context, from string, id agreement.ID) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error) {
	var name agreement.Hash
	copy(name[:], id[:])
	return m.OpenObject(ctx, from, name, 0)
}

// keepObject has the node give an object to all who ask for it.
func (m *memory) keepObject(id agreement.Hash, payload []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[id] = payload
}

// HeaderFor takes an object's name for its header.
func (m *memory) HeaderFor(ctx context.Context, from string, id agreement.Hash) ([]byte, error) {
	_, body, err := m.OpenObject(ctx, from, id, 0)
	if err != nil {
		return nil, err
	}
	return id[:], body.Close()
}

// SealingOf knows contents as objects of the same name.
func (m *memory) SealingOf(ctx context.Context, from string, content agreement.Hash) (*affiliatev1.ObjectRef, error) {
	response, body, err := m.OpenObject(ctx, from, content, 0)
	if err != nil {
		return nil, err
	}
	return response.Ref, body.Close()
}

func (m *memory) ListMail(_ context.Context, after []byte) ([]*affiliatev1.Mail, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*affiliatev1.Mail
	for _, k := range slices.Sorted(maps.Keys(m.kept)) {
		if k > string(after) && len(list) < 3 { // small pages, to turn some
			list = append(list, m.kept[k])
		}
	}
	return list, nil
}

func (m *memory) ClaimMail(_ context.Context, mailbox, token []byte) (*affiliatev1.Mail, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	mail, ok := m.kept[string(mailbox)]
	if !ok || !keys.ClaimFits(mail.Claim, token) {
		return nil, agreement.ErrNotFound
	}
	delete(m.kept, string(mailbox))
	return mail, nil
}

func (m *memory) PeerConnected(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peers = append(m.peers, address)
}

func (m *memory) has(mailbox []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mail[string(mailbox)] != nil
}

// taken counts the mails taken directly or pulled.
func (m *memory) taken() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.mail)
}

// gossiped returns a gossiped mail, nil if it didn't arrive.
func (m *memory) gossiped(mailbox []byte) *affiliatev1.Mail {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gossip[string(mailbox)]
}

// offer makes the node keep a mail.
func (m *memory) offer(mail *affiliatev1.Mail) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept[string(mail.Mailbox)] = mail
}

func (m *memory) hasGossip(mailbox []byte) bool { return m.gossiped(mailbox) != nil }

// testNode is a Host with what is behind it.
type testNode struct {
	*Host
	*memory
	ring *keys.Ring
	stop func()
}

func newTestRing(t testing.TB) *keys.Ring {
	t.Helper()
	r, err := keys.Create(keys.Options{Dir: filepath.Join(t.TempDir(), "keys"), Unprotected: true, Prefix: "tp"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func testConfig(name string) Config {
	return Config{
		Network: testNetwork, Prefix: "tp", Name: name, Members: []string{"*"}, Version: "test", RecordLifetime: time.Hour,
		Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"},
	}
}

// newTestNode makes a node with short waits that doesn't run yet.
func newTestNode(t testing.TB, cfg Config, ring *keys.Ring, mem *memory) *testNode {
	t.Helper()
	h, err := New(cfg, ring, mem, mem, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h.times.retryFirst = 100 * time.Millisecond
	h.times.announceSoon = 20 * time.Millisecond
	h.times.announceFirst = 200 * time.Millisecond
	h.times.ping = 100 * time.Millisecond
	h.times.renewGossip = 300 * time.Millisecond
	h.times.pullFirst = 100 * time.Millisecond
	h.times.pullMost = 400 * time.Millisecond
	h.times.hello = 2 * time.Second
	h.times.refuse = 100 * time.Millisecond
	return &testNode{Host: h, memory: mem, ring: ring}
}

// start runs the node until stop or the end of the test.
func (n *testNode) start(t testing.TB) *testNode {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("running: %v", err)
			}
		case <-time.After(testLimit):
			t.Error("the node doesn't stop")
		}
	})
	t.Cleanup(n.stop)
	select {
	case <-n.Ready():
	case err := <-done:
		t.Fatalf("running: %v", err)
	case <-time.After(testLimit):
		t.Fatal("the node doesn't start")
	}
	return n
}

// run makes and starts a node that bootstraps from others.
func run(t testing.TB, name string, from ...*testNode) *testNode {
	t.Helper()
	cfg := testConfig(name)
	for _, f := range from {
		_, addrs := f.Self()
		cfg.Bootstrap = append(cfg.Bootstrap, addrs...)
	}
	return newTestNode(t, cfg, newTestRing(t), newMemory()).start(t)
}

func (n *testNode) address() string { return n.ring.Address() }

func (n *testNode) peer(address string) Peer {
	for _, p := range n.Peers() {
		if p.Address == address {
			return p
		}
	}
	return Peer{}
}

func (n *testNode) connectedTo(others ...*testNode) bool {
	for _, o := range others {
		if !n.peer(o.address()).Connected {
			return false
		}
	}
	return true
}

// gossipsWith reports whether mail gossiped now would go to n others.
func (n *testNode) gossipsWith(others int) bool {
	l := n.live.Load()
	return l != nil && len(l.gossip.mail.ListPeers()) >= others
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !within(testLimit, cond) {
		t.Fatalf("waited %v for: %s", testLimit, what)
	}
}

// within waits for a condition, false when it doesn't come true in time.
func within(limit time.Duration, cond func() bool) bool {
	deadline := time.After(limit)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			return false
		}
	}
	return true
}

func wantCode(t testing.TB, err error, code agreement.Code) {
	t.Helper()
	var e *agreement.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got error %v, want code %s", err, code)
	}
}

// mailTo seals a mail of some size to an affiliate.
func mailTo(t testing.TB, to *keys.Ring, size int) *affiliatev1.Mail {
	t.Helper()
	m, err := keys.SealMail(make([]byte, size), to.Recipient(), to.MailboxKey().PublicKey().Bytes(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	t.Cleanup(cancel)
	return ctx
}

// cut makes two nodes that don't run yet unable to connect.
func cut(a, b *testNode) {
	a.blocked = func(id peer.ID) bool { return id == b.id }
	b.blocked = func(id peer.ID) bool { return id == a.id }
}
