package store

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// fatal is what *testing.T and *rapid.T have in common.
type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

func rows(t fatal, s *Store, prefix byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := s.view(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefix}, nil, func(k []byte, item row) (bool, error) {
			return true, item.value(func(b []byte) error { all[string(k)] = bytes.Clone(b); return nil })
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// checkWhole holds what must be true of every store at every moment.
func checkWhole(t fatal, s *Store) {
	t.Helper()
	checkAgreements(t, s)
	checkEvents(t, s)
	checkObjects(t, s)
	mem := s.memory()
	if n := int64(len(rows(t, s, prefixInbox))); n != mem.inbox || n != int64(len(rows(t, s, prefixSigned))) {
		t.Fatalf("%d inbox rows, %d counted", n, mem.inbox)
	}
	size := int64(0)
	for _, b := range rows(t, s, prefixSigned) {
		size += int64(len(b))
	}
	if size != mem.inboxBytes {
		t.Fatalf("%d bytes in the inbox, %d counted", size, mem.inboxBytes)
	}
	size = 0
	for _, b := range rows(t, s, prefixKeptSealed) {
		size += int64(len(b))
	}
	n := int64(len(rows(t, s, prefixKept)))
	if n != mem.kept || size != mem.keptBytes || n != int64(len(rows(t, s, prefixKeptExpiry))) {
		t.Fatalf("%d kept mails of %d bytes, %d of %d counted", n, size, mem.kept, mem.keptBytes)
	}
}

func checkAgreements(t fatal, s *Store) {
	t.Helper()
	phases, open := map[string]int64{}, 0
	for k, b := range rows(t, s, prefixAgreement) {
		v, err := decodeSaved(b)
		if err != nil {
			t.Fatal(err)
		}
		phases[v.phase]++
		id, _ := lastUUID([]byte(k))
		if _, err := s.copyOf(phaseKey(v.phase, id)); err != nil {
			t.Fatalf("agreement %s isn't listed under its phase: %v", id, err)
		}
		if _, err := s.copyOf(openKey(id)); (err == nil) != v.open {
			t.Fatalf("agreement %s: open is %v, its row: %v", id, v.open, err)
		}
		if v.open {
			open++
		}
	}
	if n := len(rows(t, s, prefixOpen)); n != open {
		t.Fatalf("%d agreements are open, %d listed so", open, n)
	}
	if n := len(rows(t, s, prefixPhase)); n != len(rows(t, s, prefixAgreement)) {
		t.Fatalf("%d phase rows", n)
	}
	if got, err := s.CountPhases(); err != nil || !maps.Equal(got, phases) {
		t.Fatalf("phases are counted as %v, %v; they are %v", got, err, phases)
	}
}

func checkEvents(t fatal, s *Store) {
	t.Helper()
	var seq uint64
	perAgreement := map[agreement.ID]int{}
	for {
		page, err := s.EventsAfter(seq, nil, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			if seq++; e.Sequence != seq {
				t.Fatalf("event %d follows %d", e.Sequence, seq-1)
			}
			perAgreement[e.Agreement]++
		}
		if len(page) == 0 {
			break
		}
	}
	if s.LastEvent() != seq {
		t.Fatalf("the last event is %d, stated as %d", seq, s.LastEvent())
	}
	for id, n := range perAgreement {
		if page, err := s.EventsAfter(0, &id, MaxPage); err != nil || len(page) != n {
			t.Fatalf("%d events of agreement %s, not %d: %v", len(page), id, n, err)
		}
	}
}

// checkObjects reads every object, and holds that its entries go with one
// another and that nothing is there of others. What is in quarantine isn't
// read.
func checkObjects(t fatal, s *Store) {
	t.Helper()
	want := totals{batch: s.memory().totals.batch}
	leaves, small, large := 0, 0, map[agreement.Hash]bool{}
	for k, b := range rows(t, s, prefixObject) {
		id, _ := lastHash([]byte(k))
		o, err := decodeObject(b)
		if err != nil || o.ID != id {
			t.Fatalf("the description of object %s: %v", id, err)
		}
		want.objects++
		want.bytes += o.SealedSize
		if _, bad := rows(t, s, prefixQuarantine)[string(quarantineKey(id))]; !bad {
			if !slices.ContainsFunc(byContent(t, s, o.ContentHash), func(c Object) bool { return c.ID == id }) {
				t.Fatalf("object %s isn't found by its content", id)
			}
			if got := agreement.Hash(blake3.Sum256(readPayload(t, s, id, 0))); got != id {
				t.Fatalf("object %s has hash %s", id, got)
			}
		}
		switch {
		case o.large():
			large[id] = true
		case o.SealedSize > 0:
			small++
		}
		if blob.LeavesSize(o.SealedSize) > 0 {
			leaves++
		}
	}
	if n := len(rows(t, s, prefixPayload)); n != small {
		t.Fatalf("%d small payloads, %d of them in objects", n, small)
	}
	if n := len(rows(t, s, prefixLeaves)); n != leaves {
		t.Fatalf("%d trees, %d of them in objects", n, leaves)
	}
	if n := len(rows(t, s, prefixContent)); n != len(rows(t, s, prefixObject)) {
		t.Fatalf("%d content rows", n)
	}
	want.references = checkReferences(t, s)
	if got := s.memory().totals; got != want {
		t.Fatalf("the totals are %+v, not %+v", got, want)
	}
	checkHome(t, s, large)
}

// checkHome holds that the home has the payloads of objects, and what is
// marked.
func checkHome(t fatal, s *Store, want map[agreement.Hash]bool) {
	t.Helper()
	marked := rows(t, s, prefixPutting)
	err := s.home.List(context.Background(), func(id agreement.Hash, _ int64, _ time.Time) error {
		if _, ok := marked[string(puttingKey(id))]; !want[id] && !ok {
			t.Fatalf("payload %s belongs to no object", id)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkReferences holds that references are found by their objects, names and
// times, and that what none keeps is unheld.
func checkReferences(t fatal, s *Store) (n int64) {
	t.Helper()
	objects, unheld := rows(t, s, prefixObject), rows(t, s, prefixUnheld)
	held, expiry := rows(t, s, prefixHeld), rows(t, s, prefixExpiry)
	kept := map[agreement.Hash]bool{}
	expire := 0
	for k, b := range rows(t, s, prefixReference) {
		n++
		id, name, err := splitReferenceKey([]byte(k))
		if err != nil {
			t.Fatal(err)
		}
		kept[id] = true
		if _, ok := objects[string(objectKey(id))]; !ok {
			t.Fatalf("%s keeps object %s, which isn't there", name, id)
		}
		if _, ok := held[string(heldKey(name, id))]; !ok {
			t.Fatalf("the reference %s to object %s isn't found by its name", name, id)
		}
		until, err := decodeTime(b)
		if err != nil {
			t.Fatal(err)
		}
		if until.IsZero() {
			continue
		}
		expire++
		if _, ok := expiry[string(expiryKey(until, id, name))]; !ok {
			t.Fatalf("the reference %s to object %s isn't found by its time", name, id)
		}
	}
	if len(held) != int(n) || len(expiry) != expire {
		t.Fatalf("%d references, %d by name; %d expire, %d by time", n, len(held), expire, len(expiry))
	}
	if len(kept)+len(unheld) != len(objects) {
		t.Fatalf("%d objects, %d kept, %d unheld", len(objects), len(kept), len(unheld))
	}
	for k := range unheld {
		id, _ := lastHash([]byte(k))
		if _, ok := objects[string(objectKey(id))]; !ok || kept[id] {
			t.Fatalf("%s is unheld", id)
		}
	}
	return n
}

func byContent(t fatal, s *Store, content agreement.Hash) []Object {
	t.Helper()
	all, err := s.ObjectsByContent(content)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func readPayload(t fatal, s *Store, id agreement.Hash, offset int64) []byte {
	t.Helper()
	r, err := s.Payload(context.Background(), id, offset)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

var _ fatal = (*testing.T)(nil)
