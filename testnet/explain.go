package testnet

import (
	"errors"
	"fmt"
	"io"
)

// How many lines of a log are shown after a failure.
const (
	tailOfOne = 30 // of the process that the failure names
	tailOfAll = 8  // of each, when it names none
)

// ShowLogs writes the end of the log of the process that an error names, or
// of all processes.
func (n *Net) ShowLogs(w io.Writer, err error) {
	var named *ProcessError
	if errors.As(err, &named) {
		showTail(w, named.Process, tailOfOne)
		return
	}
	if n == nil {
		return
	}
	for _, p := range n.Processes() {
		showTail(w, p, tailOfAll)
	}
}

func showTail(w io.Writer, p *Process, lines int) {
	tail := p.Tail(lines)
	if len(tail) == 0 {
		return
	}
	fmt.Fprintf(w, "\n--- end of %s\n", p.Log)
	for _, line := range tail {
		fmt.Fprintln(w, line)
	}
}

// ShowHowTo writes how to talk to each node of a network that is kept.
func (n *Net) ShowHowTo(w io.Writer) {
	fmt.Fprintf(w, "\nThe network runs on. In another terminal:\n\n")
	for _, a := range n.Affiliates {
		fmt.Fprintf(w, "  %s --home %s status    # %s, %s\n", n.build.Affiliate, a.Home, a.Name, a.Address)
	}
	for i, v := range n.Validators {
		fmt.Fprintf(w, "  curl %s/status    # %s\n", n.Endpoints[i], v.Name)
	}
	fmt.Fprintf(w, "\nInstead of status: peers, agreement list, why ID, search WORDS, propose, … (--help lists them).\n")
	fmt.Fprintf(w, "Logs are in %s. Ctrl-C ends the network.\n", n.logDir())
}
