package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// Propose starts an agreement. Where the request has no agreement id it draws
// one and sets it, so that the same request can be sent again after a broken
// connection without making a second agreement.
func (c *Client) Propose(ctx context.Context, req *affiliatev1.ProposeRequest) (*affiliatev1.Agreement, error) {
	if req.AgreementId == "" {
		req.AgreementId = agreement.NewUUID().String()
	}
	res, err := c.Agreements.Propose(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// Agreement returns an agreement as it stands.
func (c *Client) Agreement(ctx context.Context, id string) (*affiliatev1.Agreement, error) {
	res, err := c.Agreements.GetAgreement(ctx, connect.NewRequest(&affiliatev1.GetAgreementRequest{AgreementId: id}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// Watch calls fn with every event until the stream ends (nil, unless the
// request follows), fn fails, or ctx ends. Events come in the order of their
// sequence, each once.
func (c *Client) Watch(ctx context.Context, req *affiliatev1.WatchRequest, fn func(*affiliatev1.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Agreements.Watch(ctx, connect.NewRequest(req))
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // nothing is written
	for stream.Receive() {
		if err := fn(stream.Msg()); err != nil {
			return err
		}
	}
	return stream.Err()
}

// Pauses between attempts to follow an agreement whose node went away.
const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 5 * time.Second
)

// errFinal ends a Watch.
var errFinal = errors.New("final")

// Wait returns the agreement when it is final: complete or failed, its Code
// tells. It outlasts restarts of the node, and ends with ctx.
func (c *Client) Wait(ctx context.Context, id string) (*affiliatev1.Agreement, error) {
	return c.WaitEvents(ctx, id, nil)
}

// WaitEvents is Wait that shows the agreement's events as they come, each
// once and in order; fn may be nil.
func (c *Client) WaitEvents(ctx context.Context, id string, fn func(*affiliatev1.Event)) (*affiliatev1.Agreement, error) {
	w := waiter{c: c, id: id, show: fn}
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		seen := w.last
		a, err := w.once(ctx)
		if a != nil {
			return a, nil
		}
		if code := agreement.CodeOf(err); err != nil && code != CodeNoDaemon && !agreement.Retryable(err) {
			return nil, err
		}
		if w.last > seen {
			pause = retryFirst
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, agreement.Errorf(CodeTimeout, "waiting for agreement %s: %w", id, err).
				WithHint("it goes on without you; see: affiliate why %s", id)
		}
	}
}

// waiter follows one agreement over as many streams as it takes.
type waiter struct {
	c    *Client
	id   string
	show func(*affiliatev1.Event)
	last uint64 // sequence of the last event seen
}

// once asks for the agreement and follows it until it is final (not nil), or
// the stream ends.
func (w *waiter) once(ctx context.Context) (*affiliatev1.Agreement, error) {
	a, err := w.c.Agreement(ctx, w.id)
	if err != nil {
		return nil, err
	}
	phase := a.GetPhase()
	follow := !a.GetFinal()
	if !follow && w.show == nil {
		return a, nil
	}
	err = w.c.Watch(ctx, &affiliatev1.WatchRequest{AgreementId: w.id, After: w.last, Follow: follow}, func(e *affiliatev1.Event) error {
		w.last = e.GetSequence()
		if w.show != nil {
			w.show(e)
		}
		if !follow || e.GetPhase() == phase {
			return nil // only another phase can be the final one
		}
		var err error
		if a, err = w.c.Agreement(ctx, w.id); err != nil {
			return err
		}
		if phase = a.GetPhase(); a.GetFinal() {
			return errFinal
		}
		return nil
	})
	if errors.Is(err, errFinal) {
		w.rest(ctx)
		return a, nil
	}
	if !follow && err == nil {
		return a, nil
	}
	return nil, err
}

// rest shows what happened together with the end. The outcome is known: a node
// that goes away now takes nothing but these lines.
func (w *waiter) rest(ctx context.Context) {
	if w.show == nil {
		return
	}
	_ = w.c.Watch(ctx, &affiliatev1.WatchRequest{AgreementId: w.id, After: w.last}, func(e *affiliatev1.Event) error {
		w.show(e)
		return nil
	})
}

// sleep waits for about d, so that many waiting programs don't come at once.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // not a secret
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
