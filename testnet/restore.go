package testnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// recallWithin is how long a restored node may take to have back what happened
// after its backup.
const recallWithin = 60 * time.Second

// RunRestoreSuite has the proposer and a party of agreements lose their stores
// and restore an older backup, one from before the agreements and one from the
// middle of one, and requires that they get from the others and the chain what
// has happened since.
func RunRestoreSuite(ctx context.Context, b Build, opts Options, report *Report) (*Net, error) {
	return warmed(ctx, b, opts, report, func(ctx context.Context, n *Net, obs *observer) error {
		payment, _, err := n.publish(ctx, originator, contractPayment)
		if err != nil {
			return err
		}
		for _, party := range []int{servicer, investor} {
			if _, err := n.vet(ctx, party, payment.GetHash()); err != nil {
				return err
			}
		}
		for i, victim := range []int{servicer, originator} {
			if err := n.restoreRound(ctx, obs, report, i, n.Affiliates[victim]); err != nil {
				return fmt.Errorf("restoring %s: %w", n.Affiliates[victim].Name, err)
			}
		}
		for i, victim := range []int{servicer, originator} {
			if err := n.midwayRound(ctx, obs, report, i, n.Affiliates[victim]); err != nil {
				return fmt.Errorf("restoring %s in the middle: %w", n.Affiliates[victim].Name, err)
			}
		}
		return n.Died()
	})
}

// restoreRound makes a backup, has a loan and a payment agreed, and goes back
// to the backup.
func (n *Net) restoreRound(ctx context.Context, obs *observer, report *Report, round int, victim *Affiliate) error {
	backup, err := n.backUp(ctx, victim)
	if err != nil {
		return err
	}
	loan := n.loanRun(fmt.Sprintf("loan %d", round), numberedLoan("RESTORE", round))
	if err := n.agreed(ctx, obs, loan); err != nil {
		return err
	}
	payment := n.paymentRun(fmt.Sprintf("payment %d", round), loan.scope, fmt.Sprintf("R-%04d", round), "2026-02-28")
	if err := n.agreed(ctx, obs, payment); err != nil {
		return err
	}
	begin, err := n.goBack(ctx, victim, backup)
	if err != nil {
		return err
	}
	for _, r := range []*agreementRun{loan, payment} {
		if err := n.awaitBack(ctx, obs, victim, r); err != nil {
			return n.explain(ctx, r, err)
		}
		if err := wasRecalled(ctx, victim, r); err != nil {
			return n.explain(ctx, r, err)
		}
	}
	report.Line("%-12s lost its store, and had a loan and a payment back %.1f s after its backup was restored", victim.Name, time.Since(begin).Seconds())
	return nil
}

// midwayRound makes a backup while a party is away, and goes back to it when
// the agreement is complete.
func (n *Net) midwayRound(ctx context.Context, obs *observer, report *Report, round int, victim *Affiliate) error {
	away := n.Affiliates[investor]
	if err := away.Kill(); err != nil {
		return err
	}
	loan := n.loanRun(fmt.Sprintf("midway %d", round), numberedLoan("MIDWAY", round))
	obs.Follow(loan.id, loan.short)
	if err := n.propose(ctx, loan); err != nil {
		return err
	}
	err := n.await(ctx, "the assent of "+n.Affiliates[servicer].Name, finalWithin, func(ctx context.Context) error {
		a, err := n.Affiliates[servicer].agreement(ctx, loan.id.String())
		if err == nil && a.GetPhase() != phaseAssented {
			err = fmt.Errorf("it is %q", a.GetPhase())
		}
		return err
	})
	if err != nil {
		return n.explain(ctx, loan, err)
	}
	backup, err := n.backUp(ctx, victim)
	if err != nil {
		return err
	}
	if err := n.revive(ctx, away.Process); err != nil {
		return err
	}
	if err := n.agreed(ctx, obs, loan); err != nil {
		return err
	}
	begin, err := n.goBack(ctx, victim, backup)
	if err != nil {
		return err
	}
	if err := n.awaitBack(ctx, obs, victim, loan); err != nil {
		return n.explain(ctx, loan, err)
	}
	report.Line("%-12s lost its store, and had a loan complete %.1f s after a backup from the middle of it was restored", victim.Name, time.Since(begin).Seconds())
	return nil
}

// backUp makes a backup of a running affiliate.
func (n *Net) backUp(ctx context.Context, a *Affiliate) (path string, err error) {
	path = filepath.Join(n.Dir, a.Name+".backup")
	_, err = run(ctx, n.build.Affiliate, "store", "backup", "--home", a.Home, "--to", path, "--force")
	return path, err
}

// goBack has an affiliate lose its store and restores a backup. It says when
// the affiliate was started again.
func (n *Net) goBack(ctx context.Context, a *Affiliate, backup string) (begin time.Time, err error) {
	if err := a.Kill(); err != nil {
		return begin, err
	}
	data := filepath.Join(a.Home, "data")
	if err := errors.Join(os.RemoveAll(data), removeFiles(filepath.Join(a.Home, "index*"))); err != nil {
		return begin, err
	}
	if _, err := run(ctx, n.build.Affiliate, "store", "restore", "--home", a.Home, "--from", backup); err != nil {
		return begin, err
	}
	return time.Now(), n.revive(ctx, a.Process)
}

// awaitBack waits until an affiliate has an agreement complete again, and
// checks it everywhere.
func (n *Net) awaitBack(ctx context.Context, obs *observer, victim *Affiliate, r *agreementRun) error {
	err := n.await(ctx, r.short+" to be back on "+victim.Name, recallWithin, func(ctx context.Context) error {
		a, err := victim.agreement(ctx, r.id.String())
		if err == nil && a.GetPhase() != phaseComplete {
			err = fmt.Errorf("it is %q: %s %s", a.GetPhase(), a.GetCode(), a.GetMessage())
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, check := range []func(context.Context, *observer, *agreementRun) (string, error){n.checkCommit, n.checkRecords, n.checkInputs, n.checkSearch} {
		if _, err := check(ctx, obs, r); err != nil {
			return err
		}
	}
	return nil
}

// wasRecalled makes sure that an agreement had been lost.
func wasRecalled(ctx context.Context, a *Affiliate, r *agreementRun) error {
	why, err := a.why(ctx, r.id.String())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(why.GetHistory(), func(e *affiliatev1.Event) bool { return e.GetKind() == "recalled" }) {
		return fmt.Errorf("%s has %s from elsewhere than the others", a.Name, r.short)
	}
	return nil
}

// agreed has an agreement made, unless it was proposed, and checks it.
func (n *Net) agreed(ctx context.Context, obs *observer, r *agreementRun) (err error) {
	if r.submitted.IsZero() {
		obs.Follow(r.id, r.short)
		err = n.propose(ctx, r)
	}
	if err == nil {
		err = n.settle(ctx, r, finalWithin)
	}
	if err == nil && r.phase != phaseComplete {
		err = fmt.Errorf("it ended as %s (%s: %s)", r.phase, r.code, r.message)
	}
	if err == nil {
		_, err = n.checkRun(ctx, obs, r)
	}
	if err != nil {
		return n.explain(ctx, r, err)
	}
	return nil
}

func removeFiles(pattern string) error {
	files, err := filepath.Glob(pattern)
	for _, f := range files {
		err = errors.Join(err, os.RemoveAll(f))
	}
	return err
}
