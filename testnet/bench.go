package testnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// rateGoal is the part of the limit that the agreements should reach.
const rateGoal = 0.5

// benchLevels are how many agreements are in flight at once, and how many are
// measured at each level.
var benchLevels = [...]struct{ inFlight, total int }{{1, 20}, {10, 80}, {100, 300}}

// Figure is one line of a benchmark.
type Figure struct {
	Name  string
	Value float64
	Unit  string
	// Limit is what the best possible implementation would reach, measured in
	// the same run; 0 where there is none.
	Limit float64
	// Less is set where a smaller value is better.
	Less bool
	Goal float64 // ratio of value and limit that is enough
}

// Print writes the figure as `name value unit limit ratio goal met|short`,
// with a dash for each of the last four where there is no limit.
func (f Figure) Print(w io.Writer) error {
	tail := "- - - -"
	if f.Limit > 0 && f.Value > 0 {
		ratio := f.Value / f.Limit
		if f.Less {
			ratio = f.Limit / f.Value
		}
		verdict := "short"
		if ratio >= f.Goal {
			verdict = "met"
		}
		tail = fmt.Sprintf("%.4g %.2f %.2f %s", f.Limit, ratio, f.Goal, verdict)
	}
	_, err := fmt.Fprintf(w, "%s %.4g %s %s\n", f.Name, f.Value, f.Unit, tail)
	return err
}

// BenchAgreements measures agreements between three affiliates on one
// validator: how many a second at 1, 10 and 100 in flight, and the time of
// each stage. An agreement counts when it is complete: on chain, indexed and
// acknowledged by all.
//
// The limit is measured in the same run: n agreements in flight can't be more
// than n in a block, and no more than what the same chain commits when it is
// given as many finished transactions of the same form at once, with no
// affiliate doing anything.
func BenchAgreements(ctx context.Context, b Build, opts Options, out io.Writer, report *Report) (*Net, error) {
	opts.CosignLifetime = time.Minute
	return warmed(ctx, b, opts, report, func(ctx context.Context, n *Net, obs *observer) error {
		interval, err := n.blockInterval(ctx)
		if err != nil {
			return err
		}
		rate, err := n.chainRate(ctx, report)
		if err != nil {
			return fmt.Errorf("measuring the chain alone: %w", err)
		}
		figures := []Figure{
			{Name: "agreements/chain/block-interval", Value: interval.Seconds() * 1000, Unit: "ms"},
			{Name: "agreements/chain/rate", Value: rate, Unit: "tx/s"},
		}
		for _, level := range benchLevels {
			report.Line("%d agreements, %d in flight", level.total, level.inFlight)
			more, err := n.benchLevel(ctx, obs, report, level.inFlight, level.total, interval, rate)
			if err != nil {
				return fmt.Errorf("with %d in flight: %w", level.inFlight, err)
			}
			figures = append(figures, more...)
		}
		for _, f := range figures {
			if err := f.Print(out); err != nil {
				return err
			}
		}
		return nil
	})
}

