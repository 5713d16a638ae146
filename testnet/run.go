package testnet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// The final phases, as the API names them.
const (
	phaseComplete = "complete"
	phaseAssented = "assented"
	phaseFailed   = "failed"
	phaseDeciding = "deciding" // a person is asked
)

// runInput is one proposed input.
type runInput struct {
	name, media string
	content     []byte
}

// runParty is an affiliate in a role.
type runParty struct {
	affiliate *Affiliate
	role      agreement.Role
}

// agreementRun is one agreement that the testnet proposes, and what became of
// it.
type agreementRun struct {
	id       agreement.ID
	short    string // for people
	contract string
	proposer *Affiliate
	parties  []runParty
	inputs   []runInput
	scope    string // scope1…; empty until known when the agreement makes it
	newScope bool
	query    string // search that finds it on each party; empty for none
	tenSteps bool   // all ten steps must be seen
	fails    agreement.Code
	reason   string                                  // part of the message on every party when it fails
	asked    func(context.Context, *Affiliate) error // answer of the affiliate that is asked

	submitted            time.Time
	phase, code, message string
}

func (r *agreementRun) isParty(a *Affiliate) bool {
	for _, p := range r.parties {
		if p.affiliate == a {
			return true
		}
	}
	return false
}

// propose submits the agreement. The same agreement may be submitted again.
func (n *Net) propose(ctx context.Context, r *agreementRun) error {
	req := &affiliatev1.ProposeRequest{AgreementId: r.id.String(), Contract: r.contract, ScopeId: r.scope}
	if r.newScope {
		req.ScopeId = ""
	}
	for _, p := range r.parties {
		req.Parties = append(req.Parties, &affiliatev1.Party{Address: p.affiliate.Address, Role: string(p.role)})
	}
	for _, in := range r.inputs {
		req.Inputs = append(req.Inputs, &affiliatev1.ProposedInput{
			Name: in.name, MediaType: in.media, Source: &affiliatev1.ProposedInput_Content{Content: in.content},
		})
	}
	if r.submitted.IsZero() {
		r.submitted = time.Now()
	}
	a, err := r.proposer.propose(ctx, req)
	if err != nil {
		return fmt.Errorf("proposing %s on %s: %w", r.short, r.proposer.Name, err)
	}
	r.scope = a.GetScopeId()
	return nil
}

// answer gives the answer of an affiliate whose policy is to ask, when it
// asks.
func (n *Net) answer(ctx context.Context, r *agreementRun, a *Affiliate) error {
	err := n.await(ctx, a.Name+" to ask about "+r.short, finalWithin, func(ctx context.Context) error {
		ag, err := a.agreement(ctx, r.id.String())
		if err == nil && ag.GetPhase() != phaseDeciding {
			err = fmt.Errorf("its phase is %q", ag.GetPhase())
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := r.asked(ctx, a); err != nil {
		return fmt.Errorf("answering %s on %s: %w", r.short, a.Name, err)
	}
	return nil
}

// settle waits until the agreement is final on every party with the same
// outcome, and, where it is complete, until everybody has acknowledged it.
func (n *Net) settle(ctx context.Context, r *agreementRun, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for i, p := range r.parties {
		var a *affiliatev1.Agreement
		what := fmt.Sprintf("%s to be final on %s", r.short, p.affiliate.Name)
		err := n.await(ctx, what, time.Until(deadline), func(ctx context.Context) error {
			var err error
			if a, err = p.affiliate.agreement(ctx, r.id.String()); err != nil {
				return err
			}
			return finalState(a, p.affiliate, r.proposer)
		})
		if err != nil {
			return err
		}
		if i == 0 {
			r.phase, r.code, r.message, r.scope = a.GetPhase(), a.GetCode(), a.GetMessage(), a.GetScopeId()
		}
		if err := r.same(a, p.affiliate); err != nil {
			return err
		}
	}
	return nil
}

// same says where a party's outcome differs from the others'. Each words its
// message from its own side; the reason is in all of them.
func (r *agreementRun) same(a *affiliatev1.Agreement, on *Affiliate) error {
	if a.GetPhase() != r.phase || a.GetCode() != r.code {
		return fmt.Errorf("%s is %q (%s: %s) on %s and %q (%s: %s) on %s", r.short,
			r.phase, r.code, r.message, r.parties[0].affiliate.Name,
			a.GetPhase(), a.GetCode(), a.GetMessage(), on.Name)
	}
	if r.phase == phaseFailed && !strings.Contains(a.GetMessage(), r.reason) {
		return fmt.Errorf("%s failed on %s with the message %q, which lacks %q", r.short, on.Name, a.GetMessage(), r.reason)
	}
	return nil
}

// finalState says what an agreement still lacks on one party. Acknowledgements
// go to the proposer, so only it must have everybody's.
func finalState(a *affiliatev1.Agreement, on, proposer *Affiliate) error {
	if !a.GetFinal() {
		return fmt.Errorf("its phase is %q", a.GetPhase())
	}
	if a.GetPhase() != phaseComplete {
		return nil
	}
	var missing []string
	for _, p := range a.GetParticipants() {
		mine := p.GetAddress() == on.Address
		if (mine || on == proposer) && !p.GetAcknowledged() {
			missing = append(missing, p.GetAddress())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("it is complete, and not acknowledged by %s", strings.Join(missing, ", "))
	}
	return nil
}

// explain adds what every party says about an agreement that went wrong.
func (n *Net) explain(ctx context.Context, r *agreementRun, cause error) error {
	errs := []error{cause}
	for _, p := range r.parties {
		w, err := p.affiliate.why(ctx, r.id.String())
		if err != nil {
			errs = append(errs, fmt.Errorf("  %s says: %w", p.affiliate.Name, err))
			continue
		}
		text := w.GetSummary()
		for _, e := range w.GetHistory() {
			text += fmt.Sprintf("\n    %s %s %s %s %s %s", e.GetTime().AsTime().Format("15:04:05.000"),
				e.GetPhase(), e.GetKind(), n.name(e.GetPeer()), e.GetCode(), e.GetText())
		}
		errs = append(errs, fmt.Errorf("  %s says: %s", p.affiliate.Name, text))
	}
	return errors.Join(errs...)
}
