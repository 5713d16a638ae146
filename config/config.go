// Package config owns affiliate.toml: its settings, their defaults, and the
// errors that show the line at fault. It never opens keys, stores or sockets,
// and changes no file.
package config

import "path/filepath"

// FileName is the configuration's name inside the home directory.
const FileName = "affiliate.toml"

// Config is everything that a node can be told. Paths in it stay as they were
// written; the methods give them relative to Home.
type Config struct {
	// Home is the directory of the configuration file; not a setting.
	Home string `toml:"-"`

	Affiliate  Affiliate  `toml:"affiliate" comment:"Who this affiliate is."`
	Keys       Keys       `toml:"keys" comment:"How the keys in HOME/keys are protected."`
	API        API        `toml:"api" comment:"Where applications and the command line reach the node."`
	Chain      Chain      `toml:"chain" comment:"The chain that agreements are recorded on."`
	P2P        P2P        `toml:"p2p" comment:"How other affiliates reach this node, and which of them may."`
	Store      Store      `toml:"store" comment:"The sealed objects and agreements in HOME/data."`
	Retention  Retention  `toml:"retention" comment:"How long the data of agreements is kept. Text such as \"30m\", \"36h\", \"90d\" or \"7y\" (a year has 365 days), or \"forever\"."`
	Exec       Exec       `toml:"exec" comment:"Limits of contracts. None decides a result: a contract that may need more is refused."`
	Contracts  Contracts  `toml:"contracts" comment:"Which contracts this node runs."`
	Agreements Agreements `toml:"agreements" comment:"How long agreements may take."`
	Policy     Policy     `toml:"policy" comment:"Who decides about proposals of other affiliates."`
	Log        Log        `toml:"log" comment:"What the node writes to standard error."`
	Metrics    Metrics    `toml:"metrics" comment:"Figures for Prometheus."`
}

// Affiliate says who the node works for.
type Affiliate struct {
	Name string `toml:"name" comment:"Name shown to people at other affiliates, 1 to 64 bytes. It proves nothing: the address does."`
}

// Keys says what opens the keys.
type Keys struct {
	Unlock         Unlock `toml:"unlock" comment:"What opens the keys. \"passphrase\": from passphrase_file, else the environment variable AFFILIATE_PASSPHRASE, else a prompt on a terminal. \"key_file\": the content of key_file. \"keyring\": the passphrase that Linux keeps in this user's kernel keyring until the machine stops; when it has none, the environment variable or the prompt, and then it is put there."`
	PassphraseFile string `toml:"passphrase_file" comment:"File that holds the passphrase in its first line, outside HOME; must be readable by its owner only. Empty: none."`
	KeyFile        string `toml:"key_file" comment:"Any file of 32 bytes to 1 MiB, outside HOME; must be readable by its owner only. It opens the keys, so keep a copy apart from theirs."`
	Unprotected    bool   `toml:"unprotected" comment:"Keys without a passphrase, for tests and local networks only."`
}

// Unlock says what opens the keys.
type Unlock string

// What can open the keys.
const (
	UnlockPassphrase Unlock = "passphrase"
	UnlockKeyFile    Unlock = "key_file"
	UnlockKeyring    Unlock = "keyring"
)

// API is the node's own interface.
type API struct {
	Socket string `toml:"socket" comment:"Unix socket (mode 0600), in a directory that only its owner can enter. At most 100 bytes long with the home directory."`
}

// Chain says which chain, and how transactions are made.
type Chain struct {
	ID             string   `toml:"id" comment:"Chain id. A node at another chain is refused."`
	Endpoint       string   `toml:"endpoint" comment:"CometBFT RPC of a chain node that you trust, http:// or https://."`
	Prefix         string   `toml:"prefix" comment:"Start of account addresses: \"tp\" (test networks) or \"pb\" (main network)."`
	Fee            string   `toml:"fee" comment:"\"auto\" asks the chain what a transaction costs; otherwise a fixed amount such as \"3nhash\"."`
	GasLimit       uint64   `toml:"gas_limit" comment:"Most gas that a transaction may state, 100000 to 100000000. With fee = \"auto\" it states twice what a trial run takes."`
	CosignLifetime Duration `toml:"cosign_lifetime" comment:"How long a co-signature is good for: 10s to 5m (the chain's own limit)."`
	PollInterval   Duration `toml:"poll_interval" comment:"How often the chain is asked for new blocks: 50ms to 1m."`
}

