package exec

import (
	"context"
	"fmt"
	"math"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/exec/module"
)

// instance is a module with memory of its own. With its memory and its mutable
// globals goes all that it could remember.
type instance struct {
	module  api.Module
	memory  *linearMemory
	fuel    api.MutableGlobal
	floor   api.MutableGlobal
	depth   api.MutableGlobal
	globals []api.MutableGlobal // the module's own mutable ones
	// interpreted: the engine stops a run by its context. Its interpreter is Go,
	// in which a global can't be written while a module reads it.
	interpreted bool
}

// snapshot is what instances of a module begin with.
type snapshot struct {
	size    uint64           // of the memory, bytes
	image   *image           // of its beginning; the rest is zero
	data    []module.Segment // that the image doesn't hold
	globals []uint64         // values of the mutable globals; nil: as the module has them
	// random and waited are the random stream and the monotonic clock, as
	// initialising left them.
	random randomStream
	waited int64
	// initialised tells that _initialize has run; otherwise each instance runs
	// it for itself.
	initialised bool
	interpreted bool // by wazero's interpreter
}

// instantiate makes an instance that has what the snapshot has.
func (s *snapshot) instantiate(ctx context.Context, r wazero.Runtime, compiled wazero.CompiledModule, mutable []string, memoryLimit int64) (*instance, error) {
	memory, err := newMemory(memoryLimit, s.image)
	if err != nil {
		return nil, err
	}
	i := &instance{memory: memory, interpreted: s.interpreted}
	i.module, err = r.InstantiateModule(experimental.WithMemoryAllocator(ctx, memory.allocator()), compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		memory.release()
		return nil, fmt.Errorf("making an instance: %w", firstLine(err))
	}
	if more := s.size - uint64(i.module.Memory().Size()); more > 0 {
		if _, ok := i.module.Memory().Grow(uint32(more / module.PageSize)); !ok { //nolint:gosec // at most 65,536
			i.close(ctx)
			return nil, fmt.Errorf("an instance's memory doesn't grow to the %d bytes that it begins with", s.size)
		}
	}
	for _, d := range s.data {
		i.module.Memory().Write(d.Offset, d.Bytes)
	}
	global := func(name string) api.MutableGlobal {
		g, _ := i.module.ExportedGlobal(name).(api.MutableGlobal)
		return g
	}
	i.fuel, i.floor, i.depth = global(module.ExportFuel), global(module.ExportFloor), global(module.ExportDepth)
	for _, name := range mutable {
		i.globals = append(i.globals, global(name))
	}
	i.restore(s)
	return i, nil
}

// restore gives the mutable globals their values.
func (i *instance) restore(s *snapshot) {
	for n, v := range s.globals {
		i.globals[n].Set(v)
	}
}

// reset takes an instance that was used back to the snapshot. One whose memory
// has grown, or that can't be taken back, must be closed.
func (i *instance) reset(s *snapshot) bool {
	if !canReset || !s.initialised || i.memory.used != s.size || s.image.reset(i.memory.space) != nil || clearPages(i.memory.space[s.image.size:s.size]) != nil {
		return false
	}
	i.memory.denied = false
	i.restore(s)
	return true
}

func (i *instance) close(ctx context.Context) {
	_ = i.module.Close(context.WithoutCancel(ctx)) // nothing is lost
	i.memory.release()
}

// take makes the snapshot of an instance as it is, or none if it would be too
// large. c is the call that initialised it.
func (i *instance) take(c *call) (*snapshot, error) {
	size := i.module.Memory().Size()
	memory, _ := i.module.Memory().Read(0, size)
	image, ok, err := imageOf(memory)
	if err != nil || !ok {
		return nil, err
	}
	s := &snapshot{size: uint64(size), image: image, random: c.random, waited: c.waited, initialised: true}
	for _, g := range i.globals {
		s.globals = append(s.globals, g.Get())
	}
	return s, nil
}

// call calls an export with a budget of fuel. It returns what the engine says,
// and whether ctx ended it: then nothing that happened counts.
func (i *instance) call(ctx context.Context, c *call, fuel int64, export string, args ...uint64) (stopped bool, err error) {
	i.fuel.Set(uint64(fuel)) //nolint:gosec // never negative
	i.floor.Set(0)
	i.depth.Set(module.MaxDepth)
	c.instance, c.budget = i, fuel
	done := make(chan struct{})
	unless := context.AfterFunc(ctx, func() {
		if !i.interpreted {
			i.floor.Set(math.MaxInt64) // the next loop or call that looks ends the module
		}
		close(done)
	})
	within := ctx
	if !i.interpreted {
		within = context.WithoutCancel(ctx)
	}
	_, err = i.module.ExportedFunction(export).Call(context.WithValue(within, callKey{}, c), args...)
	if !unless() {
		<-done
		return true, err
	}
	return false, err
}

// left is the fuel that is left; below zero there was not enough.
func (i *instance) left() int64 { return int64(i.fuel.Get()) } //nolint:gosec // its bits

// tooDeep tells that a call was one too many.
func (i *instance) tooDeep() bool { return int32(i.depth.Get()) < 0 } //nolint:gosec // its bits

// initialise makes the snapshot that all runs of a module begin with: its data
// in memory, and _initialize done, if a snapshot can hold what that leaves. A
// module that fails at it is refused: it would fail in every run.
func (e *Engine) initialise(ctx context.Context, r wazero.Runtime, m *loadedModule, p *module.Prepared) error {
	first, whole, err := firstImage(p)
	if err != nil {
		return err
	}
	m.start = &snapshot{size: uint64(p.MemoryPages) * module.PageSize, image: first, random: newRandomStream(m.hash), interpreted: e.interpreted}
	if !whole {
		m.start.data = p.Data
	}
	if p.Passive {
		return nil
	}
	i, err := m.start.instantiate(ctx, r, m.compiled, m.mutable, contract.DefaultMemory)
	if err != nil {
		return err
	}
	defer i.close(ctx)
	c := newCall(m.start, contract.MaxManifest, e.cfg.LogLimit)
	if failure, err := e.begin(ctx, i, c); err != nil {
		return err
	} else if failure != nil {
		return refused("the module can't initialise itself: %s: %s", failure.Code, failure.Message)
	}
	s, err := i.take(c)
	if err != nil || s == nil {
		return err
	}
	first.close()
	s.interpreted = e.interpreted
	m.start = s
	return nil
}

// begin runs _initialize, if the module has one.
func (e *Engine) begin(ctx context.Context, i *instance, c *call) (*contract.Failure, error) {
	if i.module.ExportedFunction(exportInitialize) == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	c.initialising = true
	defer func() { c.initialising = false }()
	stopped, err := i.call(ctx, c, contract.DefaultFuel, exportInitialize)
	failure, err := c.result(ctx, stopped, err)
	if failure != nil && failure.Code == CodeNoOutput { // it has none to give
		failure = nil
	}
	return failure, err
}
