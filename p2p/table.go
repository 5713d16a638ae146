package p2p

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
)

// affiliate is one verified record. It never changes.
type affiliate struct {
	record *affiliatev1.AffiliateRecord
	signed []byte // SignedAffiliateRecord
	peer   peer.ID
	addrs  []ma.Multiaddr
}

func (a *affiliate) expires() time.Time { return time.Unix(a.record.ExpiresUnix, 0) }

// table holds the newest record of every known affiliate.
type table struct {
	self    string
	open    bool            // "*": every valid record is a member's
	members map[string]bool // addresses

	mu        sync.RWMutex
	byAddress map[string]*affiliate // guarded by mu
}

func newTable(self string, members []string) *table {
	t := &table{self: self, members: map[string]bool{}, byAddress: map[string]*affiliate{}}
	for _, m := range members {
		t.open = t.open || m == "*"
		t.members[m] = true
	}
	return t
}

// member reports whether an affiliate may take part.
func (t *table) member(address string) bool {
	return t.open || t.members[address] || address == t.self
}

func (t *table) get(address string) (*affiliate, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	a, ok := t.byAddress[address]
	return a, ok
}

// all lists the records by address.
func (t *table) all() []*affiliate {
	t.mu.RLock()
	list := make([]*affiliate, 0, len(t.byAddress))
	for _, a := range t.byAddress {
		list = append(list, a)
	}
	t.mu.RUnlock()
	slices.SortFunc(list, func(a, b *affiliate) int { return strings.Compare(a.record.Address, b.record.Address) })
	return list
}

// What put did with a record.
type putResult int

const (
	putNewer  putResult = iota // taken: unknown or a higher sequence
	putSame                    // already known
	putOlder                   // a record with a higher sequence is known
	putNobody                  // not a member, or no room
)

// put takes a verified record of a member if its sequence is higher. An
// expired record gives way when there is no room.
func (t *table) put(a *affiliate, now time.Time) putResult {
	address := a.record.Address
	if !t.member(address) {
		return putNobody
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known := t.byAddress[address]
	switch {
	case !known && len(t.byAddress) >= MaxAffiliates && !t.dropExpired(now):
		return putNobody
	case known && a.record.Sequence < old.record.Sequence:
		return putOlder
	case known && a.record.Sequence == old.record.Sequence:
		return putSame
	}
	t.byAddress[address] = a
	return putNewer
}

// dropExpired removes expired records; the caller holds mu.
func (t *table) dropExpired(now time.Time) bool {
	before := len(t.byAddress)
	for address, a := range t.byAddress {
		if !now.Before(a.expires()) && address != t.self {
			delete(t.byAddress, address)
		}
	}
	return len(t.byAddress) < before
}

// readRecord verifies SignedAffiliateRecord bytes and parses what only libp2p
// can.
func (h *Host) readRecord(signed []byte, now time.Time) (*affiliate, error) {
	if len(signed) > helloLimit {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "an affiliate record of %d bytes", len(signed))
	}
	var s affiliatev1.SignedAffiliateRecord
	if err := proto.Unmarshal(signed, &s); err != nil {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "decoding a signed affiliate record: %w", err)
	}
	record, err := keys.VerifyRecord(h.cfg.Prefix, h.cfg.Network, &s, now)
	if err != nil {
		return nil, err
	}
	return newAffiliate(record, signed)
}

func newAffiliate(record *affiliatev1.AffiliateRecord, signed []byte) (*affiliate, error) {
	a := &affiliate{record: record, signed: signed}
	var err error
	if a.peer, err = peer.Decode(record.PeerId); err != nil {
		return nil, agreement.Errorf(agreement.CodeBadMessage, "the record of %s has a bad peer id", record.Address)
	}
	for _, s := range record.Multiaddrs {
		addr, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, agreement.Errorf(agreement.CodeBadMessage, "the record of %s has a bad multiaddr", record.Address)
		}
		addr, id := peer.SplitAddr(addr)
		if addr == nil || (id != "" && id != a.peer) {
			return nil, agreement.Errorf(agreement.CodeBadMessage, "the record of %s has another's multiaddr", record.Address)
		}
		a.addrs = append(a.addrs, addr)
	}
	return a, nil
}

// loadRecords takes over what is stored, expired records as well: their
// affiliates were believed in time. One that doesn't fit any more is passed
// over: its affiliate will bring another.
func (h *Host) loadRecords(now time.Time) error {
	stored, err := h.records.Affiliates()
	if err != nil {
		return fmt.Errorf("loading affiliate records: %w", err)
	}
	for address, signed := range stored {
		a, err := h.readRecord(signed, validAt(signed, now))
		if err != nil || a.record.Address != address {
			h.log.Debug("stored affiliate record passed over", "address", address, "error", err)
			continue
		}
		h.table.put(a, now)
	}
	return nil
}

// validAt returns when to check a stored record: now, or just before it
// expired.
func validAt(signed []byte, now time.Time) time.Time {
	var s affiliatev1.SignedAffiliateRecord
	var r affiliatev1.AffiliateRecord
	if proto.Unmarshal(signed, &s) != nil || proto.Unmarshal(s.Record, &r) != nil {
		return now
	}
	if last := time.Unix(r.ExpiresUnix-1, 0); last.Before(now) && now.Before(last.Add(keepExpired)) {
		return last
	}
	return now
}

// learn puts a verified record into the table and the store.
func (h *Host) learn(a *affiliate) putResult {
	result := h.table.put(a, time.Now())
	if result != putNewer {
		return result
	}
	if err := h.records.SaveAffiliate(a.record.Address, a.signed); err != nil {
		h.log.Warn("affiliate record not stored; it has to be learned again after a restart", "address", a.record.Address, "error", err)
	}
	if l := h.live.Load(); l != nil {
		l.connector.wake()
	}
	return result
}
