package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
)

// traceTimeout is longer than the node takes at most.
const traceTimeout = 3 * time.Minute

func (a *app) traceCommand() *cobra.Command {
	var content, calls bool
	cmd := &cobra.Command{
		Use: "trace ID", Short: "Execute an agreement's contract once more, and show what it does",
		Long: `Execute an agreement's contract once more, from what this node's store holds,
and show its inputs, conditions and functions with their outcome, fuel and log,
and how the result compares with what each party has attested. Nothing changes.

With --output json it is a document with all host calls, always the same for
the same agreement. Compare two parties' with: affiliate agreement trace-diff`,
		Args: agreementID("ID"),
		RunE: a.call(traceTimeout, func(ctx context.Context, c *client.Client, args []string) error {
			res, err := c.Agreements.TraceAgreement(ctx, connect.NewRequest(&affiliatev1.TraceAgreementRequest{AgreementId: args[0], Content: content}))
			if err != nil {
				return err
			}
			return a.emit(res.Msg, func(w io.Writer) { writeTrace(w, res.Msg, content, calls) })
		}),
	}
	cmd.Flags().BoolVar(&content, "content", false, "with contents: the first MiB of each value, 16 MiB in all")
	cmd.Flags().BoolVar(&calls, "calls", false, "list the calls of each function to its host")
	return cmd
}

func writeTrace(w io.Writer, t *affiliatev1.Trace, content, calls bool) {
	fields(w,
		"agreement", t.GetAgreementId(),
		"contract", strings.TrimSpace(t.GetContractName()+" "+t.GetContractVersion()+" "+t.GetContractHash()),
		"module", t.GetModuleHash(),
		"terms", t.GetTermsDigest(),
		"time", when(t.GetTime()),
		"engine", t.GetEngine()+", "+t.GetPlatform(),
		"result", t.GetResultsDigest())
	fmt.Fprintln(w) //nolint:errcheck // w is memory
	values := t.GetValues()
	for _, f := range t.GetFunctions() {
		if f.GetOutput() != nil {
			values = append(values, f.GetOutput())
		}
	}
	var rows [][]string
	for _, v := range values {
		rows = append(rows, []string{v.GetKind(), v.GetName(), size(v.GetSize()), v.GetMediaType(), v.GetContentHash()})
	}
	table(w, []string{"DATA", "NAME", "SIZE", "MEDIA TYPE", "CONTENT HASH"}, rows)
	fmt.Fprintln(w) //nolint:errcheck // w is memory
	writeTracedFunctions(w, t.GetFunctions())
	for _, f := range t.GetFunctions() {
		if len(f.GetLog()) > 0 {
			fmt.Fprintln(w) //nolint:errcheck // w is memory
		}
		list(w, "log of "+clean(f.GetName()), f.GetLog())
		if calls {
			writeCalls(w, f)
		}
	}
	fmt.Fprintln(w) //nolint:errcheck // w is memory
	writeStatements(w, t)
	if content {
		for _, v := range values {
			writeContent(w, v)
		}
	}
}

func writeTracedFunctions(w io.Writer, functions []*affiliatev1.TracedFunction) {
	var rows [][]string
	for _, f := range functions {
		rows = append(rows, []string{
			f.GetName(), record(f), outcome(f), strconv.FormatUint(f.GetFuel(), 10), strconv.FormatUint(f.GetCallCount(), 10),
			cmp.Or(f.GetOutput().GetChainHash(), strings.TrimSpace(f.GetCode()+" "+f.GetMessage())),
		})
	}
	table(w, []string{"FUNCTION", "RECORD", "OUTCOME", "FUEL", "HOST CALLS", "HASH"}, rows)
}

// record is the record that a function makes; a condition makes none.
func record(f *affiliatev1.TracedFunction) string {
	if f.GetCondition() {
		return "(condition)"
	}
	return f.GetRecord()
}

func outcome(f *affiliatev1.TracedFunction) string {
	return strings.TrimPrefix(f.GetOutcome().String(), "OUTCOME_")
}

func writeCalls(w io.Writer, f *affiliatev1.TracedFunction) {
	if len(f.GetCalls()) == 0 {
		return
	}
	fmt.Fprintf(w, "\nhost calls of %s:\n", clean(f.GetName())) //nolint:errcheck // w is memory
	var rows [][]string
	for i, h := range f.GetCalls() {
		rows = append(rows, []string{
			strconv.Itoa(i + 1), strconv.FormatUint(h.GetFuel(), 10), h.GetFunction(), h.GetValue(), arguments(h), strconv.FormatUint(h.GetResult(), 10),
		})
	}
	table(w, []string{"CALL", "FUEL BEFORE", "FUNCTION", "VALUE", "ARGUMENTS", "RESULT"}, rows)
	if more := f.GetCallCount() - uint64(len(rows)); more > 0 {
		fmt.Fprintf(w, "and %d more, which the trace doesn't keep\n", more) //nolint:errcheck // w is memory
	}
}

func arguments(h *affiliatev1.HostCall) string {
	var args []string
	for _, v := range h.GetArgs() {
		args = append(args, strconv.FormatUint(v, 10))
	}
	return strings.Join(args, " ")
}

func writeStatements(w io.Writer, t *affiliatev1.Trace) {
	var rows [][]string
	for _, s := range t.GetStatements() {
		name := s.GetName()
		if s.GetAddress() == t.GetAffiliate() {
			name = strings.TrimSpace(name + " (this node)")
		}
		rows = append(rows, []string{name, s.GetAddress(), statement(s)})
	}
	table(w, []string{"PARTY", "ADDRESS", "WHAT IT HAS SAID"}, rows)
}

// statement says in words how a party's statement compares with a trace.
func statement(s *affiliatev1.TracedStatement) string {
	switch {
	case s.GetKind() == "none":
		return "nothing that came here"
	case s.GetKind() == "rejection":
		return "refused: " + s.GetReason()
	case s.GetSame():
		return "attested the same" + engineOf(s)
	}
	return "attested something else: " + s.GetDifference() + engineOf(s)
}

func engineOf(s *affiliatev1.TracedStatement) string {
	if s.GetEngine() == "" {
		return ""
	}
	return " (in a divergence report, by " + s.GetEngine() + ")"
}

func writeContent(w io.Writer, v *affiliatev1.TracedValue) {
	shown := v.GetContent()
	fmt.Fprintf(w, "\n%s %s:\n", clean(v.GetKind()), clean(v.GetName())) //nolint:errcheck // w is memory
	switch {
	case !utf8.Valid(shown) && int64(len(shown)) == v.GetSize() || strings.ContainsRune(string(shown), 0):
		fmt.Fprintf(w, "(%s that are no text)\n", size(v.GetSize())) //nolint:errcheck // w is memory
		return
	default:
		fmt.Fprintln(w, printable(string(shown))) //nolint:errcheck // w is memory
	}
	if cut := v.GetSize() - int64(len(shown)); cut > 0 {
		fmt.Fprintf(w, "(and %s more: affiliate object get %s)\n", size(cut), clean(v.GetContentHash())) //nolint:errcheck // w is memory
	}
}
