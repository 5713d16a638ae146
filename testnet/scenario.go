package testnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// The roles of the scenario's affiliates, by index.
const (
	originator = 0
	servicer   = 1
	investor   = 2
)

// finalWithin is how long an agreement may take to be final everywhere.
const finalWithin = 30 * time.Second

// The scenario's limits.
const (
	TimeLimit = 60 * time.Second // from the end of the build to the summary
	RSSLimit  = 200 << 20        // of each process, bytes
)

// scenario is one run of the main job.
type scenario struct {
	net    *Net
	report *Report
	obs    *observer
	runs   []*agreementRun
	// published are the contracts' hashes, by name.
	published map[string]string
}

// RunScenario makes a network and takes it through the main job. It returns
// the network, if it came up, for the caller to stop or to keep: also after
// an error. The clock of the report starts here.
func RunScenario(ctx context.Context, b Build, opts Options, report *Report) (*Net, error) {
	report.Begin()
	opts.AskAffiliate = investor
	n, err := Start(ctx, b, opts, func(s string) { report.Line("%s", s) })
	if err != nil {
		return n, err
	}
	report.Line("%d affiliates and %d validators are ready in %s", len(n.Affiliates), len(n.Validators), n.Dir)
	s := &scenario{net: n, report: report, published: map[string]string{}}
	err = n.observed(ctx, report, func(ctx context.Context, obs *observer) error {
		s.obs = obs
		return s.all(ctx)
	})
	if err != nil {
		return n, err
	}
	return n, s.summary()
}

// observed runs fn while an observer collects.
func (n *Net) observed(ctx context.Context, report *Report, fn func(context.Context, *observer) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	obs := newObserver(n, report)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(guard(func() error { return obs.Run(gctx) }))
	g.Go(guard(func() error {
		defer cancel()
		return fn(gctx, obs)
	}))
	return g.Wait()
}

// guard turns a panic into an error, so that the children are ended in order.
func guard(fn func() error) func() error {
	return func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v", r)
			}
		}()
		return fn()
	}
}

