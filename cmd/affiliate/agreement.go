package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
)

func (a *app) agreementCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "agreement", Short: "Look at agreements and decide about them"}
	cmd.AddCommand(
		a.agreementListCommand(), a.agreementShowCommand(), a.agreementWatchCommand(),
		a.traceCommand(), a.traceDiffCommand(),
		a.decideCommand("approve", "Agree to a proposal that waits for a person", false,
			func(ctx context.Context, c *client.Client, id, _ string) (*connect.Response[affiliatev1.Agreement], error) {
				return c.Agreements.Approve(ctx, connect.NewRequest(&affiliatev1.ApproveRequest{AgreementId: id}))
			}),
		a.decideCommand("reject", "Refuse another affiliate's proposal", true,
			func(ctx context.Context, c *client.Client, id, reason string) (*connect.Response[affiliatev1.Agreement], error) {
				return c.Agreements.Reject(ctx, connect.NewRequest(&affiliatev1.RejectRequest{AgreementId: id, Reason: reason}))
			}),
		a.decideCommand("cancel", "Withdraw this affiliate's own proposal", true,
			func(ctx context.Context, c *client.Client, id, reason string) (*connect.Response[affiliatev1.Agreement], error) {
				return c.Agreements.Cancel(ctx, connect.NewRequest(&affiliatev1.CancelRequest{AgreementId: id, Reason: reason}))
			}),
	)
	return group(cmd)
}

// agreementID is the first argument as an agreement's id.
func agreementID(words ...string) cobra.PositionalArgs {
	count := args(words...)
	return func(cmd *cobra.Command, have []string) error {
		if err := count(cmd, have); err != nil {
			return err
		}
		if len(have) > 0 {
			if _, err := agreement.ParseUUID(have[0]); err != nil {
				return usage(cmd, "the id of an agreement: %w", err)
			}
		}
		return nil
	}
}

func (a *app) agreementListCommand() *cobra.Command {
	req := &affiliatev1.ListAgreementsRequest{}
	cmd := &cobra.Command{
		Use: "list", Short: "List agreements", Args: args(),
		PreRunE: checkLimit(&req.Limit),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, _ []string) error {
			res, err := c.Agreements.ListAgreements(ctx, connect.NewRequest(req))
			if err != nil {
				return err
			}
			return a.listAgreements(res.Msg.GetAgreements(), req.GetLimit())
		}),
	}
	cmd.Flags().StringVar(&req.Phase, "phase", "", "only agreements in this phase")
	cmd.Flags().Int32Var(&req.Limit, "limit", 100, fmt.Sprintf("at most so many, up to %d", maxLimit))
	cmd.Flags().StringVar(&req.After, "after", "", "only those after this agreement id, to list further")
	return cmd
}

// listAgreements shows one page. The node's order is that of the ids, which
// says nothing to people: they get the newest last.
func (a *app) listAgreements(page []*affiliatev1.Agreement, limit int32) error {
	more := ""
	if n := len(page); n > 0 && n == int(limit) {
		more = page[n-1].GetAgreementId()
	}
	if !a.json() {
		slices.SortStableFunc(page, func(x, y *affiliatev1.Agreement) int {
			return x.GetCreated().AsTime().Compare(y.GetCreated().AsTime())
		})
	}
	err := emitAll(a, page, func(w io.Writer) {
		var rows [][]string
		for _, g := range page {
			rows = append(rows, []string{g.GetAgreementId(), g.GetContractName(), g.GetPhase(), g.GetCode(), g.GetProposer(), when(g.GetCreated())})
		}
		table(w, []string{"AGREEMENT", "CONTRACT", "PHASE", "CODE", "PROPOSER", "CREATED"}, rows)
	})
	if err == nil && more != "" && !a.json() {
		fmt.Fprintf(a.stderr, "there may be more: affiliate agreement list --after %s\n", more) //nolint:errcheck // advice only
	}
	return err
}

func (a *app) agreementShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show an agreement, its participants and its records", Args: agreementID("ID"),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			g, err := c.Agreement(ctx, args[0])
			if err != nil {
				return err
			}
			return a.emit(g, func(w io.Writer) { writeAgreement(w, g) })
		}),
	}
}

func (a *app) decideCommand(
	name, what string, reasoned bool,
	call func(ctx context.Context, c *client.Client, id, reason string) (*connect.Response[affiliatev1.Agreement], error),
) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: name + " ID", Short: what, Args: agreementID("ID"),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := call(ctx, c, args[0], reason)
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) { writeAgreement(w, res.Msg) })
		}),
	}
	if reasoned {
		cmd.Flags().StringVar(&reason, "reason", "", "why; the other affiliates see it")
	}
	return cmd
}

