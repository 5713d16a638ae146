package node

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/exec"
)

// TestContractCache loads each contract once, however many ask.
func TestContractCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContractCache()
		key := contractKey{contract: agreement.Hash{1}, module: agreement.Hash{2}}
		want, goOn := &exec.Contract{Size: 7}, make(chan struct{})
		loads := 0
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				got, err := c.get(t.Context(), key, func() (*exec.Contract, error) {
					loads++
					<-goOn
					return want, nil
				})
				if got != want || err != nil {
					t.Errorf("got %v, %v", got, err)
				}
			})
		}
		synctest.Wait()
		close(goOn)
		all.Wait()
		if loads != 1 {
			t.Errorf("loaded %d times", loads)
		}
	})
}

// TestContractCacheOutlivesItsFirstCaller wants that neither a caller who goes
// away while it loads, nor a fault, answers for the others; and that a module
// that doesn't make the contract concerns only those who named it.
func TestContractCacheOutlivesItsFirstCaller(t *testing.T) {
	want := &exec.Contract{Size: 7}
	good := func() (*exec.Contract, error) { return want, nil }
	for name, first := range map[string]func(cancel context.CancelFunc) (*exec.Contract, error){
		"the first goes away": func(cancel context.CancelFunc) (*exec.Contract, error) {
			cancel()
			return nil, errors.New("interrupted")
		},
		"a fault": func(context.CancelFunc) (*exec.Contract, error) { panic("a fault") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newContractCache()
				key := contractKey{contract: agreement.Hash{1}, module: agreement.Hash{2}}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				goOn := make(chan struct{})
				go func() {
					defer func() { _ = recover() }()
					_, _ = c.get(ctx, key, func() (*exec.Contract, error) { <-goOn; return first(cancel) })
				}()
				synctest.Wait()
				var all sync.WaitGroup
				all.Go(func() {
					if got, err := c.get(t.Context(), key, good); got != want || err != nil {
						t.Errorf("got %v, %v", got, err)
					}
				})
				synctest.Wait()
				close(goOn)
				all.Wait()
			})
		})
	}
	t.Run("another module", func(t *testing.T) {
		c := newContractCache()
		bad := func() (*exec.Contract, error) { return nil, agreement.Errorf(agreement.CodeBadModule, "another") }
		inside := func() (*exec.Contract, error) {
			got, err := c.get(t.Context(), contractKey{agreement.Hash{1}, agreement.Hash{2}}, good)
			if got != want || err != nil {
				t.Errorf("got %v, %v", got, err)
			}
			return bad()
		}
		if _, err := c.get(t.Context(), contractKey{agreement.Hash{1}, agreement.Hash{3}}, inside); agreement.CodeOf(err) != agreement.CodeBadModule {
			t.Errorf("another module: %v", err)
		}
	})
}

// TestContractCacheIsBounded keeps the latest used ones.
func TestContractCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContractCache()
		for i := range 2 * maxLoadedContracts {
			key := contractKey{contract: agreement.Hash{byte(i)}}
			if _, err := c.get(t.Context(), key, func() (*exec.Contract, error) { return &exec.Contract{}, nil }); err != nil {
				t.Fatal(err)
			}
		}
		if len(c.loaded) != maxLoadedContracts {
			t.Errorf("%d are kept", len(c.loaded))
		}
		_, again := c.entry(contractKey{contract: agreement.Hash{2*maxLoadedContracts - 1}})
		if again {
			t.Error("the latest was dropped")
		}
	})
}
