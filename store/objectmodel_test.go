package store

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"lukechampine.com/blake3"
	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// modelObject is an object in memory.
type modelObject struct {
	Object
	payload     []byte
	refs        map[string]time.Time
	unheld      time.Time // since when nothing keeps it, if nothing does
	bad         bool      // in quarantine
	undescribed bool
}

// objectModel is what the store has of objects, as its documentation says.
type objectModel struct {
	objects map[agreement.Hash]*modelObject
	stones  map[agreement.Hash]string
	made    uint64
	base    time.Time // when it began; everything is hours later
	now     time.Time

	// stale counts entries of content that are wrong: those of objects whose
	// description couldn't be read when they went.
	stale int64

	purges    int                    // what follows counts in them
	erased    map[agreement.Hash]int // contents whose last sealing went, and when that was
	unsure    map[agreement.Hash]bool
	forgotten int // when all that was erased was forgotten
}

func newObjectModel() *objectModel {
	now := time.Now()
	return &objectModel{objects: map[agreement.Hash]*modelObject{}, stones: map[agreement.Hash]string{}, erased: map[agreement.Hash]int{}, unsure: map[agreement.Hash]bool{}, base: now, now: now}
}

func (m *objectModel) ids() []agreement.Hash {
	return slices.SortedFunc(maps.Keys(m.objects), func(a, b agreement.Hash) int { return bytes.Compare(a[:], b[:]) })
}

// draw picks an object, nil if there is none.
func (m *objectModel) draw(r *rapid.T) *modelObject {
	if len(m.objects) == 0 {
		return nil
	}
	return m.objects[rapid.SampledFrom(m.ids()).Draw(r, "object")]
}

func drawName(r *rapid.T) string {
	return rapid.SampledFrom([]string{"put", "agreement:1", "pin"}).Draw(r, "name")
}

// until draws how long a reference lasts.
func (m *objectModel) until(r *rapid.T) time.Time {
	if rapid.Bool().Draw(r, "for ever") {
		return time.Time{}
	}
	return m.base.Add(time.Duration(rapid.IntRange(-3, 9).Draw(r, "hours")) * time.Hour).UTC().Round(0)
}

// fresh makes an object that was never there.
func (m *objectModel) fresh(r *rapid.T) *modelObject {
	size := rapid.SampledFrom([]int{0, 1, 3000, blob.GroupSize, blob.GroupSize + 1, smallPayload, smallPayload + 1, smallPayload + 3*blob.GroupSize}).Draw(r, "size")
	m.made++
	p := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{byte(m.made), byte(m.made >> 8), 1})
	_, _ = rng.Read(p)
	return &modelObject{payload: p, refs: map[string]time.Time{}, Object: Object{
		ID: blake3.Sum256(p), ContentHash: agreement.Hash{small(r, "content", 2)}, Size: int64(size), SealedSize: int64(size),
		MediaType: "text/plain", Audience: []string{"tp1a"}, Owner: drawName(r), Created: time.Unix(5, 6).UTC(), Header: make([]byte, 1+int(small(r, "header", 4))*500),
	}}
}

func (m *objectModel) hold(o *modelObject, name string, until time.Time) {
	o.refs[name] = until
	o.unheld = time.Time{}
}

func (m *objectModel) release(o *modelObject, name string, at time.Time) {
	if _, ok := o.refs[name]; !ok {
		return
	}
	delete(o.refs, name)
	if len(o.refs) == 0 {
		o.unheld = at
	}
}

func (m *objectModel) purge(o *modelObject, stone string) {
	delete(m.objects, o.ID)
	m.stones[o.ID] = stone
	if o.undescribed {
		m.stale++
	}
	m.purges++
	if m.sealings(o.ContentHash) == 0 {
		m.erased[o.ContentHash] = m.purges
		m.unsure[o.ContentHash] = m.unsure[o.ContentHash] || m.stale > 0
	}
}

// kept notes that an object was put.
func (m *objectModel) kept(o *modelObject, by string, until time.Time) {
	if was, ok := m.objects[o.ID]; ok {
		if was.undescribed {
			m.unsure[was.ContentHash] = true
			was.Object = o.Object
			m.stale++
		}
		was.bad, was.undescribed = false, false
		o = was
	}
	m.objects[o.ID] = o
	delete(m.stones, o.ID)
	m.hold(o, by, until)
}

// drawPut draws something to put: new, or there already, or purged before.
func (d *driver) drawPut(r *rapid.T) *modelObject {
	m := d.objects
	if o := m.draw(r); o != nil && rapid.IntRange(0, 2).Draw(r, "again") == 0 {
		again := *o
		again.Owner, again.Header = drawName(r), []byte("another")
		again.refs = map[string]time.Time{}
		if again.undescribed {
			again.Object = Object{ID: o.ID, Owner: again.Owner, SealedSize: int64(len(o.payload)), Created: time.Unix(1, 0).UTC()}
		}
		return &again
	}
	return m.fresh(r)
}

func (d *driver) putObject(r *rapid.T) {
	o := d.drawPut(r)
	if err := d.s.PutObject(context.Background(), o.Object, bytes.NewReader(o.payload)); err != nil {
		r.Fatal(err)
	}
	d.objects.kept(o, o.Owner, time.Time{})
}

