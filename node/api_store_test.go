package node

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/api/affiliate/v1/affiliatev1connect"
	"github.com/affiliate-node/affiliate/store"
)

// storeClients talk to a node's API as an application does.
type storeClients struct {
	t       *testing.T
	objects affiliatev1connect.ObjectServiceClient
	store   affiliatev1connect.StoreServiceClient
	keys    affiliatev1connect.KeyServiceClient
}

func serve(t *testing.T, n *Node) storeClients {
	t.Helper()
	s := httptest.NewServer(n.Handler())
	t.Cleanup(s.Close)
	return storeClients{
		t, affiliatev1connect.NewObjectServiceClient(s.Client(), s.URL),
		affiliatev1connect.NewStoreServiceClient(s.Client(), s.URL), affiliatev1connect.NewKeyServiceClient(s.Client(), s.URL),
	}
}

func (c storeClients) put(content []byte) string {
	c.t.Helper()
	stream := c.objects.PutObject(c.t.Context())
	for chunk := range slices.Chunk(content, 256<<10) {
		if err := stream.Send(&affiliatev1.PutObjectRequest{Data: chunk}); err != nil && !errors.Is(err, io.EOF) {
			c.t.Fatal(err)
		}
	}
	res, err := stream.CloseAndReceive()
	if err != nil {
		c.t.Fatal(err)
	}
	return res.Msg.ContentHash
}

func (c storeClients) get(hash string) ([]byte, error) {
	stream, err := c.objects.GetObject(c.t.Context(), connect.NewRequest(&affiliatev1.GetObjectRequest{ContentHash: hash}))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var out bytes.Buffer
	for stream.Receive() {
		out.Write(stream.Msg().Data)
	}
	return out.Bytes(), stream.Err()
}

func (c storeClients) readers(hash string) (addresses []string) {
	c.t.Helper()
	res, err := c.objects.ListReaders(c.t.Context(), connect.NewRequest(&affiliatev1.ListReadersRequest{ContentHash: hash}))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range res.Msg.Readers {
		addresses = append(addresses, r.Address)
	}
	return addresses
}

// codeOf is the code that an error of the API carries.
func codeOf(err error) string {
	var wire *connect.Error
	if !errors.As(err, &wire) || len(wire.Details()) == 0 {
		return ""
	}
	v, err := wire.Details()[0].Value()
	d, ok := v.(*affiliatev1.ErrorDetail)
	if err != nil || !ok {
		return ""
	}
	return d.Code
}

func TestReadersThroughTheAPI(t *testing.T) {
	t.Parallel()
	other := newRing(t)
	n := bareOn(t, "http://127.0.0.1:1", other)
	c, ctx := serve(t, n), t.Context()
	hash := c.put([]byte("a note"))
	if got := c.readers(hash); !slices.Equal(got, []string{n.ring.Address()}) {
		t.Errorf("readers of what was put: %v", got)
	}
	grant := &affiliatev1.GrantObjectRequest{ContentHash: hash, Address: other.Address()}
	if _, err := c.objects.GrantObject(ctx, connect.NewRequest(grant)); err != nil {
		t.Fatal(err)
	}
	if got := c.readers(hash); !slices.Contains(got, other.Address()) {
		t.Errorf("after the grant: %v", got)
	}
	revoke := &affiliatev1.RevokeObjectRequest{ContentHash: hash, Address: other.Address()}
	if _, err := c.objects.RevokeObject(ctx, connect.NewRequest(revoke)); err != nil {
		t.Fatal(err)
	}
	if got := c.readers(hash); !slices.Equal(got, []string{n.ring.Address()}) {
		t.Errorf("after it was revoked: %v", got)
	}
	if got, err := c.get(hash); err != nil || string(got) != "a note" {
		t.Errorf("the content is %q: %v", got, err)
	}
	_, err := c.objects.ListReaders(ctx, connect.NewRequest(&affiliatev1.ListReadersRequest{ContentHash: agreement.Hash{1}.String()}))
	if codeOf(err) != string(agreement.CodeNotFound) {
		t.Errorf("readers of nothing: %v", err)
	}
}

func TestPinsThroughTheAPI(t *testing.T) {
	t.Parallel()
	c := serve(t, bare(t))
	hash := c.put([]byte("a note"))
	for want, until := range map[string]*timestamppb.Timestamp{
		"": nil, string(agreement.CodeBadRequest): timestamppb.New(time.Unix(1, 0)),
	} {
		_, err := c.objects.PinObject(t.Context(), connect.NewRequest(&affiliatev1.PinObjectRequest{ContentHash: hash, Until: until}))
		if codeOf(err) != want {
			t.Errorf("until %v: %v", until, err)
		}
	}
	for _, want := range []string{"", string(agreement.CodeNotFound)} { // the second time nothing is left
		_, err := c.objects.DeleteObject(t.Context(), connect.NewRequest(&affiliatev1.DeleteObjectRequest{ContentHash: hash}))
		if codeOf(err) != want {
			t.Errorf("deleted: %v, want %q", err, want)
		}
	}
}

