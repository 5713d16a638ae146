package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/store"
)

// Names of an agreement's documents in the store.
const (
	blobTerms       = "terms"       // Terms, as the proposer serialised them
	blobRequest     = "request"     // SHA-256 of the request that the proposer's application made
	blobAttestation = "attestation" // prefix; followed by the address
	blobBody        = "body"        // prefix; followed by the round
	blobCosignature = "cosignature" // prefix; followed by round and address
	blobTx          = "tx"          // prefix; followed by the round
	blobOutputs     = "outputs"     // JSON list of output
	blobBlockTime   = "block_time"  // RFC 3339
	blobRefusal     = "refusal"     // prefix; the signed refusal or divergence, by address
	blobCancelled   = "cancelled"   // the proposer's signed cancellation
)

func named(prefix string, parts ...any) string {
	for _, p := range parts {
		prefix += fmt.Sprintf("/%v", p)
	}
	return prefix
}

// cause is where an event came from. Whatever it is gets consumed in the
// transaction that stores what the event changed.
type cause struct {
	effect uint64         // sequence of the effect that brought the event
	mail   agreement.Hash // message that did
	blobs  map[string][]byte
}

func (c cause) empty() bool { return c.effect == 0 && c.mail.IsZero() }

// state reads an agreement; one that isn't known has phase None.
func (n *Node) state(id agreement.ID) (agreement.State, error) {
	s, _, err := n.load(id)
	return s, err
}

func (n *Node) load(id agreement.ID) (agreement.State, uint64, error) {
	raw, revision, err := n.store.Agreement(id)
	if errors.Is(err, agreement.ErrNotFound) {
		return agreement.State{}, 0, nil
	}
	if err != nil {
		return agreement.State{}, 0, err
	}
	s, err := agreement.DecodeState(raw)
	return s, revision, err
}

// apply takes one event through Step and commits the new state, its effects
// and the consumption of the cause in one transaction. An event whose cause is
// gone has been applied before; that is no error. A refused event is one, but
// its cause is consumed all the same: it would be refused again.
func (n *Node) apply(ctx context.Context, id agreement.ID, e agreement.Event, c cause) (agreement.State, error) {
	lock := n.locks.of(id)
	lock.Lock()
	defer lock.Unlock()

	s, revision, err := n.load(id)
	if err != nil {
		return s, err
	}
	now := time.Now()
	next, effects, refusal := agreement.Step(s, now, e)
	if errors.Is(refusal, agreement.ErrUnknown) {
		return s, refusal
	}
	if refusal != nil && c.empty() {
		return s, refusal
	}
	if next.Phase == agreement.None {
		return s, errors.Join(refusal, n.consume(ctx, c))
	}
	change, tasks, err := n.change(next, revision, now, effects, c)
	if err != nil {
		return s, err
	}
	if len(effects) == 0 && unchanged(s, change.State) {
		if c.empty() {
			return s, nil
		}
		change.Blobs = nil // a late or repeated message mustn't replace what was checked
	}
	_, err = n.store.Commit(ctx, change)
	switch {
	case errors.Is(err, store.ErrStale):
		return s, nil
	case err != nil:
		return s, fmt.Errorf("storing agreement %s: %w", id, err)
	}
	n.timers.set(next)
	n.claims.settle(next)
	if next.Phase.Final() && !s.Phase.Final() {
		n.retireQuietly(ctx, next, now)
	}
	for _, t := range tasks {
		n.queue.add(t)
	}
	return next, refusal
}

func unchanged(s agreement.State, encoded []byte) bool {
	before, err := s.Encode()
	return err == nil && bytes.Equal(before, encoded)
}

func (n *Node) consume(ctx context.Context, c cause) error {
	if c.mail.IsZero() {
		return nil
	}
	return n.store.DropMail(ctx, c.mail)
}

// change turns what Step said into one transaction of the store. An effect's
// number is the revision that made it and its place among its siblings.
func (n *Node) change(s agreement.State, revision uint64, now time.Time, effects []agreement.Effect, c cause) (store.Change, []task, error) {
	raw, err := s.Encode()
	if err != nil {
		return store.Change{}, nil, err
	}
	ch := store.Change{
		Agreement: s.ID, Revision: revision, State: raw, Open: !s.Phase.Final(), Phase: s.Phase.String(),
		Blobs: c.blobs, DoneEffect: c.effect, DoneMail: c.mail,
	}
	var tasks []task
	for i, e := range effects {
		if e.Kind == agreement.Notify {
			ch.Events = append(ch.Events, store.Event{
				Time: now, Agreement: s.ID, Step: e.Notice.Step, Kind: e.Notice.Kind, Peer: e.Notice.Peer,
				Code: string(e.Notice.Code), Text: e.Notice.Text, Phase: s.Phase.String(),
			})
			continue
		}
		row := store.Effect{
			Agreement: s.ID, Seq: (revision+1)<<8 | uint64(i+1), Kind: uint8(e.Kind), To: e.To,
			Arg: encodeRound(e.Round), Created: now,
		}
		ch.Add = append(ch.Add, row)
		tasks = append(tasks, effectTask(row))
	}
	return ch, tasks, nil
}

// applyQuietly is for events that nobody waits for.
func (n *Node) applyQuietly(ctx context.Context, id agreement.ID, e agreement.Event) {
	if _, err := n.apply(ctx, id, e, cause{}); err != nil && ctx.Err() == nil {
		n.log.Error("an event was not applied", "agreement", id, "event", fmt.Sprintf("%T", e), "error", err)
	}
}

// saveBlobs stores documents of an agreement without changing its state.
func (n *Node) saveBlobs(ctx context.Context, id agreement.ID, blobs map[string][]byte) error {
	lock := n.locks.of(id)
	lock.Lock()
	defer lock.Unlock()
	s, revision, err := n.load(id)
	if err != nil {
		return err
	}
	change, _, err := n.change(s, revision, time.Now(), nil, cause{blobs: blobs})
	if err != nil {
		return err
	}
	_, err = n.store.Commit(ctx, change)
	return err
}

// An effect's argument is its round (4 bytes; nothing for round 0). Once a
// message is sealed, the round and what identifies the recipient's keys.

func encodeRound(r uint32) []byte {
	if r == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint32(nil, r)
}

func decodeRound(arg []byte) uint32 {
	if len(arg) < roundSize {
		return 0
	}
	return binary.BigEndian.Uint32(arg)
}

const roundSize = 4

// withKeys adds to an argument for which keys the message is sealed.
func withKeys(arg []byte, rec *affiliatev1.AffiliateRecord) []byte {
	keys := sha256.Sum256(append([]byte(rec.Recipient+"\x00"), rec.MailboxKey...))
	return append(binary.BigEndian.AppendUint32(nil, decodeRound(arg)), keys[:]...)
}

func sealedFor(arg []byte, rec *affiliatev1.AffiliateRecord) bool {
	return len(arg) <= roundSize || bytes.Equal(arg, withKeys(arg, rec))
}
