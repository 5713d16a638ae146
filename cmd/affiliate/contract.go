package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
)

// maxModule is the largest module that is read, in bytes; the node has its
// own limit (exec.module_limit), which can't be set higher.
const maxModule = 64 << 20

func (a *app) contractCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "contract", Short: "Publish, vet and look at contracts"}
	cmd.AddCommand(a.contractPublishCommand(), a.contractListCommand(), a.contractShowCommand(),
		a.contractVetCommand(), a.contractUnvetCommand())
	return group(cmd)
}

func (a *app) contractPublishCommand() *cobra.Command {
	return &cobra.Command{
		Use: "publish MODULE.wasm", Short: "Store a contract and write its specifications to the chain",
		Long: "Store a contract's WebAssembly module, readable by every member, and write its\n" +
			"scope, contract and record specifications to the chain where they aren't there yet.\n" +
			"Publishing the same module again changes nothing. Who publishes a contract has\n" +
			"vetted it.",
		Args: args("MODULE.wasm"),
		RunE: a.call(publishTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			module, err := a.readFile(args[0], maxModule)
			if err != nil {
				return fmt.Errorf("reading the module: %w", err)
			}
			res, err := c.Contracts.PublishContract(ctx, connect.NewRequest(&affiliatev1.PublishContractRequest{Module: module}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) {
				writeContract(w, res.Msg.GetContract())
				tx := res.Msg.GetTxHash()
				if tx == "" {
					tx = "none: everything was on the chain already"
				}
				fields(w, "transaction", tx)
			})
		}),
	}
}

func (a *app) contractListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the contracts that this node has", Args: args(),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, _ []string) error {
			res, err := c.Contracts.ListContracts(ctx, connect.NewRequest(&affiliatev1.ListContractsRequest{}))
			if err != nil {
				return err
			}
			return emitAll(a, res.Msg.GetContracts(), func(w io.Writer) {
				var rows [][]string
				for _, k := range res.Msg.GetContracts() {
					rows = append(rows, []string{
						k.GetName(), k.GetVersion(), short(k.GetHash()), size(k.GetModuleSize()), vetted(k), k.GetSpecificationId(),
					})
				}
				table(w, []string{"NAME", "VERSION", "HASH", "MODULE", "VETTED", "SPECIFICATION"}, rows)
			})
		}),
	}
}

func (a *app) contractShowCommand() *cobra.Command {
	fetch := false
	cmd := &cobra.Command{
		Use: "show CONTRACT", Short: "Show a contract and its manifest",
		Long: "Show a contract and its manifest. CONTRACT is its hash, eight or more digits of it,\n" +
			"its name, or name@version. With --fetch it is the whole hash, and a contract that\n" +
			"isn't here is fetched from an affiliate that has vetted it.",
		Args: args("CONTRACT"),
		RunE: a.call(publishTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := c.Contracts.GetContract(ctx, connect.NewRequest(&affiliatev1.GetContractRequest{Contract: args[0], Fetch: fetch}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) {
				writeContract(w, res.Msg)
				fmt.Fprintf(w, "manifest:\n%s\n", pretty(res.Msg.GetManifest())) //nolint:errcheck // w is memory
			})
		}),
	}
	cmd.Flags().BoolVar(&fetch, "fetch", false, "get it from another affiliate if it isn't here")
	return cmd
}

func writeContract(w io.Writer, k *affiliatev1.Contract) {
	fields(w,
		"contract", k.GetName()+" "+k.GetVersion(),
		"hash", k.GetHash(),
		"specification", k.GetSpecificationId(),
		"module", fmt.Sprintf("%s, SHA-256 %s", size(k.GetModuleSize()), hex.EncodeToString(k.GetModuleHash())),
		"vetted", vetted(k), "note", k.GetVettingNote())
}

// pretty indents a JSON document, and leaves what isn't one as it is.
func pretty(doc []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, doc, "", "  ") != nil {
		return printable(string(doc))
	}
	return printable(b.String())
}