func (s *scenario) all(ctx context.Context) error {
	parts := []func(context.Context) error{
		s.publish, s.vet, s.loan, s.payment, s.appraisal, s.refusals, s.check,
	}
	for _, part := range parts {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// publish puts the contracts on chain, all from affiliate-0: the loan's kind of
// scope belongs to who published it first, and only its owner can admit
// another contract, the payment, to it. affiliate-1 publishes the payment as
// well, which it will propose: it finds all of it on chain already.
func (s *scenario) publish(ctx context.Context) error {
	s.report.Title("Publishing the contracts")
	for _, p := range []struct {
		by   int
		name string
	}{
		{originator, contractLoan}, {originator, contractPayment}, {originator, contractAppraisal}, {servicer, contractPayment},
	} {
		c, line, err := s.net.publish(ctx, p.by, p.name)
		if err != nil {
			return err
		}
		s.report.Line("%s", line)
		s.published[p.name] = c.GetHash()
	}
	return nil
}

// vet is the consent of the other parties: who has published a contract has
// given it.
func (s *scenario) vet(ctx context.Context) error {
	s.report.Title("The other parties vet them: no affiliate runs what it hasn't consented to")
	for _, v := range []struct {
		by   int
		name string
	}{
		{servicer, contractLoan}, {investor, contractLoan}, {investor, contractPayment},
	} {
		line, err := s.net.vet(ctx, v.by, s.published[v.name])
		if err != nil {
			return err
		}
		s.report.Line("%s", line)
	}
	return nil
}

// vet vets one contract, which is fetched from an affiliate that has it, and
// tells how it went.
func (n *Net) vet(ctx context.Context, by int, hash string) (string, error) {
	a := n.Affiliates[by]
	c, err := a.vet(ctx, hash, "the testnet's own")
	if err == nil && !c.GetVetted() {
		err = errors.New("it says that it isn't vetted")
	}
	if err != nil {
		return "", fmt.Errorf("vetting %s on %s: %w", hash, a.Name, err)
	}
	return fmt.Sprintf("%s vetted %s %s (%s), and has its module of %d bytes", a.Name, c.GetName(), c.GetVersion(), hash, c.GetModuleSize()), nil
}

// publish publishes one contract and tells how it went.
func (n *Net) publish(ctx context.Context, by int, name string) (*affiliatev1.Contract, string, error) {
	module, err := os.ReadFile(n.build.Contracts[name])
	if err != nil {
		return nil, "", fmt.Errorf("reading the contract %s: %w", name, err)
	}
	a := n.Affiliates[by]
	res, err := a.publish(ctx, module)
	if err != nil {
		return nil, "", fmt.Errorf("publishing %s on %s: %w", name, a.Name, err)
	}
	c := res.GetContract()
	how := "tx " + res.GetTxHash()
	if res.GetTxHash() == "" {
		how = "it was there already"
	}
	return c, fmt.Sprintf("%s published %s %s: module of %d bytes in its store, %s on chain, %s",
		a.Name, c.GetName(), c.GetVersion(), len(module), c.GetSpecificationId(), how), nil
}

func (s *scenario) loan(ctx context.Context) error {
	r := s.net.loanRun("loan", mainLoan())
	s.report.Title("1. A new loan, from %s with %s and %s: a JSON application and a PDF of %d KB",
		s.net.Affiliates[originator].Name, s.net.Affiliates[servicer].Name, s.net.Affiliates[investor].Name,
		len(r.inputs[1].content)/1000)
	r.tenSteps = true
	return s.complete(ctx, r)
}

func (s *scenario) payment(ctx context.Context) error {
	s.report.Title("2. A payment on the same scope, proposed by %s; %s is asked and approves",
		s.net.Affiliates[servicer].Name, s.net.Affiliates[investor].Name)
	r := s.net.paymentRun("payment", s.runs[0].scope, "P-0001", "2026-02-28")
	r.tenSteps = true
	r.asked = func(ctx context.Context, a *Affiliate) error { return a.approve(ctx, r.id.String()) }
	return s.complete(ctx, r)
}

func (s *scenario) appraisal(ctx context.Context) error {
	a := s.net.Affiliates[originator]
	s.report.Title("3. An appraisal by %s alone, on a scope of its own", a.Name)
	return s.complete(ctx, s.net.appraisalRun("appraisal"))
}

// refusals runs the two agreements that leave nothing on chain. The first
// takes a while to be final on a party that had co-signed already: it is safe
// from the transaction only when the co-signature has timed out. The second
// runs meanwhile.
func (s *scenario) refusals(ctx context.Context) error {
	s.report.Title("4. Another payment, which %s is asked about and rejects", s.net.Affiliates[investor].Name)
	rejected := s.net.paymentRun("rejected", s.runs[0].scope, "P-0002", "2026-03-31")
	rejected.fails, rejected.reason = agreement.CodeRejected, "the statement hasn't been reconciled"
	rejected.asked = func(ctx context.Context, a *Affiliate) error {
		return a.reject(ctx, rejected.id.String(), rejected.reason)
	}
	if err := s.begin(ctx, rejected); err != nil {
		return err
	}
	s.report.Title("5. Meanwhile a loan that its own contract refuses")
	refused := s.net.loanRun("refused", refusedLoan())
	refused.fails, refused.reason = agreement.CodeContractFail, "LOAN_PRINCIPAL_INVALID"
	if err := s.begin(ctx, refused); err != nil {
		return err
	}
	return errors.Join(s.failed(ctx, refused), s.failed(ctx, rejected))
}

// complete proposes an agreement and waits until it is complete everywhere.
func (s *scenario) complete(ctx context.Context, r *agreementRun) error {
	if err := s.begin(ctx, r); err != nil {
		return err
	}
	if err := s.end(ctx, r); err != nil {
		return err
	}
	if r.phase != phaseComplete {
		return s.net.explain(ctx, r, fmt.Errorf("agreement %s ended as %s: %s %s", r.short, r.phase, r.code, r.message))
	}
	s.report.Line("%s is complete on all %d of its parties", r.short, len(r.parties))
	return nil
}

// failed waits until an agreement has failed everywhere.
func (s *scenario) failed(ctx context.Context, r *agreementRun) error {
	if err := s.end(ctx, r); err != nil {
		return err
	}
	if r.phase != phaseFailed {
		return fmt.Errorf("agreement %s ended as %s and should have failed with %s", r.short, r.phase, r.fails)
	}
	s.report.Line("%s has failed on all %d of its parties: %s: %s", r.short, len(r.parties), r.code, r.message)
	return nil
}

// begin proposes an agreement and answers for the affiliate that is asked.
func (s *scenario) begin(ctx context.Context, r *agreementRun) error {
	s.runs = append(s.runs, r)
	s.obs.Follow(r.id, r.short)
	if err := s.net.propose(ctx, r); err != nil {
		return err
	}
	if r.asked == nil {
		return nil
	}
	if err := s.net.answer(ctx, r, s.net.Affiliates[investor]); err != nil {
		return s.net.explain(ctx, r, err)
	}
	return nil
}

// end waits until an agreement is final everywhere.
func (s *scenario) end(ctx context.Context, r *agreementRun) error {
	defer s.obs.Flush(r.id)
	if err := s.net.settle(ctx, r, finalWithin); err != nil {
		return s.net.explain(ctx, r, err)
	}
	if r.phase != phaseComplete || !r.tenSteps {
		return nil
	}
	return s.sawAll(ctx, r)
}

// stepsWithin is how long the last events of an agreement that is complete
// may take to be seen.
const stepsWithin = 5 * time.Second

// sawAll waits until every one of the ten steps has been seen.
func (s *scenario) sawAll(ctx context.Context, r *agreementRun) error {
	ctx, cancel := context.WithTimeout(ctx, stepsWithin)
	defer cancel()
	var missing []int
	seen := map[int]bool{}
	_, err := s.obs.Wait(ctx, r.id, func(e seenEvent) bool {
		seen[e.Step] = true
		missing = missing[:0]
		for step := 1; step <= 10; step++ {
			if !seen[step] {
				missing = append(missing, step)
			}
		}
		return len(missing) == 0
	})
	if err != nil {
		return fmt.Errorf("agreement %s is complete, but nobody showed its steps %v", r.short, missing)
	}
	return nil
}

// summary prints sizes and times, and judges them.
func (s *scenario) summary() error {
	s.report.Title("Summary")
	var errs []error
	for _, p := range s.net.Processes() {
		peak := p.PeakRSS()
		if peak == 0 {
			s.report.Line("%-12s memory unknown: this system has no /proc", p.Name)
			continue
		}
		s.report.Line("%-12s %4d MB resident at most (limit %d MB)", p.Name, peak>>20, int64(RSSLimit)>>20)
		if peak > RSSLimit {
			errs = append(errs, fmt.Errorf("%s took %d MB of memory, more than %d MB", p.Name, peak>>20, int64(RSSLimit)>>20))
		}
	}
	total := s.report.Elapsed()
	s.report.Line("%d agreements, %.1f s in all (limit %.0f s after the build)", len(s.runs), total.Seconds(), TimeLimit.Seconds())
	// The limit is for two cores and the default size of the network.
	if total > TimeLimit && len(s.net.Affiliates) == minAffiliates && len(s.net.Validators) == 1 {
		errs = append(errs, fmt.Errorf("the run took %.1f s, more than %.0f s", total.Seconds(), TimeLimit.Seconds()))
	}
	return errors.Join(errs...)
}
