package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Limits of one Change.
const (
	MaxState  = 4 << 20  // bytes of an agreement's state
	MaxBlob   = 16 << 20 // bytes of one named document
	MaxEffect = 16 << 20 // bytes of an effect's Arg and Sealed together
	MaxText   = 4 << 10  // bytes of each text in an event, and of an effect's last error
)

// ErrStale says that what caused the change has been dealt with already: the
// effect is done, or the message consumed. There is nothing left to do.
var ErrStale = errors.New("the cause has been dealt with already")

// ErrConflict says that the agreement has moved on since the state was read.
// Read it again and compute the change anew.
var ErrConflict = errors.New("the agreement has another revision")

// Effect is something that a change wants done in the world, kept until a
// later change says that it is done. Its key is (Agreement, Seq).
type Effect struct {
	Agreement agreement.ID
	Seq       uint64 // never reused within the agreement
	Kind      uint8
	To        string // address of the affiliate that it is for, or empty
	Arg       []byte
	Attempts  int
	NotBefore time.Time // when to try next
	Created   time.Time
	Sealed    []byte // bytes to be sent again as they are
	LastError string // of the last attempt, at most MaxText bytes
}

// Event is an entry of the node's log. Times are kept in UTC.
type Event struct {
	Sequence  uint64 // from 1, without gaps over the whole node; Commit assigns it
	Time      time.Time
	Agreement agreement.ID
	Step      int // 1 to 10 where it is one of the ten steps, or 0
	Kind      string
	Peer      string
	Code      string
	Text      string
	Phase     string // after the event
}

// Change moves one agreement from one state to the next.
type Change struct {
	Agreement  agreement.ID
	Revision   uint64 // of the state that this was computed from; 0: must not exist yet
	State      []byte // the new one, whose revision is Revision+1; at most MaxState
	Open       bool   // false once final
	Phase      string // for listing; at most MaxName bytes
	Blobs      map[string][]byte
	Add        []Effect       // of this agreement; a zero Agreement is filled in
	DoneEffect uint64         // Seq of the effect that caused the change; 0: none
	DoneMail   agreement.Hash // inbox message that caused the change; zero: none
	Events     []Event        // of this agreement; a zero Agreement is filled in
}

// Commit writes the change in one transaction, and returns when it is on disk:
// the state, its documents, the new effects, the events and the end of the
// cause are there together or not at all. It returns the events with their
// sequences. ErrStale or ErrConflict (wrapped) mean that nothing was written;
// where both hold, it is ErrStale.
func (s *Store) Commit(ctx context.Context, c Change) ([]Event, error) {
	p, err := prepare(c)
	if err != nil {
		return nil, fmt.Errorf("committing agreement %s: %w", c.Agreement, err)
	}
	if err := s.update(ctx, p.entries, p.size, p.run); err != nil {
		return nil, fmt.Errorf("committing agreement %s: %w", c.Agreement, err)
	}
	return p.events, nil
}

// prepared is a checked change with everything encoded that can be before its
// turn comes, so that the leader has little to do.
type prepared struct {
	Change
	value   []byte
	effects [][]byte
	events  []Event
	encoded [][]byte // events
	entries int
	size    int64
}

func prepare(c Change) (*prepared, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	p := &prepared{Change: c}
	p.value = saved{c.Revision + 1, c.Open, c.Phase, c.State}.encode()
	p.size = int64(len(p.value))
	for _, e := range c.Add {
		p.effects = append(p.effects, e.encode())
		p.size += int64(len(p.effects[len(p.effects)-1]))
	}
	for _, e := range c.Events {
		e.Agreement = c.Agreement
		p.events = append(p.events, e)
		p.encoded = append(p.encoded, e.encode())
		p.size += int64(len(p.encoded[len(p.encoded)-1]))
	}
	for _, b := range c.Blobs {
		p.size += int64(len(b))
	}
	// agreement, open, two phases with their counts, effect, three for a mail
	const fixed = 10
	p.entries = fixed + len(c.Blobs) + len(c.Add) + 2*len(c.Events)
	return p, nil
}

func (c Change) check() error {
	if c.Agreement.IsZero() {
		return agreement.Errorf(agreement.CodeInternal, "the change names no agreement")
	}
	if err := checkSize("state", len(c.State), MaxState); err != nil {
		return err
	}
	if err := checkName("phase", c.Phase); err != nil {
		return err
	}
	for name, b := range c.Blobs {
		if err := checkName("document", name); err != nil {
			return err
		}
		if err := checkSize("document "+name, len(b), MaxBlob); err != nil {
			return err
		}
	}
	seen := make(map[uint64]bool, len(c.Add))
	for _, e := range c.Add {
		if e.Agreement != c.Agreement && !e.Agreement.IsZero() || e.Seq == 0 || seen[e.Seq] {
			return agreement.Errorf(agreement.CodeInternal, "effect %d is of another agreement, or not the only one", e.Seq)
		}
		seen[e.Seq] = true
		if err := e.check(); err != nil {
			return err
		}
	}
	for _, e := range c.Events {
		if err := e.check(c.Agreement); err != nil {
			return err
		}
	}
	return nil
}

