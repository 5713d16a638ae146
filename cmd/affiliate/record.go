package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
)

func (a *app) recordCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "record", Short: "Read the records that this affiliate holds"}
	cmd.AddCommand(a.recordGetCommand(), a.recordHistoryCommand())
	return group(cmd)
}

func (a *app) recordGetCommand() *cobra.Command {
	var content string
	cmd := &cobra.Command{
		Use: "get SCOPE NAME", Short: "Show a record and its content",
		Long: "Show a record and its content. The hash is the one on the chain, made of the salt\n" +
			"and the content as docs/format/consent.md says, so that anybody to whom you show\n" +
			"both can check it.",
		Args: args("SCOPE", "NAME"),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := c.Records.GetRecord(ctx, connect.NewRequest(&affiliatev1.GetRecordRequest{ScopeId: args[0], Name: args[1]}))
			if err != nil {
				return err
			}
			if content != "" {
				return a.writeContent(content, res.Msg.GetContent())
			}
			return a.emit(res.Msg, func(w io.Writer) { writeRecord(w, res.Msg) })
		}),
	}
	cmd.Flags().StringVar(&content, "content", "", `write only the content, to this new file or "-"`)
	return cmd
}

func (a *app) writeContent(path string, content []byte) error {
	return a.create(path, false, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

func writeRecord(w io.Writer, r *affiliatev1.Record) {
	fields(w,
		"record", r.GetName(),
		"scope", r.GetScopeId(),
		"session", r.GetSessionId(),
		"agreement", r.GetAgreementId(),
		"contract", r.GetContractHash(),
		"hash", r.GetHash(),
		"salt", base64.StdEncoding.EncodeToString(r.GetSalt()),
		"block", fmt.Sprintf("%d of %s", r.GetHeight(), when(r.GetBlockTime())),
		"transaction", r.GetTxHash(),
		"content", fmt.Sprintf("%s of %s, SHA-256 %s", size(int64(len(r.GetContent()))), r.GetMediaType(), r.GetContentHash()))
	media, _, _ := strings.Cut(r.GetMediaType(), ";")
	if media == mediaJSON || strings.HasPrefix(media, "text/") {
		fmt.Fprintf(w, "\n%s\n", pretty(r.GetContent())) //nolint:errcheck // w is memory
	}
}

func (a *app) recordHistoryCommand() *cobra.Command {
	return &cobra.Command{
		Use: "history SCOPE NAME", Short: "List the versions of a record, newest first", Args: args("SCOPE", "NAME"),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := c.Records.GetRecordHistory(ctx, connect.NewRequest(&affiliatev1.GetRecordHistoryRequest{ScopeId: args[0], Name: args[1]}))
			if err != nil {
				return err
			}
			return emitAll(a, res.Msg.GetRecords(), func(w io.Writer) {
				var rows [][]string
				for _, r := range res.Msg.GetRecords() {
					rows = append(rows, []string{strconv.FormatInt(r.GetHeight(), 10), when(r.GetBlockTime()), r.GetAgreementId(), short(r.GetContractHash()), r.GetHash()})
				}
				table(w, []string{"BLOCK", "TIME", "AGREEMENT", "CONTRACT", "HASH"}, rows)
			})
		}),
	}
}

func (a *app) searchCommand() *cobra.Command {
	var limit int32
	cmd := &cobra.Command{
		Use: "search TERM …", Short: "Find records by their indexed fields",
		Long: `Find records by the fields that their contracts index. All terms must match:

  affiliate search borrower:smith status:active
  affiliate search 'borrower:"anna smith"'
  affiliate search smi*`,
		Args: func(cmd *cobra.Command, have []string) error {
			if len(have) == 0 {
				return usage(cmd, "TERM is missing")
			}
			return nil
		},
		PreRunE: checkLimit(&limit),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := c.Records.Search(ctx, connect.NewRequest(&affiliatev1.SearchRequest{Query: strings.Join(args, " "), Limit: limit}))
			if err != nil {
				return err
			}
			if len(res.Msg.GetResults()) == int(limit) && !a.json() {
				defer fmt.Fprintln(a.stderr, "there may be more: raise --limit, or add terms") //nolint:errcheck // advice only
			}
			return emitAll(a, res.Msg.GetResults(), func(w io.Writer) {
				var rows [][]string
				for _, r := range res.Msg.GetResults() {
					var parts []string
					for _, k := range slices.Sorted(maps.Keys(r.GetFields())) {
						parts = append(parts, k+"="+r.GetFields()[k])
					}
					rows = append(rows, []string{r.GetScopeId(), r.GetRecord(), strings.Join(parts, " ")})
				}
				table(w, []string{"SCOPE", "RECORD", "FIELDS"}, rows)
			})
		}),
	}
	cmd.Flags().Int32Var(&limit, "limit", 20, fmt.Sprintf("at most so many, up to %d", maxLimit))
	return cmd
}
