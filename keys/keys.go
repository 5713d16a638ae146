// Package keys owns an affiliate's three keys (account, encryption, node) and
// everything done with them: signing, sealing, opening, mail tags. It never
// sends anything, and no private key leaves it but the node key.
package keys

import (
	"cmp"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"sync"
	"sync/atomic"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Labels of what is derived from the root secret, so that no two uses share a
// key.
const (
	labelMailboxKey     = "affiliate/mailbox-key/1"
	labelDerived        = "affiliate/derived-key/1/"
	labelKeyring        = "affiliate/keyring-passphrase/1"
	labelNodeKeyFile    = "affiliate/node-key-passphrase/1"
	labelIdentitiesFile = "affiliate/identities-passphrase/1"
)

// DerivedKeySize is the length of what DerivedKey returns, in bytes.
const DerivedKeySize = 32

// Options say where the keys are and what protects them.
type Options struct {
	Dir         string // directory of the keys, mode 0700
	Passphrase  []byte // protects all keys; empty only with Unprotected
	Origin      string // what the passphrase comes from, such as "the key file /k", for errors; may be empty
	Unprotected bool   // allows keys in plain files (the "test" keyring)
	Prefix      string // bech32 prefix of addresses: "pb" or "tp"

	work int // scrypt's log2 N of new files; zero: passphraseWorkFactor
}

func (o Options) workFactor() int { return cmp.Or(o.work, passphraseWorkFactor) }

// Ring holds the unlocked keys of one affiliate. It is safe for concurrent
// use.
type Ring struct {
	dir     string
	locked  bool // the files are under keys derived from the root secret
	prefix  string
	address string
	account *secp256k1.PrivateKey
	public  []byte // account key, compressed
	root    []byte // root secret, of all derived keys; 32 bytes
	node    ed25519.PrivateKey
	mailbox *ecdh.PrivateKey
	held    atomic.Pointer[[]identity]            // current identity first
	opened  *lru.Cache[[sha256.Size]byte, []byte] // file keys by the hash of their headers
	fixed   error                                 // why the identities can't be changed, or nil

	changing sync.Mutex // held while the identities change, in the directory and here
}

// newRing derives what derives from the keys.
func newRing(o Options, locked bool, s secrets, account *secp256k1.PrivateKey, node ed25519.PrivateKey) (*Ring, error) {
	r := &Ring{
		dir: o.Dir, locked: locked, prefix: o.Prefix, account: account, public: account.PubKey().SerializeCompressed(),
		root: s.root, node: node,
	}
	r.held.Store(&s.identities)
	var err error
	if r.opened, err = lru.New[[sha256.Size]byte, []byte](maxOpened); err != nil {
		return nil, err
	}
	if r.address, err = AddressOf(o.Prefix, r.public); err != nil {
		return nil, err
	}
	r.mailbox, err = ecdh.X25519().NewPrivateKey(expand(r.root, labelMailboxKey))
	return r, err
}

// Address returns the account address, bech32.
func (r *Ring) Address() string { return r.address }

// AccountKey returns the compressed public account key, 33 bytes.
func (r *Ring) AccountKey() []byte { return append([]byte(nil), r.public...) }

// Recipient returns the age recipient ("age1pq1…", about 2 KB) to which
// others seal: that of the current identity.
func (r *Ring) Recipient() string { return r.identities()[0].key.Recipient().String() }

// NodeKey returns the node's private Ed25519 key, its libp2p identity.
func (r *Ring) NodeKey() ed25519.PrivateKey { return append(ed25519.PrivateKey(nil), r.node...) }

// MailboxKey returns the X25519 key whose public half goes into the affiliate
// record and by which mail is recognised.
func (r *Ring) MailboxKey() *ecdh.PrivateKey { return r.mailbox }

// DerivedKey returns 32 bytes for one purpose, such as the store's
// encryption. The same purpose always gives the same key, whatever the
// encryption identity is.
func (r *Ring) DerivedKey(purpose string) []byte { return expand(r.root, labelDerived+purpose) }

// expand derives a key from the root secret, which is uniform: HKDF-Expand of
// SHA-256, with the label as info.
func expand(root []byte, label string) []byte {
	k, err := hkdf.Expand(sha256.New, root, label, DerivedKeySize)
	if err != nil {
		panic("keys: HKDF of 32 bytes failed: " + err.Error()) // only a length over 8160 bytes can
	}
	return k
}

// derive derives a key from a secret that need not be uniform: HKDF-SHA256
// with the label as info.
func derive(secret []byte, label string) []byte {
	k, err := hkdf.Key(sha256.New, secret, nil, label, DerivedKeySize)
	if err != nil {
		panic("keys: HKDF of 32 bytes failed: " + err.Error()) // only a length over 8160 bytes can
	}
	return k
}
