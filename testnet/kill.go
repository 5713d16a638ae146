package testnet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// momentWithin is how long the moment of a kill may take to come.
	momentWithin = 30 * time.Second
	// recoverWithin is how long an agreement may take to be final everywhere
	// after a daemon was killed; co-signatures may have to be asked for again.
	recoverWithin = 150 * time.Second
	// killJitter spreads the kills around the event that triggers them.
	killJitter = 60 * time.Millisecond
	// downFor is the longest time that a killed daemon stays away.
	downFor = 1500 * time.Millisecond
)

// killMoments are the steps of an agreement after which a daemon is killed.
var killMoments = [...]int{1, 2, 4, 5, 6, 8}

// RunKillSuite kills every daemon once at each of several moments of an
// agreement, starts it again, and requires that the agreement completes or
// fails cleanly, with one outcome on all parties, and that the chain agrees.
func RunKillSuite(ctx context.Context, b Build, opts Options, report *Report) (*Net, error) {
	return warmed(ctx, b, opts, report, func(ctx context.Context, n *Net, obs *observer) error {
		victims := append([]*Process{}, n.Validators[0])
		for _, i := range []int{originator, servicer, investor} {
			victims = append(victims, n.Affiliates[i].Process)
		}
		var k kills
		for _, step := range killMoments {
			for _, victim := range victims {
				if err := n.killRound(ctx, obs, report, &k, victim, step); err != nil {
					return err
				}
			}
		}
		if k.late*2 > k.rounds {
			return fmt.Errorf("%d of %d kills came when all was over: this shows too little", k.late, k.rounds)
		}
		return n.Died()
	})
}

// warmed runs a suite on a network of its own, which has completed an agreement
// and asks nobody.
func warmed(ctx context.Context, b Build, opts Options, report *Report, suite func(context.Context, *Net, *observer) error) (*Net, error) {
	report.Begin()
	opts.AskAffiliate = -1
	n, err := Start(ctx, b, opts, func(s string) { report.Line("%s", s) })
	if err != nil {
		return n, err
	}
	return n, n.observed(ctx, nil, func(ctx context.Context, obs *observer) error {
		if err := n.warmUp(ctx, obs, report); err != nil {
			return err
		}
		return suite(ctx, n, obs)
	})
}

// warmUp publishes the loan contract, lets the parties vet it and completes one agreement, so that all
// parties have the module compiled.
func (n *Net) warmUp(ctx context.Context, obs *observer, report *Report) error {
	c, line, err := n.publish(ctx, originator, contractLoan)
	if err != nil {
		return err
	}
	report.Line("%s", line)
	for _, party := range []int{servicer, investor} {
		if line, err = n.vet(ctx, party, c.GetHash()); err != nil {
			return err
		}
		report.Line("%s", line)
	}
	r := n.loanRun("warm-up", numberedLoan("WARM", 0))
	obs.Follow(r.id, r.short)
	if err := n.propose(ctx, r); err != nil {
		return err
	}
	if err := n.settle(ctx, r, finalWithin); err != nil {
		return n.explain(ctx, r, err)
	}
	if r.phase != phaseComplete {
		return n.explain(ctx, r, fmt.Errorf("the first agreement ended as %s (%s: %s)", r.phase, r.code, r.message))
	}
	return nil
}

