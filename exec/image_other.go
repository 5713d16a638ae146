//go:build !linux

package exec

import "errors"

// image is the content that memories begin with, which each copies.
type image struct {
	content []byte
	size    uint64 // bytes, whole pages
}

// newImage makes an image of zeros and has it filled.
func newImage(size uint64, fill func(content []byte)) (*image, error) {
	i := &image{content: make([]byte, size), size: size}
	fill(i.content)
	return i, nil
}

func (i *image) show(space []byte) error {
	copy(space, i.content)
	return nil
}

const canReset = false

func (i *image) reset([]byte) error { return errors.ErrUnsupported }

func clearPages([]byte) error { return errors.ErrUnsupported }

func (i *image) close() {}
