package main

import (
	"context"
	"io"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
)

// hashArgs is args for a command whose first argument is a content hash.
func hashArgs(words ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, have []string) error {
		if err := args(words...)(cmd, have); err != nil {
			return err
		}
		if _, err := agreement.ParseHash(have[0]); err != nil {
			return usage(cmd, "%w", err)
		}
		return nil
	}
}

func (a *app) objectGrantCommand() *cobra.Command {
	return &cobra.Command{
		Use: "grant HASH ADDRESS", Short: "Let another affiliate open a content", Args: hashArgs("HASH", "ADDRESS"),
		Long: "Let the affiliate with this address open the content with this hash. Nothing is sent:\n" +
			"it can fetch the content from now on. The content isn't sealed anew.",
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := c.Objects.GrantObject(ctx, connect.NewRequest(&affiliatev1.GrantObjectRequest{ContentHash: args[0], Address: args[1]}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) { fields(w, "granted", args[1]) })
		}),
	}
}

func (a *app) objectRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "revoke HASH ADDRESS", Short: "Seal a content anew, without another affiliate", Args: hashArgs("HASH", "ADDRESS"),
		Long: "Seal the content with this hash anew, so that the affiliate with this address can't\n" +
			"open it here any more. What it has fetched before stays with it: no command can\n" +
			"take that back.",
		RunE: a.call(0, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := c.Objects.RevokeObject(ctx, connect.NewRequest(&affiliatev1.RevokeObjectRequest{ContentHash: args[0], Address: args[1]}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) { fields(w, "revoked", args[1]) })
		}),
	}
}

func (a *app) objectReadersCommand() *cobra.Command {
	return &cobra.Command{
		Use: "readers HASH", Short: "Show who may open a content, and why", Args: hashArgs("HASH"),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := c.Objects.ListReaders(ctx, connect.NewRequest(&affiliatev1.ListReadersRequest{ContentHash: args[0]}))
			if err != nil {
				return err
			}
			return emitAll(a, res.Msg.GetReaders(), func(w io.Writer) {
				var rows [][]string
				for _, r := range res.Msg.GetReaders() {
					rows = append(rows, []string{r.GetName(), r.GetAddress(), r.GetWhy()})
				}
				table(w, []string{"NAME", "ADDRESS", "WHY"}, rows)
			})
		}),
	}
}

func (a *app) objectDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete HASH", Short: "Give up a content that this affiliate has put or pinned", Args: hashArgs("HASH"),
		Long: "Give up what this affiliate itself has put, and its pins. When nothing else keeps the\n" +
			"content it is purged soon, and a signed tombstone stays. What an agreement or a\n" +
			"record needs stays until they don't.",
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := c.Objects.DeleteObject(ctx, connect.NewRequest(&affiliatev1.DeleteObjectRequest{ContentHash: args[0]}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) { fields(w, "given up", args[0]) })
		}),
	}
}

func (a *app) objectPinCommand() *cobra.Command {
	var label string
	var lasts time.Duration
	cmd := &cobra.Command{
		Use: "pin HASH", Short: "Keep a content, whatever becomes of what needs it",
		Long: "Keep the content with this hash, also when no agreement needs it any more: for some\n" +
			"time, or until affiliate object delete.",
		Args: func(cmd *cobra.Command, have []string) error {
			if lasts < 0 || cmd.Flags().Changed("for") && lasts == 0 {
				return usage(cmd, "--for must be longer than nothing, such as 720h, not %s", lasts)
			}
			return hashArgs("HASH")(cmd, have)
		},
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			req, until := &affiliatev1.PinObjectRequest{ContentHash: args[0], Label: label}, "it is deleted"
			if lasts > 0 {
				req.Until = timestamppb.New(time.Now().Add(lasts))
				until = when(req.Until)
			}
			res, err := c.Objects.PinObject(ctx, connect.NewRequest(req))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) { fields(w, "kept until", until) })
		}),
	}
	cmd.Flags().StringVar(&label, "label", "", "name of the pin; one content may have several")
	cmd.Flags().DurationVar(&lasts, "for", 0, "how long, such as 720h (default: until it is deleted)")
	return cmd
}
