package p2p

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/affiliate-node/affiliate/agreement"
)

// What a reset says of an error is what the peer makes of it: only who isn't a
// member may take that for an answer for good.
func TestResetsSayWhatToDo(t *testing.T) {
	for code, want := range map[agreement.Code]agreement.Code{
		agreement.CodeNotAMember:      agreement.CodeNotAMember,
		agreement.CodeBackpressure:    agreement.CodeBackpressure,
		agreement.CodeTooLarge:        agreement.CodeBadMessage,
		agreement.CodePeerUnreachable: agreement.CodePeerUnreachable, // it didn't introduce itself in time
		agreement.CodeInternal:        agreement.CodePeerUnreachable,
	} {
		reset := &network.StreamError{Remote: true, ErrorCode: resetCode(agreement.Errorf(code, "no"))}
		if got := agreement.CodeOf(peerError(reset)); got != want {
			t.Errorf("%s arrives as %s, want %s", code, got, want)
		}
		closed := &network.ConnError{Remote: true, ErrorCode: connCode(agreement.Errorf(code, "no"))}
		gone := agreement.CodeOf(peerError(closed)) == agreement.CodeNotAMember
		transient := code != agreement.CodeNotAMember && code != agreement.CodeTooLarge
		if gone == transient {
			t.Errorf("a connection closed for %s: no member is %v", code, gone)
		}
	}
}
