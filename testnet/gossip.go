package testnet

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// keeper is the affiliate of the gossip suite that is no party: it can only
// keep sealed mail for others.
const keeper = 3

// gossipWithin is how long gossiped mail may take to be kept, or to be fetched.
const gossipWithin = 60 * time.Second

// RunGossipSuite shows that a proposal reaches a party that no stream of the
// proposer ever reaches: the party is away while it is proposed, and the
// proposer is away when the party comes back. Then it shows that data too
// large for gossip reaches an absent party once it is back.
func RunGossipSuite(ctx context.Context, b Build, opts Options, report *Report) (*Net, error) {
	opts.Affiliates = max(opts.Affiliates, keeper+1)
	return warmed(ctx, b, opts, report, func(ctx context.Context, n *Net, obs *observer) error {
		if err := n.gossipSmall(ctx, obs, report); err != nil {
			return err
		}
		return n.absentLarge(ctx, obs, report)
	})
}

func (n *Net) gossipSmall(ctx context.Context, obs *observer, report *Report) error {
	from, absent, other := n.Affiliates[originator], n.Affiliates[servicer], n.Affiliates[keeper]
	if err := absent.Stop(stopGrace); err != nil {
		return err
	}
	report.Line("%s is away", absent.Name)
	before, err := other.keptMail(ctx)
	if err != nil {
		return err
	}
	r := n.loanRun("gossiped", numberedLoan("GOSSIP", 1))
	obs.Follow(r.id, r.short)
	if err := n.propose(ctx, r); err != nil {
		return err
	}
	err = n.await(ctx, other.Name+" to keep the mail", gossipWithin, func(ctx context.Context) error {
		now, err := other.keptMail(ctx)
		if err == nil && now <= before {
			err = fmt.Errorf("it keeps %d", now)
		}
		return err
	})
	if err != nil {
		return n.explain(ctx, r, err)
	}
	report.Line("%s, which is no party, keeps sealed mail for it", other.Name)
	if err := from.Stop(stopGrace); err != nil {
		return err
	}
	if err := n.revive(ctx, absent.Process); err != nil {
		return err
	}
	report.Line("%s is away, %s is back", from.Name, absent.Name)
	err = n.await(ctx, absent.Name+" to have the proposal", gossipWithin, func(ctx context.Context) error {
		_, err := absent.agreement(ctx, r.id.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("with the proposer away: %w", err)
	}
	report.Line("%s has the proposal, and no stream of the proposer ever reached it", absent.Name)
	if err := n.revive(ctx, from.Process); err != nil {
		return err
	}
	return n.finishLate(ctx, obs, report, r)
}

// absentLarge proposes a document of 300 KB to a party that is away.
func (n *Net) absentLarge(ctx context.Context, obs *observer, report *Report) error {
	absent := n.Affiliates[investor]
	if err := absent.Stop(stopGrace); err != nil {
		return err
	}
	report.Line("%s is away", absent.Name)
	large := numberedLoan("LARGE", 2)
	large.side = pdfSide
	r := n.loanRun("large", large)
	obs.Follow(r.id, r.short)
	if err := n.propose(ctx, r); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, momentWithin)
	defer cancel()
	// The other party's answer shows that the proposal is out.
	if _, err := obs.Wait(wait, r.id, func(e seenEvent) bool { return e.Step == 5 }); err != nil {
		return n.explain(ctx, r, err)
	}
	if err := n.revive(ctx, absent.Process); err != nil {
		return err
	}
	report.Line("%s is back", absent.Name)
	return n.finishLate(ctx, obs, report, r)
}

func (n *Net) finishLate(ctx context.Context, obs *observer, report *Report, r *agreementRun) error {
	err := n.settle(ctx, r, recoverWithin)
	if err == nil && r.phase != phaseComplete {
		err = errors.New("it ended as " + r.phase + ": " + r.code + ": " + r.message)
	}
	if err != nil {
		return n.explain(ctx, r, err)
	}
	lines, err := n.checkRun(ctx, obs, r)
	if err != nil {
		return fmt.Errorf("checking %s: %w", r.short, err)
	}
	for _, line := range lines {
		report.Line("%s: %s", r.short, line)
	}
	return nil
}

func (a *Affiliate) keptMail(ctx context.Context) (int64, error) {
	st, err := a.status(ctx)
	return st.GetNetwork().GetKeptMail(), err
}
