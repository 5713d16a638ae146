package agreement

import (
	"fmt"
	"strconv"
	"strings"
)

// Difference is the first place at which the results of two parties differ, as
// far as results tell: contents show as hashes only.
type Difference struct {
	Index    int    // of the result in both lists; a list may end before
	Function string // of the function or the condition
	Record   string // empty of a condition
	Field    string // "result", "input NAME", "outcome", "code", "output" or "fuel"
	Stated   string // what the first has there
	Reached  string // what the second has there
}

// Compare finds the first difference between what one party stated and what
// another reached. There is one exactly when the two sign different
// attestations of the same terms.
func Compare(stated, reached []RecordResult) (Difference, bool) {
	for i := range max(len(stated), len(reached)) {
		if d, differs := at(stated, i).compare(at(reached, i)); differs {
			d.Index = i
			return d, true
		}
	}
	return Difference{}, false
}

// at is an element, or nothing behind the end.
func at[T any](list []T, i int) (v T) {
	if i < len(list) {
		v = list[i]
	}
	return v
}

func (r RecordResult) compare(o RecordResult) (Difference, bool) {
	d := Difference{Function: o.Function, Record: o.Record}
	if o.Outcome == 0 { // the second came to an end before
		d.Function, d.Record = r.Function, r.Record
	}
	input := 0
	for input < max(len(r.Inputs), len(o.Inputs)) && at(r.Inputs, input) == at(o.Inputs, input) {
		input++
	}
	switch a, b := at(r.Inputs, input), at(o.Inputs, input); {
	case r.name() != o.name():
		d.Field, d.Stated, d.Reached = "result", r.name(), o.name()
	case len(r.Inputs) != len(o.Inputs) || a != b:
		d.Field, d.Stated, d.Reached = "input "+b.Name, a.text(), b.text()
	case r.Outcome != o.Outcome:
		d.Field, d.Stated, d.Reached = "outcome", r.ended(), o.ended()
	case r.Code != o.Code:
		d.Field, d.Stated, d.Reached = "code", r.Code, o.Code
	case r.Output != o.Output:
		d.Field, d.Stated, d.Reached = "output", r.Output, o.Output
	case r.Fuel != o.Fuel:
		d.Field, d.Stated, d.Reached = "fuel", strconv.FormatUint(r.Fuel, 10), strconv.FormatUint(o.Fuel, 10)
	default:
		return Difference{}, false
	}
	return d, true
}

// name says what a result is of.
func (r RecordResult) name() string {
	switch {
	case r.Outcome == 0:
		return "nothing"
	case r.Record == "":
		return fmt.Sprintf("condition %q", r.Function)
	}
	return fmt.Sprintf("function %q for record %q", r.Function, r.Record)
}

func (r RecordResult) ended() string { return strings.TrimSpace(r.Outcome.String() + " " + r.Code) }

func (h NamedHash) text() string {
	if h == (NamedHash{}) {
		return "nothing"
	}
	return strings.TrimSpace(h.Name + " " + h.Type + " " + h.Hash)
}

// String says it in one line.
func (d Difference) String() string {
	what := "condition "
	if d.Record != "" {
		what = "function "
	}
	return fmt.Sprintf("%s%s: %s: %s stated, %s reached", what, d.Function, d.Field, d.Stated, d.Reached)
}