// P2P says where the node listens and who may connect.
type P2P struct {
	Listen         []string `toml:"listen" comment:"Multiaddresses to listen on. QUIC first, TCP as fallback."`
	Announce       []string `toml:"announce" comment:"Multiaddresses to tell others instead of those above, behind a NAT for example."`
	Bootstrap      []string `toml:"bootstrap" comment:"Affiliates to connect to at the start: multiaddresses that end in /p2p/PEERID."`
	Members        []string `toml:"members" comment:"Account addresses of the affiliates that may connect; \"*\" admits everyone with a valid record."`
	RecordLifetime Duration `toml:"record_lifetime" comment:"How long this node's own affiliate record is valid; it is renewed in time. 10m to 720h."`
}

// Store limits what the node keeps.
type Store struct {
	MaxObjectSize Size     `toml:"max_object_size" comment:"Largest object accepted, 64KiB to 1TiB."`
	Encrypt       bool     `toml:"encrypt" comment:"Encrypt the database and the index with a key derived from the root secret in HOME/keys. Objects are sealed in any case. Can't be changed later."`
	Payloads      string   `toml:"payloads" comment:"Where sealed objects above 128 KiB lie. Empty: files in HOME/data/payloads. Or a bucket that this affiliate alone uses: \"s3://BUCKET/PREFIX?endpoint=URL&region=NAME\"; its credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or where else S3 programs have them, never from this file. What lies in one place isn't moved to another."`
	DiskBudget    Size     `toml:"disk_budget" comment:"Bytes that the store may take, 64MiB or more; beyond them new work is refused, and what is running completes. \"0B\": no budget."`
	DiskReserve   Size     `toml:"disk_reserve" comment:"Bytes of the disk that new work must leave free, 0B to 1TiB."`
	Grace         Duration `toml:"grace" comment:"How long an object that nothing keeps any more is left before it is purged, 1s to 8760h."`
	CompactAfter  Duration `toml:"compact_after" comment:"How long after a purge the database is rewritten, so that the disk has nothing of it any more, 1m to 8760h. Sealed objects above 128 KiB go from the disk at once."`
}

// Retention says how long data is kept after an agreement's end.
type Retention struct {
	Failed  Keep       `toml:"failed" comment:"The data of an agreement that came to nothing."`
	Default Keep       `toml:"default" comment:"The data of an agreement that is recorded on chain."`
	Rules   []KeepRule `toml:"rule"`
}

// KeepRule is how long the data of a contract's recorded agreements is kept;
// the first that matches decides.
type KeepRule struct {
	Contract string `toml:"contract"` // hash (hex) or name
	Keep     Keep   `toml:"keep"`
}

// Exec limits a run of a contract.
type Exec struct {
	MemoryLimit Size     `toml:"memory_limit" comment:"Memory that a contract may ask for in its manifest, 1MiB to 4GiB; one that says nothing asks for 128MiB."`
	FuelLimit   uint64   `toml:"fuel_limit" comment:"Fuel that it may ask for, for one function: 1000000 to 1000000000000 units of about a nanosecond; one that says nothing asks for 1000000000."`
	ModuleLimit Size     `toml:"module_limit" comment:"Largest contract module, 64KiB to 64MiB."`
	OutputLimit Size     `toml:"output_limit" comment:"Largest record that it may ask to return, 1KiB to 64MiB; one that says nothing asks for 16MiB."`
	Timeout     Duration `toml:"timeout" comment:"Wall-clock time of one function, 100ms to 10m; longer is tried again, and never a result."`
	Workers     int      `toml:"workers" comment:"Contracts executed at the same time, 1 to 256."`
}

// Contracts says which contracts are run.
type Contracts struct {
	Vet Vet `toml:"vet" comment:"\"required\" runs only what this affiliate has consented to: by affiliate contract vet, by publishing it, or by a rule of the policy that names its hash; what others propose waits until then. \"open\" runs whatever a member proposes, and says nothing about vetting to others."`
}

// Vet says whether contracts have to be vetted.
type Vet string

// What can be said of vetting.
const (
	VetRequired Vet = "required"
	VetOpen     Vet = "open"
)

