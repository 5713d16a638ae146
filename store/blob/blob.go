// Package blob owns the large payloads of sealed objects: the tree of hashes
// by which any 64 KiB of one are verified alone, and the homes in which they
// lie, files or a bucket. It never sees content or keys, and it knows nothing
// of what an object is for.
package blob

import (
	"context"
	"io"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// A Home is where large payloads lie, each under its hash. What it gives out
// may be damaged: it is read through a Tree. A Home is safe for use by many
// goroutines.
//
// Errors are *agreement.Error: CodeDiskFull when there is no room, CodeStore
// when the place refuses or doesn't answer, with the advice of what to do.
type Home interface {
	Source

	// Create begins a payload whose hash isn't known yet. Nothing of it is
	// visible before its Commit. The context holds until the Writer's end.
	Create(ctx context.Context) (Writer, error)

	// Remove removes a payload; one that isn't there is not an error. Readers
	// that are open on files may read on, those on a bucket may fail.
	Remove(ctx context.Context, id agreement.Hash) error

	// List calls fn for every payload, in no certain order, and ends with its
	// error. Payloads that come or go meanwhile may be missed. It holds a
	// small part of the list in memory, and fn may remove.
	List(ctx context.Context, fn func(id agreement.Hash, size int64, modified time.Time) error) error

	// Sweep removes what writers left that were never committed, because the
	// process ended. Those that are still writing are left alone.
	Sweep(ctx context.Context) error

	// Usage says how much room is taken. Its first call goes through the
	// whole list, while nothing can be committed or removed.
	Usage(ctx context.Context) (Usage, error)

	// Close frees the home. Writers and readers have to be closed before.
	Close() error
}

// A Source is what a payload is read from.
type Source interface {
	// Open reads at most length bytes of a payload from offset on, and ends
	// early where the payload does. One that isn't there is
	// agreement.ErrNotFound. The context holds until the reader is closed.
	Open(ctx context.Context, id agreement.Hash, offset, length int64) (io.ReadCloser, error)
}

// A Writer takes one payload. It belongs to one goroutine.
type Writer interface {
	io.Writer

	// Commit makes what was written the payload with this hash. When it
	// returns nil the payload is durable. After an error, or a crash at any
	// moment, it is there whole or not at all. One that was there before is
	// replaced. Commit doesn't compute the hash: its caller has.
	Commit(id agreement.Hash) error

	// Abort removes what was written. After Commit it does nothing.
	Abort()
}

// Usage is the room of a home, in bytes.
type Usage struct {
	Bytes int64 // of all payloads that are committed
	Free  int64 // that the file system has left for this process, -1 if that isn't known
}
