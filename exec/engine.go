package exec

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/exec/module"
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

	interpreted bool // modules run on wazero's interpreter

	mu      sync.Mutex // guards all below
	closed  bool
	machine wazero.Runtime
	cache   wazero.CompilationCache
	loaded  loadedModules
}

// New makes an engine; log may be nil. It touches nothing but CacheDir, which it makes, and
// where it removes what other versions left.
func New(cfg Config, log *slog.Logger) (*Engine, error) {
	return newEngine(cfg, log, runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64") // wazero's compiler knows no other
}

func newEngine(cfg Config, log *slog.Logger, interpreted bool) (*Engine, error) {
	cfg = cfg.withDefaults()
	if cfg.ModuleLimit < 0 || cfg.MemoryLimit < module.PageSize || cfg.MemoryLimit > 4<<30 || cfg.OutputLimit < 0 || cfg.FuelLimit < 0 || cfg.LogLimit < 0 || cfg.Timeout < 0 || cfg.Workers < 0 {
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
		loaded: loadedModules{limit: LoadedLimit, maxIdle: max(4, cfg.Workers), byHash: make(map[agreement.Hash]*loadedModule)},
	}
	if cfg.CacheDir == "" {
		e.cache = wazero.NewCompilationCache()
	} else if e.cache, err = wazero.NewCompilationCacheWithDir(modules.native); err != nil {
		return nil, fmt.Errorf("opening the cache of compiled modules: %w", err)
	}
	rc := wazero.NewRuntimeConfig()
	if e.interpreted = interpreted; interpreted {
		rc = wazero.NewRuntimeConfigInterpreter().WithCloseOnContextDone(true)
	}
	e.runtime = runtimeConfig(rc, e.cache)
	return e, nil
}

// runtimeConfig is the same for every process that shares a cache: what it
// says is part of the cache's keys.
func runtimeConfig(rc wazero.RuntimeConfig, cache wazero.CompilationCache) wazero.RuntimeConfig {
	return rc.WithCoreFeatures(features).WithCompilationCache(cache).
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
	set(&c.FuelLimit, DefaultFuelLimit)
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
	e.loaded.makeRoom(ctx, e.loaded.limit)
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
func (e *Engine) Version() string {
	return fmt.Sprintf("wazero %s, rules %d", engineVersion, module.Version)
}

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
func (e *Engine) Load(ctx context.Context, wasm []byte) (*Contract, error) {
	if int64(len(wasm)) > e.cfg.ModuleLimit {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "the module has %d bytes; at most %d are allowed", len(wasm), e.cfg.ModuleLimit).
			WithHint("build it with -ldflags='-s -w', or raise exec.module_limit")
	}
	hash := agreement.Hash(sha256.Sum256(wasm))
	if err := take(ctx, e.runs); err != nil {
		return nil, err
	}
	defer func() { <-e.runs }()
	m, err := e.use(ctx, hash, func() ([]byte, error) { return wasm, nil })
	if err != nil {
		return nil, err
	}
	defer e.release(m)
	if c := e.described(m); c != nil {
		return c, nil
	}
	c, err := e.describe(ctx, m)
	if err != nil {
		return nil, err
	}
	c.Hash, c.ModuleHash, c.Size = agreement.ContractHash(wasm, c.ManifestJSON), hash, int64(len(wasm))
	if err := e.modules.keep(hash, wasm); err != nil {
		return nil, err
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

// describe has a module describe itself. What it says must be the same each
// time that it is asked, which metered code in fresh memory can't but do.
func (e *Engine) describe(ctx context.Context, m *loadedModule) (*Contract, error) {
	c := newCall(m.start, contract.MaxManifest, e.cfg.LogLimit)
	failure, err := e.invoke(ctx, m, c, limits{memory: contract.DefaultMemory, fuel: contract.DefaultFuel}, exportDescribe)
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
	manifest, err := contract.Parse(doc)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadManifest, "the contract's manifest is refused: %w", err)
	}
	if begins := int64(m.start.size); manifest.MemoryLimit() < begins { //nolint:gosec // at most 4 GiB
		return nil, agreement.Errorf(agreement.CodeBadManifest, "the contract's manifest is refused: limits: memory is %d bytes, and the module begins with %d", manifest.MemoryLimit(), begins)
	}
	schemas, err := compileSchemas(manifest)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeBadManifest, "the contract's manifest is refused: %w", err)
	}
	return &Contract{Manifest: manifest, ManifestJSON: doc, schemas: schemas}, e.grants(manifest)
}

// grants checks that this node allows what the contract may need. Allowing
// less would decide otherwise than parties that allow it.
func (e *Engine) grants(m contract.Manifest) error {
	for _, l := range []struct {
		what, setting string
		needs, limit  int64
	}{
		{"bytes of memory", "exec.memory_limit", m.MemoryLimit(), e.cfg.MemoryLimit},
		{"bytes of output", "exec.output_limit", m.OutputLimit(), e.cfg.OutputLimit},
		{"units of fuel", "exec.fuel_limit", m.FuelLimit(), e.cfg.FuelLimit},
	} {
		if l.needs > l.limit {
			return agreement.Errorf(agreement.CodeTooLarge, "the contract may need %d %s; this node allows %d", l.needs, l.what, l.limit).
				WithHint("raise %s", l.setting)
		}
	}
	return nil
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
	wasm, err := source()
	if err != nil {
		return nil, err
	}
	p, err := module.Prepare(wasm, module.Rules{MemoryLimit: contract.DefaultMemory, Imports: importSignature, Contract: true})
	if err != nil {
		return nil, err
	}
	r, err := e.start(ctx)
	if err != nil {
		return nil, err
	}
	native, err := e.precompile(ctx, hash, p.Code)
	if err != nil {
		return nil, err
	}
	e.makeRoom(ctx, loadedSize(len(wasm), native, 0))
	m := &loadedModule{hash: hash, mutable: p.Mutable}
	if m.compiled, err = e.compiled(ctx, r, hash, p.Code); err != nil {
		return nil, err
	}
	if err := e.initialise(ctx, r, m, p); err != nil {
		m.close(ctx)
		return nil, err
	}
	m.size = loadedSize(len(wasm), native, m.start.image.size)
	debug.FreeOSMemory() // compiling leaves much more garbage than anything else here
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loaded.add(hash, m), nil
}

// compiled turns a module into native code, from the cache if that has it
// whole.
func (e *Engine) compiled(ctx context.Context, r wazero.Runtime, hash agreement.Hash, code []byte) (wazero.CompiledModule, error) {
	compiled, err := compile(ctx, r, code)
	if err != nil && strings.Contains(err.Error(), "compilationcache: ") {
		e.log.Warn("compiled code in the cache is damaged; compiling again", "module", hash, "error", err)
		if err = e.modules.clearNative(); err == nil {
			compiled, err = compile(ctx, r, code)
		}
	}
	return compiled, err
}

func (e *Engine) makeRoom(ctx context.Context, size int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.loaded.makeRoom(ctx, size)
}

// compile turns a rewritten module into native code. What still is wrong with
// it is the module's fault; the engine's own words may vary, so they go no
// further than the error.
func compile(ctx context.Context, r wazero.Runtime, code []byte) (compiled wazero.CompiledModule, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = refused("the engine can't compile it: %v", v)
		}
	}()
	compiled, err = r.CompileModule(ctx, code)
	if err != nil {
		return nil, refused("%w", err)
	}
	return compiled, nil
}

func refused(format string, args ...any) error {
	return agreement.Errorf(agreement.CodeBadModule, "the module is refused: "+format, args...)
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
