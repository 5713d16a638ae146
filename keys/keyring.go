package keys

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/99designs/keyring"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	cryptocodec "github.com/cosmos/cosmos-sdk/crypto/codec"
	"github.com/cosmos/cosmos-sdk/crypto/hd"
	cosmoskeyring "github.com/cosmos/cosmos-sdk/crypto/keyring"
	cryptotypes "github.com/cosmos/cosmos-sdk/crypto/types"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// Names inside the Cosmos keyring.
const (
	accountName       = "affiliate"
	keyringService    = "affiliate"
	dirKeyringFile    = "keyring-file" // as the SDK's "file" backend lays it out
	dirKeyringTest    = "keyring-test" // as the SDK's "test" backend lays it out
	testPassphrase    = "test"         // the SDK's own for the "test" backend
	accountKeyScalars = 32
)

// openKeyring opens the Cosmos keyring below dir. The SDK's own constructor
// isn't used: it asks the terminal for the passphrase whenever there is one,
// and it keeps a bcrypt hash of the passphrase beside the keys, which would be
// cheaper to search than scrypt.
func openKeyring(dir string, locked bool, root []byte) (cosmoskeyring.Keyring, error) {
	sub, passphrase := dirKeyringTest, testPassphrase
	if locked {
		sub, passphrase = dirKeyringFile, hex.EncodeToString(expand(root, labelKeyring))
	}
	db, err := keyring.Open(keyring.Config{
		AllowedBackends:  []keyring.BackendType{keyring.FileBackend},
		ServiceName:      keyringService,
		FileDir:          filepath.Join(dir, sub),
		FilePasswordFunc: keyring.FixedStringPrompt(passphrase),
	})
	if err != nil {
		return nil, fmt.Errorf("opening the keyring: %w", err)
	}
	registry := codectypes.NewInterfaceRegistry()
	cryptocodec.RegisterInterfaces(registry)
	return cosmoskeyring.NewInMemoryWithKeyring(db, codec.NewProtoCodec(registry)), nil
}

// createAccount puts a key from a fresh mnemonic into a new keyring.
func createAccount(dir string, locked bool, root []byte, prefix string) (*secp256k1.PrivateKey, error) {
	kr, err := openKeyring(dir, locked, root)
	if err != nil {
		return nil, err
	}
	if _, _, err := kr.NewMnemonic(accountName, cosmoskeyring.English, derivationPath(prefix), "", hd.Secp256k1); err != nil {
		return nil, fmt.Errorf("creating the account key: %w", err)
	}
	return accountFrom(kr)
}

// openAccount reads the account key once; the file keyring decrypts slowly.
func openAccount(dir string, locked bool, root []byte) (*secp256k1.PrivateKey, error) {
	kr, err := openKeyring(dir, locked, root)
	if err != nil {
		return nil, err
	}
	return accountFrom(kr)
}

func accountFrom(kr cosmoskeyring.Keyring) (*secp256k1.PrivateKey, error) {
	record, err := kr.Key(accountName)
	if err != nil {
		return nil, fmt.Errorf("reading the account key: %w", err)
	}
	local := record.GetLocal()
	if local == nil || local.PrivKey == nil {
		return nil, errors.New("the account key is not a local key")
	}
	private, ok := local.PrivKey.GetCachedValue().(cryptotypes.PrivKey)
	if !ok || private.Type() != "secp256k1" || len(private.Bytes()) != accountKeyScalars {
		return nil, errors.New("the account key is not a secp256k1 key")
	}
	return secp256k1.PrivKeyFromBytes(private.Bytes()), nil
}
