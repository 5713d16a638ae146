package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show how the node is doing", Args: args(),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, _ []string) error {
			res, err := c.Node.GetStatus(ctx, connect.NewRequest(&affiliatev1.GetStatusRequest{}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) { writeStatus(w, res.Msg) })
		}),
	}
}

func writeStatus(w io.Writer, s *affiliatev1.GetStatusResponse) {
	ch, n := s.GetChain(), s.GetNetwork()
	chain := "not connected to " + ch.GetEndpoint()
	if ch.GetConnected() {
		chain = "connected to " + ch.GetEndpoint()
	}
	block := ""
	if ch.GetHeight() > 0 {
		block = fmt.Sprintf("%d of %s", ch.GetHeight(), when(ch.GetBlockTime()))
	}
	account := ""
	if ch.GetConnected() && ch.GetError() == "" {
		account = strconv.FormatUint(ch.GetAccountNumber(), 10)
	}
	pending := ""
	if s.GetPendingEffects() > 0 {
		pending = fmt.Sprintf("%d, the oldest of %s", s.GetPendingEffects(), when(s.GetOldestPending()))
	}
	fields(w,
		"name", s.GetName(),
		"address", s.GetAddress(),
		"version", s.GetVersion(),
		"running since", when(s.GetStarted()),
		"chain", ch.GetChainId()+", "+chain,
		"last block", block,
		"account number", account,
		"peer id", n.GetPeerId(),
		"listening on", strings.Join(n.GetListen(), " "),
		"affiliates", fmt.Sprintf("%d connected, %d known", n.GetPeers(), n.GetKnown()),
		"mail kept for others", strconv.FormatInt(n.GetKeptMail(), 10),
		"agreements", phases(s.GetAgreements()),
		"work waiting", pending,
		"contract engine", s.GetContractEngine(),
	)
	list(w, "problems", s.GetProblems())
}

func phases(counts map[string]int64) string {
	var parts []string
	for _, phase := range slices.Sorted(maps.Keys(counts)) {
		if counts[phase] != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[phase], phase))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "none")
}

func (a *app) peersCommand() *cobra.Command {
	return &cobra.Command{
		Use: "peers", Short: "List the affiliates that this node knows", Args: args(),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, _ []string) error {
			res, err := c.Node.ListPeers(ctx, connect.NewRequest(&affiliatev1.ListPeersRequest{}))
			if err != nil {
				return err
			}
			return emitAll(a, res.Msg.GetPeers(), func(w io.Writer) {
				var rows [][]string
				for _, p := range res.Msg.GetPeers() {
					latency := ""
					if d := p.GetLatency().AsDuration(); d > 0 {
						latency = d.Round(10 * time.Microsecond).String()
					}
					rows = append(rows, []string{p.GetName(), p.GetAddress(), yes(p.GetConnected()), latency, p.GetPeerId(), when(p.GetRecordExpires())})
				}
				table(w, []string{"NAME", "ADDRESS", "CONNECTED", "LATENCY", "PEER ID", "RECORD UNTIL"}, rows)
			})
		}),
	}
}

func (a *app) keysCommand() *cobra.Command {
	keys := &cobra.Command{Use: "keys", Short: "Show this affiliate's public keys, and change the encryption key or what opens them"}
	keys.AddCommand(&cobra.Command{
		Use: "show", Short: "Show the address and the public keys", Args: args(),
		Long: "Show the address and the public keys of the running node. Other affiliates learn\n" +
			"them from its signed affiliate record; no private key ever leaves the node.",
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, _ []string) error {
			res, err := c.Node.GetKeys(ctx, connect.NewRequest(&affiliatev1.GetKeysRequest{}))
			if err != nil {
				return err
			}
			k := res.Msg
			return a.emit(k, func(w io.Writer) {
				fields(w,
					"address", k.GetAddress(), "account key", hex.EncodeToString(k.GetAccountKey()),
					"peer id", k.GetPeerId(), "recipient", k.GetRecipient())
			})
		}),
	})
	keys.AddCommand(a.rotateCommand(), a.rotationCommand(), a.protectCommand())
	return group(keys)
}
