package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

const (
	// traceVersion is the version of the documents that this program compares.
	traceVersion = 1
	// maxTrace is the largest document that is read, in bytes.
	maxTrace = 128 << 20
)

// traceDifference is the first difference between two traces, as a program
// reads it.
type traceDifference struct {
	Same     bool     `json:"same"`
	Function string   `json:"function,omitempty"` // or condition
	Place    string   `json:"place,omitempty"`
	A        string   `json:"a,omitempty"`
	B        string   `json:"b,omitempty"`
	Notes    []string `json:"notes,omitempty"` // what else differs, and may be the reason
}

func (a *app) traceDiffCommand() *cobra.Command {
	return &cobra.Command{
		Use: "trace-diff A.json B.json", Short: "Compare two traces, and show the first difference",
		Long: `Compare two documents that "affiliate agreement trace ID --output json" wrote,
such as those of two parties, and show the first difference in the order in
which things happen: data, then for each function its host calls, log, outcome,
record and fuel. No node is needed.

The exit status is 0 if the traces are the same, and 3 if they differ.`,
		Args: args("A.json", "B.json"),
		RunE: func(_ *cobra.Command, args []string) error { return a.traceDiff(args[0], args[1]) },
	}
}

func (a *app) traceDiff(nameA, nameB string) error {
	x, err := a.readTrace(nameA)
	if err != nil {
		return err
	}
	y, err := a.readTrace(nameB)
	if err != nil {
		return err
	}
	d := compareTraces(x, y)
	if err := a.writeDifference(d, nameA, nameB); err != nil || d.Same {
		return err
	}
	hint := "the reason lies between here and the step before; keep both files"
	switch {
	case x.GetEngine() != y.GetEngine():
		hint = "let both nodes run the same version of the program, and trace again"
	case d.Place == "record" && !hasContent(x):
		hint = "trace both with --content to see where the contents differ"
	}
	return &cliError{err: errors.New("the traces differ"), hint: hint, exit: exitRefused}
}

func (a *app) readTrace(path string) (*affiliatev1.Trace, error) {
	raw, err := a.readFile(path, maxTrace)
	if err != nil {
		return nil, fmt.Errorf("reading a trace: %w", err)
	}
	t := &affiliatev1.Trace{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, t); err != nil || t.Version == 0 {
		return nil, withHint(fmt.Errorf("%s isn't a trace", path), "make one with: affiliate agreement trace ID --output json > %s", path)
	}
	if t.Version != traceVersion {
		return nil, withHint(fmt.Errorf("%s is a trace document of version %d; this program knows %d", path, t.Version, traceVersion),
			"compare with the program that made it, or make both with the same program")
	}
	return t, nil
}

func (a *app) writeDifference(d traceDifference, nameA, nameB string) error {
	return a.show(d, func(w io.Writer) {
		if d.Same {
			fmt.Fprintln(w, "The traces are the same.") //nolint:errcheck // w is memory
		} else {
			fields(w, "function", d.Function, "place", d.Place, nameA, d.A, nameB, d.B)
		}
		list(w, "note", d.Notes)
	})
}

// differ collects the first difference.
type differ struct {
	traceDifference
	found bool
}

// at compares one thing, unless a difference was found before.
func (d *differ) at(place, a, b string) {
	if !d.found && a != b {
		d.found, d.Place, d.A, d.B = true, place, cmp.Or(a, "nothing"), cmp.Or(b, "nothing")
	}
}

// compareTraces finds the first difference in the order in which things happen.
func compareTraces(x, y *affiliatev1.Trace) traceDifference {
	d := &differ{}
	d.at("agreement", x.GetAgreementId(), y.GetAgreementId())
	d.at("network", x.GetNetwork(), y.GetNetwork())
	d.at("terms", x.GetTermsDigest(), y.GetTermsDigest())
	d.at("contract", x.GetContractHash(), y.GetContractHash())
	d.at("module", x.GetModuleHash(), y.GetModuleHash())
	for i := range max(len(x.GetValues()), len(y.GetValues())) {
		d.value("", element(x.GetValues(), i), element(y.GetValues(), i))
	}
	for i := range max(len(x.GetFunctions()), len(y.GetFunctions())) {
		d.function(element(x.GetFunctions(), i), element(y.GetFunctions(), i))
	}
	d.at("result", x.GetResultsDigest(), y.GetResultsDigest())
	d.Same = !d.found
	if x.GetEngine() != y.GetEngine() {
		d.Notes = append(d.Notes, fmt.Sprintf("the engines differ: %s and %s", x.GetEngine(), y.GetEngine()))
	}
	if x.GetPlatform() != y.GetPlatform() {
		d.Notes = append(d.Notes, fmt.Sprintf("the platforms differ: %s and %s", x.GetPlatform(), y.GetPlatform()))
	}
	return d.traceDifference
}

