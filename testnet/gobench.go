package testnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// AgreementsFamily is the benchmark family that needs a network.
const AgreementsFamily = "agreements"

// PackageFamilies are the benchmark families that are Go benchmarks of the
// package of the same name.
func PackageFamilies() []string { return []string{"exec", "store", "node", "p2p", "index"} }

// ErrNoBenchmarks says that a package has none.
var ErrNoBenchmarks = errors.New("no benchmarks")

// BenchPackage runs the Go benchmarks of one package and writes each metric as
// a figure. A benchmark that reports a metric "limit-UNIT" beside "UNIT" gives
// that figure its limit, with "goal-UNIT" the part of it that is enough.
func BenchPackage(ctx context.Context, root, name string, out io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchmem", "./"+name)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "GOFLAGS=")
	text, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("benchmarks of %s: %w\n%s", name, err, bytes.TrimSpace(text))
	}
	figures := goFigures(name, string(text))
	if len(figures) == 0 {
		return fmt.Errorf("package %s: %w", name, ErrNoBenchmarks)
	}
	for _, f := range figures {
		if err := f.Print(out); err != nil {
			return err
		}
	}
	return nil
}

// goFigures reads what go test prints of benchmarks.
func goFigures(family, text string) []Figure {
	var figures []Figure
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if at := strings.LastIndexByte(name, '-'); at > 0 {
			name = name[:at] // the number of processors
		}
		figures = append(figures, lineFigures(family+"/"+name, fields[2:])...)
	}
	return figures
}

// lineFigures pairs the values and units of one line.
func lineFigures(name string, fields []string) []Figure {
	limits, goals := map[string]float64{}, map[string]float64{}
	var figures []Figure
	for i := 0; i+1 < len(fields); i += 2 {
		value, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return nil
		}
		if unit, ok := strings.CutPrefix(fields[i+1], "limit-"); ok {
			limits[unit] = value
			continue
		}
		if unit, ok := strings.CutPrefix(fields[i+1], "goal-"); ok {
			goals[unit] = value
			continue
		}
		unit := fields[i+1]
		figures = append(figures, Figure{
			Name: name, Value: value, Unit: unit, Goal: rateGoal, Less: strings.HasSuffix(unit, "/op"),
		})
	}
	for i := range figures {
		figures[i].Limit = limits[figures[i].Unit]
		if goal, ok := goals[figures[i].Unit]; ok {
			figures[i].Goal = goal
		}
	}
	return figures
}
