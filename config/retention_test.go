package config

import (
	"testing"

	"pgregory.net/rapid"
)

// A time to keep data is read as it is written.
func TestKeepIsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		units := []Keep{1, Keep(Second), Keep(Hour), day, year}
		k := rapid.SampledFrom(units).Draw(t, "unit") * Keep(rapid.Int64Range(0, 200).Draw(t, "count"))
		text, err := k.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Keep
		if err := got.UnmarshalText(text); err != nil || got != k {
			t.Errorf("%s is read as %s, %v", text, got, err)
		}
	})
}

// Nought isn't for ever, and neither is what can't be told.
func TestKeepRefuses(t *testing.T) {
	for _, text := range []string{"", "0", "0s", "0d", "-1h", "-1d", "201y", "99999999999999999999d", "1.5y", "always", "d"} {
		var k Keep
		if err := k.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %s", text, k)
		}
	}
}

func TestRetentionRules(t *testing.T) {
	doc := "[retention]\nfailed = \"30m\"\ndefault = \"7y\"\n[[retention.rule]]\ncontract = \"scratch\"\nkeep = \"5m\"\n" +
		"[[retention.rule]]\ncontract = \"loan\"\nkeep = \"forever\"\n"
	c, e := parse([]byte(doc), "/h")
	if e != nil {
		t.Fatal(e)
	}
	again, e := parse(Encode(c), "/h")
	if e != nil {
		t.Fatal(e)
	}
	want := []KeepRule{{"scratch", Keep(5 * Minute)}, {"loan", Forever}}
	for _, r := range []Retention{c.Retention, again.Retention} {
		if r.Failed != Keep(30*Minute) || r.Default != 7*year || len(r.Rules) != 2 || r.Rules[0] != want[0] || r.Rules[1] != want[1] {
			t.Errorf("read as %+v", r)
		}
	}
}
