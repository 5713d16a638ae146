package testnet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// stepCommitted is the step that the chain takes; the others are told by the
// affiliates' own events.
const stepCommitted = 7

// seenEvent is an event of one affiliate.
type seenEvent struct {
	Affiliate *Affiliate // nil: the chain
	Step      int
	Kind      string
	Text      string
	Phase     string
	At        time.Time
}

// observer collects the events of all affiliates and the chain's commits, for
// the agreements it is told about, and shows those that are steps.
type observer struct {
	net    *Net
	report *Report // nil: collect only

	mu      sync.Mutex // guards all below
	changed chan struct{}
	follow  map[string]*followed // by agreement id
	commits map[string][]chainCommit
}

type followed struct {
	id     agreement.ID
	short  string // for people
	events []seenEvent
	held   []seenEvent // steps after the commit, until the commit has been seen
}

func newObserver(n *Net, report *Report) *observer {
	return &observer{
		net: n, report: report, changed: make(chan struct{}),
		follow: map[string]*followed{}, commits: map[string][]chainCommit{},
	}
}

// Run collects until ctx ends. A daemon that is down is asked again when it is
// back.
func (o *observer) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, a := range o.net.Affiliates {
		g.Go(func() error { return o.watchAffiliate(ctx, a) })
	}
	g.Go(func() error { return o.watchChain(ctx) })
	return g.Wait()
}

// Follow tells the observer of an agreement before it is proposed.
func (o *observer) Follow(id agreement.ID, short string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.follow[id.String()] = &followed{id: id, short: short}
}

// Events returns what has been seen of an agreement so far.
func (o *observer) Events(id agreement.ID) []seenEvent {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f := o.follow[id.String()]; f != nil {
		return append([]seenEvent(nil), f.events...)
	}
	return nil
}

// Commits returns the transactions that carry an agreement, failed ones too.
func (o *observer) Commits(id agreement.ID) []chainCommit {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]chainCommit(nil), o.commits[id.String()]...)
}

// Wait blocks until an event of the agreement satisfies match, or ctx ends.
func (o *observer) Wait(ctx context.Context, id agreement.ID, match func(seenEvent) bool) (seenEvent, error) {
	from := 0
	for {
		o.mu.Lock()
		changed := o.changed
		var events []seenEvent
		if f := o.follow[id.String()]; f != nil {
			events = f.events
		}
		o.mu.Unlock()
		for ; from < len(events); from++ {
			if match(events[from]) {
				return events[from], nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return seenEvent{}, fmt.Errorf("waiting for an event of agreement %s: %w", id, ctx.Err())
		}
	}
}

func (o *observer) watchAffiliate(ctx context.Context, a *Affiliate) error {
	var after uint64
	for {
		// An error means that the daemon is down or going down; whether it
		// should be is for the scenario to judge.
		_ = a.watch(ctx, after, func(e *affiliatev1.Event) {
			after = max(after, e.GetSequence())
			o.add(e.GetAgreementId(), seenEvent{
				Affiliate: a, Step: int(e.GetStep()), Kind: e.GetKind(), Text: e.GetText(),
				Phase: e.GetPhase(), At: e.GetTime().AsTime(),
			})
		})
		if !pause(ctx, pollEvery) {
			return nil
		}
	}
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (o *observer) add(id string, e seenEvent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.follow[id]
	if f == nil {
		return
	}
	f.events = append(f.events, e)
	close(o.changed)
	o.changed = make(chan struct{})
	if e.Step > stepCommitted && !f.has(stepCommitted) {
		f.held = append(f.held, e)
		return
	}
	o.show(f, e)
	if e.Step == stepCommitted {
		for _, h := range f.held {
			o.show(f, h)
		}
		f.held = nil
	}
}

func (f *followed) has(step int) bool {
	for _, e := range f.events {
		if e.Step == step {
			return true
		}
	}
	return false
}

// Flush shows what was held back for a commit that never came.
func (o *observer) Flush(id agreement.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.follow[id.String()]
	if f == nil {
		return
	}
	for _, h := range f.held {
		o.show(f, h)
	}
	f.held = nil
}

func (o *observer) show(f *followed, e seenEvent) {
	if o.report == nil || e.Step < 1 || e.Step > 10 {
		return
	}
	who, result := "chain", e.Text
	if e.Affiliate != nil {
		who = e.Affiliate.Name
	}
	if result == "" {
		result = e.Kind
	}
	o.report.Step(Step{Step: e.Step, Affiliate: who, Agreement: f.id.String(), Result: result}, e.At, f.short)
}

// watchChain reads every block once.
func (o *observer) watchChain(ctx context.Context) error {
	next := int64(1)
	for pause(ctx, pollEvery) {
		newest, err := o.net.chain.height(ctx)
		if err != nil {
			continue // the chain is down; the scenario judges whether it may be
		}
		for next <= newest {
			if o.readBlock(ctx, next) != nil {
				break
			}
			next++
		}
	}
	return nil
}

func (o *observer) readBlock(ctx context.Context, height int64) error {
	b, err := o.net.chain.block(ctx, height)
	if err != nil || len(b.Txs) == 0 {
		return err
	}
	signed, all, err := o.net.chain.signatures(ctx, height)
	if err != nil {
		return err
	}
	for i, tx := range b.Txs {
		for _, id := range o.carried(tx) {
			o.committed(id, chainCommit{
				Height: height, BlockTime: b.Time, TxHash: txHash(tx), Code: b.Codes[i], Signed: signed, All: all,
			})
		}
	}
	return nil
}

func (o *observer) carried(tx []byte) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var ids []string
	for text, f := range o.follow {
		if carries(tx, f.id) {
			ids = append(ids, text)
		}
	}
	return ids
}

func (o *observer) committed(id string, c chainCommit) {
	o.mu.Lock()
	o.commits[id] = append(o.commits[id], c)
	o.mu.Unlock()
	text := fmt.Sprintf("block %d signed by %d of %d validators, tx %s", c.Height, c.Signed, c.All, c.TxHash)
	if c.Code != 0 {
		text = fmt.Sprintf("block %d refuses tx %s with code %d", c.Height, c.TxHash, c.Code)
	}
	o.add(id, seenEvent{Step: stepCommitted, Kind: "committed", Text: text, At: time.Now()})
}
