//go:build !race

package module_test

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// script is one file of the WebAssembly specification's test suite, as
// wast2json wrote it.
type script struct {
	Commands []command `json:"commands"`
	dir      string
}

// command is one step of a script.
type command struct {
	Type       string  `json:"type"`
	Line       int     `json:"line"`
	Name       string  `json:"name"` // of a module, or of the one to register
	Filename   string  `json:"filename"`
	As         string  `json:"as"` // the name to import a module by
	Action     action  `json:"action"`
	Expected   []value `json:"expected"`
	ModuleType string  `json:"module_type"`
}

// action calls a function or reads a global.
type action struct {
	Type   string  `json:"type"`
	Module string  `json:"module"` // empty: the last one
	Field  string  `json:"field"`
	Args   []value `json:"args"`
}

type value struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

// suite finds the scripts where the engine's own tests keep them.
func suite(t *testing.T, version string) map[string]script {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatalf("finding the engine's source: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "internal/integration_test/spectest", version, "testdata")
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) < 50 {
		t.Fatalf("%d scripts in %s: %v", len(files), dir, err)
	}
	all := make(map[string]script)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s := script{dir: dir}
		if err := json.Unmarshal(b, &s); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = s
	}
	return all
}

func (s script) read(t *testing.T, c command) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, c.Filename))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// text is what the suite writes for a scalar value: decimal bits, or a kind of
// NaN.
func (v value) text() string {
	var s string
	_ = json.Unmarshal(v.Value, &s) // vectors are no string, and not called
	return s
}

// bits are those of an argument.
func (v value) bits(t *testing.T) uint64 {
	t.Helper()
	s := v.text()
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatalf("an argument %q", v.Value)
	}
	return comparable(v.kind(), uint64(n)) //nolint:gosec // bits
}

// kind is the value's type as generated modules have it.
func (v value) kind() byte {
	return map[string]byte{"i32": 'i', "i64": 'I', "f32": 'f', "f64": 'F'}[v.Type]
}

// expects tells whether the suite allows a result.
func (v value) expects(t *testing.T, got uint64) bool {
	t.Helper()
	switch v.text() {
	case "nan:canonical", "nan:arithmetic":
		return isNaN(v.kind(), got)
	}
	return got == v.bits(t)
}

func isNaN(kind byte, bits uint64) bool {
	if kind == 'f' {
		return math.IsNaN(float64(math.Float32frombits(uint32(bits)))) //nolint:gosec // bits
	}
	return kind == 'F' && math.IsNaN(math.Float64frombits(bits))
}
