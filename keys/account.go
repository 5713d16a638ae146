package keys

import (
	"crypto/sha256"
	"fmt"

	"github.com/cosmos/cosmos-sdk/crypto/hd"
	cosmossecp "github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	"github.com/cosmos/cosmos-sdk/types/bech32"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/affiliate-node/affiliate/agreement"
)

// Sizes of account keys and signatures, in bytes.
const (
	AccountKeySize = 33 // compressed secp256k1
	SignatureSize  = 64 // r || s, big-endian
)

// Coin types of SLIP-44 in the derivation path of the account key.
const (
	coinTypeMain = 505 // Provenance, prefix "pb"
	coinTypeTest = 1   // any test network, prefix "tp"
)

// derivationPath is where Provenance's own tools look for the key.
func derivationPath(prefix string) string {
	coin := uint32(coinTypeTest)
	if prefix == "pb" {
		coin = coinTypeMain
	}
	return hd.CreateHDPath(coin, 0, 0).String()
}

// Sign signs SHA-256(msg) with the account key: 64 bytes r || s with the low
// s, deterministic (RFC 6979). It has an error only to fit interfaces whose
// other implementations can fail.
func (r *Ring) Sign(msg []byte) ([]byte, error) {
	digest := sha256.Sum256(msg)
	compact := ecdsa.SignCompact(r.account, digest[:], true)
	return compact[1:], nil // the first byte is a recovery code
}

// Verify reports whether sig is the account key's signature over msg. It is
// strict: a 33-byte key, a 64-byte signature, r and s in range and s low, so
// that a signature has one encoding.
func Verify(accountKey, msg, sig []byte) bool {
	if len(accountKey) != AccountKeySize || len(sig) != SignatureSize {
		return false
	}
	key, err := secp256k1.ParsePubKey(accountKey)
	if err != nil {
		return false
	}
	var r, s secp256k1.ModNScalar
	if r.SetByteSlice(sig[:32]) || s.SetByteSlice(sig[32:]) { // not below the group order
		return false
	}
	if r.IsZero() || s.IsZero() || s.IsOverHalfOrder() {
		return false
	}
	digest := sha256.Sum256(msg)
	return ecdsa.NewSignature(&r, &s).Verify(digest[:], key)
}

// AddressOf returns the bech32 account address of a compressed public key.
func AddressOf(prefix string, accountKey []byte) (string, error) {
	if len(accountKey) != AccountKeySize {
		return "", agreement.Errorf(agreement.CodeBadMessage, "an account key has %d bytes, not %d", AccountKeySize, len(accountKey))
	}
	if _, err := secp256k1.ParsePubKey(accountKey); err != nil {
		return "", agreement.Errorf(agreement.CodeBadMessage, "reading an account key: %w", err)
	}
	hash := (&cosmossecp.PubKey{Key: accountKey}).Address()
	addr, err := bech32.ConvertAndEncode(prefix, hash)
	if err != nil {
		return "", fmt.Errorf("encoding an address with prefix %q: %w", prefix, err)
	}
	return addr, nil
}
