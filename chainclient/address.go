package chainclient

import (
	"fmt"
	"strings"

	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	"github.com/cosmos/cosmos-sdk/types/bech32"
	"github.com/google/uuid"
	mdtypes "github.com/provenance-io/provenance/x/metadata/types"

	"github.com/affiliate-node/affiliate/agreement"
)

// maxAddressText bounds the text of any address, in bytes (BIP-173 has 90; a
// 32-byte account with a long prefix stays under it too).
const maxAddressText = 90

// ScopeAddress is the bech32 address of a scope.
func ScopeAddress(scope agreement.UUID) string {
	return mdtypes.ScopeMetadataAddress(uuid.UUID(scope)).String()
}

// SessionAddress is the bech32 address of a session.
func SessionAddress(scope, session agreement.UUID) string {
	return mdtypes.SessionMetadataAddress(uuid.UUID(scope), uuid.UUID(session)).String()
}

// ContractSpecAddress is the bech32 address of a contract specification.
func ContractSpecAddress(spec agreement.UUID) string {
	return mdtypes.ContractSpecMetadataAddress(uuid.UUID(spec)).String()
}

// ScopeSpecAddress is the bech32 address of a scope specification.
func ScopeSpecAddress(spec agreement.UUID) string {
	return mdtypes.ScopeSpecMetadataAddress(uuid.UUID(spec)).String()
}

// ParseScope reads a scope's bech32 address or its UUID.
func ParseScope(s string) (agreement.UUID, error) {
	return parseMetadata(s, "scope", "a scope", mdtypes.MetadataAddress.ScopeUUID)
}

// ParseScopeSpec reads a scope specification's bech32 address or its UUID.
func ParseScopeSpec(s string) (agreement.UUID, error) {
	return parseMetadata(s, "scopespec", "a scope specification", mdtypes.MetadataAddress.ScopeSpecUUID)
}

func parseMetadata(s, prefix, what string, id func(mdtypes.MetadataAddress) (uuid.UUID, error)) (agreement.UUID, error) {
	if u, err := agreement.ParseUUID(s); err == nil {
		return u, nil
	}
	if len(s) <= maxAddressText && strings.HasPrefix(strings.ToLower(s), prefix+"1") {
		if addr, err := mdtypes.MetadataAddressFromBech32(s); err == nil {
			if u, err := id(addr); err == nil {
				return agreement.UUID(u), nil
			}
		}
	}
	return agreement.UUID{}, agreement.Errorf(agreement.CodeBadRequest, "%.100q does not name %s", s, what).
		WithHint("give its address (%s1…) or its UUID", prefix)
}

// ValidAddress reports why addr is not an account address with the prefix.
// Only the lower-case form is one, because the chain compares text.
func ValidAddress(prefix, addr string) error {
	if len(addr) > maxAddressText {
		return fmt.Errorf("an address has at most %d characters, not %d", maxAddressText, len(addr))
	}
	hrp, raw, err := bech32.DecodeAndConvert(addr)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not an account address", addr)
	case hrp != prefix:
		return fmt.Errorf("%q is not an account address of this network (they begin with %s1)", addr, prefix)
	case len(raw) != 20 && len(raw) != 32:
		return fmt.Errorf("%q has the length of no account address", addr)
	case strings.ToLower(addr) != addr:
		return fmt.Errorf("%q must be written in lower case", addr)
	}
	return nil
}

// checkKey checks that the account key is that of the address.
func checkKey(prefix, address string, accountKey []byte) error {
	if err := ValidAddress(prefix, address); err != nil {
		return err
	}
	if len(accountKey) != secp256k1.PubKeySize || accountKey[0] != 2 && accountKey[0] != 3 {
		return fmt.Errorf("the key of %s is not a compressed secp256k1 key of %d bytes", address, secp256k1.PubKeySize)
	}
	derived, err := bech32.ConvertAndEncode(prefix, (&secp256k1.PubKey{Key: accountKey}).Address())
	if err != nil {
		return fmt.Errorf("address of an account key: %w", err)
	}
	if derived != address {
		return fmt.Errorf("the key belongs to %s, not to %s", derived, address)
	}
	return nil
}
