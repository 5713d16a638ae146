package keys

import (
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// A signature for one purpose doesn't stand for another.
func TestPurposes(t *testing.T) {
	r := newTestRing(t)
	content := []byte("what is signed")
	purposes := []Purpose{ForTombstone, ForBackup}
	for _, p := range purposes {
		sig, err := r.SignFor(p, content)
		if err != nil || len(sig) != SignatureSize {
			t.Fatal(err)
		}
		for _, q := range append(purposes, tagMessage, tagRecord, "") {
			if VerifyFor(q, r.AccountKey(), content, sig) != (p == q) {
				t.Errorf("a signature for %s under %s", p, q)
			}
		}
		if Verify(r.AccountKey(), content, sig) || VerifyFor(p, newTestRing(t).AccountKey(), content, sig) || VerifyFor(p, r.AccountKey(), content[1:], sig) {
			t.Error("a wrong signature is accepted")
		}
	}
	for _, p := range []Purpose{tagMessage, tagRecord, "", "affiliate/other/1"} {
		_, err := r.SignFor(p, content)
		wantCode(t, err, agreement.CodeInternal)
	}
}
