package store

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// codecs are all decoders, each with an encoder of what it made and a sample.
var codecs = []struct {
	name   string
	decode func([]byte) (any, error)
	encode func(any) []byte
	sample any
}{
	{"number", wrap(decodeNumber), func(v any) []byte { return encodeNumber(v.(uint64)) }, uint64(1 << 63)},
	{"agreement", wrap(decodeSaved), func(v any) []byte { return v.(saved).encode() }, saved{7, true, "executing", []byte("state")}},
	{"effect", wrap(decodeEffect), func(v any) []byte { return v.(Effect).encode() }, Effect{
		Kind: 3, To: "tp1", Arg: []byte{1}, Attempts: 2, NotBefore: time.Unix(5, 6).UTC(), Created: time.Unix(-1, 999).UTC(), Sealed: []byte{9}, LastError: "no"}},
	{"event", wrap(decodeEvent), func(v any) []byte { return v.(Event).encode() }, Event{
		Time: time.Unix(1e9, 1).UTC(), Agreement: agreement.ID{1}, Step: 10, Kind: "k", Peer: "p", Code: "C", Text: "t", Phase: "h"}},
	{"received", wrap(decodeReceived), func(v any) []byte { return v.(received).encode() }, received{time.Unix(1, 2).UTC(), 3}},
	{"kept", wrap(decodeKept), func(v any) []byte { return v.(kept).encode() }, kept{[tagSize]byte{1}, agreement.Hash{2}, 3, 4, 5}},
	{"record", wrap(decodeRecord), func(v any) []byte { return v.(Record).encode() }, Record{
		Scope: agreement.UUID{1}, Name: "loan", Agreement: agreement.ID{2}, Contract: agreement.Hash{3}, Hash: "h", Salt: []byte{4}, Content: agreement.Hash{5},
		Object: agreement.Hash{6}, MediaType: "application/json", Height: 7, BlockTime: time.Unix(8, 9).UTC(), TxHash: "AB"}},
	{"index fields", wrap(decodeFields), func(v any) []byte { return encodeFields(v.(map[string]string)) }, map[string]string{"b": "1", "a": "2"}},
	{"current", wrap(decodeCurrent), func(v any) []byte { return v.(current).encode() }, current{9, agreement.ID{1}}},
	{"contract", wrap(decodeContract), func(v any) []byte { return v.(Contract).encode() }, Contract{
		Hash: agreement.Hash{1}, Module: agreement.Hash{2}, Name: "loan", Version: "1", Manifest: []byte("{}"), Size: 3, Added: time.Time{}}},
	{"vetting", wrap(decodeVetting), func(v any) []byte { return v.(Vetting).encode() }, Vetting{
		Contract: agreement.Hash{1}, Since: time.Unix(5, 6).UTC(), Note: "audited"}},
	{"totals", wrap(decodeTotals), func(v any) []byte { return v.(totals).encode() }, totals{1, 2, -3, 1 << 40}},
	{"quarantine", wrap(decodeQuarantine), func(v any) []byte { return v.(Quarantine).encode() }, Quarantine{time.Unix(5, 6).UTC(), "at byte 7"}},
	{"time or none", wrap(decodeTime), func(v any) []byte { return encodeTime(v.(time.Time)) }, time.Unix(-5, 6).UTC()},
	{"head of a backup", wrap(decodeHead), func(v any) []byte { return v.(head).encode() }, head{agreement.UUID{1}, 2, 3, time.Unix(4, 5).UTC()}},
	{"end of a backup", wrap(decodeEnding), func(v any) []byte { return v.(ending).encode() }, ending{tally{1, 2, 3, 4, 5}, [32]byte{6}}},
	{"object", wrap(decodeObject), func(v any) []byte { return v.(Object).encode() }, Object{
		ID: agreement.Hash{1}, ContentHash: agreement.Hash{2}, Size: 3, SealedSize: 4, MediaType: "m", Audience: []string{"a", ""}, Owner: "put", Created: time.Unix(5, 0).UTC(), Header: []byte{6}}},
}

func wrap[T any](decode func([]byte) (T, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) {
		v, err := decode(b)
		return v, err
	}
}

