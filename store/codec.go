package store

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"
)

// errDecode is under every error about a stored value that can't be read.
var errDecode = errors.New("a stored value can't be read")

// valueVersion is the first byte of every encoded value. A decoder refuses
// another one.
const valueVersion = 1

// encoder writes the fields of a value one after another: integers as
// varints, bytes preceded by their length. It can't fail.
type encoder struct{ b []byte }

func newEncoder(size int) *encoder {
	return &encoder{append(make([]byte, 0, size+1), valueVersion)}
}

func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)     { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) raw(v []byte)    { e.b = append(e.b, v...) }
func (e *encoder) bytes(v []byte)  { e.uint(uint64(len(v))); e.raw(v) }
func (e *encoder) string(v string) { e.uint(uint64(len(v))); e.b = append(e.b, v...) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

// time keeps nanoseconds, and no zone.
func (e *encoder) time(v time.Time) {
	e.int(v.Unix())
	e.uint(uint64(v.Nanosecond())) //nolint:gosec // 0 to 999,999,999
}

func (e *encoder) strings(v []string) {
	e.uint(uint64(len(v)))
	for _, s := range v {
		e.string(s)
	}
}

// dict writes the pairs in the order of their keys.
func (e *encoder) dict(v map[string]string) {
	e.uint(uint64(len(v)))
	for _, k := range slices.Sorted(maps.Keys(v)) {
		e.string(k)
		e.string(v[k])
	}
}

// decoder reads what encoder wrote. The first failure sticks, and from then
// on everything read is zero; done reports it. What it allocates is bounded
// by the length of its input.
type decoder struct {
	b   []byte
	bad bool
}

func newDecoder(b []byte) *decoder {
	if len(b) == 0 || b[0] != valueVersion {
		return &decoder{bad: true}
	}
	return &decoder{b: b[1:]}
}

func (d *decoder) fail() { d.bad, d.b = true, nil }

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bool() bool {
	v := d.uint()
	if v > 1 {
		d.fail()
	}
	return v == 1
}

// fixed copies as many bytes as dst has.
func (d *decoder) fixed(dst []byte) {
	if len(d.b) < len(dst) {
		d.fail()
		return
	}
	copy(dst, d.b)
	d.b = d.b[len(dst):]
}

func (d *decoder) take() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

// bytes copies, because Badger's values live for a transaction only. No bytes
// are nil.
func (d *decoder) bytes() []byte { return append([]byte(nil), d.take()...) }

func (d *decoder) string() string { return string(d.take()) }

func (d *decoder) time() time.Time {
	sec, nsec := d.int(), d.uint()
	if nsec >= uint64(time.Second) {
		d.fail()
	}
	if d.bad {
		return time.Time{}
	}
	return time.Unix(sec, int64(nsec)).UTC() //nolint:gosec // checked above
}

// count reads the number of elements that take at least size bytes each.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.fail()
		return 0
	}
	return int(n) //nolint:gosec // bounded by a length
}

func (d *decoder) strings() []string {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	v := make([]string, 0, n)
	for range n {
		v = append(v, d.string())
	}
	return v
}

func (d *decoder) dict() map[string]string {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	v := make(map[string]string, n)
	for range n {
		k := d.string()
		v[k] = d.string()
	}
	return v
}

// done reports a failure, or bytes that nobody asked for.
func (d *decoder) done() error {
	if d.bad || len(d.b) != 0 {
		return errDecode
	}
	return nil
}
