package exec

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// engineVersion is the version of wazero in go.mod; a test compares them.
const engineVersion = "v1.12.0"

// features are what modules may use: WebAssembly 2.0 without vectors and
// reference types.
const features = api.CoreFeaturesV1 | api.CoreFeatureBulkMemoryOperations | api.CoreFeatureMultiValue |
	api.CoreFeatureNonTrappingFloatToIntConversion | api.CoreFeatureSignExtensionOps |
	api.CoreFeatureReferenceTypes // for the encoding of call_indirect that C compilers use; admission refuses the rest

// Engine loads and runs contracts. Its methods may be called at once from any
// goroutine.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	modules moduleFiles
	runtime wazero.RuntimeConfig // how to make the machine

	runs    chan struct{} // a place for every run at once
	compile chan struct{} // one place: compiling takes a lot of memory

	mu      sync.Mutex // guards all below
	closed  bool
	machine wazero.Runtime
	cache   wazero.CompilationCache
	loaded  loadedModules
}

// New makes an engine; log may be nil. It touches nothing but CacheDir, which it makes, and
// where it removes what other versions left.
func New(cfg Config, log *slog.Logger) (*Engine, error) {
	return newEngine(cfg, log, wazero.NewRuntimeConfig())
}

func newEngine(cfg Config, log *slog.Logger, rc wazero.RuntimeConfig) (*Engine, error) {
	cfg = cfg.withDefaults()
	if cfg.ModuleLimit < 0 || cfg.MemoryLimit < pageSize || cfg.MemoryLimit > 4<<30 || cfg.OutputLimit < 0 || cfg.LogLimit < 0 || cfg.Timeout < 0 || cfg.Workers < 0 {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "the limits of the engine are impossible: %+v", cfg)
	}
	modules, err := openModuleFiles(cfg.CacheDir)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		cfg: cfg, log: log, modules: modules,
		runs: make(chan struct{}, cfg.Workers), compile: make(chan struct{}, 1),
		loaded: loadedModules{limit: LoadedLimit, byHash: make(map[agreement.Hash]*loadedModule)},
	}
	if cfg.CacheDir == "" {
		e.cache = wazero.NewCompilationCache()
	} else if e.cache, err = wazero.NewCompilationCacheWithDir(modules.native); err != nil {
		return nil, fmt.Errorf("opening the cache of compiled modules: %w", err)
	}
	e.runtime = runtimeConfig(rc, e.cache)
	return e, nil
}

// runtimeConfig is the same for every process that shares a cache: what it
// says is part of the cache's keys.
func runtimeConfig(rc wazero.RuntimeConfig, cache wazero.CompilationCache) wazero.RuntimeConfig {
	return rc.WithCoreFeatures(features).WithCloseOnContextDone(true).WithCompilationCache(cache).
		WithDebugInfoEnabled(false).WithMemoryLimitPages(65_536) // the allocator has the limit that counts
}

func (c Config) withDefaults() Config {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.ModuleLimit, DefaultModuleLimit)
	set(&c.MemoryLimit, DefaultMemoryLimit)
	set(&c.OutputLimit, DefaultOutputLimit)
	set(&c.LogLimit, DefaultLogLimit)
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Workers == 0 {
		c.Workers = DefaultWorkers
	}
	return c
}

// Close waits for the runs under way and releases the engine's memory. ctx
// bounds the wait.
func (e *Engine) Close(ctx context.Context) error {
	for range cap(e.runs) {
		if err := take(ctx, e.runs); err != nil {
			return err
		}
		defer func() { <-e.runs }() // a later call finds the engine closed
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	if e.machine != nil {
		if err := e.machine.Close(ctx); err != nil {
			return fmt.Errorf("closing the engine: %w", err)
		}
	}
	if err := e.cache.Close(ctx); err != nil {
		return fmt.Errorf("closing the cache of compiled modules: %w", err)
	}
	return nil
}

// Version names the engine, for divergence reports.
func (e *Engine) Version() string { return "wazero " + engineVersion }

// take waits for a place.
func take(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return agreement.Errorf(agreement.CodeExecutionTimeout, "waiting for a place to execute: %w", ctx.Err())
	}
}