// killRound has one agreement, in which one daemon is killed once.
func (n *Net) killRound(ctx context.Context, obs *observer, report *Report, k *kills, victim *Process, step int) error {
	k.rounds++
	if err := n.nextBlock(ctx); err != nil {
		return err
	}
	r := n.loanRun(fmt.Sprintf("round %d", k.rounds), numberedLoan("KILL", k.rounds))
	obs.Follow(r.id, r.short)
	jitter, down := rand.N(killJitter), rand.N(downFor) //nolint:gosec // not a secret
	var proposed error
	g, gctx := errgroup.WithContext(ctx)
	g.Go(guard(func() error {
		proposed = n.propose(gctx, r)
		return nil
	}))
	g.Go(guard(func() error {
		if err := n.moment(gctx, obs, r, victim, step); err != nil {
			return err
		}
		pause(gctx, jitter)
		k.look(obs.Events(r.id), r)
		return victim.Kill()
	}))
	err := g.Wait()
	if err == nil {
		pause(ctx, down)
		err = n.revive(ctx, victim)
	}
	if err == nil && proposed != nil {
		// The application got no answer: it asks again, with the same id.
		err = n.propose(ctx, r)
	}
	if err == nil {
		err = n.settle(ctx, r, recoverWithin)
	}
	if err == nil {
		_, err = n.checkRun(ctx, obs, r)
	}
	if err != nil {
		return n.explain(ctx, r, fmt.Errorf("killing %s %s after step %d, for %s: %w",
			victim.Name, jitter, step, down, err))
	}
	report.Line("%-12s killed after step %-2d %s: %s on all parties %s%.1f s after it was proposed",
		victim.Name, step, k.when(), r.phase, bracketed(r), time.Since(r.submitted).Seconds())
	if !k.midFlight {
		k.late++
	}
	return nil
}

// kills counts the kills of a suite that came too late.
type kills struct {
	rounds, late int
	reached      int  // last step seen when the daemon of this round was killed
	midFlight    bool // the agreement wasn't final yet on all parties
}

func (k *kills) when() string {
	if !k.midFlight {
		return "(everything was over)"
	}
	return fmt.Sprintf("(reached %d)", k.reached)
}

// look notes how far the agreement is at the moment of the kill.
func (k *kills) look(events []seenEvent, r *agreementRun) {
	final := map[*Affiliate]bool{}
	k.reached = 0
	for _, e := range events {
		k.reached = max(k.reached, e.Step)
		if e.Phase == phaseComplete || e.Phase == phaseFailed {
			final[e.Affiliate] = true
		}
	}
	k.midFlight = len(final) < len(r.parties)
}

func bracketed(r *agreementRun) string {
	if r.code == "" {
		return ""
	}
	return "(" + r.code + ": " + r.message + ") "
}

// moment returns when a step has been seen: on the victim itself where it
// takes that step.
func (n *Net) moment(ctx context.Context, obs *observer, r *agreementRun, victim *Process, step int) error {
	ctx, cancel := context.WithTimeout(ctx, momentWithin)
	defer cancel()
	_, err := obs.Wait(ctx, r.id, func(e seenEvent) bool {
		if e.Step > step || e.Phase == phaseFailed {
			return true // late: the moment has passed, or won't come
		}
		return e.Step == step && (e.Affiliate == nil || e.Affiliate.Process == victim || n.onlyElsewhere(victim, r, step))
	})
	return err
}

// onlyElsewhere reports whether a step never happens on the victim: those of
// the proposer on a party, and all of them on a validator.
func (n *Net) onlyElsewhere(victim *Process, r *agreementRun, step int) bool {
	if victim == r.proposer.Process {
		return false
	}
	for _, p := range r.parties {
		if p.affiliate.Process == victim {
			return step == 1 || step == 6
		}
	}
	return true
}

// nextBlock waits for a block more: a chain that was killed in the round before
// is itself again.
func (n *Net) nextBlock(ctx context.Context) error {
	first, err := n.chain.height(ctx)
	if err != nil {
		return err
	}
	return n.await(ctx, "a block", readyWithin, func(ctx context.Context) error {
		h, err := n.chain.height(ctx)
		if err == nil && h == first {
			err = errNotYet
		}
		return err
	})
}

// revive starts a killed process and waits until all are ready again.
func (n *Net) revive(ctx context.Context, p *Process) error {
	if err := p.Start(); err != nil {
		return err
	}
	return errors.Join(n.chainReady(ctx), n.Ready(ctx))
}