// blockInterval is the mean time between two blocks of the idle chain.
func (n *Net) blockInterval(ctx context.Context) (time.Duration, error) {
	const blocks = 10
	first, err := n.chain.height(ctx)
	if err != nil {
		return 0, err
	}
	err = n.await(ctx, "blocks", readyWithin, func(ctx context.Context) error {
		h, err := n.chain.height(ctx)
		if err == nil && h < first+blocks {
			err = errNotYet
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	from, err := n.chain.block(ctx, first)
	if err != nil {
		return 0, err
	}
	to, err := n.chain.block(ctx, first+blocks)
	return to.Time.Sub(from.Time) / blocks, err
}

// benchLevel keeps inFlight agreements open until total are complete.
func (n *Net) benchLevel(ctx context.Context, obs *observer, report *Report, inFlight, total int,
	interval time.Duration, chainRate float64,
) ([]Figure, error) {
	runs := make([]*agreementRun, total)
	for i := range runs {
		runs[i] = n.loanRun(fmt.Sprintf("#%d", i), numberedLoan(fmt.Sprintf("BENCH%d", inFlight), i))
		obs.Follow(runs[i].id, runs[i].short)
	}
	ends := make([]time.Time, total)
	var next atomic.Int64
	start := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for range inFlight {
		g.Go(guard(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= total {
					return nil
				}
				end, err := n.benchOne(gctx, obs, runs[i])
				if err != nil {
					return err
				}
				ends[i] = end
			}
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	elapsed := slices.MaxFunc(ends, time.Time.Compare).Sub(start)
	name := fmt.Sprintf("agreements/in-flight-%d/", inFlight)
	latencies := make([]time.Duration, total)
	for i, r := range runs {
		latencies[i] = ends[i].Sub(r.submitted)
	}
	reportSlowest(obs, report, runs, latencies)
	figures := []Figure{
		{
			Name: name + "rate", Value: float64(total) / elapsed.Seconds(), Unit: "agreements/s",
			Limit: min(float64(inFlight)/interval.Seconds(), chainRate), Goal: rateGoal,
		},
		{Name: name + "latency-p50", Value: percentile(latencies, 50), Unit: "ms"},
		{Name: name + "latency-p99", Value: percentile(latencies, 99), Unit: "ms"},
	}
	return append(figures, stageFigures(name, obs, runs)...), nil
}

// reportSlowest tells what happened in the slowest agreement.
func reportSlowest(obs *observer, report *Report, runs []*agreementRun, latencies []time.Duration) {
	worst := 0
	for i, d := range latencies {
		if d > latencies[worst] {
			worst = i
		}
	}
	r := runs[worst]
	report.Line("the slowest took %.3f s:", latencies[worst].Seconds())
	events := obs.Events(r.id)
	slices.SortStableFunc(events, func(a, b seenEvent) int { return a.At.Compare(b.At) })
	for _, e := range events {
		who := "chain"
		if e.Affiliate != nil {
			who = e.Affiliate.Name
		}
		report.Line("  %8.3f s  %-12s %2d %s %s", e.At.Sub(r.submitted).Seconds(), who, e.Step, e.Kind, e.Text)
	}
}

// benchWithin is how long one agreement may take under load.
const benchWithin = 5 * time.Minute

// benchOne proposes one agreement and waits until it is complete on the
// proposer, which is when all have acknowledged.
func (n *Net) benchOne(ctx context.Context, obs *observer, r *agreementRun) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, benchWithin)
	defer cancel()
	if err := n.propose(ctx, r); err != nil {
		return time.Time{}, err
	}
	e, err := obs.Wait(ctx, r.id, func(e seenEvent) bool {
		return e.Affiliate == r.proposer && (e.Phase == phaseComplete || e.Phase == phaseFailed)
	})
	if err == nil && e.Phase == phaseFailed {
		err = errors.New(r.short + " failed: " + e.Text)
	}
	if err != nil {
		return time.Time{}, n.explain(context.WithoutCancel(ctx), r, err)
	}
	return e.At, nil
}

// A stage ends with the last event of a step that its side takes.
type side int

const (
	anyone side = iota
	byProposer
	byParties
)

// stages are the parts of an agreement, in order, by the event that ends each.
var stages = [...]struct {
	name string
	step int
	by   side
}{
	{"submit", 1, byProposer},
	{"execute-proposer", 4, byProposer},
	{"deliver", 2, byParties},
	{"store", 3, byParties},
	{"execute-parties", 4, byParties},
	{"collect", 5, byProposer},
	{"broadcast", 6, byProposer},
	{"commit", 7, anyone},
	{"follow", 8, anyone},
	{"index", 9, anyone},
	{"acknowledge", 10, byProposer},
}

// stageFigures gives the median time of each stage.
func stageFigures(name string, obs *observer, runs []*agreementRun) []Figure {
	times := make([][]time.Duration, len(stages))
	for _, r := range runs {
		events := obs.Events(r.id)
		last := r.submitted
		for i, s := range stages {
			end := last
			for _, e := range events {
				proposers := e.Affiliate == r.proposer
				if e.Step != s.step || s.by == byProposer && !proposers || s.by == byParties && proposers {
					continue
				}
				if e.At.After(end) {
					end = e.At
				}
			}
			times[i] = append(times[i], end.Sub(last))
			last = end
		}
	}
	figures := make([]Figure, len(stages))
	for i, s := range stages {
		figures[i] = Figure{Name: name + "stage/" + s.name, Value: percentile(times[i], 50), Unit: "ms"}
	}
	return figures
}

// percentile is in milliseconds.
func percentile(all []time.Duration, p int) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[min(len(sorted)-1, len(sorted)*p/100)].Seconds() * 1000
}

// contract returns what an affiliate knows of a contract.
func (a *Affiliate) contract(ctx context.Context, name string) (*affiliatev1.Contract, error) {
	return call(ctx, a.api.Contracts.GetContract, &affiliatev1.GetContractRequest{Contract: name})
}
