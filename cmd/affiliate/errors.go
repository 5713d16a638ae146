package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/client"
	"github.com/affiliate-node/affiliate/config"
)

// Exit statuses, as the help says.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitRefused = 3
)

// cliError is an error of the command itself.
type cliError struct {
	err  error
	hint string
	exit int
}

func (e *cliError) Error() string { return e.err.Error() }
func (e *cliError) Unwrap() error { return e.err }

// usage says what is wrong with the command line; cmd may be nil.
func usage(cmd *cobra.Command, format string, args ...any) *cliError {
	path := "affiliate"
	if cmd != nil {
		path = cmd.CommandPath()
	}
	return &cliError{err: fmt.Errorf(format, args...), hint: "see: " + path + " --help", exit: exitUsage}
}

// withHint adds what to do to a failure.
func withHint(err error, format string, args ...any) *cliError {
	return &cliError{err: err, hint: fmt.Sprintf(format, args...), exit: exitFailure}
}

// failed makes an error of init and start a failure: nobody was there to
// refuse.
func failed(err error) error {
	var own *cliError
	if err == nil || errors.As(err, &own) {
		return err
	}
	return &cliError{err: err, exit: exitFailure}
}

// failure is what people and programs are told of an error.
type failure struct {
	Code     string `json:"code,omitempty"`
	Category string `json:"category,omitempty"`
	Text     string `json:"text"`
	Hint     string `json:"hint,omitempty"`
	// Correlation finds the error in the node's log.
	Correlation string `json:"correlation_id,omitempty"`
	Exit        int    `json:"exit"`

	excerpt string // lines of a file
}

func describe(err error) failure {
	f := failure{Text: err.Error(), Exit: exitFailure}
	var own *cliError
	var conf *config.Error
	var ag *agreement.Error
	var refusal *client.Refusal
	if errors.As(err, &ag) {
		category := client.CategoryOf(err)
		f.Code, f.Category, f.Hint = string(ag.Code), string(category), ag.Hint
		f.Text = strings.Replace(f.Text, ag.Error(), ag.Text, 1)
		if category == agreement.FixRequest || category == agreement.AskPeer {
			f.Exit = exitRefused
		}
	}
	if errors.As(err, &refusal) {
		f.Correlation = refusal.CorrelationID
	}
	if errors.As(err, &conf) {
		f.Code, f.Hint, f.excerpt = "BAD_CONFIG", conf.Hint, conf.Excerpt()
	}
	if errors.As(err, &own) {
		f.Exit = own.exit
		if own.hint != "" {
			f.Hint = own.hint
		}
		if own.exit == exitUsage {
			f.Code = "USAGE"
		}
	}
	if f.Hint == "" {
		f.Hint = fileHint(err)
	}
	f.Text = oneLine(f.Text)
	f.Hint = oneLine(f.Hint)
	return f
}

// fileHint advises about files that can't be used as they should.
func fileHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "check the path; a relative one starts at the working directory"
	case errors.Is(err, fs.ErrPermission):
		return "look at its owner and mode: ls -ld"
	}
	return ""
}

// report tells the user, and returns the exit status.
func (a *app) report(err error) int {
	f := describe(err)
	if a.json() {
		if b, err := json.Marshal(map[string]failure{"error": f}); err == nil {
			fmt.Fprintln(a.stderr, string(b)) //nolint:errcheck // nowhere else to say it
		}
		return f.Exit
	}
	var b strings.Builder
	b.WriteString("error: " + f.Text)
	if f.Code != "" && f.Code != "USAGE" && f.Code != "BAD_CONFIG" {
		b.WriteString(" [" + f.Code + "]")
	}
	if f.excerpt != "" {
		b.WriteString("\n" + printable(f.excerpt))
	}
	if f.Hint != "" {
		b.WriteString("\nhint: " + f.Hint)
	}
	if f.Correlation != "" && f.Exit == exitFailure {
		b.WriteString("\nlog: correlation id " + f.Correlation)
	}
	fmt.Fprintln(a.stderr, b.String()) //nolint:errcheck // nowhere else to say it
	return f.Exit
}

// oneLine makes text safe to print in one line.
func oneLine(s string) string {
	return clean(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; "))
}
