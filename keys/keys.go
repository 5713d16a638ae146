// Package keys owns an affiliate's three keys (account, encryption, node) and
// everything done with them: signing, sealing, opening, mail tags. It never
// sends anything, and no private key leaves it but the node key.
package keys

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"

	"filippo.io/age"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// Labels of what is derived from the encryption identity, so that no two uses
// share a key.
const (
	labelMailboxKey  = "affiliate/mailbox-key/1"
	labelDerived     = "affiliate/derived-key/1/"
	labelKeyring     = "affiliate/keyring-passphrase/1"
	labelNodeKeyFile = "affiliate/node-key-passphrase/1"
)

// DerivedKeySize is the length of what DerivedKey returns, in bytes.
const DerivedKeySize = 32

// Options say where the keys are and what protects them.
type Options struct {
	Dir         string // directory of the keys, mode 0700
	Passphrase  []byte // protects all keys; empty only with Unprotected
	Unprotected bool   // allows keys in plain files (the "test" keyring)
	Prefix      string // bech32 prefix of addresses: "pb" or "tp"
}

// Ring holds the unlocked keys of one affiliate. It is safe for concurrent
// use.
type Ring struct {
	prefix   string
	address  string
	account  *secp256k1.PrivateKey
	public   []byte // account key, compressed
	identity *age.HybridIdentity
	secret   []byte // root of all derived keys
	node     ed25519.PrivateKey
	mailbox  *ecdh.PrivateKey
}

// newRing derives what derives from the three keys.
func newRing(prefix string, account *secp256k1.PrivateKey, id *age.HybridIdentity, node ed25519.PrivateKey) (*Ring, error) {
	r := &Ring{
		prefix: prefix, account: account, public: account.PubKey().SerializeCompressed(),
		identity: id, secret: []byte(id.String()), node: node,
	}
	var err error
	if r.address, err = AddressOf(prefix, r.public); err != nil {
		return nil, err
	}
	r.mailbox, err = ecdh.X25519().NewPrivateKey(derive(r.secret, labelMailboxKey))
	return r, err
}

// Address returns the account address, bech32.
func (r *Ring) Address() string { return r.address }

// AccountKey returns the compressed public account key, 33 bytes.
func (r *Ring) AccountKey() []byte { return append([]byte(nil), r.public...) }

// Recipient returns the age recipient ("age1pq1…", about 2 KB) to which
// others seal.
func (r *Ring) Recipient() string { return r.identity.Recipient().String() }

// NodeKey returns the node's private Ed25519 key, its libp2p identity.
func (r *Ring) NodeKey() ed25519.PrivateKey { return append(ed25519.PrivateKey(nil), r.node...) }

// MailboxKey returns the X25519 key whose public half goes into the affiliate
// record and by which mail is recognised.
func (r *Ring) MailboxKey() *ecdh.PrivateKey { return r.mailbox }

// DerivedKey returns 32 bytes for one purpose, such as the store's
// encryption. The same identity and purpose always give the same key.
func (r *Ring) DerivedKey(purpose string) []byte { return derive(r.secret, labelDerived+purpose) }

// derive is HKDF-SHA256 with the label as info.
func derive(secret []byte, label string) []byte {
	k, err := hkdf.Key(sha256.New, secret, nil, label, DerivedKeySize)
	if err != nil {
		panic("keys: HKDF of 32 bytes failed: " + err.Error()) // only a length over 8160 bytes can
	}
	return k
}
