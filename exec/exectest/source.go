package exectest

import (
	"encoding/binary"
	"math/rand/v2"
)

// Seed is a stream of decisions made of a number: long enough for a module of
// the usual size. The same number gives the same bytes for ever (ChaCha8).
func Seed(number uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], number)
	b := make([]byte, 16<<10)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// source turns a stream of bytes into decisions; at its end they are all 0.
type source struct{ rest []byte }

func (s *source) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

// n decides between n ways, at most 256.
func (s *source) n(n int) int { return int(s.byte()) % n }

// rarely is true once in n times.
func (s *source) rarely(n int) bool { return s.n(n) == n-1 }

// take gives n bytes.
func (s *source) take(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = s.byte()
	}
	return b
}

// number gives eight bytes.
func (s *source) number() uint64 { return binary.LittleEndian.Uint64(s.take(8)) }

// Arguments are values for a call, as an engine takes them: small numbers,
// numbers at the edges of their types, and any bits.
func Arguments(seed []byte, types string) []uint64 {
	s := &source{rest: seed}
	args := make([]uint64, len(types))
	for i := range args {
		args[i] = s.value(types[i])
	}
	return args
}

// Bits of floats at the edges; of NaNs, one each that is canonical, has the
// other sign, has a payload, and is signalling.
var (
	edges32 = []uint64{
		0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000,
		0x7fc12345, 0x7f812345, 0xff800001, 0x00000001, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x4f800000,
		0x5f000000, 0x3f000000, 0x40490fdb,
	}
	edges64 = []uint64{
		0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x7ff0000000000000,
		0xfff0000000000000, 0x7ff8000000000000, 0xfff8000000000000, 0x7ff8123456789abc, 0x7ff0123456789abc,
		0xfff0000000000001, 0x0000000000000001, 0x7fefffffffffffff, 0x41e0000000000000, 0xc1e0000000000000,
		0x41f0000000000000, 0x43e0000000000000, 0x3fe0000000000000, 0x400921fb54442d18,
	}
	edgesInt = []uint64{
		0, 1, 1<<64 - 1, 2, 7, 31, 63, 1<<64 - 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
		0xffffffff, 0x7fffffffffffffff, 0x8000000000000000,
	}
)

// value gives the bits of a value of a type.
func (s *source) value(kind byte) uint64 {
	switch kind {
	case 'f':
		return s.float(edges32, func(i uint64) uint64 { return uint64(float32bits(i)) }, 32)
	case 'F':
		return s.float(edges64, float64bits, 64)
	}
	var v uint64
	switch s.n(4) {
	case 0, 1:
		v = uint64(s.n(64))
	case 2:
		v = edgesInt[s.n(len(edgesInt))]
	default:
		v = s.number()
	}
	if kind == 'i' {
		v &= 1<<32 - 1
	}
	return v
}

func (s *source) float(edges []uint64, small func(uint64) uint64, bits int) uint64 {
	switch s.n(4) {
	case 0, 1:
		return edges[s.n(len(edges))]
	case 2:
		return small(uint64(s.byte()))
	default:
		return s.number() >> (64 - bits)
	}
}