func (d *driver) keepDraft(r *rapid.T) {
	o, until := d.drawPut(r), d.objects.until(r)
	draft, err := d.s.NewDraft(context.Background())
	if err != nil {
		r.Fatal(err)
	}
	defer draft.Discard()
	if _, err := draft.Write(o.payload); err != nil {
		r.Fatal(err)
	}
	if rapid.IntRange(0, 4).Draw(r, "discard") == 0 {
		return
	}
	got, err := draft.Keep(context.Background(), o.Object, until)
	if err != nil || got.ID != o.ID {
		r.Fatal(got.ID, err)
	}
	d.objects.kept(o, o.Owner, until)
}

func (d *driver) grant(r *rapid.T) {
	o := d.objects.draw(r)
	if o == nil {
		return
	}
	err := d.s.SetHeader(context.Background(), o.ID, func(o *Object) error {
		o.Header, o.Audience = append(o.Header, 7), append(o.Audience, "tp1b")
		return nil
	})
	if o.undescribed {
		if agreement.CodeOf(err) != agreement.CodeDamaged {
			r.Fatalf("a grant for an object without description: %v", err)
		}
		return
	}
	if err != nil {
		r.Fatal(err)
	}
	o.Header, o.Audience = append(bytes.Clone(o.Header), 7), append(slices.Clone(o.Audience), "tp1b")
}

// revoke puts another sealing in an object's place, for fewer readers.
func (d *driver) revoke(r *rapid.T) {
	o := d.objects.draw(r)
	if o == nil || o.undescribed || len(o.refs) == 0 {
		return
	}
	names := slices.Sorted(maps.Keys(o.refs))
	fresh := d.objects.fresh(r)
	if d.objects.objects[fresh.ID] != nil || d.objects.stones[fresh.ID] != "" {
		return // all empty ones are the same
	}
	fresh.ContentHash, fresh.Audience, fresh.Owner = o.ContentHash, []string{"tp1a"}, names[0]
	if err := d.s.PutObject(context.Background(), fresh.Object, bytes.NewReader(fresh.payload)); err != nil {
		r.Fatal(err)
	}
	until := d.objects.until(r)
	if err := d.s.Hold(context.Background(), fresh.ID, fresh.Owner, until); err != nil {
		r.Fatal(err)
	}
	d.objects.kept(fresh, fresh.Owner, until)
	if err := d.s.Replace(context.Background(), o.ID, agreement.Hash{9}, nil); !errors.Is(err, agreement.ErrNotFound) {
		r.Fatalf("replaced by what isn't there: %v", err)
	}
	if err := d.s.Replace(context.Background(), o.ID, fresh.ID, []byte("revoked")); err != nil {
		r.Fatal(err)
	}
	for _, name := range names {
		if until, twice := fresh.refs[name]; !twice || !until.IsZero() && (o.refs[name].IsZero() || o.refs[name].After(until)) {
			d.objects.hold(fresh, name, o.refs[name])
		}
	}
	d.objects.purge(o, "revoked")
}

func (d *driver) reference(r *rapid.T) {
	m, ctx := d.objects, context.Background()
	o, name := m.draw(r), drawName(r)
	if o == nil {
		err := d.s.Hold(ctx, agreement.Hash{9}, name, time.Time{})
		if !errors.Is(err, agreement.ErrNotFound) {
			r.Fatalf("held what isn't there: %v", err)
		}
		return
	}
	var err error
	switch rapid.IntRange(0, 3).Draw(r, "change") {
	case 0:
		until := m.until(r)
		err = d.s.Hold(ctx, o.ID, name, until)
		m.hold(o, name, until)
	case 1:
		err = d.s.ReleaseObject(ctx, o.ID, name)
		m.release(o, name, m.base)
	case 2:
		var n int
		n, err = d.s.Release(ctx, name)
		for _, o := range m.objects {
			if _, ok := o.refs[name]; ok {
				n--
			}
			m.release(o, name, m.base)
		}
		if n != 0 {
			r.Fatalf("the number of released references is off by %d", n)
		}
	case 3:
		until := m.until(r)
		_, err = d.s.HoldUntil(ctx, name, until)
		for _, o := range m.objects {
			if _, ok := o.refs[name]; ok {
				m.hold(o, name, until)
			}
		}
	}
	if err != nil {
		r.Fatal(err)
	}
}

// collectAt lets time go on, or looks at what is due without.
func (d *driver) collectAt(r *rapid.T) {
	m := d.objects
	now := time.Now()
	if h := rapid.IntRange(0, 4).Draw(r, "hours on"); h > 0 {
		now = m.now.Add(time.Duration(h)*time.Hour + 30*time.Minute)
	}
	if now.After(m.now) {
		m.now = now
	}
	d.s.SignTombstones(func(o Object, why string, at time.Time) ([]byte, error) {
		if why == "" || !at.Equal(now) {
			return nil, errors.New("wrong reason or time")
		}
		return o.ID[:4], nil
	})
	if err := d.s.collectObjects(context.Background(), now); err != nil {
		r.Fatal(err)
	}
	for _, o := range m.objects {
		for name, until := range o.refs {
			if !until.IsZero() && seconds(until) < seconds(now) {
				m.release(o, name, now)
			}
		}
	}
	for id, o := range m.objects {
		if len(o.refs) == 0 && !o.unheld.After(now.Add(-d.s.grace)) {
			m.purge(o, string(id[:4]))
		}
	}
}

func (d *driver) purge(r *rapid.T) {
	o := d.objects.draw(r)
	if o == nil {
		return
	}
	for range 2 { // the second time it isn't there
		if err := d.s.Purge(context.Background(), o.ID, []byte("stone")); err != nil {
			r.Fatal(err)
		}
	}
	d.objects.purge(o, "stone")
}
