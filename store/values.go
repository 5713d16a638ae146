package store

import (
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// The values, each with its encoding in the order of the fields.
// docs/format/store.md describes them; a change needs a new valueVersion or a
// new key.

func encodeNumber(v uint64) []byte {
	e := newEncoder(10)
	e.uint(v)
	return e.b
}

func decodeNumber(b []byte) (uint64, error) {
	d := newDecoder(b)
	v := d.uint()
	return v, d.done()
}

func (v totals) encode() []byte {
	e := newEncoder(40)
	e.uint(v.batch)
	e.int(v.objects)
	e.int(v.bytes)
	e.int(v.references)
	return e.b
}

func decodeTotals(b []byte) (totals, error) {
	d := newDecoder(b)
	v := totals{d.uint(), d.int(), d.int(), d.int()}
	return v, d.done()
}

// saved is the value of an agreement.
type saved struct {
	revision uint64
	open     bool
	phase    string
	state    []byte
}

func (v saved) encode() []byte {
	e := newEncoder(len(v.state) + len(v.phase) + 24)
	e.uint(v.revision)
	e.bool(v.open)
	e.string(v.phase)
	e.bytes(v.state)
	return e.b
}

func decodeSaved(b []byte) (saved, error) {
	d := newDecoder(b)
	v := saved{d.uint(), d.bool(), d.string(), d.bytes()}
	return v, d.done()
}

// encode leaves out what the key holds.
func (v Effect) encode() []byte {
	e := newEncoder(len(v.To) + len(v.Arg) + len(v.Sealed) + len(v.LastError) + 64)
	e.uint(uint64(v.Kind))
	e.string(v.To)
	e.bytes(v.Arg)
	e.int(int64(v.Attempts))
	e.time(v.NotBefore)
	e.time(v.Created)
	e.bytes(v.Sealed)
	e.string(v.LastError)
	return e.b
}

func decodeEffect(b []byte) (Effect, error) {
	d := newDecoder(b)
	kind := d.uint()
	if kind > 255 {
		d.fail()
	}
	v := Effect{
		Kind: uint8(kind), //nolint:gosec // checked above
		To:   d.string(), Arg: d.bytes(), Attempts: int(d.int()),
		NotBefore: d.time(), Created: d.time(), Sealed: d.bytes(), LastError: d.string(),
	}
	return v, d.done()
}

// encode leaves out the sequence, which the key holds.
func (v Event) encode() []byte {
	e := newEncoder(len(v.Kind) + len(v.Peer) + len(v.Code) + len(v.Text) + len(v.Phase) + 48)
	e.time(v.Time)
	e.raw(v.Agreement[:])
	e.int(int64(v.Step))
	for _, s := range []string{v.Kind, v.Peer, v.Code, v.Text, v.Phase} {
		e.string(s)
	}
	return e.b
}

func decodeEvent(b []byte) (Event, error) {
	d := newDecoder(b)
	v := Event{Time: d.time()}
	d.fixed(v.Agreement[:])
	v.Step = int(d.int())
	for _, s := range []*string{&v.Kind, &v.Peer, &v.Code, &v.Text, &v.Phase} {
		*s = d.string()
	}
	return v, d.done()
}

// received is the value of an inbox message, whose bytes have their own key.
type received struct {
	at   time.Time
	size uint64
}

func (v received) encode() []byte {
	e := newEncoder(24)
	e.time(v.at)
	e.uint(v.size)
	return e.b
}

func decodeReceived(b []byte) (received, error) {
	d := newDecoder(b)
	v := received{d.time(), d.uint()}
	return v, d.done()
}

// kept is the value of a kept mail, whose sealed bytes have their own key.
type kept struct {
	tag     [tagSize]byte
	claim   agreement.Hash
	expires int64 // as the mail says, seconds
	drop    int64 // when it is dropped, seconds; also in the expiry key
	size    uint64
}

func (v kept) encode() []byte {
	e := newEncoder(96)
	e.raw(v.tag[:])
	e.raw(v.claim[:])
	e.int(v.expires)
	e.int(v.drop)
	e.uint(v.size)
	return e.b
}

func decodeKept(b []byte) (kept, error) {
	d := newDecoder(b)
	var v kept
	d.fixed(v.tag[:])
	d.fixed(v.claim[:])
	v.expires, v.drop, v.size = d.int(), d.int(), d.uint()
	return v, d.done()
}

func (v Record) encode() []byte {
	e := newEncoder(256)
	e.raw(v.Scope[:])
	e.string(v.Name)
	e.raw(v.Agreement[:])
	e.raw(v.Contract[:])
	e.string(v.Hash)
	e.bytes(v.Salt)
	e.raw(v.Content[:])
	e.raw(v.Object[:])
	e.string(v.MediaType)
	e.int(v.Height)
	e.time(v.BlockTime)
	e.string(v.TxHash)
	return e.b
}

func decodeRecord(b []byte) (Record, error) {
	d := newDecoder(b)
	var v Record
	d.fixed(v.Scope[:])
	v.Name = d.string()
	d.fixed(v.Agreement[:])
	d.fixed(v.Contract[:])
	v.Hash, v.Salt = d.string(), d.bytes()
	d.fixed(v.Content[:])
	d.fixed(v.Object[:])
	v.MediaType, v.Height = d.string(), d.int()
	v.BlockTime, v.TxHash = d.time(), d.string()
	return v, d.done()
}

func encodeFields(fields map[string]string) []byte {
	e := newEncoder(128)
	e.dict(fields)
	return e.b
}

func decodeFields(b []byte) (map[string]string, error) {
	d := newDecoder(b)
	fields := d.dict()
	return fields, d.done()
}

// current says which record of a name is the newest.
type current struct {
	height    int64
	agreement agreement.ID
}

func (v current) encode() []byte {
	e := newEncoder(32)
	e.int(v.height)
	e.raw(v.agreement[:])
	return e.b
}

func decodeCurrent(b []byte) (current, error) {
	d := newDecoder(b)
	v := current{height: d.int()}
	d.fixed(v.agreement[:])
	return v, d.done()
}

func (v Contract) encode() []byte {
	e := newEncoder(len(v.Manifest) + 128)
	e.raw(v.Hash[:])
	e.raw(v.Module[:])
	e.string(v.Name)
	e.string(v.Version)
	e.bytes(v.Manifest)
	e.int(v.Size)
	e.time(v.Added)
	return e.b
}

func decodeContract(b []byte) (Contract, error) {
	d := newDecoder(b)
	var v Contract
	d.fixed(v.Hash[:])
	d.fixed(v.Module[:])
	v.Name, v.Version, v.Manifest = d.string(), d.string(), d.bytes()
	v.Size, v.Added = d.int(), d.time()
	return v, d.done()
}

func (v Object) encode() []byte {
	e := newEncoder(len(v.Header) + 256)
	e.raw(v.ID[:])
	e.raw(v.ContentHash[:])
	e.int(v.Size)
	e.int(v.SealedSize)
	e.string(v.MediaType)
	e.strings(v.Audience)
	e.string(v.Owner)
	e.time(v.Created)
	e.bytes(v.Header)
	return e.b
}

func decodeObject(b []byte) (Object, error) {
	d := newDecoder(b)
	var v Object
	d.fixed(v.ID[:])
	d.fixed(v.ContentHash[:])
	v.Size, v.SealedSize = d.int(), d.int()
	v.MediaType, v.Audience, v.Owner = d.string(), d.strings(), d.string()
	v.Created, v.Header = d.time(), d.bytes()
	if v.SealedSize < 0 || v.Size < 0 {
		d.fail()
	}
	return v, d.done()
}

func (v Quarantine) encode() []byte {
	e := newEncoder(len(v.Reason) + 32)
	e.time(v.Since)
	e.string(v.Reason)
	return e.b
}

func decodeQuarantine(b []byte) (Quarantine, error) {
	d := newDecoder(b)
	v := Quarantine{d.time(), d.string()}
	return v, d.done()
}

// encodeTime keeps the zero time as it is.
func encodeTime(t time.Time) []byte {
	e := newEncoder(16)
	e.bool(!t.IsZero())
	if !t.IsZero() {
		e.time(t)
	}
	return e.b
}

func decodeTime(b []byte) (t time.Time, err error) {
	d := newDecoder(b)
	if d.bool() {
		t = d.time()
	}
	return t, d.done()
}
