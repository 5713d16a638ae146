package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func (a *app) startCommand() *cobra.Command {
	return &cobra.Command{Use: "start", Short: "Run the node", RunE: func(*cobra.Command, []string) error { return errors.New("not wired") }}
}
