package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/index"
	"github.com/affiliate-node/affiliate/store"
)

// until is how long a name keeps the only object that it keeps.
func until(t *testing.T, n *Node, name string) (time.Time, bool) {
	t.Helper()
	ids, err := n.store.HeldBy(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(ids) == 0 {
		return time.Time{}, false
	}
	refs, err := n.store.References(ids[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range refs {
		if r.Name == name {
			return r.Until, true
		}
	}
	return time.Time{}, false
}

// failing makes a node with an agreement that a peer proposed, with data.
func failing(t *testing.T, r Retention) (*Node, agreement.Proposed) {
	t.Helper()
	n := bare(t)
	n.cfg.Retention = r
	p := proposed(n, []byte("body"))
	if _, err := n.seal(t.Context(), []byte("data"), "text/plain", p.Opening.ID.String(), []string{n.ring.Address()}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := n.apply(t.Context(), p.Opening.ID, p, mail(t, n, "proposal")); err != nil {
		t.Fatal(err)
	}
	return n, p
}

// TestFailedAgreementLosesItsData at a time that is known at once.
func TestFailedAgreementLosesItsData(t *testing.T) {
	n, p := failing(t, Retention{Failed: time.Hour})
	id := p.Opening.ID
	if at, ok := until(t, n, id.String()); !ok || !at.IsZero() {
		t.Fatalf("the data of an open agreement is kept until %s, %v", at, ok)
	}
	s, err := n.apply(t.Context(), id, agreement.Declined{Code: agreement.CodeRejected, Reason: "no"}, cause{})
	if err != nil || s.Phase != agreement.FailedPhase {
		t.Fatalf("%s, %v", s.Phase, err)
	}
	first, ok := until(t, n, id.String())
	if left := time.Until(first); !ok || left < 59*time.Minute || left > time.Hour {
		t.Errorf("kept for %s, %v", left, ok)
	}
	for range 2 { // after a crash, and once more
		if err := n.sweepRetention(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if again, _ := until(t, n, id.String()); again.Sub(first).Abs() > time.Second {
		t.Errorf("a sweep moved the end by %s", again.Sub(first))
	}
}

// TestCrashBeforeRetirement stands for one between the last commit and what
// follows from it: the next start finds the agreement.
func TestCrashBeforeRetirement(t *testing.T) {
	n, p := failing(t, Retention{})
	id := p.Opening.ID
	if _, err := n.apply(t.Context(), id, agreement.Declined{Code: agreement.CodeRejected, Reason: "no"}, cause{}); err != nil {
		t.Fatal(err)
	}
	if at, ok := until(t, n, id.String()); !ok || !at.IsZero() {
		t.Fatalf("kept until %s, %v", at, ok)
	}
	n.cfg.Retention.Failed = time.Hour
	if err := n.sweepRetention(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, ok := until(t, n, id.String()); !ok || at.IsZero() {
		t.Errorf("kept until %s, %v", at, ok)
	}
}

func TestRetentionByContract(t *testing.T) {
	contract := agreement.Hash{9}
	r := Retention{Failed: time.Minute, Default: time.Hour, Rules: []KeepRule{
		{"scratch", time.Second}, {contract.String(), 3 * time.Second}, {"loan", 0},
	}}
	done := agreement.State{Phase: agreement.Complete, ContractName: "other"}
	by := func(change func(*agreement.State)) agreement.State {
		s := done
		change(&s)
		return s
	}
	for want, s := range map[time.Duration]agreement.State{
		time.Hour:       done,
		time.Second:     by(func(s *agreement.State) { s.ContractName = "scratch" }),
		3 * time.Second: by(func(s *agreement.State) { s.Contract, s.ContractName = contract, "loan" }),
		0:               by(func(s *agreement.State) { s.ContractName = "loan" }),
		time.Minute:     by(func(s *agreement.State) { s.Phase, s.ContractName = agreement.FailedPhase, "loan" }),
	} {
		if got := r.of(s); got != want {
			t.Errorf("%+v is kept for %s, not %s", s, got, want)
		}
	}
	evidence := by(func(s *agreement.State) { s.Phase, s.Code = agreement.FailedPhase, agreement.CodeCommittedMismatch })
	if got := r.of(evidence); got != time.Hour {
		t.Errorf("what is on chain after all is kept for %s", got)
	}
}

// TestAbandonedProposalKeepsNothing releases what was sealed for an agreement
// that never began, and nothing of one that did.
func TestAbandonedProposalKeepsNothing(t *testing.T) {
	n, p := failing(t, Retention{})
	n.drafting(t.Context(), p.Opening.ID)()
	if _, ok := until(t, n, p.Opening.ID.String()); !ok {
		t.Error("the data of an open agreement is let go")
	}
	id := agreement.NewUUID()
	one, two := n.drafting(t.Context(), id), n.drafting(t.Context(), id) // a request, and its repetition
	if _, err := n.seal(t.Context(), []byte("x"), "text/plain", id.String(), []string{n.ring.Address()}, nil); err != nil {
		t.Fatal(err)
	}
	one()
	if _, ok := until(t, n, id.String()); !ok {
		t.Error("the data is let go while a repeated request uses it")
	}
	two()
	if _, ok := until(t, n, id.String()); ok {
		t.Error("the data of an agreement that never began is kept")
	}
}

// TestSweepDrafts lets go of what a crash has left of an agreement that never
// began, and of nothing else.
func TestSweepDrafts(t *testing.T) {
	n, p := failing(t, Retention{})
	lost, drafted := agreement.NewUUID(), agreement.NewUUID()
	defer n.drafting(t.Context(), drafted)()
	for _, owner := range []string{lost.String(), drafted.String(), "put", refContract + strings.Repeat("ab", 32)} {
		for _, content := range []string{"one of ", "two of "} {
			if _, err := n.seal(t.Context(), []byte(content+owner), "text/plain", owner, []string{n.ring.Address()}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := n.sweepDrafts(t.Context()); err != nil {
		t.Fatal(err)
	}
	for owner, want := range map[string]int{
		lost.String(): 0, drafted.String(): 2, "put": 2, refContract + strings.Repeat("ab", 32): 2, p.Opening.ID.String(): 1,
	} {
		if ids, err := n.store.HeldBy(owner); err != nil || len(ids) != want {
			t.Errorf("%s keeps %d objects, want %d: %v", owner, len(ids), want, err)
		}
	}
}

// TestTombstone says who removed what, and can't be changed.
func TestTombstone(t *testing.T) {
	n := bare(t)
	o := store.Object{ID: agreement.Hash{1}, ContentHash: agreement.Hash{2}, Size: 7}
	raw, err := n.tombstone(o, "nothing keeps it", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got, err := readTombstone("tp", raw)
	if err != nil || got.Object != o.ID || got.Content != o.ContentHash || got.Size != 7 || got.Address != n.ring.Address() {
		t.Errorf("%+v, %v", got, err)
	}
	for _, change := range []func(*tombstone){
		func(t *tombstone) { t.Object[5]++ },
		func(t *tombstone) { t.Why = "another reason" },
		func(t *tombstone) { t.When = t.When.Add(time.Second) },
		func(t *tombstone) { t.Address = strings.Replace(t.Address, "tp1", "tp2", 1) },
	} {
		other := got
		change(&other)
		changed, err := json.Marshal(other)
		if err != nil || bytes.Equal(changed, raw) {
			t.Fatal("nothing changed", err)
		}
		if _, err := readTombstone("tp", changed); agreement.CodeOf(err) != agreement.CodeBadSignature {
			t.Errorf("taken: %v", err)
		}
	}
}

// TestPurgedContentIsNotFound: with the data of a record goes what the index
// says of it, as soon as no other sealing is left.
func TestPurgedContentIsNotFound(t *testing.T) {
	n := bare(t)
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), nil, n.log)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close() //nolint:errcheck // of a test
	n.index = x
	var ids []agreement.Hash
	for _, owner := range []string{agreement.ID{1}.String(), agreement.ID{2}.String()} {
		ref, err := n.seal(t.Context(), []byte("data"), "application/json", owner, []string{n.ring.Address()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, agreement.Hash(ref.ObjectId))
	}
	records := []store.Record{
		{Name: "loan", Content: sha256.Sum256([]byte("data")), Index: map[string]string{"borrower": "Ann"}},
		{Name: "other", Content: agreement.Hash{1}, Index: map[string]string{"borrower": "Anna"}},
	}
	err = n.store.PutRecords(t.Context(), records)
	for _, r := range records {
		err = errors.Join(err, n.index.Put(t.Context(), []index.Entry{entryOf(r)}))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 2, 1} {
		if err := n.forgetErased(t.Context()); err != nil {
			t.Fatal(err)
		}
		found, err := n.index.Search(t.Context(), "borrower:ann*", 0)
		if err != nil || len(found) != want {
			t.Fatalf("%d are found, not %d: %v", len(found), want, err)
		}
		for _, id := range ids[:min(1, len(ids))] {
			if err := n.store.Purge(t.Context(), id, nil); err != nil {
				t.Fatal(err)
			}
			ids = ids[1:]
		}
	}
	if r, err := n.store.Record(agreement.UUID{}, "loan"); err != nil || r.Index != nil {
		t.Errorf("the record still is %+v, %v", r, err)
	}
}
