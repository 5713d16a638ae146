package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store"
)

const (
	// effectTimeout bounds one attempt of any effect.
	effectTimeout = 2 * time.Minute
	// retryFirst and retryMost bound the wait between attempts.
	retryFirst = 500 * time.Millisecond
	retryMost  = 5 * time.Minute
	// effectLifetime is how long an effect is tried at least. While its agreement
	// is open it is tried on: the agreement's own deadline ends that.
	effectLifetime = 7 * 24 * time.Hour
)

// carryOut does one task. What fails for now is queued again; what fails for
// good becomes an event.
func (n *Node) carryOut(ctx context.Context, t task) {
	ctx, cancel := context.WithTimeout(ctx, effectTimeout)
	defer cancel()
	defer n.catch(ctx, t)
	if t.mail != nil {
		n.interpret(ctx, t)
		return
	}
	e := t.effect
	kind := agreement.EffectKind(e.Kind)
	event, blobs, err := n.outcome(ctx, kind, e)
	if err == nil {
		_, err = n.apply(ctx, e.Agreement, event, cause{effect: e.Seq, blobs: blobs})
		if err == nil {
			return
		}
	}
	if terminal, ok := n.terminalEvent(kind, e, err); ok {
		if _, err = n.apply(ctx, e.Agreement, terminal, cause{effect: e.Seq, blobs: blobs}); err == nil {
			return
		}
	}
	n.retry(ctx, t, err)
}

// stopping reports whether the node stops, as opposed to an attempt that took
// too long.
func stopping(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// outcome carries the effect out, and says what came of it. It may add to the
// effect what every further attempt has to use again.
func (n *Node) outcome(ctx context.Context, kind agreement.EffectKind, e *store.Effect) (agreement.Event, map[string][]byte, error) {
	s, err := n.state(e.Agreement)
	if err != nil {
		return nil, nil, err
	}
	switch kind {
	case agreement.DoExecute:
		return n.doExecute(ctx, s)
	case agreement.DoPrepare:
		return n.doPrepare(ctx, s, decodeRound(e.Arg))
	case agreement.DoFetch:
		return n.doFetch(ctx, s)
	case agreement.DoDecide:
		return n.doDecide(ctx, s)
	case agreement.DoCheckBody:
		return n.doCheckBody(ctx, s)
	case agreement.DoBroadcast:
		return n.doBroadcast(ctx, s, decodeRound(e.Arg))
	case agreement.DoIndex:
		return n.doIndex(ctx, s)
	}
	if kind.IsSend() {
		return n.doSend(ctx, s, e)
	}
	return nil, nil, fmt.Errorf("effect %d isn't known to this version", kind)
}

// terminalEvent turns an error that waiting doesn't mend into what the
// agreement makes of it.
func (n *Node) terminalEvent(kind agreement.EffectKind, e *store.Effect, err error) (agreement.Event, bool) {
	var known *agreement.Error
	s, stateErr := n.state(e.Agreement)
	old := stateErr == nil && s.Phase.Final() && time.Since(e.Created) > effectLifetime
	if !errors.As(err, &known) {
		known = agreement.Errorf(agreement.CodeInternal, "%w", err)
		if !old {
			return nil, false
		}
	}
	retry := agreement.Retryable(err) && !old
	switch {
	case kind.IsSend():
		if retry {
			return nil, false
		}
		return agreement.Undeliverable{To: e.To, Kind: kind, Code: known.Code, Text: known.Text}, true
	case retry || kind == agreement.DoIndex:
		return nil, false
	case kind == agreement.DoFetch || kind == agreement.DoDecide:
		return agreement.Declined{Code: known.Code, Reason: known.Text}, true
	case kind == agreement.DoBroadcast:
		return agreement.BroadcastRefused{Code: known.Code, Text: known.Text}, true
	}
	return agreement.Aborted{Code: known.Code, Text: known.Text}, true
}

// catch keeps a fault in one task from ending the node, and from ending it
// again at every start: the task is stored, and would come back.
func (n *Node) catch(ctx context.Context, t task) {
	fault := recover()
	if fault == nil {
		return
	}
	err := agreement.Errorf(agreement.CodeInternal, "a fault: %v", fault)
	n.log.Error("a task ended in a fault", "fault", fault, "stack", string(debug.Stack()))
	if t.effect != nil {
		n.retry(ctx, t, err)
		return
	}
	t.tries++
	t.at = time.Now().Add(backoff(t.tries))
	n.queue.add(t)
}

// retry writes down that an attempt failed, and queues the next one.
func (n *Node) retry(ctx context.Context, t task, err error) {
	if stopping(ctx) {
		return // the effect is in the store
	}
	e := *t.effect
	e.Attempts++
	e.NotBefore = time.Now().Add(backoff(e.Attempts))
	e.LastError = err.Error()
	// Written with a context of its own: the attempt's may be what ran out.
	save, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if stored := n.store.UpdateEffect(save, e); errors.Is(stored, store.ErrStale) {
		return
	} else if stored != nil {
		n.log.Error("an attempt could not be written down", "agreement", e.Agreement, "error", stored)
	}
	level := n.log.Debug
	if !agreement.Retryable(err) {
		level = n.log.Warn
	}
	level("an effect will be tried again", "agreement", e.Agreement, "effect", agreement.EffectKind(e.Kind).String(),
		"to", e.To, "attempts", e.Attempts, "error", err)
	n.queue.add(effectTask(e))
}

// backoff doubles from retryFirst to retryMost, with a quarter of jitter.
func backoff(attempts int) time.Duration {
	d := min(retryFirst<<min(attempts-1, 12), retryMost)
	return d - d/8 + rand.N(d/4+1)
}
