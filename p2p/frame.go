package p2p

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
)

// errFrame says that a peer sent something that is not a frame.
var errFrame = errors.New("malformed frame")

// maxPrefix is the longest length prefix that is read, in bytes; it can say
// 2 MiB - 1, more than any limit.
const maxPrefix = 3

// writeFrame writes a message preceded by its length as a minimal uvarint.
func writeFrame(w io.Writer, m proto.Message, limit int) error {
	size := proto.Size(m)
	if size > limit {
		return agreement.Errorf(agreement.CodeTooLarge, "a frame of %d bytes, the limit is %d", size, limit)
	}
	b := binary.AppendUvarint(make([]byte, 0, maxPrefix+size), uint64(size))
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	if err != nil {
		return fmt.Errorf("encoding a frame: %w", err)
	}
	_, err = w.Write(b)
	return err
}

// frameSize reads a frame's length prefix. io.EOF means that no frame
// follows; a length over limit is CodeTooLarge, before anything is allocated.
func frameSize(r *bufio.Reader, limit int) (int, error) {
	var size uint64
	for i := range maxPrefix {
		b, err := r.ReadByte()
		if err != nil {
			if i > 0 && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		size |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			if b == 0 && i > 0 {
				return 0, fmt.Errorf("%w: its length is not minimal", errFrame)
			}
			if size > uint64(limit) { //nolint:gosec // limits are positive constants
				return 0, agreement.Errorf(agreement.CodeTooLarge, "a frame of %d bytes, the limit is %d", size, limit)
			}
			return int(size), nil //nolint:gosec // at most limit
		}
	}
	return 0, agreement.Errorf(agreement.CodeTooLarge, "a frame of more than %d bytes", 1<<(7*maxPrefix)-1)
}

// readFrame reads one frame into m.
func readFrame(r *bufio.Reader, m proto.Message, limit int) error {
	size, err := frameSize(r, limit)
	if err != nil {
		return err
	}
	return readBody(r, m, size)
}

// readBody reads the message of a frame whose size frameSize has checked.
func readBody(r *bufio.Reader, m proto.Message, size int) error {
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	return nil
}
