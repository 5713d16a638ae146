package node

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/index"
	"github.com/affiliate-node/affiliate/store"
)

// doIndex takes the records of a committed agreement into the store, which is
// the truth, and into the index, which can be rebuilt from it.
func (n *Node) doIndex(ctx context.Context, s agreement.State) (agreement.Event, map[string][]byte, error) {
	raw, err := n.store.Blob(s.ID, blobOutputs)
	if err != nil {
		return nil, nil, err
	}
	var outputs []output
	if err := json.Unmarshal(raw, &outputs); err != nil {
		return nil, nil, fmt.Errorf("reading the outputs of %s: %w", s.ID, err)
	}
	at, err := n.blockTime(s.ID)
	if err != nil {
		return nil, nil, err
	}
	records := make([]store.Record, 0, len(outputs))
	entries := make([]index.Entry, 0, len(outputs))
	for _, o := range outputs {
		r := store.Record{
			Scope: s.Scope, Name: o.Record, Agreement: s.ID, Contract: s.Contract, Hash: o.Hash, Salt: o.Salt,
			Content: o.Content, Object: o.Object, MediaType: o.MediaType, Height: s.Height, BlockTime: at,
			TxHash: s.TxHash, Index: o.Index,
		}
		records = append(records, r)
		entries = append(entries, entryOf(r))
	}
	if err := n.store.PutRecords(ctx, records); err != nil {
		return nil, nil, err
	}
	if err := n.index.Put(ctx, entries); err != nil {
		return nil, nil, err
	}
	return agreement.Indexed{}, nil, nil
}

func (n *Node) blockTime(id agreement.ID) (time.Time, error) {
	raw, err := n.store.Blob(id, blobBlockTime)
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339Nano, string(raw))
}

func entryOf(r store.Record) index.Entry {
	return index.Entry{Scope: r.Scope, Record: r.Name, Agreement: r.Agreement, Height: r.Height, Fields: r.Index}
}

// catchUpIndex rebuilds the index from the store when it is new: it was
// deleted, couldn't be read, or is of another version.
func (n *Node) catchUpIndex(ctx context.Context) error {
	needed, err := n.index.NeedsRebuild(ctx)
	if err != nil || !needed {
		return err
	}
	return n.index.Rebuild(ctx, n.entries())
}

func (n *Node) entries() iter.Seq2[index.Entry, error] {
	return func(yield func(index.Entry, error) bool) {
		for r, err := range n.store.Records() {
			if !yield(entryOf(r), err) || err != nil {
				return
			}
		}
	}
}
