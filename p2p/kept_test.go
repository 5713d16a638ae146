package p2p

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
)

// endless keeps mail without end, none of it for anybody.
type endless struct{ *memory }

func (e endless) ListMail(_ context.Context, after []byte) ([]*affiliatev1.Mail, error) {
	next := uint64(1)
	if len(after) > 0 {
		next = binary.BigEndian.Uint64(after) + 1
	}
	var list []*affiliatev1.Mail
	for i := range uint64(400) {
		m := &affiliatev1.Mail{Mailbox: make([]byte, keys.MailboxSize), Tag: make([]byte, keys.TagSize), Claim: make([]byte, keys.ClaimSize)}
		binary.BigEndian.PutUint64(m.Mailbox, next+i)
		list = append(list, m)
	}
	return list, nil
}

// A keeper that lists without end keeps nobody busy for long.
func TestEndlessListEnds(t *testing.T) {
	b := newTestNode(t, testConfig("b"), newTestRing(t), newMemory())
	b.handler = endless{b.memory}
	b.start(t)
	a := run(t, "a", b)
	eventually(t, "a to give up on b's list", func() bool {
		if !a.connectedTo(b) {
			return false
		}
		err := a.live.Load().pullMail(testContext(t), b.id, b.address())
		return agreement.CodeOf(err) == agreement.CodeBadMessage
	})
}
