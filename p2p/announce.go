package p2p

import (
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// announcer keeps the own record fresh and tells it by gossip: soon after
// something has changed or somebody has connected, often at first and then
// ever more rarely.
type announcer struct {
	l      *live
	signal chan struct{}
	mu     sync.Mutex // one renewal at a time
}

func newAnnouncer(l *live) *announcer {
	return &announcer{l: l, signal: make(chan struct{}, 1)}
}

// soon asks for an announcement.
func (a *announcer) soon() {
	select {
	case a.signal <- struct{}{}:
	default:
	}
}

func (a *announcer) run() {
	wait := a.l.times.announceSoon
	interval := a.l.times.announceFirst
	for {
		timer := time.NewTimer(jitter(wait))
		select {
		case <-a.l.ctx.Done():
			timer.Stop()
			return
		case <-a.signal:
			timer.Stop()
			if !sleep(a.l.ctx, jitter(a.l.times.announceSoon)) { // gather what else changes
				return
			}
			a.drain()
		case <-timer.C:
		}
		a.announce()
		wait = min(interval, a.l.cfg.RecordLifetime/3)
		interval = min(2*interval, a.l.times.announceMost)
	}
}

// drain forgets what asked for the announcement that is about to be made.
func (a *announcer) drain() {
	select {
	case <-a.signal:
	default:
	}
}

// announce renews the record, because gossip drops what it has seen a moment
// ago, and publishes it.
func (a *announcer) announce() {
	a.renew()
	own, ok := a.l.table.get(a.l.ring.Address())
	if !ok {
		return
	}
	if err := a.l.gossip.records.Publish(a.l.ctx, own.signed); err != nil && a.l.ctx.Err() == nil {
		a.l.log.Debug("announcing the own record", "error", err)
	}
}

// renew makes a new own record. Its sequence is the time in milliseconds, or
// one above the last if that is higher: it rises over restarts, over the loss
// of the store and over a clock that is set back.
func (a *announcer) renew() {
	a.mu.Lock()
	defer a.mu.Unlock()
	l, now := a.l, time.Now()
	sequence := uint64(now.UnixMilli()) //nolint:gosec // positive
	if old, ok := l.table.get(l.ring.Address()); ok {
		sequence = max(sequence, old.record.Sequence+1)
	}
	record := &affiliatev1.AffiliateRecord{
		Network: l.cfg.Network, Address: l.ring.Address(), AccountKey: l.ring.AccountKey(), Name: l.cfg.Name,
		Recipient: l.ring.Recipient(), MailboxKey: l.ring.MailboxKey().PublicKey().Bytes(), PeerId: l.id.String(),
		Sequence: sequence, ExpiresUnix: now.Add(l.cfg.RecordLifetime).Unix(),
	}
	for _, addr := range l.addrs() {
		record.Multiaddrs = append(record.Multiaddrs, addr.String())
	}
	if err := l.putOwn(record, l.vetting.Load()); err != nil {
		l.log.Error("making the own affiliate record", "error", err)
	}
}

// putOwn signs the own record and learns it like anybody else's, so that a
// record which others would refuse shows here. Which contracts are vetted is
// for members only, so the record that is shown before it is known who the
// other side is doesn't say it; its sequence is the lower one.
func (l *live) putOwn(record *affiliatev1.AffiliateRecord, vetting *affiliatev1.Vetting) error {
	signed, err := l.ring.SignRecord(record)
	if err != nil {
		return err
	}
	l.greeting.Store(signed)
	if vetting != nil {
		record.Vetting = vetting
		record.Sequence++
		if signed, err = l.ring.SignRecord(record); err != nil {
			return err
		}
	}
	raw, err := proto.Marshal(signed)
	if err != nil {
		return err
	}
	own, err := l.readRecord(raw, time.Now())
	if err != nil {
		return err
	}
	l.learn(own)
	return nil
}