// element is one of a list, or nil behind its end.
func element[T any](list []*T, i int) *T {
	if i < len(list) {
		return list[i]
	}
	return nil
}

func (d *differ) value(place string, x, y *affiliatev1.TracedValue) {
	place = cmp.Or(place, cmp.Or(y, x).GetKind()+" "+cmp.Or(y, x).GetName())
	d.at(place, valueName(x), valueName(y))
	if x.GetContentHash() != y.GetContentHash() {
		d.content(place, x, y)
	}
	d.at(place+", hash on chain", x.GetChainHash(), y.GetChainHash())
}

func valueName(v *affiliatev1.TracedValue) string {
	if v == nil {
		return ""
	}
	return v.GetKind() + " " + v.GetName() + " " + v.GetMediaType()
}

// excerpt is how much of two contents is shown around the first difference, in
// bytes on either side.
const excerpt = 30

// content shows where two contents part, if the traces have them that far.
func (d *differ) content(place string, x, y *affiliatev1.TracedValue) {
	a, b := x.GetContent(), y.GetContent()
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	whole := int64(len(a)) == x.GetSize() || int64(len(b)) == y.GetSize()
	if i == min(len(a), len(b)) && !whole {
		d.at(place, contentText(x), contentText(y))
		return
	}
	around := func(v *affiliatev1.TracedValue, c []byte) string {
		return contentText(v) + ": " + strconv.Quote(string(c[max(0, i-excerpt):min(len(c), i+excerpt)]))
	}
	d.at(fmt.Sprintf("%s, byte %d", place, i), around(x, a), around(y, b))
}

func contentText(v *affiliatev1.TracedValue) string {
	return fmt.Sprintf("%d bytes with hash %s", v.GetSize(), v.GetContentHash())
}

func hasContent(t *affiliatev1.Trace) bool {
	return slices.ContainsFunc(t.GetValues(), func(v *affiliatev1.TracedValue) bool { return len(v.GetContent()) > 0 })
}

// function compares what a function or a condition did, in the order in which
// it shows: what it asked its host for, what it said, how it ended.
func (d *differ) function(x, y *affiliatev1.TracedFunction) {
	if d.found {
		return
	}
	d.Function = cmp.Or(y, x).GetName()
	d.at("what runs", functionName(x), functionName(y))
	for i := range max(len(x.GetCalls()), len(y.GetCalls())) {
		d.at(fmt.Sprintf("host call %d", i+1), callText(element(x.GetCalls(), i)), callText(element(y.GetCalls(), i)))
	}
	d.at("number of host calls", strconv.FormatUint(x.GetCallCount(), 10), strconv.FormatUint(y.GetCallCount(), 10))
	for i := range max(len(x.GetLog()), len(y.GetLog())) {
		d.at(fmt.Sprintf("log line %d", i+1), line(x.GetLog(), i), line(y.GetLog(), i))
	}
	d.at("outcome", outcome(x)+" "+x.GetCode(), outcome(y)+" "+y.GetCode())
	d.value("record", x.GetOutput(), y.GetOutput())
	d.at("fuel", strconv.FormatUint(x.GetFuel(), 10), strconv.FormatUint(y.GetFuel(), 10))
	d.at("message", x.GetMessage(), y.GetMessage())
	if !d.found {
		d.Function = ""
	}
}

func functionName(f *affiliatev1.TracedFunction) string {
	switch {
	case f == nil:
		return ""
	case f.GetCondition():
		return fmt.Sprintf("condition %q", f.GetName())
	}
	return fmt.Sprintf("function %q for record %q", f.GetName(), f.GetRecord())
}

func line(log []string, i int) string {
	if i < len(log) {
		return strconv.Quote(log[i])
	}
	return ""
}

func callText(h *affiliatev1.HostCall) string {
	if h == nil {
		return ""
	}
	return fmt.Sprintf("%s %s(%s) = %d, with fuel %d used before", h.GetFunction(), h.GetValue(), arguments(h), h.GetResult(), h.GetFuel())
}
