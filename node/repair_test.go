package node

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store"
)

// copied gives one node's object to another one, as a fetch does.
func copied(t *testing.T, from, to *Node, o store.Object) {
	t.Helper()
	r := objectRef{o.ContentHash, o.ID, o.Size, o.SealedSize, o.MediaType}
	if err := to.fetch(t.Context(), from.ring.Address(), r, refPut, o.Audience); err != nil {
		t.Fatal(err)
	}
}

// spoil changes a byte of an object's payload in one node's directory, which is
// the one whose file is the last of all.
func spoil(t *testing.T, id agreement.Hash) {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Dir(t.TempDir()), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() == id.String() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no payload of %s, %v", id, err)
	}
	path := files[len(files)-1]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// pair is two connected nodes that hold an object, which is damaged at the
// second one.
func pair(t *testing.T) (a, b *Node, o store.Object, text []byte) {
	t.Helper()
	a = online(t)
	b = online(t, a)
	text = bytes.Repeat([]byte("the only copy but one "), 100_000)
	ref, err := a.seal(t.Context(), text, "text/plain", refPut, []string{a.ring.Address(), b.ring.Address()}, []string{b.ring.Address()})
	if err != nil {
		t.Fatal(err)
	}
	if o, err = a.store.Object(agreement.Hash(ref.ObjectId)); err != nil {
		t.Fatal(err)
	}
	copied(t, a, b, o)
	spoil(t, o.ID)
	return a, b, o, text
}

// TestVerifyRepairs finds a damaged object, and has it back from a peer.
func TestVerifyRepairs(t *testing.T) {
	_, b, o, text := pair(t)
	var heard []verified
	note := func(v verified) { heard = append(heard, v) }
	sum, err := b.verify(t.Context(), false, note)
	if err != nil || sum.Objects != 1 || sum.Damaged != 1 || sum.Repaired != 0 || len(heard) != 1 || agreement.CodeOf(heard[0].Problem) != agreement.CodeDamaged {
		t.Fatalf("%+v, %v, heard %v", sum, err, heard)
	}
	heard = nil
	sum, err = b.verify(t.Context(), true, note)
	if err != nil || sum.Damaged != 1 || sum.Repaired != 1 || len(heard) != 2 || !heard[1].Repaired || heard[1].Source == "" {
		t.Fatalf("%+v, %v, heard %v", sum, err, heard)
	}
	got, _, err := b.content(t.Context(), o.ContentHash)
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("repaired: %d bytes, %v", len(got), err)
	}
	refs, err := b.store.References(o.ID)
	if err != nil || len(refs) != 1 || refs[0].Name != refPut || !refs[0].Until.IsZero() {
		t.Errorf("references %v, %v", refs, err)
	}
	if sum, err = b.verify(t.Context(), true, nil); err != nil || sum.Damaged != 0 || sum.Bytes != o.SealedSize {
		t.Errorf("verified again: %+v, %v", sum, err)
	}
}

// TestReadOfDamagedObjectHasItRepaired returns no wrong byte, says what is
// wrong, and asks for the good copy once.
func TestReadOfDamagedObjectHasItRepaired(t *testing.T) {
	_, b, o, text := pair(t)
	r, _, err := b.contentReader(t.Context(), o.ContentHash)
	var got []byte
	if err == nil {
		got, err = io.ReadAll(r)
		_ = r.Close()
	}
	if agreement.CodeOf(err) != agreement.CodeDamaged || !bytes.HasPrefix(text, got) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for range 3 {
		if _, _, err := b.content(t.Context(), o.ContentHash); agreement.CodeOf(err) != agreement.CodeDamaged {
			t.Errorf("read again: %v", err)
		}
	}
	if waiting := len(b.repairs.due); waiting != 1 {
		t.Fatalf("%d repairs wait", waiting)
	}
	b.repairQuietly(t.Context(), <-b.repairs.due)
	if got, _, err := b.content(t.Context(), o.ContentHash); err != nil || !bytes.Equal(got, text) {
		t.Errorf("afterwards: %d bytes, %v", len(got), err)
	}
}

// TestRepairTakesNothingElse refuses a peer's copy that is damaged too, and
// what nobody has.
func TestRepairTakesNothingElse(t *testing.T) {
	a, b, o, _ := pair(t)
	if _, err := b.verify(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.store.Purge(t.Context(), o.ID, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.repair(t.Context(), o.ID); err == nil {
		t.Error("repaired from nobody")
	}
	if _, err := b.store.Object(o.ID); agreement.CodeOf(err) != agreement.CodeDamaged {
		t.Errorf("the object: %v", err)
	}
	if _, err := b.repair(t.Context(), agreement.Hash{1}); agreement.CodeOf(err) != agreement.CodeNotFound {
		t.Errorf("what isn't here: %v", err)
	}
}
