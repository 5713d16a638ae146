package store

import (
	"encoding/binary"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// formatVersion is the format of the whole store, under formatKey.
const formatVersion = 4

// MaxName is the longest name that is part of a key: of a record, a blob, a
// phase, a cursor or an address, in bytes.
const MaxName = 255

// Every key begins with one of these bytes. Numbers in keys are big-endian,
// names that something follows are preceded by their length in one byte, so
// that keys order as their fields do and no two of them collide.
// docs/format/store.md describes each; they are never given another meaning.
const (
	prefixFormat     = 'v' // format of the store
	prefixAgreement  = 'a' // agreement id
	prefixOpen       = 'o' // agreement id
	prefixPhase      = 'h' // phase, agreement id
	prefixPhaseCount = 'q' // phase
	prefixBlob       = 'b' // agreement id, name
	prefixEffect     = 'e' // agreement id, sequence
	prefixEvent      = 'n' // sequence
	prefixEventOf    = 'g' // agreement id, sequence
	prefixInbox      = 'i' // message id
	prefixSigned     = 's' // message id
	prefixConsumed   = 'j' // message id
	prefixKept       = 'k' // mailbox
	prefixKeptSealed = 'l' // mailbox
	prefixKeptExpiry = 'x' // expiry, mailbox
	prefixRecord     = 'r' // scope, name, height, agreement id
	prefixCurrent    = 'c' // scope, name
	prefixIndexed    = 'I' // content hash, scope, name, height, agreement id
	prefixErased     = 'J' // scope, name
	prefixContract   = 't' // contract hash
	prefixVetting    = 'w' // contract hash
	prefixCursor     = 'u' // name
	prefixAffiliate  = 'm' // address
	prefixObject     = 'O' // object id
	prefixPayload    = 'C' // object id
	prefixContent    = 'D' // content hash, object id
	prefixPutting    = 'P' // object id
	prefixLeaves     = 'L' // object id
	prefixReference  = 'R' // object id, name
	prefixHeld       = 'B' // name, object id
	prefixExpiry     = 'E' // time in seconds, object id, name
	prefixUnheld     = 'U' // object id
	prefixQuarantine = 'Q' // object id
	prefixTombstone  = 'T' // object id
	prefixStoreID    = 'V'
	prefixTotals     = 'S'
	prefixBackups    = 'Y'
	prefixDeleted    = 'Z' // sequence
	prefixPurged     = 'p'
	prefixFiller     = 'f' // sequence
)

func key(prefix byte, parts ...[]byte) []byte {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	k := append(make([]byte, 0, n), prefix)
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

// named is a name that something follows in the key.
func named(s string) []byte { return append([]byte{byte(len(s))}, s...) }

func number64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func formatKey() []byte                       { return key(prefixFormat) }
func storeIDKey() []byte                      { return key(prefixStoreID) }
func totalsKey() []byte                       { return key(prefixTotals) }
func backupsKey() []byte                      { return key(prefixBackups) }
func purgedKey() []byte                       { return key(prefixPurged) }
func fillerKey(seq uint64) []byte             { return key(prefixFiller, number64(seq)) }
func deletedKey(seq uint64) []byte            { return key(prefixDeleted, number64(seq)) }
func agreementKey(id agreement.ID) []byte     { return key(prefixAgreement, id[:]) }
func openKey(id agreement.ID) []byte          { return key(prefixOpen, id[:]) }
func phaseCountKey(phase string) []byte       { return key(prefixPhaseCount, []byte(phase)) }
func eventKey(seq uint64) []byte              { return key(prefixEvent, number64(seq)) }
func eventsOf(id agreement.ID) []byte         { return key(prefixEventOf, id[:]) }
func inboxKey(id agreement.Hash) []byte       { return key(prefixInbox, id[:]) }
func signedKey(id agreement.Hash) []byte      { return key(prefixSigned, id[:]) }
func consumedKey(id agreement.Hash) []byte    { return key(prefixConsumed, id[:]) }
func keptKey(mailbox []byte) []byte           { return key(prefixKept, mailbox) }
func keptSealedKey(mailbox []byte) []byte     { return key(prefixKeptSealed, mailbox) }
func contractKey(h agreement.Hash) []byte     { return key(prefixContract, h[:]) }
func vettingKey(h agreement.Hash) []byte      { return key(prefixVetting, h[:]) }
func cursorKey(name string) []byte            { return key(prefixCursor, []byte(name)) }
func affiliateKey(address string) []byte      { return key(prefixAffiliate, []byte(address)) }
func objectKey(id agreement.Hash) []byte      { return key(prefixObject, id[:]) }
func payloadKey(id agreement.Hash) []byte     { return key(prefixPayload, id[:]) }
func leavesKey(id agreement.Hash) []byte      { return key(prefixLeaves, id[:]) }
func unheldKey(id agreement.Hash) []byte      { return key(prefixUnheld, id[:]) }
func quarantineKey(id agreement.Hash) []byte  { return key(prefixQuarantine, id[:]) }
func tombstoneKey(id agreement.Hash) []byte   { return key(prefixTombstone, id[:]) }
func referencesOf(id agreement.Hash) []byte   { return key(prefixReference, id[:]) }
func heldOf(name string) []byte               { return key(prefixHeld, named(name)) }
func contentOf(content agreement.Hash) []byte { return key(prefixContent, content[:]) }
func puttingKey(id agreement.Hash) []byte     { return key(prefixPutting, id[:]) }

func phaseOf(phase string) []byte { return key(prefixPhase, named(phase)) }

func phaseKey(phase string, id agreement.ID) []byte {
	return key(prefixPhase, named(phase), id[:])
}

func blobKey(id agreement.ID, name string) []byte { return key(prefixBlob, id[:], []byte(name)) }

func effectKey(id agreement.ID, seq uint64) []byte {
	return key(prefixEffect, id[:], number64(seq))
}

func eventOfKey(id agreement.ID, seq uint64) []byte {
	return key(prefixEventOf, id[:], number64(seq))
}

func keptExpiryKey(unix int64, mailbox []byte) []byte {
	return key(prefixKeptExpiry, number64(uint64(unix)), mailbox) //nolint:gosec // never before 1970
}

func recordsOf(scope agreement.UUID, name string) []byte {
	return key(prefixRecord, scope[:], named(name))
}

func recordKey(scope agreement.UUID, name string, height int64, id agreement.ID) []byte {
	return key(prefixRecord, scope[:], named(name), number64(uint64(height)), id[:]) //nolint:gosec // checked to be positive
}

func currentKey(scope agreement.UUID, name string) []byte {
	return key(prefixCurrent, scope[:], []byte(name))
}

// indexedKey is where a record's index fields are: with its content, not with
// the record.
func indexedKey(r Record) []byte {
	return append(indexedOf(r.Content), recordKey(r.Scope, r.Name, r.Height, r.Agreement)[1:]...)
}

func indexedOf(content agreement.Hash) []byte { return key(prefixIndexed, content[:]) }

// splitIndexedKey reads a key of index fields.
func splitIndexedKey(k []byte) (content agreement.Hash, scope agreement.UUID, name string, err error) {
	const head, tail = 1 + len(content) + len(scope) + 1, 8 + len(agreement.ID{})
	if len(k) <= head+tail || len(k) != head+int(k[head-1])+tail {
		return content, scope, "", damaged("the key of index fields has %d bytes", len(k))
	}
	copy(scope[:], k[1+len(content):])
	return agreement.Hash(k[1 : 1+len(content)]), scope, string(k[head : len(k)-tail]), nil
}

func erasedKey(scope agreement.UUID, name string) []byte {
	return key(prefixErased, scope[:], []byte(name))
}

// splitNamedKey reads a key of a scope and a name.
func splitNamedKey(k []byte) (scope agreement.UUID, name string, err error) {
	if len(k) <= 1+len(scope) {
		return scope, "", damaged("the key of a record has %d bytes", len(k))
	}
	return agreement.UUID(k[1 : 1+len(scope)]), string(k[1+len(scope):]), nil
}

func referenceKey(id agreement.Hash, name string) []byte {
	return key(prefixReference, id[:], []byte(name))
}

func heldKey(name string, id agreement.Hash) []byte { return key(prefixHeld, named(name), id[:]) }

func expiryKey(until time.Time, id agreement.Hash, name string) []byte {
	return key(prefixExpiry, number64(seconds(until)), id[:], []byte(name))
}

// seconds are those since 1970, and 0 before.
func seconds(t time.Time) uint64 { return uint64(max(0, t.Unix())) } //nolint:gosec // not negative

// splitExpiryKey reads a key of a reference's expiry.
func splitExpiryKey(k []byte) (at uint64, id agreement.Hash, name string, err error) {
	const head = 1 + 8
	if len(k) <= head+len(id) {
		return 0, id, "", damaged("the key of an expiry has %d bytes", len(k))
	}
	return binary.BigEndian.Uint64(k[1:]), agreement.Hash(k[head : head+len(id)]), string(k[head+len(id):]), nil
}

// splitReferenceKey reads a key of a reference.
func splitReferenceKey(k []byte) (id agreement.Hash, name string, err error) {
	if len(k) <= 1+len(id) {
		return id, "", damaged("the key of a reference has %d bytes", len(k))
	}
	return agreement.Hash(k[1 : 1+len(id)]), string(k[1+len(id):]), nil
}

// splitHeldKey reads a key of what a name keeps.
func splitHeldKey(k []byte) (name string, id agreement.Hash, err error) {
	if len(k) < 2 || len(k) != 2+int(k[1])+len(id) || k[1] == 0 {
		return "", id, damaged("the key of what a name keeps has %d bytes", len(k))
	}
	return string(k[2 : 2+int(k[1])]), agreement.Hash(k[2+int(k[1]):]), nil
}

func contentKey(content, id agreement.Hash) []byte { return key(prefixContent, content[:], id[:]) }

// lastUUID reads the agreement id at the end of a key.
func lastUUID(k []byte) (agreement.UUID, error) {
	if len(k) < 1+len(agreement.UUID{}) {
		return agreement.UUID{}, damaged("a key of %d bytes is too short for an id", len(k))
	}
	return agreement.UUID(k[len(k)-len(agreement.UUID{}):]), nil
}

// lastHash reads the hash at the end of a key.
func lastHash(k []byte) (agreement.Hash, error) {
	if len(k) < 1+len(agreement.Hash{}) {
		return agreement.Hash{}, damaged("a key of %d bytes is too short for a hash", len(k))
	}
	return agreement.Hash(k[len(k)-len(agreement.Hash{}):]), nil
}

// lastNumber reads the number at the end of a key.
func lastNumber(k []byte) (uint64, error) {
	if len(k) < 1+8 {
		return 0, damaged("a key of %d bytes is too short for a number", len(k))
	}
	return binary.BigEndian.Uint64(k[len(k)-8:]), nil
}
