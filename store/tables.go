package store

import (
	"encoding/binary"
	"fmt"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// maxTable is the largest table that is looked into, in bytes; Badger makes
// them of up to twice the memtable.
const maxTable = 256 << 20

// checkTable reads a table of Badger's and checks it against its checksums:
// blocks, then their index, the index's length, its checksum, and that one's
// length.
func checkTable(path string, t badger.TableManifest, registry *badger.KeyRegistry) error {
	b, err := readSmall(path, maxTable)
	if err != nil {
		return err
	}
	key, err := registry.DataKey(t.KeyID)
	if err != nil {
		return err
	}
	if err := checkBlocks(b, key, t.Compression); err != nil {
		return fmt.Errorf("%w: %s: %w", errBadFiles, filepath.Base(path), err)
	}
	return nil
}

func checkBlocks(b []byte, key *pb.DataKey, compression options.CompressionType) error {
	return eachBlock(b, key, func(block []byte) error {
		if compression != options.None {
			return nil // Badger checks it when it reads it
		}
		_, err := checkBlock(block, key)
		return err
	})
}

// eachBlock checks the index of a table and calls fn with its blocks.
func eachBlock(b []byte, key *pb.DataKey, fn func([]byte) error) error {
	b, sum, err := cutEnd(b)
	if err != nil {
		return err
	}
	blocks, sealed, err := cutEnd(b)
	if err != nil {
		return err
	}
	if err := checkSum(sealed, sum); err != nil {
		return fmt.Errorf("its index: %w", err)
	}
	index, err := opened(sealed, key)
	if err != nil {
		return err
	}
	list := fb.GetRootAsTableIndex(index, 0)
	if list.OffsetsLength() == 0 {
		return fmt.Errorf("it has no blocks")
	}
	var o fb.BlockOffset
	for i := range list.OffsetsLength() {
		if !list.Offsets(&o, i) || uint64(o.Offset())+uint64(o.Len()) > uint64(len(blocks)) {
			return fmt.Errorf("block %d is beyond its end", i)
		}
		if err := fn(blocks[o.Offset() : o.Offset()+o.Len()]); err != nil {
			return fmt.Errorf("the block at byte %d: %w", o.Offset(), err)
		}
	}
	return nil
}

// checkBlock decrypts and checks a block: entries, where each of them begins,
// how many there are, and the checksum of all that, which it cuts off.
func checkBlock(b []byte, key *pb.DataKey) ([]byte, error) {
	b, err := opened(b, key)
	if err != nil {
		return nil, err
	}
	b, sum, err := cutEnd(b)
	if err != nil {
		return nil, err
	}
	if err := checkSum(b, sum); err != nil {
		return nil, err
	}
	if len(b) < 4 || uint64(len(b)-4) < 4*uint64(binary.BigEndian.Uint32(b[len(b)-4:])) {
		return nil, fmt.Errorf("it has no room for its entries")
	}
	return b, nil
}

// cutEnd cuts off what the last four bytes give the length of.
func cutEnd(b []byte) (rest, end []byte, err error) {
	n := len(b) - 4
	if n < 0 || uint64(n) < uint64(binary.BigEndian.Uint32(b[n:])) {
		return nil, nil, fmt.Errorf("it is cut short, or its lengths are wrong")
	}
	start := n - int(binary.BigEndian.Uint32(b[n:]))
	return b[:start], b[start:n], nil
}

func checkSum(b, sum []byte) error {
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return fmt.Errorf("its checksum can't be read: %w", err)
	}
	if want.Algo != pb.Checksum_CRC32C && want.Algo != pb.Checksum_XXHash64 {
		return fmt.Errorf("its checksum is of an unknown kind")
	}
	return y.VerifyChecksum(b, &want)
}

// opened decrypts what has its initialisation vector at its end.
func opened(b []byte, key *pb.DataKey) ([]byte, error) {
	if key == nil {
		return b, nil
	}
	const vector = 16
	n := len(b) - vector
	if n < 0 {
		return nil, fmt.Errorf("it is cut short")
	}
	return y.XORBlockAllocate(b[:n], key.Data, b[n:])
}
