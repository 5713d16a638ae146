package node

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/index"
	"github.com/affiliate-node/affiliate/store"
)

// doIndex takes the records of a committed agreement into the store, which is
// the truth, and into the index, which can be rebuilt from it.
func (n *Node) doIndex(ctx context.Context, s agreement.State) (agreement.Event, map[string][]byte, error) {
	outputs, err := n.outputs(s)
	if err != nil {
		return nil, nil, err
	}
	specs, err := n.recordSpecs(s.Contract)
	if err != nil {
		return nil, nil, err
	}
	at, err := n.blockTime(s.ID)
	if err != nil {
		return nil, nil, err
	}
	records := make([]store.Record, 0, len(outputs))
	entries := make([]index.Entry, 0, len(outputs))
	for _, o := range outputs {
		fields, err := n.indexFields(ctx, specs[o.Record], o)
		if err != nil {
			return nil, nil, err
		}
		r := store.Record{
			Scope: s.Scope, Name: o.Record, Agreement: s.ID, Contract: s.Contract, Hash: o.Hash, Salt: o.Salt,
			Content: o.Content, Object: o.Object, MediaType: o.MediaType, Height: s.Height, BlockTime: at,
			TxHash: s.TxHash, Index: fields,
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

// recordSpecs are what a contract says of its records, by name.
func (n *Node) recordSpecs(hash agreement.Hash) (map[string]contract.RecordSpec, error) {
	row, err := n.store.Contract(hash)
	if err != nil {
		return nil, err
	}
	m, err := contract.Parse(row.Manifest)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest of contract %s: %w", hash, err)
	}
	specs := make(map[string]contract.RecordSpec, len(m.Functions))
	for _, f := range m.Functions {
		specs[f.Record.Name] = f.Record
	}
	return specs, nil
}

// indexFields reads from a record's content what is searched for. A content
// that isn't here, because it was lost or its time was over, has none.
func (n *Node) indexFields(ctx context.Context, spec contract.RecordSpec, o output) (map[string]string, error) {
	if len(spec.Index) == 0 {
		return nil, nil
	}
	content, _, err := n.content(ctx, o.Content)
	switch agreement.CodeOf(err) {
	case agreement.CodeNotFound, agreement.CodeDamaged, agreement.CodeTooLarge:
		n.log.Warn("a record can't be found by its fields", "record", o.Record, "content", o.Content, "error", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return contract.IndexFields(spec, content), nil
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

// erasedLag is by how much the time of a purge may lie before its commit.
const erasedLag = time.Minute

// forgetErased takes out of the index what records have lost with their
// contents. What a crash interrupts is done again.
func (n *Node) forgetErased(ctx context.Context) error {
	const batch = 100
	began, found := time.Now(), 0
	entries := make([]index.Entry, 0, batch)
	var failed error
	for e, err := range n.store.Erased() {
		if err != nil {
			return err
		}
		found++
		r, err := n.store.Record(e.Scope, e.Name)
		if err != nil {
			failed = cmp.Or(failed, err) // the others can go
			continue
		}
		if entries = append(entries, entryOf(r)); len(entries) < batch {
			continue
		}
		if err := n.index.Put(ctx, entries); err != nil {
			return err
		}
		entries = entries[:0]
	}
	if found == 0 {
		return nil
	}
	err := n.index.Put(ctx, entries)
	if err == nil {
		err = n.index.Scrub(ctx)
	}
	if err = cmp.Or(err, failed); err != nil {
		return err
	}
	n.log.Info("records are not found any more by the fields of contents that were purged", "records", found)
	return n.store.ForgetErased(ctx, began.Add(-erasedLag))
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