func (v Effect) check() error {
	if err := checkSize("effect", len(v.Arg)+len(v.Sealed), MaxEffect); err != nil {
		return err
	}
	return checkSize("effect's text", max(len(v.To), len(v.LastError)), MaxText)
}

func (v Event) check(id agreement.ID) error {
	if v.Agreement != id && !v.Agreement.IsZero() {
		return agreement.Errorf(agreement.CodeInternal, "an event is of agreement %s", v.Agreement)
	}
	longest := max(len(v.Kind), len(v.Peer), len(v.Code), len(v.Text), len(v.Phase))
	return checkSize("event's text", longest, MaxText)
}

func checkSize(what string, size, limit int) error {
	if size > limit {
		return agreement.Errorf(agreement.CodeTooLarge, "%s has %d bytes, more than %d", what, size, limit)
	}
	return nil
}

func checkName(what, name string) error {
	if name == "" || len(name) > MaxName {
		return agreement.Errorf(agreement.CodeBadRequest, "the name of a %s has %d bytes, not 1 to %d", what, len(name), MaxName)
	}
	return nil
}

// run writes nothing before everything has been checked.
func (p *prepared) run(w *writer) error {
	if err := p.checkCause(w); err != nil {
		return err
	}
	old, err := p.checkRevision(w)
	if err != nil {
		return err
	}
	mail, err := readInbox(w, p.DoneMail)
	if err != nil {
		return err
	}
	for i, e := range p.Add {
		k := effectKey(p.Agreement, e.Seq)
		if there, err := w.has(k); err != nil || there {
			return effectThere(e.Seq, err)
		}
		w.set(k, p.effects[i])
	}
	p.writeState(w, old)
	if p.DoneEffect != 0 {
		w.del(effectKey(p.Agreement, p.DoneEffect))
	}
	if !p.DoneMail.IsZero() {
		consume(w, p.DoneMail, mail)
	}
	p.writeEvents(w)
	return nil
}

func effectThere(seq uint64, err error) error {
	if err != nil {
		return storeError("reading an effect", err)
	}
	return agreement.Errorf(agreement.CodeInternal, "effect %d is there already", seq)
}

func (p *prepared) checkCause(w *writer) error {
	if p.DoneEffect != 0 {
		there, err := w.has(effectKey(p.Agreement, p.DoneEffect))
		if err != nil {
			return storeError("reading an effect", err)
		}
		if !there {
			return fmt.Errorf("effect %d: %w", p.DoneEffect, ErrStale)
		}
	}
	if !p.DoneMail.IsZero() {
		there, err := w.has(inboxKey(p.DoneMail))
		if err != nil {
			return storeError("reading the inbox", err)
		}
		if !there {
			return fmt.Errorf("message %s: %w", p.DoneMail, ErrStale)
		}
	}
	return nil
}

// checkRevision returns what the change replaces; a new agreement replaces
// the zero value.
func (p *prepared) checkRevision(w *writer) (old saved, err error) {
	err = w.get(agreementKey(p.Agreement), func(b []byte) (err error) { old, err = decodeSaved(b); return err })
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return old, storeError("reading the agreement", err)
	}
	if old.revision != p.Revision {
		return old, fmt.Errorf("it is at revision %d, the change is of revision %d: %w", old.revision, p.Revision, ErrConflict)
	}
	return old, nil
}

func (p *prepared) writeState(w *writer, old saved) {
	w.set(agreementKey(p.Agreement), p.value)
	if p.Open && !old.open {
		w.set(openKey(p.Agreement), nil)
	}
	if !p.Open && old.open {
		w.del(openKey(p.Agreement))
	}
	for name, b := range p.Blobs {
		w.set(blobKey(p.Agreement, name), b)
	}
	if p.Phase == old.phase {
		return
	}
	if old.phase != "" {
		w.del(phaseKey(old.phase, p.Agreement))
		w.count(old.phase, -1)
	}
	w.set(phaseKey(p.Phase, p.Agreement), nil)
	w.count(p.Phase, 1)
}

// count keeps the number of agreements in a phase.
func (w *writer) count(phase string, by int64) {
	w.mem.phases[phase] += by
	w.set(phaseCountKey(phase), encodeNumber(uint64(max(0, w.mem.phases[phase])))) //nolint:gosec // not negative
}

func (p *prepared) writeEvents(w *writer) {
	for i := range p.events {
		w.mem.lastEvent++
		seq := w.mem.lastEvent
		p.events[i].Sequence = seq
		w.set(eventKey(seq), p.encoded[i])
		w.set(eventOfKey(p.Agreement, seq), nil)
	}
}
