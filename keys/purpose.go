package keys

import "github.com/affiliate-node/affiliate/agreement"

// Purpose is what a signature by the account key is for: its domain tag. A
// signature for one purpose can't stand for another.
type Purpose string

// The purposes that SignFor signs for. Messages and affiliate records have
// functions of their own.
const (
	ForTombstone Purpose = "affiliate/tombstone/1" // that an object was purged
	ForBackup    Purpose = "affiliate/backup/1"    // the end of a backup
)

func (p Purpose) known() bool { return p == ForTombstone || p == ForBackup }

// SignFor signs content for a purpose, in the form of Sign. CodeInternal for
// a purpose that isn't one of those above.
func (r *Ring) SignFor(p Purpose, content []byte) ([]byte, error) {
	if !p.known() {
		return nil, agreement.Errorf(agreement.CodeInternal, "nothing is signed for %q", string(p))
	}
	return r.Sign(domain(string(p), content))
}

// VerifyFor reports whether sig is the account key's signature over content
// for a purpose, as strictly as Verify.
func VerifyFor(p Purpose, accountKey, content, sig []byte) bool {
	return p.known() && Verify(accountKey, domain(string(p), content), sig)
}
