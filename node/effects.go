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
	err := n.attempt(ctx, t.effect)
	if err != nil {
		n.retry(ctx, t, err)
	}
}

// attempt carries an effect out, and applies what came of it.
func (n *Node) attempt(ctx context.Context, e *store.Effect) error {
	s, err := n.state(e.Agreement)
	if err != nil {
		return err
	}
	kind := agreement.EffectKind(e.Kind)
	if isVoid(kind, s) {
		n.log.Debug("an effect is dropped: its agreement has ended", "agreement", e.Agreement, "effect", kind.String(), "to", e.To)
		return n.store.DropEffect(ctx, e.Agreement, e.Seq)
	}
	event, blobs, err := n.outcome(ctx, kind, s, e)
	if kind == agreement.DoFetch || kind == agreement.DoExecute {
		defer n.retireLate(ctx, e.Agreement)
	}
	if err == nil {
		s, err = n.apply(ctx, e.Agreement, event, cause{effect: e.Seq, blobs: blobs})
		if err == nil {
			return n.resume(ctx, s) // it may have been vetted just now
		}
		if agreement.CodeOf(err) != agreement.CodeTooLarge { // what came of it can't be stored, ever
			return err
		}
	}
	terminal, ok := terminalEvent(kind, s, e, err)
	if !ok {
		return err
	}
	_, err = n.apply(ctx, e.Agreement, terminal, cause{effect: e.Seq})
	return err
}

// isVoid reports whether nobody waits for an effect any more. Of an agreement
// that has ended, only what tells others of the end is still sent; a proposal
// whose contract fails is to be seen by all.
func isVoid(kind agreement.EffectKind, s agreement.State) bool {
	if !s.Phase.Final() {
		return false
	}
	switch kind {
	case agreement.SendProposal:
		return s.Code != agreement.CodeContractFail
	case agreement.SendCosignRequest, agreement.SendCosignature:
		return true
	}
	return !kind.IsSend()
}

// stopping reports whether the node stops, as opposed to an attempt that took
// too long.
func stopping(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// outcome carries the effect out, and says what came of it. It may add to the
// effect what every further attempt has to use again.
func (n *Node) outcome(ctx context.Context, kind agreement.EffectKind, s agreement.State, e *store.Effect) (agreement.Event, map[string][]byte, error) {
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
	case agreement.DoRecall:
		return n.doRecall(ctx, s)
	}
	if kind.IsSend() {
		return n.doSend(ctx, s, e)
	}
	return nil, nil, fmt.Errorf("effect %d isn't known to this version", kind)
}

// terminalEvent turns an error that waiting doesn't mend into what the
// agreement makes of it.
func terminalEvent(kind agreement.EffectKind, s agreement.State, e *store.Effect, err error) (agreement.Event, bool) {
	var known *agreement.Error
	old := s.Phase.Final() && time.Since(e.Created) > effectLifetime
	if !errors.As(err, &known) {
		known = agreement.Errorf(agreement.CodeInternal, "%w", err)
		if !old {
			return nil, false
		}
	}
	text := short(known.Text) // it may quote what a peer wrote
	// What one that was lost reads may come with another that was lost.
	retry := (mayPass(err) || kind == agreement.DoFetch && s.Missed != nil) && !old
	switch {
	case retry || kind == agreement.DoIndex:
		return nil, false
	case kind.IsSend():
		return agreement.Undeliverable{To: e.To, Kind: kind, Code: known.Code, Text: text}, true
	case kind == agreement.DoFetch || kind == agreement.DoDecide:
		return agreement.Declined{Code: known.Code, Reason: text}, true
	case kind == agreement.DoBroadcast:
		return agreement.BroadcastRefused{Code: known.Code, Text: text}, true
	}
	return agreement.Aborted{Code: known.Code, Text: text}, true
}

// mayPass reports whether an error may go away by itself, or when the operator
// has made room on the disk or corrected the chain's endpoint: no reason to end
// an agreement.
func mayPass(err error) bool {
	code := agreement.CodeOf(err)
	return agreement.Retryable(err) || code == agreement.CodeStore || code == agreement.CodeDiskFull || code == agreement.CodeChainMismatch
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
	if t.tries++; t.tries >= unknownTries {
		n.dropMail(ctx, t.mail.ID)
		return
	}
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
	e.LastError = short(err.Error())
	save, cancel := saving(ctx)
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
	again := effectTask(e)
	again.began = t.began
	n.queue.add(again)
}

// saving is a context to write down how an attempt ended: the attempt's own may
// be what ran out.
func saving(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

// backoff doubles from retryFirst to retryMost, with a quarter of jitter.
func backoff(attempts int) time.Duration {
	d := min(retryFirst<<min(attempts-1, 12), retryMost)
	return d - d/8 + rand.N(d/4+1)
}
