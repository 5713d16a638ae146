package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
	"github.com/affiliate-node/affiliate/contract"
)

func (a *app) contractVetCommand() *cobra.Command {
	note := ""
	cmd := &cobra.Command{
		Use: "vet HASH", Short: "Consent to run a contract",
		Long: "Record that this affiliate has vetted a contract and consents to run it, whoever\n" +
			"proposes it. What waited for that goes on. The other affiliates are told, so that\n" +
			"they know before they propose.\n\n" +
			"HASH is the whole hash: a name is only what a module says of itself. A contract that\n" +
			"isn't here is fetched from an affiliate that has vetted it. What is consented to is\n" +
			"shown first; to look at it without consenting: affiliate contract show --fetch HASH.\n\n" +
			"Vetting is about the code. Whether this affiliate agrees to a proposal is decided by\n" +
			"its policy, or by affiliate agreement approve.",
		Args: args("HASH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := agreement.ParseHash(args[0]); err != nil {
				err := usage(cmd, "HASH must be the whole hash of a contract, 64 digits, not %q", args[0])
				err.hint = "affiliate contract show NAME prints the hash of a contract that is here"
				return err
			}
			return a.call(publishTimeout, func(ctx context.Context, c *client.Client, args []string) error {
				return a.vet(ctx, c, args[0], note)
			})(cmd, args)
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "why, for people: who has looked at it, say")
	return cmd
}

func (a *app) vet(ctx context.Context, c *client.Client, hash, note string) error {
	res, err := c.Contracts.GetContract(ctx, connect.NewRequest(&affiliatev1.GetContractRequest{Contract: hash, Fetch: true}))
	if err != nil {
		return err
	}
	if !a.json() {
		if err := a.buffered(func(w io.Writer) { writeConsent(w, res.Msg) }); err != nil {
			return err
		}
	}
	res, err = c.Contracts.VetContract(ctx, connect.NewRequest(&affiliatev1.VetContractRequest{Contract: hash, Note: note}))
	if err != nil {
		return err
	}
	return a.emit(res.Msg, func(w io.Writer) {
		fields(w, "vetted", vetted(res.Msg), "note", res.Msg.GetVettingNote())
	})
}

func (a *app) contractUnvetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "unvet CONTRACT", Short: "Take the consent to run a contract back",
		Long: "Take the consent to run a contract back. What runs or has run goes on; what hasn't\n" +
			"begun to run waits for a new consent. CONTRACT is as in affiliate contract show.",
		Args: args("CONTRACT"),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := c.Contracts.UnvetContract(ctx, connect.NewRequest(&affiliatev1.UnvetContractRequest{Contract: args[0]}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) {
				fields(w, "contract", res.Msg.GetName()+" "+res.Msg.GetVersion(), "hash", res.Msg.GetHash(), "vetted", vetted(res.Msg))
				if res.Msg.GetPinned() {
					fmt.Fprintln(w, "it stays vetted until its hash is gone from the rules of [policy], and the node has been started again") //nolint:errcheck // w is memory
				}
			})
		}),
	}
}

// vetted says since when a contract is vetted, or why.
func vetted(k *affiliatev1.Contract) string {
	since := when(k.GetVettedSince())
	switch {
	case since != "":
		return since
	case k.GetPinned():
		return "by policy"
	}
	return "no"
}

// writeConsent shows what is about to be consented to.
func writeConsent(w io.Writer, k *affiliatev1.Contract) {
	var m contract.Manifest
	_ = json.Unmarshal(k.GetManifest(), &m) // the node has read it before
	var roles, records []string
	for _, r := range m.Roles {
		roles = append(roles, r.Role)
	}
	for _, f := range m.Functions {
		records = append(records, fmt.Sprintf("%s (%s), by %s of %s", f.Record.Name, f.Record.Type, f.Name, f.Role))
	}
	fields(w,
		"contract", k.GetName()+" "+k.GetVersion(),
		"hash", k.GetHash(),
		"module", size(k.GetModuleSize()),
		"roles", strings.Join(roles, ", "))
	list(w, "records", records)
}
