package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
)

// newScope is the value of --scope that makes a scope.
const newScope = "new"

// waitBeyond is how long after an agreement's deadline --wait still looks for
// how it ended.
const waitBeyond = time.Minute

type proposeFlags struct {
	scope, scopeSpec, valueOwner, id string
	parties, inputs, dataAccess      []string
	lifetime                         time.Duration
	wait, unvetted                   bool
}

func (a *app) proposeCommand() *cobra.Command {
	var f proposeFlags
	cmd := &cobra.Command{
		Use: "propose CONTRACT --scope new|ID --party ROLE=ADDRESS … [--input NAME=VALUE …]", Short: "Propose an agreement",
		Long: `Propose an agreement: the execution of a contract by its parties on a scope.

CONTRACT is its hash, eight or more digits of it, its name, or name@version.
Parties are affiliates in the contract's roles, this one included. An input is
JSON on the command line, or a file:

  --input application='{"amount":"250000.00"}'
  --input application=@application.json
  --input document:application/pdf=@contract.pdf
  --input document:application/pdf=@-          (standard input)

With --wait the command shows what happens until the agreement is complete
(exit status 0) or has failed (3); without, it ends as soon as the proposal is
stored. The same --id again is the same agreement, so a request can be repeated
safely.`,
		Args: args("CONTRACT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, inputs, err := f.request(args[0])
			if err != nil {
				return usage(cmd, "%w", err)
			}
			return a.call(0, func(ctx context.Context, c *client.Client, _ []string) error {
				return a.propose(ctx, c, req, inputs, f.wait)
			})(cmd, args)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.scope, "scope", "", `scope, as scope1… or UUID; "new" makes one`)
	fs.StringArrayVar(&f.parties, "party", nil, "a party, as ROLE=ADDRESS (repeat)")
	fs.StringArrayVar(&f.inputs, "input", nil, "an input, as NAME=JSON, NAME=@FILE or NAME:MEDIATYPE=@FILE (repeat)")
	fs.StringArrayVar(&f.dataAccess, "data-access", nil, "address of an affiliate that may read the data without being a party (repeat)")
	fs.DurationVar(&f.lifetime, "lifetime", 0, `time until the deadline, such as "48h" (default: the node's)`)
	fs.StringVar(&f.valueOwner, "value-owner", "", "address of the value owner of a new scope")
	fs.StringVar(&f.scopeSpec, "scope-specification", "", "scope specification of a new scope, where the contract allows several")
	fs.StringVar(&f.id, "id", "", "id of the agreement, a UUID (default: a new one)")
	fs.BoolVar(&f.unvetted, "unvetted", false, "propose also to parties that haven't vetted the contract: the agreement waits for them")
	fs.BoolVar(&f.wait, "wait", false, "wait until the agreement is complete or has failed")
	return cmd
}

// request checks the flags and makes all of the request but its inputs.
func (f *proposeFlags) request(contract string) (*affiliatev1.ProposeRequest, []input, error) {
	req := &affiliatev1.ProposeRequest{
		AgreementId: f.id, Contract: contract, DataAccess: f.dataAccess,
		ScopeSpecificationId: f.scopeSpec, ValueOwner: f.valueOwner, Unvetted: f.unvetted,
	}
	switch f.scope {
	case "":
		return nil, nil, fmt.Errorf("--scope is missing: the id of a scope, or new")
	case newScope:
	default:
		if f.valueOwner != "" || f.scopeSpec != "" {
			return nil, nil, fmt.Errorf("--value-owner and --scope-specification are for --scope new only")
		}
		req.ScopeId = f.scope
	}
	if f.id != "" {
		if _, err := agreement.ParseUUID(f.id); err != nil {
			return nil, nil, fmt.Errorf("--id: %w", err)
		}
	}
	if f.lifetime < 0 {
		return nil, nil, fmt.Errorf("--lifetime must be positive, not %s", f.lifetime)
	}
	if f.lifetime > 0 {
		req.Lifetime = durationpb.New(f.lifetime)
	}
	var err error
	if req.Parties, err = parseParties(f.parties); err != nil {
		return nil, nil, err
	}
	inputs, err := parseInputs(f.inputs)
	return req, inputs, err
}

func parseParties(list []string) ([]*affiliatev1.Party, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("--party is missing: name every party as --party ROLE=ADDRESS")
	}
	var parties []*affiliatev1.Party
	for _, s := range list {
		role, address, ok := strings.Cut(s, "=")
		if !ok || role == "" || address == "" {
			return nil, fmt.Errorf("--party %q is not ROLE=ADDRESS", s)
		}
		role = strings.ToUpper(strings.ReplaceAll(role, "-", "_"))
		parties = append(parties, &affiliatev1.Party{Role: role, Address: address})
	}
	return parties, nil
}

func parseInputs(list []string) ([]input, error) {
	seen := map[string]bool{}
	stdin := ""
	var inputs []input
	for _, s := range list {
		in, err := parseInput(s)
		if err != nil {
			return nil, err
		}
		if seen[in.name] {
			return nil, fmt.Errorf("--input %s is given twice", in.name)
		}
		seen[in.name] = true
		if in.file == "-" {
			if stdin != "" {
				return nil, fmt.Errorf("--input %s and --input %s can't both come from standard input", stdin, in.name)
			}
			stdin = in.name
		}
		inputs = append(inputs, in)
	}
	return inputs, nil
}

func (a *app) propose(ctx context.Context, c *client.Client, req *affiliatev1.ProposeRequest, inputs []input, wait bool) error {
	for _, in := range inputs {
		p, err := a.load(ctx, c, in)
		if err != nil {
			return err
		}
		req.Inputs = append(req.Inputs, p)
	}
	ag, err := a.submit(ctx, c, req)
	if err != nil {
		return err
	}
	if !wait {
		return a.emit(ag, func(w io.Writer) {
			writeAgreement(w, ag)
			fmt.Fprintf(w, "follow it with: affiliate agreement watch %s\n", ag.GetAgreementId()) //nolint:errcheck // w is memory
		})
	}
	patience := max(time.Until(ag.GetDeadline().AsTime()), 0) + waitBeyond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ag, err = c.WaitEvents(ctx, ag.GetAgreementId(), func(e *affiliatev1.Event) {
		if !a.json() {
			fmt.Fprintln(a.stderr, eventLine(e)) //nolint:errcheck // progress only
		}
	})
	if err != nil {
		return err
	}
	if err := a.emit(ag, func(w io.Writer) { writeAgreement(w, ag) }); err != nil {
		return err
	}
	if ag.GetCode() != "" {
		return ended(ag)
	}
	return nil
}

func (a *app) submit(ctx context.Context, c *client.Client, req *affiliatev1.ProposeRequest) (*affiliatev1.Agreement, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.Propose(ctx, req)
}

// ended is the refusal that a failed agreement is.
func ended(ag *affiliatev1.Agreement) error {
	return &cliError{
		err: &agreement.Error{
			Code: agreement.Code(ag.GetCode()),
			Text: strings.TrimSuffix("the agreement failed: "+ag.GetMessage(), ": "),
		},
		hint: "see: affiliate why " + ag.GetAgreementId(), exit: exitRefused,
	}
}
