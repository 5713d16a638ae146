package schema

import (
	"bytes"
	"hash/maphash"
)

// set holds different values of one document, by where they stand; none stands
// at 0. It finds them by a hash that nobody can foresee, which decides how the
// work goes, never the result.
type set struct {
	doc   document
	seed  maphash.Seed
	slots []uint32 // at most three of four are used
	first [16]uint32
	used  int
}

func (s *set) empty() {
	s.used, s.first, s.slots = 0, [16]uint32{}, s.first[:]
}

// add reports whether the value is a new one.
func (s *set) add(v span) bool {
	slot := s.find(v)
	if *slot != 0 {
		return false
	}
	*slot = uint32(v.at)
	if s.used++; 4*s.used > 3*len(s.slots) {
		s.grow()
	}
	return true
}

// find returns the slot where the value is, or belongs.
func (s *set) find(v span) *uint32 {
	for i := maphash.Bytes(s.seed, s.doc.of(v)); ; i++ {
		slot := &s.slots[i&uint64(len(s.slots)-1)]
		if *slot == 0 || s.equal(int(*slot), s.doc.of(v)) {
			return slot
		}
	}
}

// equal reports whether the value at an offset has these bytes and no more.
func (s *set) equal(at int, text []byte) bool {
	end := at + len(text)
	return end < len(s.doc) && (s.doc[end] == ',' || s.doc[end] == ']') && bytes.Equal(s.doc[at:end], text)
}

func (s *set) grow() {
	old := s.slots
	s.slots = make([]uint32, 2*len(old))
	for _, at := range old {
		if at != 0 {
			*s.find(span{int(at), s.doc.skip(int(at))}) = at
		}
	}
}
