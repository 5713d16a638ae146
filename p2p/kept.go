package p2p

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/keys"
)

// What a request on a kept-mail stream is; one byte before its frame.
const (
	keptList  byte = 1 // ListMailRequest, answered by ListMailResponse
	keptClaim byte = 2 // ClaimMailRequest, answered by ClaimMailResponse
)

// Limits of one kept-mail stream.
const (
	maxKeptRequests = 4096   // served on one stream
	maxKeptLists    = 128    // of them, lists: a list reads many rows
	maxKeptListed   = 10_000 // looked at on one stream: more than a keeper keeps
	maxKeptClaims   = 2048   // made on one stream; the rest waits for the next pull
)

// serveKept answers lists and claims until the peer ends the stream.
func (l *live) serveKept(ctx context.Context, c *call) error {
	if c.busy {
		return errBusy()
	}
	lists := 0
	for range maxKeptRequests {
		if err := c.stream.SetDeadline(time.Now().Add(l.times.request)); err != nil {
			return err
		}
		kind, err := c.in.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch kind {
		case keptList:
			if lists++; lists > maxKeptLists {
				return errBusy()
			}
			err = l.answerList(ctx, c)
		case keptClaim:
			err = l.answerClaim(ctx, c)
		default:
			err = agreement.Errorf(agreement.CodeBadMessage, "a kept-mail request of kind %d", kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *live) answerList(ctx context.Context, c *call) error {
	var request affiliatev1.ListMailRequest
	if err := c.read(&request, requestLimit); err != nil {
		return frameError(err)
	}
	if n := len(request.After); n != 0 && n != keys.MailboxSize {
		return agreement.Errorf(agreement.CodeBadMessage, "a list request with a malformed cursor")
	}
	mail, err := l.handler.ListMail(ctx, request.After)
	if err != nil {
		return fmt.Errorf("listing kept mail: %w", err)
	}
	response := new(affiliatev1.ListMailResponse)
	size := 0
	for _, m := range mail {
		m = &affiliatev1.Mail{Mailbox: m.Mailbox, Tag: m.Tag, Claim: m.Claim, ExpiresUnix: m.ExpiresUnix}
		if size += proto.Size(m) + maxPrefix + 1; size > listLimit {
			break // the peer continues after the last
		}
		response.Mail = append(response.Mail, m)
	}
	return writeFrame(c.stream, response, listLimit)
}

// answerClaim gives a mail to whoever has its token. A wrong token and a mail
// that isn't there look the same.
func (l *live) answerClaim(ctx context.Context, c *call) error {
	var request affiliatev1.ClaimMailRequest
	if err := c.read(&request, requestLimit); err != nil {
		return frameError(err)
	}
	response := new(affiliatev1.ClaimMailResponse)
	if len(request.Mailbox) == keys.MailboxSize && len(request.Token) == keys.TokenSize {
		m, err := l.handler.ClaimMail(ctx, request.Mailbox, request.Token)
		if err != nil && !errors.Is(err, agreement.ErrNotFound) && agreement.CodeOf(err) != agreement.CodeNotFound {
			return fmt.Errorf("claiming kept mail: %w", err)
		}
		if err == nil {
			response.Mail = m
		}
	}
	return writeFrame(c.stream, response, MailLimit+maxPrefix+1)
}

// pullMail asks a peer for mail that it keeps for us and hands it to the node.
// A mail that the node fails to store stays with the keeper for a while, and
// its sender goes on trying.
func (l *live) pullMail(ctx context.Context, id peer.ID, from string) error {
	opening, cancel := context.WithTimeout(ctx, l.times.request)
	defer cancel()
	s, err := l.open(opening, id, protoKept)
	if err != nil {
		return err
	}
	done := closeOnDone(ctx, s)
	k := &keeper{l: l, stream: s, in: bufio.NewReader(s), from: from}
	err = k.pull(ctx)
	done(err)
	return err
}

// keeper is the asking side of a kept-mail stream.
type keeper struct {
	l      *live
	stream network.Stream
	in     *bufio.Reader
	from   string
	listed int
	claims int
}

func (k *keeper) pull(ctx context.Context) error {
	var after []byte
	for {
		var page affiliatev1.ListMailResponse
		if err := k.ask(keptList, &affiliatev1.ListMailRequest{After: after}, &page, listLimit); err != nil {
			return err
		}
		if len(page.Mail) == 0 {
			return k.stream.CloseWrite()
		}
		for _, m := range page.Mail {
			if err := checkMail(m, false); err != nil {
				return err
			}
			if bytes.Compare(m.Mailbox, after) <= 0 { // a list without end otherwise
				return agreement.Errorf(agreement.CodeBadMessage, "the list of kept mail is not in order")
			}
			after = m.Mailbox
			if k.listed++; k.listed > maxKeptListed { // each costs a key exchange
				return agreement.Errorf(agreement.CodeBadMessage, "the list of kept mail doesn't end")
			}
			if !k.l.ring.Recognises(m) {
				continue
			}
			if k.claims++; k.claims > maxKeptClaims {
				return k.stream.CloseWrite()
			}
			if err := k.claim(ctx, m); err != nil {
				return err
			}
		}
	}
}

// claim takes one mail and hands it to the node.
func (k *keeper) claim(ctx context.Context, listed *affiliatev1.Mail) error {
	token, err := k.l.ring.ClaimToken(listed.Mailbox)
	if err != nil {
		return err
	}
	var answer affiliatev1.ClaimMailResponse
	request := &affiliatev1.ClaimMailRequest{Mailbox: listed.Mailbox, Token: token}
	if err := k.ask(keptClaim, request, &answer, MailLimit+maxPrefix+1); err != nil {
		return err
	}
	m := answer.Mail
	if m == nil {
		return nil // taken or expired meanwhile
	}
	if err := checkMail(m, true); err != nil {
		return err
	}
	if !bytes.Equal(m.Mailbox, listed.Mailbox) || !k.l.ring.Recognises(m) {
		return agreement.Errorf(agreement.CodeBadMessage, "the keeper gave another mail than it listed")
	}
	ctx, cancel := context.WithTimeout(ctx, k.l.times.request)
	defer cancel()
	if err := k.l.safely("kept mail", func() error { return k.l.handler.HandleMail(ctx, k.from, m) }); err != nil {
		k.l.log.Debug("kept mail not taken", "from", k.from, "error", err)
		return nil // the next one may be fine
	}
	k.l.metrics.received.Inc()
	return nil
}

// ask sends a request and reads its answer.
func (k *keeper) ask(kind byte, request, answer proto.Message, limit int) error {
	if err := k.stream.SetDeadline(time.Now().Add(k.l.times.request)); err != nil {
		return peerError(err)
	}
	if _, err := k.stream.Write([]byte{kind}); err != nil {
		return peerError(err)
	}
	if err := writeFrame(k.stream, request, requestLimit); err != nil {
		return peerError(err)
	}
	return peerError(readFrame(k.in, answer, limit))
}
