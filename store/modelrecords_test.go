package store

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

// modelRecord is a record in memory.
type modelRecord struct {
	Record
	indexed int // objectModel.purges, when its index fields were put last
}

// record puts records, with index fields where their content is there.
func (d *driver) record(r *rapid.T) {
	batch := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) Record {
		id := small(r, "agreement", 200)
		rec := Record{
			Scope: agreement.UUID{small(r, "scope", 2)}, Name: rapid.SampledFrom([]string{"a", "ab"}).Draw(r, "name"),
			Agreement: agreement.ID{id}, Height: int64(small(r, "height", 9)), Hash: "h", Content: agreement.Hash{id % 3}, BlockTime: time.Unix(1, 0).UTC(),
		}
		if d.objects.sealings(rec.Content) > 0 {
			rec.Index = map[string]string{"f": "v"}
		}
		return rec
	}), 1, 3).Draw(r, "records")
	if err := d.s.PutRecords(context.Background(), batch); err != nil {
		r.Fatal(err)
	}
	for _, rec := range batch {
		k := fmt.Sprint(rec.Scope, rec.Name)
		is := func(o modelRecord) bool { return o.Height == rec.Height && o.Agreement == rec.Agreement }
		i := slices.IndexFunc(d.m.records[k], is)
		if i < 0 {
			i = len(d.m.records[k])
			d.m.records[k] = append(d.m.records[k], modelRecord{Record: rec})
		}
		if rec.Index != nil {
			d.m.records[k][i].Index, d.m.records[k][i].indexed = rec.Index, d.objects.purges
		}
	}
}

// sealings counts the objects of a content.
func (m *objectModel) sealings(content agreement.Hash) (n int) {
	for _, o := range m.objects {
		if o.ContentHash == content {
			n++
		}
	}
	return n
}

// lost says of a record whether its index fields have gone with its content,
// and whether that is certain: the entry of an object that wasn't described
// when it went stays until the store is verified.
func (m *objectModel) lost(rec modelRecord) (lost, certain bool) {
	return rec.Index != nil && rec.indexed < m.erased[rec.Content], m.stale == 0 && !m.unsure[rec.Content]
}

func (d *driver) compareRecords(r *rapid.T) {
	names := map[string]bool{}
	for e, err := range d.s.Erased() {
		k := fmt.Sprint(e.Scope, e.Name)
		names[k] = true
		if err != nil || d.m.records[k] == nil || e.At.IsZero() {
			r.Fatalf("erased without a record: %+v, %v", e, err)
		}
	}
	for k, all := range d.m.records {
		d.compareVersions(r, all, names[k])
	}
	current := len(d.m.records)
	for rec, err := range d.s.Records() {
		if err != nil || d.m.records[fmt.Sprint(rec.Scope, rec.Name)] == nil {
			r.Fatal(rec, err)
		}
		current--
	}
	if current != 0 {
		r.Fatalf("the records are off by %d", current)
	}
}

// compareVersions compares all versions of one record.
func (d *driver) compareVersions(r *rapid.T, all []modelRecord, erased bool) {
	newest := all[0]
	for _, rec := range all {
		if rec.Height >= newest.Height {
			newest = rec
		}
	}
	got, err := d.s.Record(newest.Scope, newest.Name)
	if err != nil {
		r.Fatal(err)
	}
	d.compareRecord(r, got, newest, erased)
	history, err := d.s.RecordHistory(newest.Scope, newest.Name)
	if err != nil || len(history) != len(all) || !slices.IsSortedFunc(history, func(a, b Record) int { return int(b.Height - a.Height) }) {
		r.Fatalf("the history is %+v, %v", history, err)
	}
	for _, got := range history {
		i := slices.IndexFunc(all, func(o modelRecord) bool { return o.Height == got.Height && o.Agreement == got.Agreement })
		if i < 0 {
			r.Fatalf("the history has %+v", got)
		}
		d.compareRecord(r, got, all[i], erased)
	}
}

func (d *driver) compareRecord(r *rapid.T, got Record, want modelRecord, erased bool) {
	lost, certain := d.objects.lost(want)
	if lost && (certain || got.Index == nil) {
		if want.Index = nil; certain && !erased && want.indexed >= d.objects.forgotten {
			r.Fatalf("record %s isn't listed as erased", want.Name)
		}
	}
	if !reflect.DeepEqual(got, want.Record) {
		r.Fatalf("the record is %+v, not %+v", got, want.Record)
	}
}

// forgetErased takes off the list what was erased until the last but one.
func (d *driver) forgetErased(r *rapid.T) {
	var before time.Time
	for e, err := range d.s.Erased() {
		if err != nil {
			r.Fatal(err)
		}
		if e.At.After(before) {
			before = e.At
		}
	}
	for range 2 {
		if err := d.s.ForgetErased(context.Background(), before); err != nil {
			r.Fatal(err)
		}
		left := 0
		for e, err := range d.s.Erased() {
			if left++; err != nil || e.At.Before(before) {
				r.Fatalf("%v is left, %v", e, err)
			}
		}
		if !before.IsZero() && left == 0 {
			r.Fatal("nothing is left of what was erased last")
		}
	}
	if err := d.s.ForgetErased(context.Background(), before.Add(1)); err != nil {
		r.Fatal(err)
	}
	for e, err := range d.s.Erased() {
		r.Fatalf("%v is left, %v", e, err)
	}
	d.objects.forgotten = d.objects.purges
}

// unindexed counts the index fields of contents of which nothing is listed.
func unindexed(t fatal, s *Store) (n int64) {
	t.Helper()
	listed := rows(t, s, prefixContent)
	for k := range rows(t, s, prefixIndexed) {
		content, _, _, err := splitIndexedKey([]byte(k))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for l := range listed {
			found = found || bytes.HasPrefix([]byte(l), contentOf(content))
		}
		if !found {
			n++
		}
	}
	return n
}
