// Package p2p owns the affiliates' network: who is connected, whose records
// are known, mail, objects and gossip on the wire. It never interprets what a
// mail or an object holds, and keeps nothing but affiliate records.
package p2p

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
)

// The protocols between two nodes, see docs/format/wire.md.
const (
	protoHello   protocol.ID = "/affiliate/hello/1"
	protoRecords protocol.ID = "/affiliate/records/1"
	protoMail    protocol.ID = "/affiliate/mail/1"
	protoObject  protocol.ID = "/affiliate/object/1"
	protoKept    protocol.ID = "/affiliate/kept/1"
)

// Limits of what crosses the wire, in bytes unless said otherwise.
const (
	// GossipLimit is the largest encoded Mail that Gossip takes.
	GossipLimit = 256 << 10
	// MailLimit is the largest encoded Mail that Send takes.
	MailLimit = keys.MaxMessage + 16<<10
	// MaxAffiliates is how many affiliates one node knows at most.
	MaxAffiliates = 1000

	helloLimit    = keys.MaxRecord + 256
	receiptLimit  = 4 << 10
	requestLimit  = 4 << 10
	responseLimit = keys.MaxHeader + 16<<10
	listLimit     = 64 << 10 // a page of ListMailResponse
	maxReason     = 1 << 10  // of a refusal that is passed on
	maxCode       = 40
)

// Config says who this node is and whom it talks to.
type Config struct {
	Network string // chain id; nodes of other networks are refused
	Prefix  string // bech32 prefix of addresses
	Name    string // for people, at most 64 bytes

	Listen    []string // multiaddrs to listen on
	Announce  []string // multiaddrs to tell others; empty: those listened on
	Bootstrap []string // multiaddrs with /p2p/ of nodes to reach first

	Members        []string      // account addresses that may connect; "*": any with a valid record
	RecordLifetime time.Duration // of the own affiliate record; 0: 24 h
	Version        string        // of the program, told to peers
}

// Handler is the node behind the network. Its methods are called from many
// goroutines and must respect ctx. An *agreement.Error is passed to the peer
// with its code and text, any other error as INTERNAL without its text.
type Handler interface {
	// HandleMail takes a mail for this affiliate. Nil means that it is stored
	// durably; from is the address of the peer that handed it over.
	HandleMail(ctx context.Context, from string, m *affiliatev1.Mail) error
	// HandleGossip takes anybody's mail, ours or to keep.
	HandleGossip(ctx context.Context, m *affiliatev1.Mail) error
	// OpenObject gives the payload of an object from an offset on.
	OpenObject(ctx context.Context, from string, id agreement.Hash, offset int64) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error)
	// OpenLeaves gives the leaves of an object's tree of hashes, as OpenObject
	// does the payload.
	OpenLeaves(ctx context.Context, from string, id agreement.Hash) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error)
	// OpenContract gives the payload of the module of a contract that this
	// affiliate has vetted, sealed so that the asking one can open it.
	OpenContract(ctx context.Context, from string, contract agreement.Hash) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error)
	// OpenTerms gives the terms of an agreement that is on chain, as they are.
	OpenTerms(ctx context.Context, from string, id agreement.ID) (*affiliatev1.FetchObjectResponse, io.ReadCloser, error)
	// SealingOf says which object is a sealing of a content that the asking
	// one can read.
	SealingOf(ctx context.Context, from string, content agreement.Hash) (*affiliatev1.ObjectRef, error)
	// HeaderFor gives the header of an object, wrapped for the recipient that
	// the asking one, who can read it, has announced last.
	HeaderFor(ctx context.Context, from string, id agreement.Hash) ([]byte, error)
	// ListMail lists kept mail without its content, after a mailbox.
	ListMail(ctx context.Context, after []byte) ([]*affiliatev1.Mail, error)
	// ClaimMail gives a kept mail to whoever has its token.
	ClaimMail(ctx context.Context, mailbox, token []byte) (*affiliatev1.Mail, error)
	// PeerConnected says that an affiliate can be reached now. Must not block.
	PeerConnected(address string)
}

// Records keeps the signed affiliate records over a restart.
type Records interface {
	SaveAffiliate(address string, signed []byte) error
	Affiliates() (map[string][]byte, error)
}

// Peer is what is known of one affiliate. Address is empty for a bootstrap
// peer that has not told yet who it is.
type Peer struct {
	Address    string
	Name       string
	PeerID     string
	Connected  bool
	Multiaddrs []string
	Expires    time.Time // of its record
	Sequence   uint64    // of its record
	Latency    time.Duration
	LastError  string // of the last attempt to connect; empty when connected
}

// Host is this affiliate's place in the network. Its methods may be called
// from any goroutine; before Run listens they find nobody reachable.
type Host struct {
	cfg     Config
	ring    *keys.Ring
	records Records
	handler Handler
	log     *slog.Logger
	reg     prometheus.Registerer
	times   timings
	blocked func(peer.ID) bool // tests cut links with it; nil: none

	key       crypto.PrivKey
	id        peer.ID
	listen    []ma.Multiaddr
	announce  []ma.Multiaddr
	bootstrap []peer.AddrInfo

	vetting atomic.Pointer[affiliatev1.Vetting] // of the own record; nil says nothing
	table   *table
	metrics *metrics
	live    atomic.Pointer[live] // nil unless running
	ready   chan struct{}        // closed once listening
}