func writeAgreement(w io.Writer, g *affiliatev1.Agreement) {
	block := ""
	if g.GetHeight() > 0 {
		block = strconv.FormatInt(g.GetHeight(), 10)
	}
	fields(w,
		"agreement", g.GetAgreementId(),
		"phase", g.GetPhase(),
		"failed", strings.TrimSpace(g.GetCode()+" "+g.GetMessage()),
		"contract", strings.TrimSpace(g.GetContractName()+" "+short(g.GetContractHash())),
		"scope", g.GetScopeId(),
		"session", g.GetSessionId(),
		"proposer", g.GetProposer(),
		"created", when(g.GetCreated()),
		"deadline", when(g.GetDeadline()),
		"block", block,
		"transaction", g.GetTxHash())
	if len(g.GetParticipants()) > 0 {
		fmt.Fprintln(w) //nolint:errcheck // w is memory
		var rows [][]string
		for _, p := range g.GetParticipants() {
			rows = append(rows, []string{p.GetRole(), p.GetName(), p.GetAddress(), progress(p)})
		}
		table(w, []string{"ROLE", "NAME", "ADDRESS", "PROGRESS"}, rows)
	}
	if len(g.GetValues()) > 0 {
		fmt.Fprintln(w) //nolint:errcheck // w is memory
		var rows [][]string
		for _, v := range g.GetValues() {
			rows = append(rows, []string{v.GetKind(), v.GetName(), size(v.GetSize()), v.GetMediaType(), v.GetContentHash()})
		}
		table(w, []string{"DATA", "NAME", "SIZE", "MEDIA TYPE", "CONTENT HASH"}, rows)
	}
	if len(g.GetRecords()) > 0 {
		fmt.Fprintln(w) //nolint:errcheck // w is memory
		var rows [][]string
		for _, r := range g.GetRecords() {
			outcome := strings.TrimPrefix(r.GetOutcome().String(), "OUTCOME_")
			rows = append(rows, []string{
				cmp.Or(r.GetRecord(), "(condition)"), r.GetFunction(), outcome, strconv.FormatUint(r.GetFuel(), 10),
				cmp.Or(r.GetOutputHash(), strings.TrimSpace(r.GetCode()+" "+r.GetMessage())),
			})
		}
		table(w, []string{"RECORD", "FUNCTION", "OUTCOME", "FUEL", "HASH"}, rows)
	}
}

// progress is the furthest that a participant has come.
func progress(p *affiliatev1.Participant) string {
	switch {
	case p.GetRefused() != "":
		return "refused: " + p.GetRefused()
	case p.GetAcknowledged():
		return "acknowledged"
	case p.GetCosigned():
		return "co-signed"
	case p.GetAttested():
		return "attested"
	case p.GetDelivered():
		return "delivered"
	}
	return "not heard from"
}

type watchFlags struct {
	after        uint64
	subscription string
	follow       bool
}

func (a *app) agreementWatchCommand() *cobra.Command {
	var f watchFlags
	cmd := &cobra.Command{
		Use: "watch [ID]", Short: "Show the events of one agreement or of all",
		Long: `Show the events of one agreement, or of all, from the first and then as they
happen.

With --subscription the node remembers, under that name, which events were
shown: the next watch with the same name goes on after them, also after a
restart.`,
		Args: agreementID("ID?"),
		RunE: a.call(0, func(ctx context.Context, c *client.Client, args []string) error {
			req := &affiliatev1.WatchRequest{After: f.after, Subscription: f.subscription, Follow: f.follow}
			if len(args) > 0 {
				req.AgreementId = args[0]
			}
			err := c.Watch(ctx, req, func(e *affiliatev1.Event) error { return a.showEvent(ctx, c, f.subscription, e) })
			if ctx.Err() != nil && agreement.CodeOf(err) == client.CodeCanceled {
				return nil // the user has seen enough
			}
			return err
		}),
	}
	cmd.Flags().Uint64Var(&f.after, "after", 0, "only events after this sequence number")
	cmd.Flags().StringVar(&f.subscription, "subscription", "", "name under which the node remembers what was shown")
	cmd.Flags().BoolVar(&f.follow, "follow", true, "go on with new events; --follow=false ends at the last")
	return cmd
}

// showEvent writes an event and, once it is written, tells the node.
func (a *app) showEvent(ctx context.Context, c *client.Client, subscription string, e *affiliatev1.Event) error {
	err := a.emit(e, func(w io.Writer) { fmt.Fprintln(w, eventLine(e)) }) //nolint:errcheck // w is memory
	if err != nil || subscription == "" {
		return err
	}
	_, err = c.Agreements.AcknowledgeEvents(ctx, connect.NewRequest(&affiliatev1.AcknowledgeEventsRequest{
		Subscription: subscription, Sequence: e.GetSequence(),
	}))
	return err
}

// eventLine is one event in one line; the columns fit without knowing the
// others.
func eventLine(e *affiliatev1.Event) string {
	step := ""
	if e.GetStep() > 0 {
		step = fmt.Sprintf("%d/10", e.GetStep())
	}
	text := strings.ReplaceAll(e.GetKind(), "_", " ")
	if e.GetText() != "" {
		text += ": " + e.GetText()
	}
	if e.GetCode() != "" {
		text += " [" + e.GetCode() + "]"
	}
	if e.GetPeer() != "" {
		text += " (" + e.GetPeer() + ")"
	}
	id, _, _ := strings.Cut(e.GetAgreementId(), "-")
	at := e.GetTime().AsTime().UTC().Format("2006-01-02T15:04:05.000Z")
	return clean(fmt.Sprintf("%s  %-8s  %5s  %-14s  %s", at, id, step, e.GetPhase(), text))
}

func (a *app) whyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "why ID", Short: "Explain an agreement: who is waited for, what happened, what to do", Args: agreementID("ID"),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := c.Agreements.Why(ctx, connect.NewRequest(&affiliatev1.WhyRequest{AgreementId: args[0]}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) { writeWhy(w, res.Msg) })
		}),
	}
}

func writeWhy(w io.Writer, y *affiliatev1.WhyResponse) {
	g := y.GetAgreement()
	fmt.Fprintf(w, "%s\n\n", clean(y.GetSummary())) //nolint:errcheck // w is memory
	fields(w,
		"agreement", g.GetAgreementId(), "contract", g.GetContractName(), "phase", g.GetPhase(),
		"failed", strings.TrimSpace(g.GetCode()+" "+g.GetMessage()), "deadline", when(g.GetDeadline()))
	list(w, "waiting for", y.GetWaitingFor())
	list(w, "what to do", y.GetActions())
	var lines []string
	for _, e := range y.GetHistory() {
		lines = append(lines, eventLine(e))
	}
	list(w, "what happened", lines)
}
