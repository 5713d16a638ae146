// Package agreement owns the vocabulary of agreements and their life cycle,
// written as data and one pure step function. It never does I/O, reads a
// clock or starts a goroutine, and imports the standard library only.
package agreement

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// UUID is a 16-byte identifier. Agreements, scopes, sessions and
// specifications are named by one, as on the chain.
type UUID [16]byte

// ID is the id of an agreement: the UUID of its session.
type ID = UUID

// NewUUID draws a random (version 4) UUID. Ids on the chain can be squatted,
// so they must not be guessable.
func NewUUID() UUID {
	var u UUID
	_, _ = rand.Read(u[:]) // never fails since Go 1.24
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// ParseUUID reads the 36-character form, or 32 hexadecimal digits.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	digits := strings.ReplaceAll(s, "-", "")
	if len(digits) != 32 || (len(s) != 32 && len(s) != 36) {
		return u, fmt.Errorf("%q is not a UUID (want 8-4-4-4-12 hexadecimal digits)", s)
	}
	if _, err := hex.Decode(u[:], []byte(digits)); err != nil {
		return UUID{}, fmt.Errorf("%q is not a UUID: %w", s, err)
	}
	return u, nil
}

// UUIDFromBytes takes exactly 16 bytes.
func UUIDFromBytes(b []byte) (UUID, error) {
	var u UUID
	if len(b) != len(u) {
		return u, fmt.Errorf("a UUID has 16 bytes, not %d", len(b))
	}
	copy(u[:], b)
	return u, nil
}

// IsZero reports whether u is the nil UUID, which names nothing.
func (u UUID) IsZero() bool { return u == UUID{} }

// String gives the 36-character form.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// MarshalText gives the 36-character form.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (u *UUID) UnmarshalText(b []byte) error {
	v, err := ParseUUID(string(b))
	if err != nil {
		return err
	}
	*u = v
	return nil
}

// Hash is a SHA-256 or BLAKE3-256 value; the context says which.
type Hash [32]byte

// HashFromBytes takes exactly 32 bytes.
func HashFromBytes(b []byte) (Hash, error) {
	var h Hash
	if len(b) != len(h) {
		return h, fmt.Errorf("a hash has 32 bytes, not %d", len(b))
	}
	copy(h[:], b)
	return h, nil
}

// ParseHash reads 64 hexadecimal digits.
func ParseHash(s string) (Hash, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(Hash{}) {
		return Hash{}, fmt.Errorf("%q is not a hash (want 64 hexadecimal digits)", s)
	}
	return Hash(b), nil
}

// IsZero reports whether h is all zero, which names nothing.
func (h Hash) IsZero() bool { return h == Hash{} }

// String gives 64 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText gives 64 hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(b []byte) error {
	v, err := ParseHash(string(b))
	if err != nil {
		return err
	}
	*h = v
	return nil
}

// Role is the chain's PartyType without its prefix, such as "ORIGINATOR".
// The empty role is an owner of the scope whom the contract gives no role: it
// executes, attests and co-signs, and isn't a party of the session.
type Role string

// Party is an affiliate in a role.
type Party struct {
	Address string `json:"address"` // account address, bech32
	Role    Role   `json:"role,omitempty"`
}

// Outcome of one function. The numbers are the chain's ResultStatus.
type Outcome uint8

// The outcomes.
const (
	Pass Outcome = 1
	Skip Outcome = 2
	Fail Outcome = 3
)

// String names the outcome as the chain does.
func (o Outcome) String() string {
	switch o {
	case Pass:
		return "PASS"
	case Skip:
		return "SKIP"
	case Fail:
		return "FAIL"
	}
	return "UNSPECIFIED"
}

// NamedHash is an input as it goes on the chain.
type NamedHash struct {
	Name string `json:"name"`
	Hash string `json:"hash"` // base64
	Type string `json:"type"`
}

// RecordResult is what one function made of its inputs, or a condition that
// failed: that has a name and no record.
type RecordResult struct {
	Function string      `json:"function"`
	Record   string      `json:"record"` // empty: the result is a condition's
	Outcome  Outcome     `json:"outcome"`
	Fuel     uint64      `json:"fuel,omitempty"`   // units used; 0 of a Skip
	Output   string      `json:"output,omitempty"` // chain hash, base64; empty unless Pass
	Inputs   []NamedHash `json:"inputs,omitempty"`
	Code     string      `json:"code,omitempty"` // of a Fail
	Message  string      `json:"message,omitempty"`
}

// Failed returns the first FAIL among the results, if there is one.
func Failed(results []RecordResult) (RecordResult, bool) {
	for _, r := range results {
		if r.Outcome == Fail {
			return r, true
		}
	}
	return RecordResult{}, false
}

// ErrNotFound is wrapped by every package's answer to a name that it doesn't
// know, where the caller can go on without.
var ErrNotFound = errors.New("not found")
