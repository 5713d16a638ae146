package store

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestEveryKeyIsDescribed holds docs/format/store.md to keys.go.
func TestEveryKeyIsDescribed(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("keys.go")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../docs/format/store.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\tprefix\w+\s*= '(.)'`).FindAllStringSubmatch(string(code), -1) {
		if seen[m[1]] {
			t.Errorf("prefix %s stands for two things", m[1])
		}
		seen[m[1]] = true
		if !strings.Contains(string(doc), "\n| `"+m[1]+"`") {
			t.Errorf("prefix %s isn't described", m[1])
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d prefixes were found", len(seen))
	}
}
