package node

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/exec"
	"github.com/affiliate-node/affiliate/store"
)

// maxLoadedContracts bounds compiled contracts in memory.
const maxLoadedContracts = 16

// contractCache keeps compiled contracts, the longest unused one goes first.
type contractCache struct {
	mu     sync.Mutex // guards what follows
	loaded map[contractKey]*loadedContract
	asked  uint64 // how often; a clock's readings can be equal
}

// contractKey has the module's content hash too: a proposal may name a contract
// together with a module that isn't its, and that mustn't spoil it for others.
type contractKey struct{ contract, module agreement.Hash }

type loadedContract struct {
	ready    chan struct{} // closed when the next three are set
	contract *exec.Contract
	err      error
	stopped  bool   // the loading was interrupted: err says nothing of the contract
	used     uint64 // contractCache.asked, when it was last asked for
}

func newContractCache() *contractCache {
	return &contractCache{loaded: map[contractKey]*loadedContract{}}
}

// get returns a contract, loading it at most once at a time.
func (c *contractCache) get(ctx context.Context, key contractKey, load func() (*exec.Contract, error)) (*exec.Contract, error) {
	for {
		e, first := c.entry(key)
		if first {
			c.fill(ctx, key, e, load)
			return e.contract, e.err
		}
		select {
		case <-e.ready:
			if !e.stopped {
				return e.contract, e.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// entry returns what is loaded or being loaded, true if it is the caller's to load.
func (c *contractCache) entry(key contractKey) (*loadedContract, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.loaded[key]
	if !ok {
		e = &loadedContract{ready: make(chan struct{})}
		c.loaded[key] = e
		defer c.evict()
	}
	c.asked++
	e.used = c.asked
	return e, !ok
}

// fill loads. Nobody waits for ever, even if loading panics.
func (c *contractCache) fill(ctx context.Context, key contractKey, e *loadedContract, load func() (*exec.Contract, error)) {
	e.stopped = true
	defer func() {
		if e.stopped || e.err != nil {
			c.mu.Lock()
			delete(c.loaded, key)
			c.mu.Unlock()
		}
		close(e.ready)
	}()
	e.contract, e.err = load()
	e.stopped = e.err != nil && ctx.Err() != nil
}

func (c *contractCache) evict() {
	for len(c.loaded) > maxLoadedContracts {
		var oldest contractKey
		var at uint64
		for k, e := range c.loaded {
			if at == 0 || e.used < at {
				oldest, at = k, e.used
			}
		}
		delete(c.loaded, oldest)
	}
}

// contract compiles the module with this content hash, and makes sure that it
// is the contract that was asked for.
func (n *Node) contract(ctx context.Context, hash, module agreement.Hash) (*exec.Contract, error) {
	return n.contracts.get(ctx, contractKey{hash, module}, func() (*exec.Contract, error) {
		wasm, _, err := n.content(ctx, module)
		if err != nil {
			return nil, err
		}
		c, err := n.engine.Load(ctx, wasm)
		if err != nil {
			return nil, err
		}
		if c.Hash != hash {
			return nil, agreement.Errorf(agreement.CodeBadModule, "the module makes contract %s, not %s", c.Hash, hash)
		}
		return c, nil
	})
}

// findContract takes a hash, the beginning of one (8 digits or more), a name,
// or name@version. Contracts that peers proposed are known too, so a name that
// means several is refused: nobody may slip in another of the same name.
func (n *Node) findContract(what string) (store.Contract, error) {
	all, err := n.store.Contracts()
	if err != nil {
		return store.Contract{}, err
	}
	var found []store.Contract
	for _, c := range all {
		isHash := len(what) >= 8 && strings.HasPrefix(c.Hash.String(), strings.ToLower(what))
		if isHash || c.Name == what || c.Name+"@"+c.Version == what {
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 0:
		return store.Contract{}, agreement.Errorf(agreement.CodeUnknownContract, "no contract %q is known here", what).
			WithHint("list them with `affiliate contract list`, publish one with `affiliate contract publish FILE.wasm`," +
				" or get another member's with `affiliate contract show --fetch HASH`")
	case len(found) > 1:
		return store.Contract{}, agreement.Errorf(agreement.CodeBadRequest, "%q means %d contracts", what, len(found)).
			WithHint("give NAME@VERSION or the hash, see `affiliate contract list`")
	}
	return found[0], nil
}

// publish puts a contract into the store and its specifications on the chain,
// and vets it: who offers a contract to others runs it.
// Everything is idempotent: after a failure the same request goes on.
func (n *Node) publish(ctx context.Context, module []byte) (store.Contract, string, error) {
	if err := n.store.Room(ctx); err != nil {
		return store.Contract{}, "", err
	}
	c, err := n.engine.Load(ctx, module)
	if err != nil {
		return store.Contract{}, "", err
	}
	if _, err := n.share(ctx, c.ModuleHash, contractOwner(c.Hash), nil, nil); errors.Is(err, agreement.ErrNotFound) {
		_, err = n.seal(ctx, module, mediaWasm, contractOwner(c.Hash), n.members(), nil)
		if err != nil {
			return store.Contract{}, "", err
		}
	} else if err != nil {
		return store.Contract{}, "", err
	}
	tx, err := n.chain.Publish(ctx, chainclient.Specification{Contract: c.Hash, Manifest: c.Manifest})
	if err != nil {
		return store.Contract{}, "", err
	}
	row := storedContract(c)
	if err := n.store.PutContract(ctx, row); err != nil {
		return store.Contract{}, "", err
	}
	return row, tx, n.consent(ctx, c.Hash, "")
}

const mediaWasm = "application/wasm"

func contractOwner(h agreement.Hash) string { return refContract + h.String() }

func storedContract(c *exec.Contract) store.Contract {
	return store.Contract{
		Hash: c.Hash, Module: c.ModuleHash, Name: c.Manifest.Name, Version: c.Manifest.Version,
		Manifest: c.ManifestJSON, Size: c.Size, Added: time.Now(),
	}
}

// members are the affiliates that this node knows, itself first.
func (n *Node) members() []string {
	out := []string{n.ring.Address()}
	for _, p := range n.host.Peers() {
		out = append(out, p.Address)
	}
	return out
}
