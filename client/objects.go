package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// ChunkSize is how much of an object goes into one message, in bytes.
const ChunkSize = 256 << 10

// Object says what GetObject wrote.
type Object struct {
	Size      int64 // bytes
	MediaType string
}

// PutObject streams content into the node's encrypted store and returns its
// content hash (SHA-256, hex) and size. Nothing is stored unless all of it
// arrived.
func (c *Client) PutObject(ctx context.Context, mediaType string, content io.Reader) (*affiliatev1.PutObjectResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a half-sent object ends here
	stream := c.Objects.PutObject(ctx)
	hash := sha256.New()
	buf := make([]byte, ChunkSize)
	for first := true; ; first = false {
		n, rerr := io.ReadFull(content, buf)
		if rerr != nil && !errors.Is(rerr, io.EOF) && !errors.Is(rerr, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("reading the content: %w", rerr)
		}
		if n > 0 || first {
			msg := &affiliatev1.PutObjectRequest{Data: buf[:n]}
			if first {
				msg.MediaType = mediaType
			}
			hash.Write(buf[:n])
			if err := stream.Send(msg); errors.Is(err, io.EOF) {
				break // the node has refused: CloseAndReceive says why
			} else if err != nil {
				return nil, err
			}
		}
		if rerr != nil {
			break
		}
	}
	res, err := stream.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	if want := agreement.Hash(hash.Sum(nil)).String(); res.Msg.GetContentHash() != want {
		return nil, agreement.Errorf(agreement.CodeDamaged, "the node stored %s, but the content has the hash %s", res.Msg.GetContentHash(), want)
	}
	return res.Msg, nil
}

// GetObject writes the content with this hash (SHA-256, hex) to w, and fails
// with CodeDamaged at the end when what came has another hash. What start is
// given is known before the first byte; it may be nil.
func (c *Client) GetObject(ctx context.Context, contentHash string, w io.Writer, start func(Object)) (Object, error) {
	var o Object
	want, err := agreement.ParseHash(contentHash)
	if err != nil {
		return o, agreement.Errorf(agreement.CodeBadRequest, "%w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Objects.GetObject(ctx, connect.NewRequest(&affiliatev1.GetObjectRequest{ContentHash: contentHash}))
	if err != nil {
		return o, err
	}
	defer stream.Close() //nolint:errcheck // nothing is written
	hash := sha256.New()
	var size int64
	for first := true; stream.Receive(); first = false {
		m := stream.Msg()
		if first {
			o = Object{Size: m.GetSize(), MediaType: m.GetMediaType()}
			if start != nil {
				start(o)
			}
		}
		hash.Write(m.GetData())
		size += int64(len(m.GetData()))
		if _, err := w.Write(m.GetData()); err != nil {
			return o, fmt.Errorf("writing the content: %w", err)
		}
	}
	if err := stream.Err(); err != nil {
		return o, err
	}
	if got := agreement.Hash(hash.Sum(nil)); got != want || size != o.Size {
		return o, agreement.Errorf(agreement.CodeDamaged, "what the node sent is damaged: %d of %d bytes, hash %s", size, o.Size, got)
	}
	return o, nil
}
