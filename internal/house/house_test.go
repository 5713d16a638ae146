package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module   = "github.com/affiliate-node/affiliate"
	root     = "../.."
	maxLines = 400 // of a file written by hand
)

// layers says which packages of the module a package may import, outside of
// its tests. Folders below inherit; the longest match counts. Imports point
// one way, and those in the middle don't import one another.
var layers = map[string][]string{
	"agreement": {},
	"contract":  {},
	// It checks contracts outside of WebAssembly, as a node does.
	"contract/contracttest": {"agreement", "contract", "exec/schema"},
	"api":                   {"api"},
	"config":                base,
	"keys":                  base,
	"p2p":                   base,
	"exec":                  base,
	"store":                 base,
	"index":                 base,
	"chainclient":           base,
	"client":                {"agreement", "api"},
	"node":                  append([]string{"p2p", "exec", "store", "index", "chainclient"}, base...),
	"cmd":                   append([]string{"node", "p2p", "exec", "store", "index", "chainclient", "client", "cmd"}, base...),
	"devchain":              append([]string{"chainclient"}, base...),
	"cmd/devchain":          append([]string{"devchain"}, base...),
	"testnet":               append([]string{"client", "chainclient", "testnet"}, base...),
	"cmd/testnet":           append([]string{"client", "chainclient", "testnet"}, base...),
	"examples":              {"contract", "examples"},
	"internal":              append([]string{"client", "chainclient", "devchain", "internal"}, base...),
}

// base is what everybody above the vocabulary may use.
var base = []string{"agreement", "api", "config", "contract", "keys"}

// owners says which packages may import a heavy dependency; the longest
// prefix counts.
var owners = map[string][]string{
	"github.com/dgraph-io/badger":              {"store"},
	"github.com/libp2p":                        {"p2p"},
	"github.com/multiformats":                  {"p2p"},
	"github.com/marcopolo/simnet":              {"p2p"},
	"github.com/tetratelabs/wazero":            {"exec"},
	"github.com/cosmos":                        {"chainclient", "devchain"},
	"github.com/cosmos/cosmos-sdk/crypto":      {"chainclient", "devchain", "keys"},
	"github.com/cosmos/cosmos-sdk/codec":       {"chainclient", "devchain", "keys"},
	"github.com/cosmos/cosmos-sdk/types":       {"chainclient", "devchain", "keys"},
	"github.com/cosmos/go-bip39":               {"keys"},
	"github.com/cosmos/gogoproto":              {"chainclient", "devchain"},
	"cosmossdk.io":                             {"chainclient", "devchain"},
	"github.com/cometbft":                      {"chainclient", "devchain"},
	"github.com/provenance-io":                 {"chainclient", "devchain"},
	"github.com/ncruces":                       {"index"},
	"filippo.io/age":                           {"keys"},
	"github.com/decred/dcrd":                   {"keys", "chainclient"},
	"lukechampine.com/blake3":                  {"keys", "store", "p2p", "node"},
	"github.com/minio":                         {"store/blob"},
	"github.com/rclone/gofakes3":               {"store/blob", "cmd"},
	"connectrpc.com/connect":                   {"api", "client", "node", "cmd", "testnet"},
	"github.com/spf13/cobra":                   {"cmd"},
	"golang.org/x/term":                        {"cmd"},
	"github.com/pelletier/go-toml":             {"config"},
	"github.com/prometheus/client_golang":      {"p2p", "node", "cmd"},
	"github.com/stretchr/testify":              {},
	"github.com/rogpeppe/go-internal":          {"cmd"},
	"github.com/spf13/viper":                   {},
	"github.com/cosmos/cosmos-sdk/x":           {"chainclient", "devchain"},
	"github.com/cosmos/cosmos-sdk/client/keys": {},
}

// source is one Go file.
type source struct {
	name string // relative to the root, with slashes
	dir  string // package
	test bool   // a test, or a package that helps tests
	text []byte
	ast  *ast.File
	fset *token.FileSet
}

func (s source) at(n ast.Node) string {
	return s.name + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// sources reads every Go file of the tree that people wrote.
func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		s, err := read(p)
		if err != nil {
			return err
		}
		if !generated.Match(s.text[:min(len(s.text), 1000)]) {
			list = append(list, s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 20 {
		t.Fatalf("only %d files found: the walk is wrong", len(list))
	}
	return list
}

func read(p string) (source, error) {
	text, err := os.ReadFile(p)
	if err != nil {
		return source{}, err
	}
	rel, err := filepath.Rel(root, p)
	if err != nil {
		return source{}, err
	}
	s := source{name: filepath.ToSlash(rel), test: strings.HasSuffix(p, "_test.go"), text: text, fset: token.NewFileSet()}
	s.dir = path.Dir(s.name)
	s.ast, err = parser.ParseFile(s.fset, p, text, parser.ParseComments)
	if err == nil && imports(s)["testing"] != nil {
		s.test = true
	}
	return s, err
}

// longest finds the rule whose key is the longest prefix of a path, by
// elements.
func longest[V any](rules map[string]V, p string) (string, V, bool) {
	for q := p; q != "." && q != "/" && q != ""; q = path.Dir(q) {
		if v, ok := rules[q]; ok {
			return q, v, true
		}
	}
	var none V
	return "", none, false
}

func imports(s source) map[string]ast.Node {
	m := map[string]ast.Node{}
	for _, i := range s.ast.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			m[p] = i
		}
	}
	return m
}

