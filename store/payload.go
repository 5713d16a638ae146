package store

import (
	"errors"
	"io"
	"os"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// Payload reads the sealed bytes of an object from offset on. It holds one
// chunk in memory. An offset beyond the end is CodeBadRequest. What it reads
// has passed Badger's checksums only: who needs more compares hashes.
func (s *Store) Payload(id agreement.Hash, offset int64) (io.ReadCloser, error) {
	o, err := s.Object(id)
	if err != nil {
		return nil, err
	}
	if offset < 0 || offset > o.SealedSize {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "offset %d is outside object %s of %d bytes", offset, id, o.SealedSize)
	}
	return &payload{s: s, id: id, at: offset, size: o.SealedSize}, nil
}

type payload struct {
	s      *Store
	id     agreement.Hash
	at     int64 // offset of the next byte
	size   int64
	chunk  []byte // from at on
	closed bool
}

// Read gives the next bytes.
func (p *payload) Read(b []byte) (int, error) {
	if p.closed {
		return 0, os.ErrClosed
	}
	if p.at >= p.size {
		return 0, io.EOF
	}
	if len(p.chunk) == 0 {
		if err := p.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.chunk)
	p.chunk = p.chunk[n:]
	p.at += int64(n)
	return n, nil
}

func (p *payload) next() error {
	index := p.at / chunkSize
	start := index * chunkSize
	want := min(chunkSize, p.size-start)
	b, err := p.s.copyOf(chunkKey(p.id, uint32(index))) //nolint:gosec // bounded by the object's size
	if errors.Is(err, badger.ErrKeyNotFound) || err == nil && int64(len(b)) != want {
		return damaged("chunk %d of object %s", index, p.id)
	}
	if err != nil {
		return readError(err, "chunk %d of object %s", index, p.id)
	}
	p.s.touched(int64(len(b)))
	p.chunk = b[p.at-start:]
	return nil
}

// Close frees the chunk. It never fails.
func (p *payload) Close() error {
	p.closed, p.chunk = true, nil
	return nil
}
