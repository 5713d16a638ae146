package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/affiliate-node/affiliate/agreement"
)

const (
	// compileTimeout bounds the compilation of one module in a process of its
	// own. 16 MiB of stock Go take about a tenth of it.
	compileTimeout = 2 * time.Minute
	// compilerMemory bounds what such a process may allocate, in bytes, where
	// the system can. What admission lets through needs less.
	compilerMemory = 1 << 30
	// maxNative bounds the native code of a module, in bytes: the node has it
	// in memory while the module is loaded. 16 MiB of stock Go make some 60.
	maxNative = 96 << 20
	// compilerNotes bounds what such a process says when it fails, in bytes.
	compilerNotes = 4 << 10
	// exitRefused is its exit status when the module is at fault.
	exitRefused = 3
)

// RunCompiler is the process that Config.Compiler starts: it compiles a
// rewritten module from in into the cache directory, and ends. Compiling takes
// some 100 MB and can't be interrupted; a process can, and gives all of it
// back. It returns the status to exit with.
func RunCompiler(ctx context.Context, native string, in io.Reader, notes io.Writer) int {
	defer limitMemory(compilerMemory)()
	code, err := io.ReadAll(in)
	if err == nil {
		err = compileInto(ctx, native, code)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(notes, err)
	if agreement.CodeOf(err) == agreement.CodeBadModule {
		return exitRefused
	}
	return 1
}

func compileInto(ctx context.Context, native string, code []byte) error {
	cache, err := wazero.NewCompilationCacheWithDir(native)
	if err != nil {
		return fmt.Errorf("opening the cache of compiled modules: %w", err)
	}
	r := wazero.NewRuntimeWithConfig(ctx, runtimeConfig(wazero.NewRuntimeConfigCompiler(), cache))
	compiled, err := compile(ctx, r, code)
	if err != nil {
		return err
	}
	return errors.Join(compiled.Close(ctx), r.Close(ctx), cache.Close(ctx))
}

// precompile has a module compiled into the cache by another process, unless
// that was done before or none is configured. It returns the size of the
// native code, 0 if that isn't known.
func (e *Engine) precompile(ctx context.Context, hash agreement.Hash, code []byte) (int64, error) {
	if len(e.cfg.Compiler) == 0 || e.modules.native == "" {
		return 0, nil
	}
	done := filepath.Join(e.modules.native, "done", hash.String())
	if mark, err := os.ReadFile(done); err == nil { //nolint:gosec // our own directory
		size, _ := strconv.ParseInt(string(mark), 10, 64)
		return size, nil
	}
	before, err := e.modules.nativeFiles()
	if err != nil {
		return 0, err
	}
	if err := e.runCompiler(ctx, code); err != nil {
		return 0, err
	}
	size, err := e.modules.newNative(before, maxNative)
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Dir(done), 0o700); err != nil {
		return 0, fmt.Errorf("marking a module as compiled: %w", err)
	}
	return size, os.WriteFile(done, strconv.AppendInt(nil, size, 10), 0o600)
}

// nativeFiles lists the files of native code.
func (f moduleFiles) nativeFiles() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(f.native, "wazero-*", "*"))
	if err != nil {
		return nil, fmt.Errorf("listing the cache of compiled modules: %w", err)
	}
	return files, nil
}

// newNative measures the native code that wasn't there before, and removes it
// if it is too much.
func (f moduleFiles) newNative(before []string, most int64) (int64, error) {
	files, err := f.nativeFiles()
	if err != nil {
		return 0, err
	}
	files = slices.DeleteFunc(files, func(name string) bool { return slices.Contains(before, name) })
	size := int64(0)
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return 0, fmt.Errorf("measuring native code: %w", err)
		}
		size += info.Size()
	}
	if size <= most {
		return size, nil
	}
	for _, name := range files {
		err = errors.Join(err, os.Remove(name))
	}
	return 0, errors.Join(refused("its native code takes %d bytes; at most %d are allowed", size, most), err)
}

func (e *Engine) runCompiler(ctx context.Context, code []byte) error {
	ctx, cancel := context.WithTimeout(ctx, compileTimeout)
	defer cancel()
	var notes limitedBuffer
	args := append(e.cfg.Compiler[1:len(e.cfg.Compiler):len(e.cfg.Compiler)], e.modules.native)
	cmd := osexec.CommandContext(ctx, e.cfg.Compiler[0], args...) //nolint:gosec // our own program
	cmd.Stdin, cmd.Stderr = bytes.NewReader(code), &notes
	cmd.Env = []string{"GOGC=50"} // nothing of ours: the environment may hold a passphrase
	err := cmd.Run()
	var exit *osexec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return agreement.Errorf(agreement.CodeExecutionTimeout, "compiling a module: %w", ctx.Err())
	case errors.As(err, &exit) && exit.ExitCode() == exitRefused:
		text := strings.TrimPrefix(notes.line(), string(agreement.CodeBadModule)+": ")
		return agreement.Errorf(agreement.CodeBadModule, "%s", text)
	case errors.As(err, &exit):
		return agreement.Errorf(agreement.CodeBadModule, "the module is refused: compiling it ended with %q: %s", exit, notes.line())
	}
	return agreement.Errorf(agreement.CodeExecution, "starting the compiler: %w", err)
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct{ b []byte }

// Write never fails.
func (l *limitedBuffer) Write(p []byte) (int, error) {
	l.b = append(l.b, p[:min(len(p), compilerNotes-len(l.b))]...)
	return len(p), nil
}

func (l *limitedBuffer) line() string {
	first, _, _ := strings.Cut(strings.TrimSpace(string(l.b)), "\n")
	return first
}