// Load admits and compiles a module, and has it describe itself. Doing it
// again costs little. CodeTooLarge, CodeBadModule and CodeBadManifest are the
// module's fault; everything else is local.
func (e *Engine) Load(ctx context.Context, module []byte) (*Contract, error) {
	if int64(len(module)) > e.cfg.ModuleLimit {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "the module has %d bytes; at most %d are allowed", len(module), e.cfg.ModuleLimit).
			WithHint("build it with -ldflags='-s -w', or raise exec.module_limit")
	}
	hash := agreement.Hash(sha256.Sum256(module))
	if err := take(ctx, e.runs); err != nil {
		return nil, err
	}
	defer func() { <-e.runs }()
	m, err := e.use(ctx, hash, func() ([]byte, error) { return module, nil })
	if err != nil {
		return nil, err
	}
	defer e.release(m)
	if c := e.described(m); c != nil {
		return c, nil
	}
	doc, err := e.describe(ctx, m, hash)
	if err != nil {
		return nil, err
	}
	manifest, err := contract.Parse(doc)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadManifest, "the contract's manifest is refused: %w", err)
	}
	if err := e.modules.keep(hash, module); err != nil {
		return nil, err
	}
	c := &Contract{
		Hash: agreement.ContractHash(module, doc), ModuleHash: hash,
		Manifest: manifest, ManifestJSON: doc, Size: int64(len(module)),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	m.contract = c
	return c, nil
}

func (e *Engine) described(m *loadedModule) *Contract {
	e.mu.Lock()
	defer e.mu.Unlock()
	return m.contract
}

// describe runs a module's describe and returns the manifest, canonical.
func (e *Engine) describe(ctx context.Context, m *loadedModule, seed agreement.Hash) ([]byte, error) {
	c := newCall(seed, contract.MaxManifest, e.cfg.LogLimit)
	failure, err := e.invoke(ctx, m, c, nil, exportDescribe)
	if err != nil {
		return nil, err
	}
	if failure != nil {
		return nil, agreement.Errorf(agreement.CodeBadModule, "the module can't describe itself: %s: %s", failure.Code, failure.Message)
	}
	doc, err := agreement.Canonical(c.output)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadManifest, "the contract's manifest is refused: %w", err)
	}
	return doc, nil
}

// start makes the machine with its host modules, once.
func (e *Engine) start(ctx context.Context) (wazero.Runtime, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, agreement.Errorf(agreement.CodeExecution, "the engine is closed")
	}
	if e.machine != nil {
		return e.machine, nil
	}
	ctx = context.WithoutCancel(ctx)
	r := wazero.NewRuntimeWithConfig(ctx, e.runtime)
	for name, functions := range map[string]map[string]hostFunction{moduleAffiliate: affiliateFunctions(), moduleWASI: wasiFunctions()} {
		if err := provide(ctx, r, name, functions); err != nil {
			return nil, agreement.Errorf(agreement.CodeExecution, "starting the engine: %w", err)
		}
	}
	e.machine = r
	return r, nil
}

// use returns a compiled module and keeps it from being dropped until it is
// released. source is asked for the bytes where it has to be compiled.
func (e *Engine) use(ctx context.Context, hash agreement.Hash, source func() ([]byte, error)) (*loadedModule, error) {
	if m := e.find(hash); m != nil {
		return m, nil
	}
	if err := take(ctx, e.compile); err != nil {
		return nil, err
	}
	defer func() { <-e.compile }()
	if m := e.find(hash); m != nil {
		return m, nil
	}
	module, err := source()
	if err != nil {
		return nil, err
	}
	admitted, err := admit(module, e.cfg.MemoryLimit)
	if err != nil {
		return nil, err
	}
	r, err := e.start(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.precompile(ctx, hash, admitted); err != nil {
		return nil, err
	}
	e.makeRoom(ctx, int64(len(module)))
	compiled, err := compile(ctx, r, admitted)
	if err != nil && strings.Contains(err.Error(), "compilationcache: ") {
		e.log.Warn("compiled code in the cache is damaged; compiling again", "module", hash, "error", err)
		if err = e.modules.clearNative(); err == nil {
			compiled, err = compile(ctx, r, admitted)
		}
	}
	if err != nil {
		return nil, err
	}
	debug.FreeOSMemory() // compiling leaves much more garbage than anything else here
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loaded.add(hash, compiled, int64(len(module))), nil
}

func (e *Engine) makeRoom(ctx context.Context, size int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.loaded.makeRoom(ctx, size)
}

// compile turns an admitted module into native code. What still is wrong with
// it is the module's fault; the engine's own words may vary, so they go no
// further than the error.
func compile(ctx context.Context, r wazero.Runtime, module []byte) (compiled wazero.CompiledModule, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = agreement.Errorf(agreement.CodeBadModule, "the module is refused: the engine can't compile it: %v", v)
		}
	}()
	compiled, err = r.CompileModule(ctx, module)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadModule, "the module is refused: %w", err)
	}
	return compiled, nil
}

func (e *Engine) find(hash agreement.Hash) *loadedModule {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loaded.find(hash)
}

func (e *Engine) release(m *loadedModule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m.users--
}
