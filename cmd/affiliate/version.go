package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is the version in development, or of the tagged commit.
const release = "0.1.0-dev"

type buildVersion struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Modified bool   `json:"modified"` // built from files that are not committed
	Go       string `json:"go"`
}

func version() buildVersion {
	v := buildVersion{Version: release, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (v buildVersion) String() string {
	if v.Commit == "" {
		return v.Version
	}
	return v.Version + "+" + short(v.Commit)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version of this program", Args: args(),
		RunE: func(*cobra.Command, []string) error {
			v := version()
			return a.show(v, func(w io.Writer) {
				fmt.Fprintf(w, "affiliate %s (%s)\n", v, v.Go) //nolint:errcheck // w is memory
			})
		},
	}
}