// within reports whether dir is one of the packages, or below one.
func within(packages []string, dir string) bool {
	return slices.ContainsFunc(packages, func(p string) bool { return dir == p || strings.HasPrefix(dir, p+"/") })
}

// Imports point one way: cmd, node, the five in the middle, the vocabulary.
func TestImportsPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		own, allowed, ok := longest(layers, s.dir)
		if !ok {
			t.Errorf("%s: the package %s has no place in the house plan", s.name, s.dir)
			continue
		}
		for p, n := range imports(s) {
			inner, ours := strings.CutPrefix(p, module+"/")
			if ours && !within([]string{own}, inner) && !within(allowed, inner) {
				t.Errorf("%s: %s must not import %s", s.at(n), own, inner)
			}
		}
	}
}

// agreement and contract use the standard library only: the first so that it
// stays pure, the second because it is compiled to WebAssembly.
func TestPurePackages(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !within([]string{"agreement", "contract", "examples"}, s.dir) {
			continue
		}
		for p, n := range imports(s) {
			first, _, _ := strings.Cut(p, "/")
			if strings.Contains(first, ".") && !strings.HasPrefix(p, module+"/") {
				t.Errorf("%s: %s imports %s; only the standard library is allowed", s.at(n), s.dir, p)
			}
		}
	}
	io := []string{"net", "net/http", "os", "os/exec", "time/tzdata", "log", "log/slog", "sync", "context"}
	for _, s := range sources(t) {
		if s.test || s.dir != "agreement" {
			continue
		}
		for p, n := range imports(s) {
			if slices.Contains(io, p) {
				t.Errorf("%s: agreement imports %s; it does no I/O and starts no goroutine", s.at(n), p)
			}
		}
	}
}

// A heavy dependency has one owner, in tests as well.
func TestHeavyDependenciesHaveOneOwner(t *testing.T) {
	for _, s := range sources(t) {
		for p, n := range imports(s) {
			dependency, allowed, heavy := longest(owners, p)
			if heavy && !within(allowed, s.dir) {
				t.Errorf("%s: %s imports %s, which belongs to %v", s.at(n), s.dir, dependency, allowed)
			}
		}
	}
}

// The first sentence of a package comment says what the package owns, the
// second what it never does.
func TestPackageComments(t *testing.T) {
	docs := map[string]string{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if _, seen := docs[s.dir]; !seen {
			docs[s.dir] = ""
		}
		if s.ast.Doc != nil {
			docs[s.dir] += s.ast.Doc.Text()
		}
	}
	limit := regexp.MustCompile(`(?i)\b(never|no|not|nothing|nobody|only|without|n't)\b|n't\b`)
	for dir, doc := range docs {
		first, rest, _ := strings.Cut(strings.ReplaceAll(doc, "\n", " "), ". ")
		switch {
		case doc == "":
			t.Errorf("package %s has no comment", dir)
		case !strings.HasPrefix(doc, "Package "+path.Base(dir)+" ") && !strings.HasPrefix(doc, "Command "+path.Base(dir)+" "):
			t.Errorf("package %s: the comment starts %q", dir, first)
		case !limit.MatchString(rest):
			t.Errorf("package %s: the comment doesn't say what the package never does", dir)
		}
	}
}

// Files stay short enough to be read at once.
func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if n := bytes.Count(s.text, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines; at most %d", s.name, n, maxLines)
		}
	}
}

// Nothing happens before main: no init functions. And contexts come from
// callers: only commands and tests make one from nothing.
func TestNothingOutOfNowhere(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s: an init function", s.at(n))
				}
			case *ast.SelectorExpr:
				from, _ := n.X.(*ast.Ident)
				if from != nil && from.Name == "context" && (n.Sel.Name == "Background" || n.Sel.Name == "TODO") &&
					!s.test && s.ast.Name.Name != "main" {
					t.Errorf("%s: context.%s outside of a command", s.at(n), n.Sel.Name)
				}
			}
			return true
		})
	}
}

// A test that doesn't run proves nothing: none is skipped.
func TestNothingIsSkipped(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			call, _ := n.(*ast.CallExpr)
			if call == nil {
				return true
			}
			sel, _ := call.Fun.(*ast.SelectorExpr)
			if sel != nil && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
				if from, ok := sel.X.(*ast.Ident); ok && (from.Name == "t" || from.Name == "b" || from.Name == "tb") {
					t.Errorf("%s: a skipped test", s.at(n))
				}
			}
			return true
		})
	}
}

// Packages are named for what they own.
func TestPackageNames(t *testing.T) {
	for _, s := range sources(t) {
		if slices.Contains([]string{"util", "utils", "common", "helpers", "helper", "misc"}, path.Base(s.dir)) {
			t.Errorf("%s: a package named %s", s.name, path.Base(s.dir))
		}
	}
}