func TestValuesComeBack(t *testing.T) {
	for _, c := range codecs {
		zero := reflect.Zero(reflect.TypeOf(c.sample)).Interface()
		for _, v := range []any{c.sample, zero} {
			got, err := c.decode(c.encode(v))
			if err != nil || !reflect.DeepEqual(got, v) {
				t.Errorf("%s: %+v came back as %+v, %v", c.name, v, got, err)
			}
		}
	}
}

// TestDamagedValues cuts every value short, appends to it, and gives it
// another version.
func TestDamagedValues(t *testing.T) {
	for _, c := range codecs {
		b := c.encode(c.sample)
		for n := range b {
			if _, err := c.decode(b[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes are taken", c.name, n, len(b))
			}
		}
		if _, err := c.decode(append(bytes.Clone(b), 0)); err == nil {
			t.Errorf("%s: a byte too many is taken", c.name)
		}
		b[0]++
		if _, err := c.decode(b); err == nil {
			t.Errorf("%s: another version is taken", c.name)
		}
	}
}

// FuzzDecode holds that no bytes make a decoder panic, and that what it makes
// of them encodes to something that decodes to the same.
func FuzzDecode(f *testing.F) {
	for i, c := range codecs {
		f.Add(uint8(i), c.encode(c.sample))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		c := codecs[int(which)%len(codecs)]
		v, err := c.decode(b)
		if err != nil {
			return
		}
		again, err := c.decode(c.encode(v))
		if err != nil || !reflect.DeepEqual(v, again) {
			t.Errorf("%s: %+v came back as %+v, %v", c.name, v, again, err)
		}
	})
}

// FuzzKeys holds that the readers of keys take any bytes, and that what they
// make of them is what the keys were made of.
func FuzzKeys(f *testing.F) {
	id := agreement.Hash{1}
	for _, k := range [][]byte{
		effectKey(agreement.ID{1}, 2), keptExpiryKey(3, id[:]), expiryKey(time.Unix(4, 0), id, "n"), referenceKey(id, "n"), heldKey("n", id),
		indexedKey(Record{Content: id, Name: "n", Height: 5}), erasedKey(agreement.UUID{6}, "n"), {},
	} {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, k []byte) {
		_, _ = lastUUID(k)
		_, _ = lastHash(k)
		_, _ = lastNumber(k)
		_, _, _ = splitExpiry(k)
		if len(k) == 0 {
			return
		}
		same := func(what string, again []byte, err error) {
			if err == nil && !bytes.Equal(again[1:], k[1:]) {
				t.Errorf("%x is taken for the %s %x", k, what, again)
			}
		}
		id, name, err := splitReferenceKey(k)
		same("reference", referenceKey(id, name), err)
		name, id, err = splitHeldKey(k)
		same("held key", key(prefixHeld, named(name), id[:]), err)
		scope, name, err := splitNamedKey(k)
		same("record's name", erasedKey(scope, name), err)
		if content, scope, name, err := splitIndexedKey(k); err == nil {
			height, _ := lastNumber(k[:len(k)-len(agreement.ID{})])
			id, err := lastUUID(k)
			same("index fields", indexedKey(Record{Content: content, Scope: scope, Name: name, Height: int64(height), Agreement: id}), err)
		}
		at, id, name, err := splitExpiryKey(k)
		same("expiry", key(prefixExpiry, number64(at), id[:], []byte(name)), err)
	})
}

// FuzzSeal holds that a value comes back, and that nothing else is taken for
// it.
func FuzzSeal(f *testing.F) {
	f.Add([]byte("k"), []byte("value"), uint16(2), byte(1))
	f.Add(eventKey(1), []byte{}, uint16(0), byte(128))
	f.Fuzz(func(t *testing.T, key, value []byte, at uint16, flip byte) {
		if len(key) == 0 || unsealed(key) {
			return
		}
		b := bytes.Clone(seal(key, value))
		if got, err := unseal(key, b); err != nil || !bytes.Equal(got, value) {
			t.Fatalf("%x came back as %x, %v", value, got, err)
		}
		if len(b) == 0 || flip == 0 {
			return
		}
		b[int(at)%len(b)] ^= flip
		if got, err := unseal(key, b); err == nil {
			t.Errorf("%x is taken", got)
		}
	})
}
