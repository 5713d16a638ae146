package agreement

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
)

// Domain tags keep the hashes of one purpose from standing in for another's.
const (
	tagCommitment  = "affiliate/commitment/1"
	tagOutputSalt  = "affiliate/output-salt/1"
	tagContract    = "affiliate/contract/1"
	tagAttestation = "affiliate/attestation/2"
	tagAbsent      = "affiliate/absent/1"
)

// SaltSize is the length of a salt and of an agreement's secret, in bytes.
const SaltSize = 32

// Commitment is the chain hash of a content: base64 of SHA-256 over a domain
// tag, the salt and the content. An empty salt gives P8e's plain SHA-256,
// which can be searched by brute force when the content can be guessed.
func Commitment(salt, content []byte) string {
	if len(salt) == 0 {
		sum := sha256.Sum256(content)
		return base64.StdEncoding.EncodeToString(sum[:])
	}
	h := sha256.New()
	writeField(h, []byte(tagCommitment))
	writeField(h, salt)
	h.Write(content)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// AbsentHash stands on the chain for an optional existing record that the
// scope doesn't have: the chain wants a hash for every input.
func AbsentHash() string {
	sum := sha256.Sum256([]byte(tagAbsent))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// OutputSalt derives the salt of an output, so that all parties compute the
// same chain hash.
func OutputSalt(secret []byte, record string) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, nil, tagOutputSalt+"\x00"+record, SaltSize)
}

// ContractHash identifies a contract: its module and what the module says of
// itself, as canonical JSON.
func ContractHash(module, manifest []byte) Hash {
	m, d := sha256.Sum256(module), sha256.Sum256(manifest)
	h := sha256.New()
	writeField(h, []byte(tagContract))
	h.Write(m[:])
	h.Write(d[:])
	return Hash(h.Sum(nil))
}

// ContractSpecificationID is the first 16 bytes of the contract's hash, so
// the same contract has the same id on every chain.
func ContractSpecificationID(contract Hash) UUID { return UUID(contract[:16]) }

// AttestationDigest is what a party's account key signs to say: on this
// chain, for these terms, I reached these results. Every field is preceded by
// its length, so no two statements share a digest.
func AttestationDigest(network string, id ID, contract, terms Hash, results []RecordResult) Hash {
	h := sha256.New()
	for _, f := range [][]byte{[]byte(tagAttestation), []byte(network), id[:], contract[:], terms[:]} {
		writeField(h, f)
	}
	writeCount(h, len(results))
	for _, r := range results {
		writeField(h, []byte(r.Function))
		writeField(h, []byte(r.Record))
		writeCount(h, int(r.Outcome))
		writeNumber(h, r.Fuel)
		writeField(h, []byte(r.Output))
		writeField(h, []byte(r.Code))
		writeCount(h, len(r.Inputs))
		for _, in := range r.Inputs {
			writeField(h, []byte(in.Name))
			writeField(h, []byte(in.Hash))
			writeField(h, []byte(in.Type))
		}
	}
	return Hash(h.Sum(nil))
}

func writeField(h hash.Hash, b []byte) {
	writeCount(h, len(b))
	h.Write(b)
}

func writeCount(h hash.Hash, n int) {
	writeNumber(h, uint64(n)) //nolint:gosec // a length is never negative
}

func writeNumber(h hash.Hash, n uint64) {
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], n)
	h.Write(buf[:])
}
