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
		victims := append([]*Process{}, n.Validators[0])
		for _, i := range []int{originator, servicer, investor} {
			victims = append(victims, n.Affiliates[i].Process)
		}
		round := 0
		for _, step := range killMoments {
			for _, victim := range victims {
				round++
				if err := n.killRound(ctx, obs, report, round, victim, step); err != nil {
					return err
				}
			}
		}
		return n.Died()
	})
}

// warmUp publishes the loan contract and completes one agreement, so that all
// parties have the module compiled.
func (n *Net) warmUp(ctx context.Context, obs *observer, report *Report) error {
	line, err := n.publish(ctx, originator, contractLoan)
	if err != nil {
		return err
	}
	report.Line("%s", line)
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
func (n *Net) killRound(ctx context.Context, obs *observer, report *Report, round int, victim *Process, step int) error {
	r := n.loanRun(fmt.Sprintf("round %d", round), numberedLoan("KILL", round))
	obs.Follow(r.id, r.short)
	jitter, down := rand.N(killJitter), rand.N(downFor) //nolint:gosec // not a secret
	var proposed error
	g, gctx := errgroup.WithContext(ctx)
	g.Go(guard(func() error {
		proposed = n.propose(gctx, r)
		return nil
	}))
	g.Go(guard(func() error { return n.killAt(gctx, obs, r, victim, step, jitter) }))
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
	report.Line("%-12s killed after step %d: %s on all parties %s%.1f s after it was proposed",
		victim.Name, step, r.phase, bracketed(r.code), time.Since(r.submitted).Seconds())
	return nil
}

func bracketed(code string) string {
	if code == "" {
		return ""
	}
	return "(" + code + ") "
}

// killAt kills the victim when the step has been seen: on the victim itself
// where it takes that step.
func (n *Net) killAt(ctx context.Context, obs *observer, r *agreementRun, victim *Process, step int, jitter time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, momentWithin)
	defer cancel()
	_, err := obs.Wait(ctx, r.id, func(e seenEvent) bool {
		if e.Step > step {
			return true // late: the moment has passed
		}
		return e.Step == step && (e.Affiliate == nil || e.Affiliate.Process == victim || n.onlyElsewhere(victim, r, step))
	})
	if err != nil {
		return err
	}
	pause(ctx, jitter)
	return victim.Kill()
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

// revive starts a killed process and waits until all are ready again.
func (n *Net) revive(ctx context.Context, p *Process) error {
	if err := p.Start(); err != nil {
		return err
	}
	return errors.Join(n.chainReady(ctx), n.Ready(ctx))
}
