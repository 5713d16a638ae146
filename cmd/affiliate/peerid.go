package main

import (
	"crypto/ed25519"
	"math/big"
)

const base58Alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// peerID is the libp2p peer id of a node key: base58 of an identity multihash
// (0x00, length 36) over the public key as libp2p's protobuf (field 1 = type
// Ed25519, field 2 = 32 bytes). init needs it before there is a libp2p host.
// Source: github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md.
func peerID(public ed25519.PublicKey) string {
	return base58(append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, public...))
}

func base58(b []byte) string {
	n, base, digit := new(big.Int).SetBytes(b), big.NewInt(58), new(big.Int)
	var reversed []byte
	for n.Sign() > 0 {
		n.DivMod(n, base, digit)
		reversed = append(reversed, base58Alphabet[digit.Int64()])
	}
	for i := 0; i < len(b) && b[i] == 0; i++ {
		reversed = append(reversed, base58Alphabet[0])
	}
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	return string(reversed)
}
