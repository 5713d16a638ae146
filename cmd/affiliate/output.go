package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// emit writes one message: JSON for programs, what people writes for people.
func (a *app) emit(m proto.Message, people func(w io.Writer)) error {
	if a.json() {
		return a.writeJSON(m)
	}
	return a.buffered(people)
}

// show writes what isn't a message: JSON for programs, what people writes for
// people.
func (a *app) show(v any, people func(w io.Writer)) error {
	if !a.json() {
		return a.buffered(people)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return a.buffered(func(w io.Writer) { fmt.Fprintln(w, string(b)) }) //nolint:errcheck // w is memory
}

// emitAll writes a list: one JSON object a line, or what people writes.
func emitAll[M proto.Message](a *app, list []M, people func(w io.Writer)) error {
	if !a.json() {
		return a.buffered(people)
	}
	for _, m := range list {
		if err := a.writeJSON(m); err != nil {
			return err
		}
	}
	return nil
}

// writeJSON writes a message as one line, with the names of the .proto file.
// protojson varies its spaces on purpose; compacting them makes the output
// the same every time.
func (a *app) writeJSON(m proto.Message) error {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	b.WriteByte('\n')
	if _, err := a.stdout.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// table writes aligned columns under a header.
func table(w io.Writer, header []string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	writeRow(t, header)
	for _, r := range rows {
		writeRow(t, r)
	}
	t.Flush() //nolint:errcheck // w is memory
}

// fields writes "name: value" lines, leaving out those without a value.
func fields(w io.Writer, pairs ...string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			writeRow(t, []string{pairs[i] + ":", pairs[i+1]})
		}
	}
	t.Flush() //nolint:errcheck // w is memory
}

func writeRow(w io.Writer, cells []string) {
	safe := make([]string, len(cells))
	for i, c := range cells {
		if safe[i] = clean(c); c == "" {
			safe[i] = "-"
		}
	}
	fmt.Fprintln(w, strings.Join(safe, "\t")) //nolint:errcheck // w is memory
}

// list writes a title and indented lines, if there are any.
func list(w io.Writer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintln(w, title+":") //nolint:errcheck // w is memory
	for _, l := range lines {
		fmt.Fprintln(w, "  "+clean(l)) //nolint:errcheck // w is memory
	}
}

// clean makes text of others safe for a terminal: control characters, which
// could move the cursor or change colours, become question marks.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}

// printable is clean for text of several lines.
func printable(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		cells := strings.Split(l, "\t")
		for j := range cells {
			cells[j] = clean(cells[j])
		}
		lines[i] = strings.Join(cells, "\t")
	}
	return strings.Join(lines, "\n")
}

// when writes a time as people compare it; empty for none.
func when(t *timestamppb.Timestamp) string {
	if t == nil || t.GetSeconds() == 0 && t.GetNanos() == 0 {
		return ""
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// size writes bytes with a unit.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n)/unit, "KMGT"
	i := 0
	for ; v >= unit && i < len(units)-1; i++ {
		v /= unit
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// yes writes a flag of a table.
func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// short shows the first digits of a hash, which the API accepts as well.
func short(hash string) string {
	const digits = 12
	if len(hash) <= digits {
		return hash
	}
	return hash[:digits]
}
