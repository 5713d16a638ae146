//go:build suite

package schema

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// The tests that JSON Schema's authors publish, in a copy of
// github.com/json-schema-org/JSON-Schema-Test-Suite:
//
//	go test -tags suite ./exec/schema -run OfficialSuite -v -suite COPY/tests/draft2020-12
var suite = flag.String("suite", "", "folder of the official suite's tests")

// What is refused here is listed with -v; to all else the answer must be right.
func TestOfficialSuite(t *testing.T) {
	right, refused := 0, 0
	err := filepath.WalkDir(*suite, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".json" {
			return err
		}
		a, b := suiteFile(t, path)
		right, refused = right+a, refused+b
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d right answers; %d tests of schemas that are refused", right, refused)
	if right < 500 {
		t.Errorf("only %d", right)
	}
}

func suiteFile(t *testing.T, path string) (right, refused int) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var groups []struct {
		Description string
		Schema      json.RawMessage
		Tests       []struct {
			Description string
			Data        json.RawMessage
			Valid       bool
		}
	}
	if err := json.Unmarshal(text, &groups); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	name := strings.TrimPrefix(path, *suite)
	for _, g := range groups {
		s, err := Compile(g.Schema)
		if err != nil {
			refused += len(g.Tests)
			t.Logf("%s: %s: %v", name, g.Description, err)
			continue
		}
		for _, c := range g.Tests {
			doc, err := agreement.Canonical(c.Data)
			if strings.Contains(c.Description, "only an annotation by default") {
				err = errors.New("a format is more than an annotation here")
			}
			if err != nil {
				refused++
				t.Logf("%s: %s: %s: %v", name, g.Description, c.Description, err)
				continue
			}
			if err := s.Check(doc); (err == nil) != c.Valid {
				t.Errorf("%s: %s: %s: %v; want valid %v", name, g.Description, c.Description, err, c.Valid)
				continue
			}
			right++
		}
	}
	return right, refused
}
