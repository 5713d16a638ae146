package store

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"lukechampine.com/blake3"

	"github.com/affiliate-node/affiliate/agreement"
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
		return scan(txn, []byte{prefix}, nil, true, func(k []byte, item *badger.Item) (bool, error) {
			return true, item.Value(func(b []byte) error { all[string(k)] = bytes.Clone(b); return nil })
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

// checkObjects reads every object, and holds that nothing is there of others.
func checkObjects(t fatal, s *Store) {
	t.Helper()
	chunks := 0
	for k := range rows(t, s, prefixObject) {
		id, _ := lastHash([]byte(k))
		o, err := s.Object(id)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(byContent(t, s, o.ContentHash), func(c Object) bool { return c.ID == id }) {
			t.Fatalf("object %s isn't found by its content", id)
		}
		if got := agreement.Hash(blake3.Sum256(readPayload(t, s, id, 0))); got != id {
			t.Fatalf("object %s has hash %s", id, got)
		}
		chunks += int((o.SealedSize + chunkSize - 1) / chunkSize)
	}
	if n := len(rows(t, s, prefixChunk)); n != chunks {
		t.Fatalf("%d chunks, %d of them in objects", n, chunks)
	}
	if n := len(rows(t, s, prefixContent)); n != len(rows(t, s, prefixObject)) {
		t.Fatalf("%d content rows", n)
	}
	if n := len(rows(t, s, prefixPutting)); n != 0 {
		t.Fatalf("%d unfinished objects", n)
	}
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
	r, err := s.Payload(id, offset)
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