func TestRotationThroughTheAPI(t *testing.T) {
	t.Parallel()
	n := bare(t)
	c, before := serve(t, n), n.ring.Recipient()
	res, err := c.keys.RotateEncryption(t.Context(), connect.NewRequest(&affiliatev1.RotateEncryptionRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	ids := res.Msg.Identities
	if len(ids) != 2 || ids[1].Recipient != before || ids[0].Recipient != n.ring.Recipient() || !res.Msg.Running || res.Msg.OldUntil == nil {
		t.Errorf("after the rotation began: %v", res.Msg)
	}
	_, err = c.keys.RotateEncryption(t.Context(), connect.NewRequest(&affiliatev1.RotateEncryptionRequest{}))
	if codeOf(err) != string(agreement.CodeInUse) {
		t.Errorf("a second rotation: %v", err)
	}
}

// verified runs VerifyStore to its end.
func (c storeClients) verified(repair bool) (findings []*affiliatev1.VerifyFinding, sum *affiliatev1.VerifySummary) {
	c.t.Helper()
	stream, err := c.store.VerifyStore(c.t.Context(), connect.NewRequest(&affiliatev1.VerifyStoreRequest{Repair: repair}))
	if err != nil {
		c.t.Fatal(err)
	}
	defer stream.Close()
	for stream.Receive() {
		if f := stream.Msg().GetFinding(); f != nil {
			findings = append(findings, f)
		}
		sum = stream.Msg().GetSummary()
	}
	if err := stream.Err(); err != nil {
		c.t.Fatal(err)
	}
	return findings, sum
}

// A payload that has changed on disk is found, told, counted and never read.
func TestDamageIsToldThroughTheAPI(t *testing.T) {
	t.Parallel()
	n, dir := bare(t), filepath.Join(t.TempDir(), "data")
	storing(t, n, dir)
	c := serve(t, n)
	small, large := c.put([]byte("a note")), c.put(bytes.Repeat([]byte{1, 2, 3}, 1<<20))
	if findings, sum := c.verified(false); len(findings) != 0 || sum.GetObjects() != 2 {
		t.Fatalf("all is well: %v, %v", findings, sum)
	}
	spoilPayload(t, dir)
	findings, sum := c.verified(true)
	if sum.GetDamaged() != 1 || sum.GetRepaired() != 0 || len(findings) == 0 || findings[0].ContentHash != large {
		t.Errorf("one payload is damaged: %v, %v", findings, sum)
	}
	if _, err := c.get(large); codeOf(err) != string(agreement.CodeDamaged) {
		t.Errorf("the damaged content: %v", err)
	}
	if _, err := c.get(small); err != nil {
		t.Errorf("the other one: %v", err)
	}
	st, err := c.store.GetStoreStats(t.Context(), connect.NewRequest(&affiliatev1.GetStoreStatsRequest{}))
	if err != nil || st.Msg.Objects != 2 || st.Msg.LargeObjects != 1 || st.Msg.QuarantinedObjects != 1 || st.Msg.Refuses != "" {
		t.Errorf("stats: %v, %v", st, err)
	}
}

// storing gives a node another store, in a directory that the test knows.
func storing(t *testing.T, n *Node, dir string) {
	t.Helper()
	st, err := store.Open(store.Options{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	n.store, n.cfg.MaxObjectSize = st, 16<<20
}

// spoilPayload changes a byte of the largest payload that is a file.
func spoilPayload(t *testing.T, dir string) {
	t.Helper()
	var path string
	var size int64
	err := filepath.WalkDir(filepath.Join(dir, "payloads"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			path, size = p, info.Size()
		}
		return err
	})
	if err != nil || path == "" {
		t.Fatalf("no payload is a file: %v", err)
	}
	b, err := os.ReadFile(path)
	if err == nil {
		b[len(b)/2] ^= 1
		_ = os.Chmod(path, 0o600)
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// One walk over everything at a time keeps the disk busy.
func TestOneWalkOverTheStoreAtATime(t *testing.T) {
	t.Parallel()
	a := newStoreAPI(nil)
	end, err := a.begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.begin(); agreement.CodeOf(err) != agreement.CodeInUse {
		t.Errorf("a second one: %v", err)
	}
	end()
	if _, err := a.begin(); err != nil {
		t.Errorf("after the first: %v", err)
	}
}

// TestCompactThroughTheAPI: the bytes of a purged object are on disk until then.
func TestCompactThroughTheAPI(t *testing.T) {
	t.Parallel()
	n := bare(t)
	c := serve(t, n)
	hash, err := agreement.ParseHash(c.put([]byte("a note")))
	if err != nil {
		t.Fatal(err)
	}
	sealings, err := n.store.ObjectsByContent(hash)
	if err != nil || len(sealings) != 1 {
		t.Fatal(sealings, err)
	}
	if err := n.store.Purge(t.Context(), sealings[0].ID, nil); err != nil {
		t.Fatal(err)
	}
	stats := func() *affiliatev1.StoreStats {
		res, err := c.store.GetStoreStats(t.Context(), connect.NewRequest(&affiliatev1.GetStoreStatsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg
	}
	if stats().PurgedSince == nil {
		t.Error("nothing says that purged bytes are on disk")
	}
	res, err := c.store.CompactStore(t.Context(), connect.NewRequest(&affiliatev1.CompactStoreRequest{}))
	if err != nil || res.Msg.After <= 0 {
		t.Fatal(res, err)
	}
	if since := stats().PurgedSince; since != nil {
		t.Errorf("after the compaction there are purged bytes since %s", since.AsTime())
	}
}