// Agreements says how long things may take.
type Agreements struct {
	Lifetime          Duration `toml:"lifetime" comment:"Time that a proposal of this node leaves until its deadline, unless the proposer says otherwise. 10s or more."`
	MaxLifetime       Duration `toml:"max_lifetime" comment:"Longest lifetime accepted from anybody; at least lifetime, at most 8760h."`
	AcknowledgeWithin Duration `toml:"acknowledge_within" comment:"How long the proposer waits for the other parties' acknowledgements after the commit. 10s to 8760h."`
	MaxOpen           int      `toml:"max_open" comment:"Agreements that may be open at once; more are refused. 1 to 1000000."`
}

// Policy decides what happens to another affiliate's proposal.
type Policy struct {
	Default Action `toml:"default" comment:"\"ask\" waits for affiliate agreement approve or reject, \"approve\" and \"reject\" need nobody."`
	Rules   []Rule `toml:"rule"`
}

// Rule is one rule of the policy; the first that matches decides.
type Rule struct {
	Contract string `toml:"contract"` // hash (hex) or name; "*" or empty: any
	Proposer string `toml:"proposer"` // account address; "*" or empty: any
	Action   Action `toml:"action"`
}

// Action is what a policy does with a proposal.
type Action string

// The actions.
const (
	Ask     Action = "ask"
	Approve Action = "approve"
	Reject  Action = "reject"
)

// Log says how much and in which form.
type Log struct {
	Level  string `toml:"level" comment:"\"debug\", \"info\", \"warn\" or \"error\"."`
	Format string `toml:"format" comment:"\"text\" for people, \"json\" for programs."`
}

// Metrics says where figures are served.
type Metrics struct {
	Listen string `toml:"listen" comment:"Loopback address and port for /metrics and Go profiles (/debug/pprof/), such as \"127.0.0.1:9600\". Empty: off."`
}

// Default returns the configuration of an affiliate at home that has set
// nothing. It is valid, but has no members: nobody may connect.
func Default(home string) Config {
	return Config{
		Home:      home,
		Affiliate: Affiliate{Name: "affiliate"},
		Keys:      Keys{Unlock: UnlockPassphrase},
		API:       API{Socket: "affiliate.sock"},
		Chain: Chain{
			ID: "pio-testnet-1", Endpoint: "http://127.0.0.1:26657", Prefix: "tp", Fee: "auto",
			GasLimit: 4_000_000, CosignLifetime: 2 * Minute, PollInterval: 500 * Millisecond,
		},
		P2P: P2P{
			Listen:   []string{"/ip4/0.0.0.0/udp/4100/quic-v1", "/ip4/0.0.0.0/tcp/4100"},
			Announce: []string{}, Bootstrap: []string{}, Members: []string{},
			RecordLifetime: 24 * Hour,
		},
		Store:     Store{MaxObjectSize: 4 * GiB, Encrypt: true, DiskReserve: 256 * MiB, Grace: 10 * Minute, CompactAfter: 24 * Hour},
		Retention: Retention{Failed: Keep(24 * Hour), Default: Forever},
		Exec: Exec{
			MemoryLimit: 256 * MiB, FuelLimit: 10_000_000_000, ModuleLimit: 16 * MiB, OutputLimit: 16 * MiB,
			Timeout: 10 * Second, Workers: 2,
		},
		Contracts: Contracts{Vet: VetRequired},
		Agreements: Agreements{
			Lifetime: 24 * Hour, MaxLifetime: 30 * 24 * Hour,
			AcknowledgeWithin: 24 * Hour, MaxOpen: 10_000,
		},
		Policy: Policy{Default: Ask},
		Log:    Log{Level: "info", Format: "text"},
	}
}

// Path resolves a path of the configuration: relative ones start at Home, the
// empty one stays empty.
func (c Config) Path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.Home, p)
}

// SocketPath is where the API listens.
func (c Config) SocketPath() string { return c.Path(c.API.Socket) }

// PassphrasePath is the passphrase file, or empty.
func (c Config) PassphrasePath() string { return c.Path(c.Keys.PassphraseFile) }

// KeyFilePath is the key file, or empty.
func (c Config) KeyFilePath() string { return c.Path(c.Keys.KeyFile) }

// KeysDir holds the account, encryption and node keys.
func (c Config) KeysDir() string { return filepath.Join(c.Home, "keys") }

// DataDir holds the store.
func (c Config) DataDir() string { return filepath.Join(c.Home, "data") }

// IndexPath is the searchable view; it may be deleted and is rebuilt.
func (c Config) IndexPath() string { return filepath.Join(c.Home, "index.sqlite") }

// CacheDir holds compiled contracts; it may be deleted.
func (c Config) CacheDir() string { return filepath.Join(c.Home, "cache") }
