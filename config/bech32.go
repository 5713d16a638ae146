package config

import (
	"errors"
	"fmt"
	"strings"
)

const bech32Alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// maxAddress is the longest bech32 text allowed by BIP-173, in bytes.
const maxAddress = 90

// checkAddress tells whether s is an account address with this prefix and a
// right checksum (BIP-173), so that a mistyped member is found at once.
func checkAddress(prefix, s string) error {
	if len(s) > maxAddress {
		return errors.New("an account address has at most 90 characters")
	}
	hrp, data, ok := cutLast(s, '1')
	if !ok || hrp != prefix {
		return fmt.Errorf("an account address of this chain starts with %s1", prefix)
	}
	values := expandPrefix(hrp)
	for _, r := range data {
		i := strings.IndexRune(bech32Alphabet, r)
		if i < 0 {
			return fmt.Errorf("%q can't be part of an account address", r)
		}
		values = append(values, uint32(i)) //nolint:gosec // 0 to 31
	}
	if len(data) < 6 || polymod(values) != 1 {
		return errors.New("the address has a typing error: its checksum is wrong")
	}
	return nil
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func expandPrefix(hrp string) []uint32 {
	values := make([]uint32, 0, len(hrp)*2+1+maxAddress)
	for i := range len(hrp) {
		values = append(values, uint32(hrp[i]>>5))
	}
	values = append(values, 0)
	for i := range len(hrp) {
		values = append(values, uint32(hrp[i]&31))
	}
	return values
}

func polymod(values []uint32) uint32 {
	generator := [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}
	sum := uint32(1)
	for _, v := range values {
		top := sum >> 25
		sum = (sum&0x1ffffff)<<5 ^ v
		for i, g := range generator {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	return sum
}
