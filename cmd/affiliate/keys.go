package main

import (
	"context"
	"fmt"
	"io"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
)

func (a *app) rotateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rotate", Short: "Make a new encryption key, and wrap everything for it", Args: args(),
		Long: "Make a new encryption identity. The others are told, and seal to it from then on;\n" +
			"what is sealed to the old one is wrapped for the new one in the background, while\n" +
			"the node works. The account and its address stay. Copy HOME/keys again at once, and\n" +
			"make a full backup when it has ended: see docs/store.md.",
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, _ []string) error {
			res, err := c.Keys.RotateEncryption(ctx, connect.NewRequest(&affiliatev1.RotateEncryptionRequest{}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) { writeRotation(w, res.Msg) })
		}),
	}
}

func (a *app) rotationCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rotation", Short: "Show how far the change to a new encryption key is", Args: args(),
		RunE: a.call(callTimeout, func(ctx context.Context, c *client.Client, _ []string) error {
			res, err := c.Keys.GetRotation(ctx, connect.NewRequest(&affiliatev1.GetRotationRequest{}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) { writeRotation(w, res.Msg) })
		}),
	}
}

func writeRotation(w io.Writer, r *affiliatev1.Rotation) {
	state := "none is running"
	if r.GetRunning() {
		state = fmt.Sprintf("running, %d of %d objects are wrapped for the new key", r.GetDone(), r.GetObjects())
	}
	fields(w, "rotation", state, "problem", r.GetProblem(), "old keys open until", when(r.GetOldUntil()))
	var rows [][]string
	for i, id := range r.GetIdentities() {
		use := "opens what is sealed to it"
		if i == 0 {
			use = "current"
		}
		rows = append(rows, []string{fmt.Sprint(id.GetNumber()), when(id.GetCreated()), use})
	}
	table(w, []string{"IDENTITY", "MADE", "USE"}, rows)
}
