package testnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// modulePath is how the repository's root is recognised.
const modulePath = "module github.com/affiliate-node/affiliate"

// The contracts that the testnet runs, by the directory under examples.
const (
	contractLoan      = "loan"
	contractPayment   = "payment"
	contractAppraisal = "appraisal"
)

// Build is where a build has put what the testnet runs.
type Build struct {
	Affiliate string            // path of the daemon
	Devchain  string            // path of the development chain
	Contracts map[string]string // path of each example contract's module
}

// Root finds the repository's root from a directory in it.
func Root(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		mod, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), modulePath+"\n") {
			return d, nil
		}
		if filepath.Dir(d) == d {
			return "", fmt.Errorf("%s is not inside a checkout of the project (no go.mod with %q above it)", dir, modulePath)
		}
	}
}

// MakeBuild compiles both programs and the example contracts from the
// checkout at root into its .cache/testnet, where a second build finds them
// up to date. It takes Go and nothing else, and a few minutes the first time.
func MakeBuild(ctx context.Context, root string, progress func(string)) (Build, error) {
	out := filepath.Join(root, ".cache", "testnet")
	b := Build{
		Affiliate: filepath.Join(out, "bin", "affiliate"),
		Devchain:  filepath.Join(out, "bin", "devchain"),
		Contracts: map[string]string{},
	}
	if err := os.MkdirAll(filepath.Join(out, "bin"), 0o755); err != nil {
		return b, fmt.Errorf("making the build directory: %w", err)
	}
	progress("building affiliate and devchain")
	if err := goBuild(ctx, root, nil, "-o", filepath.Dir(b.Affiliate)+"/", "./cmd/affiliate", "./cmd/devchain"); err != nil {
		return b, err
	}
	for _, name := range []string{contractLoan, contractPayment, contractAppraisal} {
		progress("building the contract examples/" + name)
		b.Contracts[name] = filepath.Join(out, name+".wasm")
		if err := buildContract(ctx, root, "./examples/"+name, b.Contracts[name]); err != nil {
			return b, err
		}
	}
	return b, nil
}

func buildContract(ctx context.Context, root, pkg, out string) error {
	return goBuild(ctx, root, []string{"GOOS=wasip1", "GOARCH=wasm"},
		"-buildmode=c-shared", "-trimpath", "-ldflags=-s -w -buildid=", "-o", out, pkg)
}

func goBuild(ctx context.Context, root string, env []string, args ...string) error {
	// A checkout that belongs to somebody else must build, too: git would refuse
	// to name its commit.
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-buildvcs=false"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(append(os.Environ(), "GOFLAGS="), env...)
	text, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("no go command in PATH: install Go 1.26 or later (https://go.dev/dl)")
	}
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", args[len(args)-1], err, bytes.TrimSpace(text))
	}
	return nil
}
