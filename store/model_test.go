package store

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

// children are what this test binary does instead of testing.
var children = map[string]func(string) error{crashDir: crashWriter, sampleDir: sampleWriter, faultDir: meetFault}

// TestMain makes the model test short enough for every run; the flags
// -rapid.checks and -rapid.steps make it longer.
func TestMain(m *testing.M) {
	for variable, run := range children {
		if value := os.Getenv(variable); value != "" {
			if err := run(value); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	for name, value := range map[string]string{"rapid.checks": "8", "rapid.steps": "50"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// model is the store in memory, as its documentation says it is.
type model struct {
	states  map[agreement.ID]saved
	blobs   map[agreement.ID]map[string][]byte
	effects map[agreement.ID]map[uint64]Effect
	nextSeq map[agreement.ID]uint64
	inbox   map[agreement.Hash][]byte
	used    map[agreement.Hash]bool
	events  []Event
	records map[string][]modelRecord
	cursors map[string]uint64
}

func newModel() *model {
	return &model{
		states: map[agreement.ID]saved{}, blobs: map[agreement.ID]map[string][]byte{}, effects: map[agreement.ID]map[uint64]Effect{},
		nextSeq: map[agreement.ID]uint64{}, inbox: map[agreement.Hash][]byte{}, used: map[agreement.Hash]bool{},
		records: map[string][]modelRecord{}, cursors: map[string]uint64{},
	}
}

// commit says what must come of the change, and applies it.
func (m *model) commit(c Change) error {
	if _, ok := m.effects[c.Agreement][c.DoneEffect]; !ok && c.DoneEffect != 0 {
		return ErrStale
	}
	if _, ok := m.inbox[c.DoneMail]; !ok && !c.DoneMail.IsZero() {
		return ErrStale
	}
	if m.states[c.Agreement].revision != c.Revision {
		return ErrConflict
	}
	if m.effects[c.Agreement] == nil {
		m.effects[c.Agreement], m.blobs[c.Agreement] = map[uint64]Effect{}, map[string][]byte{}
	}
	m.states[c.Agreement] = saved{c.Revision + 1, c.Open, c.Phase, c.State}
	for _, e := range c.Add {
		e.Agreement = c.Agreement
		m.effects[c.Agreement][e.Seq] = e
		m.nextSeq[c.Agreement] = e.Seq
	}
	for name, b := range c.Blobs {
		m.blobs[c.Agreement][name] = b
	}
	delete(m.effects[c.Agreement], c.DoneEffect)
	if !c.DoneMail.IsZero() {
		m.consume(c.DoneMail)
	}
	for _, e := range c.Events {
		e.Agreement, e.Sequence = c.Agreement, uint64(len(m.events)+1)
		m.events = append(m.events, e)
	}
	return nil
}

func (m *model) consume(id agreement.Hash) {
	delete(m.inbox, id)
	m.used[id] = true
}

func small(r *rapid.T, what string, n byte) byte { return rapid.ByteRange(1, n).Draw(r, what) }

func (m *model) drawChange(r *rapid.T) Change {
	id := agreement.ID{small(r, "agreement", 3)}
	c := Change{
		Agreement: id, Revision: m.states[id].revision, State: []byte{small(r, "state", 200)},
		Open: rapid.Bool().Draw(r, "open"), Phase: rapid.SampledFrom([]string{"a", "ab", "done"}).Draw(r, "phase"),
	}
	if rapid.IntRange(0, 4).Draw(r, "wrong revision") == 0 {
		c.Revision = rapid.Uint64Range(0, 5).Draw(r, "revision")
	}
	for i := range rapid.Uint64Range(0, 3).Draw(r, "effects") {
		c.Add = append(c.Add, Effect{Seq: m.nextSeq[id] + 1 + i, Kind: small(r, "kind", 9), To: "tp1", Sealed: bytes.Repeat([]byte{1}, int(small(r, "sealed", 9))*400), Created: time.Unix(7, 0).UTC()})
	}
	if rapid.Bool().Draw(r, "by effect") {
		c.DoneEffect = rapid.Uint64Range(0, m.nextSeq[id]+1).Draw(r, "effect")
	}
	if rapid.Bool().Draw(r, "by mail") {
		c.DoneMail = agreement.Hash{small(r, "mail", 5)}
	}
	if rapid.Bool().Draw(r, "with document") {
		c.Blobs = map[string][]byte{string(rune('a' + small(r, "name", 3))): bytes.Repeat([]byte{2}, int(small(r, "document", 4))*500)}
	}
	for range rapid.IntRange(0, 3).Draw(r, "events") {
		c.Events = append(c.Events, Event{Time: time.Unix(3, 4).UTC(), Step: 1, Kind: "kind", Text: "text", Phase: c.Phase})
	}
	return c
}

func same(err, want error) bool { return (err == nil) == (want == nil) && errors.Is(err, want) }

func TestModel(t *testing.T) {
	t.Parallel()
	dir, runs := t.TempDir(), 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		d := &driver{dir: filepath.Join(dir, fmt.Sprint(runs)), m: newModel(), objects: newObjectModel()}
		d.reopen(r)
		defer func() { _ = d.s.Close() }()
		r.Repeat(map[string]func(*rapid.T){
			"commit": d.commit, "again": d.commit, "put mail": d.putMail, "drop mail": d.dropMail, "effect": d.effect,
			"record": d.record, "forget erased": d.forgetErased, "cursor": d.cursor, "reopen": d.reopen, "": d.compare,
			"put object": d.putObject, "draft": d.keepDraft, "grant": d.grant, "reference": d.reference, "collect": d.collectAt,
			"purge": d.purge, "damage": d.damage, "verify": d.verify, "backup": d.backup, "restore": d.restore,
			"revoke": d.revoke, "crash": d.crash, "compact": d.compact,
		})
		d.verify(r)
		d.restore(r)
	})
}

// driver does the same to the store and to the model.
type driver struct {
	dir     string
	s       *Store
	m       *model
	objects *objectModel
	chain   chain
	crashes int
}

func (d *driver) reopen(r *rapid.T) {
	if d.s != nil {
		if err := d.s.Close(); err != nil {
			r.Fatal(err)
		}
	}
	s, err := Open(Options{Dir: d.dir, Key: testKey}, slog.New(slog.DiscardHandler))
	if err != nil {
		r.Fatal(err)
	}
	d.s = s
}

func (d *driver) commit(r *rapid.T) {
	c := d.m.drawChange(r)
	before := len(d.m.events)
	want := d.m.commit(c)
	events, err := d.s.Commit(context.Background(), c)
	if !same(err, want) {
		r.Fatalf("commit: %v, not %v", err, want)
	}
	if want == nil && !slices.Equal(events, d.m.events[before:]) {
		r.Fatalf("events came back as %v", events)
	}
}

func (d *driver) putMail(r *rapid.T) {
	id := agreement.Hash{small(r, "mail", 5)}
	signed := bytes.Repeat(id[:1], 700*int(small(r, "size", 3)))
	_, pending := d.m.inbox[id]
	want := !pending && !d.m.used[id]
	if want {
		d.m.inbox[id] = signed
	}
	if fresh, err := d.s.PutMail(context.Background(), id, signed); err != nil || fresh != want {
		r.Fatalf("put mail: %v, %v", fresh, err)
	}
}

func (d *driver) dropMail(r *rapid.T) {
	id := agreement.Hash{small(r, "mail", 5)}
	var want error
	if _, ok := d.m.inbox[id]; ok {
		d.m.consume(id)
	} else {
		want = ErrStale
	}
	if err := d.s.DropMail(context.Background(), id); !same(err, want) {
		r.Fatalf("drop mail: %v, not %v", err, want)
	}
}

func (d *driver) effect(r *rapid.T) {
	id := agreement.ID{small(r, "agreement", 3)}
	seq := rapid.Uint64Range(1, d.m.nextSeq[id]+1).Draw(r, "effect")
	e, ok := d.m.effects[id][seq]
	var want error
	if !ok {
		want = ErrStale
	}
	if rapid.Bool().Draw(r, "drop") {
		delete(d.m.effects[id], seq)
		if err := d.s.DropEffect(context.Background(), id, seq); !same(err, want) {
			r.Fatalf("drop effect: %v, not %v", err, want)
		}
		return
	}
	e.Agreement, e.Seq = id, seq
	e.Attempts, e.LastError, e.NotBefore = e.Attempts+1, "unreachable", time.Unix(9, 9).UTC()
	if ok {
		d.m.effects[id][seq] = e
	}
	if err := d.s.UpdateEffect(context.Background(), e); !same(err, want) {
		r.Fatalf("update effect: %v, not %v", err, want)
	}
}

func (d *driver) cursor(r *rapid.T) {
	name, v := rapid.SampledFrom([]string{"chain", "c"}).Draw(r, "name"), rapid.Uint64().Draw(r, "value")
	d.m.cursors[name] = v
	if err := d.s.SetCursor(context.Background(), name, v); err != nil {
		r.Fatal(err)
	}
}

func (d *driver) compare(r *rapid.T) {
	for id, want := range d.m.states {
		state, revision, err := d.s.Agreement(id)
		if err != nil || revision != want.revision || !bytes.Equal(state, want.state) {
			r.Fatalf("agreement %v is %v at %d, %v", id, state, revision, err)
		}
		for name, b := range d.m.blobs[id] {
			if got, err := d.s.Blob(id, name); err != nil || !bytes.Equal(got, b) {
				r.Fatalf("document %s: %v", name, err)
			}
		}
	}
	d.compareLists(r)
	effects, err := d.s.Effects()
	if err != nil {
		r.Fatal(err)
	}
	n := 0
	for _, e := range effects {
		if !reflect.DeepEqual(e, d.m.effects[e.Agreement][e.Seq]) {
			r.Fatalf("effect %+v should be %+v", e, d.m.effects[e.Agreement][e.Seq])
		}
	}
	for _, m := range d.m.effects {
		n += len(m)
	}
	if n != len(effects) {
		r.Fatalf("%d effects, not %d", len(effects), n)
	}
	inbox, err := d.s.Inbox()
	if err != nil || len(inbox) != len(d.m.inbox) {
		r.Fatalf("%d messages, not %d: %v", len(inbox), len(d.m.inbox), err)
	}
	for _, m := range inbox {
		if !bytes.Equal(d.m.inbox[m.ID], m.Signed) {
			r.Fatalf("message %s differs", m.ID)
		}
	}
	events, err := d.s.EventsAfter(0, nil, MaxPage)
	if err != nil || !slices.Equal(events, d.m.events) || d.s.LastEvent() != uint64(len(d.m.events)) {
		r.Fatalf("events are %v, %v", events, err)
	}
	d.compareRecords(r)
	for name, v := range d.m.cursors {
		if got, err := d.s.Cursor(name); err != nil || got != v {
			r.Fatalf("cursor %s is %d, %v", name, got, err)
		}
	}
	d.compareObjects(r)
}

func (d *driver) compareLists(r *rapid.T) {
	for _, phase := range []string{"", "a", "ab", "done"} {
		var want []agreement.ID
		for id, v := range d.m.states {
			if phase == "" || v.phase == phase {
				want = append(want, id)
			}
		}
		slices.SortFunc(want, func(a, b agreement.ID) int { return bytes.Compare(a[:], b[:]) })
		var got []agreement.ID
		for {
			var after agreement.ID
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			page, err := d.s.Agreements(after, phase, 2)
			if err != nil {
				r.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
		}
		if !slices.Equal(got, want) {
			r.Fatalf("phase %q holds %v, not %v", phase, got, want)
		}
	}
	n := 0
	for id, state := range d.s.OpenAgreements() {
		if v := d.m.states[id]; !v.open || !bytes.Equal(state, v.state) {
			r.Fatalf("agreement %v isn't open", id)
		}
		n++
	}
	for _, v := range d.m.states {
		if v.open {
			n--
		}
	}
	if n != 0 {
		r.Fatalf("the open agreements are off by %d", n)
	}
}
