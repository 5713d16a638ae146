package blob

import (
	"sync"
	"sync/atomic"

	"github.com/affiliate-node/affiliate/agreement"
)

// tally counts the bytes of a home's payloads: once by going through them
// all, and from then on by what changes.
type tally struct {
	// change is held shared while a payload comes or goes, alone while they
	// are counted. It is taken before a lock of one.
	change sync.RWMutex
	known  bool           // guarded by change
	one    [64]sync.Mutex // by the hash: a payload comes and goes in one order
	bytes  atomic.Int64
}

// changing waits until nobody else changes the payload. The caller then calls
// the returned function with the difference in bytes.
func (t *tally) changing(id agreement.Hash) func(difference int64) {
	t.change.RLock()
	one := &t.one[int(id[0])%len(t.one)]
	one.Lock()
	return func(difference int64) {
		t.bytes.Add(difference)
		one.Unlock()
		t.change.RUnlock()
	}
}

// total returns the bytes. The first time it adds up what walk gives.
func (t *tally) total(walk func(add func(size int64)) error) (int64, error) {
	t.change.RLock()
	known, bytes := t.known, t.bytes.Load()
	t.change.RUnlock()
	if known {
		return bytes, nil
	}
	t.change.Lock()
	defer t.change.Unlock()
	if t.known {
		return t.bytes.Load(), nil
	}
	bytes = 0
	if err := walk(func(size int64) { bytes += size }); err != nil {
		return 0, err
	}
	t.bytes.Store(bytes)
	t.known = true
	return bytes, nil
}