// New checks the configuration and loads the known affiliate records. It
// opens no socket; Run does. reg may be nil.
func New(cfg Config, ring *keys.Ring, rec Records, h Handler, reg prometheus.Registerer, log *slog.Logger) (*Host, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(ring.NodeKey())
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeDamaged, "reading the node key: %w", err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeDamaged, "reading the node key: %w", err)
	}
	if cfg.RecordLifetime == 0 {
		cfg.RecordLifetime = defaultRecordLifetime
	}
	host := &Host{
		cfg: cfg, ring: ring, records: rec, handler: h, log: log, reg: reg, times: defaultTimings(),
		key: key, id: id, ready: make(chan struct{}),
	}
	if err := host.parseConfig(); err != nil {
		return nil, err
	}
	host.table = newTable(ring.Address(), cfg.Members)
	if err := host.loadRecords(time.Now()); err != nil {
		return nil, err
	}
	if host.metrics, err = newMetrics(reg, host); err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "registering metrics: %w", err)
	}
	return host, nil
}

// parseConfig turns the configured texts into addresses.
func (h *Host) parseConfig() error {
	if len(h.cfg.Name) > keys.MaxName {
		return agreement.Errorf(agreement.CodeBadRequest, "affiliate.name is longer than %d bytes", keys.MaxName)
	}
	if h.cfg.RecordLifetime < minRecordLifetime || h.cfg.RecordLifetime > keys.MaxRecordLifetime {
		return agreement.Errorf(agreement.CodeBadRequest, "p2p.record_lifetime is %s, want %s to %s", h.cfg.RecordLifetime, minRecordLifetime, keys.MaxRecordLifetime)
	}
	if len(h.cfg.Announce) > keys.MaxAddrs {
		return agreement.Errorf(agreement.CodeBadRequest, "p2p.announce has more than %d addresses", keys.MaxAddrs)
	}
	var err error
	if h.listen, err = parseAddrs("p2p.listen", h.cfg.Listen); err != nil {
		return err
	}
	if h.announce, err = parseAddrs("p2p.announce", h.cfg.Announce); err != nil {
		return err
	}
	for i, a := range h.announce { // a trailing /p2p/ is implied
		h.announce[i], _ = peer.SplitAddr(a)
	}
	boot, err := parseAddrs("p2p.bootstrap", h.cfg.Bootstrap)
	if err != nil {
		return err
	}
	if h.bootstrap, err = peer.AddrInfosFromP2pAddrs(boot...); err != nil {
		return agreement.Errorf(agreement.CodeBadRequest, "reading p2p.bootstrap: %w", err).
			WithHint("each address ends with /p2p/ and the peer's id, as `affiliate status` prints it")
	}
	h.bootstrap = slices.DeleteFunc(h.bootstrap, func(p peer.AddrInfo) bool { return p.ID == h.id })
	slices.SortFunc(h.bootstrap, func(a, b peer.AddrInfo) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return nil
}

func parseAddrs(setting string, texts []string) ([]ma.Multiaddr, error) {
	addrs := make([]ma.Multiaddr, 0, len(texts))
	for _, s := range texts {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, agreement.Errorf(agreement.CodeBadRequest, "%s: %q is not a multiaddr", setting, s).
				WithHint("for example /ip4/0.0.0.0/udp/4040/quic-v1 or /dns4/node.example.com/tcp/4040")
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

// Ready is closed once the node listens.
func (h *Host) Ready() <-chan struct{} { return h.ready }

// Self returns the own peer id and the addresses that others are told, each
// with /p2p/. There are none before the node listens.
func (h *Host) Self() (peerID string, listen []string) {
	if l := h.live.Load(); l != nil {
		for _, a := range l.addrs() {
			listen = append(listen, a.String()+"/p2p/"+h.id.String())
		}
	}
	return h.id.String(), listen
}

// Affiliate returns the newest record of a member, false where none is known.
// Its addresses are good until it expires; its keys still serve to seal mail
// for an affiliate that is away, and to know the sender of mail that was kept,
// for keepExpired after that. The own record is known while running.
func (h *Host) Affiliate(address string) (*affiliatev1.AffiliateRecord, bool) {
	a, ok := h.table.get(address)
	if !ok || time.Now().After(a.expires().Add(keepExpired)) {
		return nil, false
	}
	return a.record, true
}

// Peers lists the known affiliates but this one, by address; bootstrap peers
// that have not told who they are come first.
func (h *Host) Peers() []Peer {
	l := h.live.Load()
	var peers []Peer
	known := map[peer.ID]bool{}
	for _, a := range h.table.all() {
		if a.record.Address == h.ring.Address() {
			continue
		}
		known[a.peer] = true
		p := Peer{
			Address: a.record.Address, Name: a.record.Name, PeerID: a.record.PeerId,
			Multiaddrs: slices.Clone(a.record.Multiaddrs), Expires: a.expires(), Sequence: a.record.Sequence,
		}
		if l != nil {
			l.describe(a.peer, &p)
		}
		peers = append(peers, p)
	}
	for _, b := range h.bootstrap {
		if known[b.ID] {
			continue
		}
		p := Peer{PeerID: b.ID.String()}
		for _, a := range b.Addrs {
			p.Multiaddrs = append(p.Multiaddrs, a.String())
		}
		if l != nil {
			l.describe(b.ID, &p)
		}
		peers = append(peers, p)
	}
	slices.SortStableFunc(peers, func(a, b Peer) int { return strings.Compare(a.Address, b.Address) })
	return peers
}
