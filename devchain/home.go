package devchain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
)

const (
	// MaxValidators bounds the size of a local network.
	MaxValidators = 20
	// MinBlockTime is the shortest pause between blocks that Init accepts.
	MinBlockTime = 10 * time.Millisecond

	settingsFile     = "devchain.json"
	maxSettingsBytes = 64 << 10
)

// Options say what Init writes.
type Options struct {
	Dir        string        // gets validator0, validator1, …
	Genesis    Genesis       // ChainID and Accounts
	Validators int           // 1 to MaxValidators
	BasePort   int           // validator i serves RPC on BasePort+2i and peers on BasePort+2i+1
	BlockTime  time.Duration // pause after a block is committed; at least MinBlockTime
}

// Network is what Init wrote.
type Network struct {
	ChainID   string   `json:"chain_id"`
	Endpoints []string `json:"endpoints"` // CometBFT RPC, http://127.0.0.1:port, in the order of Homes
	Homes     []string `json:"homes"`     // for Open
}

// settings is the content of a home's devchain.json.
type settings struct {
	ChainID   string   `json:"chain_id"`
	RPC       string   `json:"rpc"`   // host:port
	P2P       string   `json:"p2p"`   // host:port
	Peers     []string `json:"peers"` // id@host:port
	BlockTime string   `json:"block_time"`
}

// Check says what is wrong with o, if anything, without touching a file.
func (o Options) Check() error {
	switch {
	case o.Dir == "":
		return errors.New("no directory given")
	case o.Validators < 1 || o.Validators > MaxValidators:
		return fmt.Errorf("%d validators: want 1 to %d", o.Validators, MaxValidators)
	case o.BasePort < 1024 || o.BasePort > 65536-2*o.Validators:
		return fmt.Errorf("base port %d: %d ports from there on must lie between 1024 and 65535", o.BasePort, 2*o.Validators)
	case o.BlockTime < MinBlockTime:
		return fmt.Errorf("block time %s: want at least %s", o.BlockTime, MinBlockTime)
	}
	_, err := o.Genesis.withDefaults()
	return err
}

// Init writes the homes of a new network. It refuses to touch a directory that
// holds a validator already, and listens nowhere.
func Init(o Options) (Network, error) {
	if err := o.Check(); err != nil {
		return Network{}, err
	}
	genesis, err := o.Genesis.withDefaults()
	if err != nil {
		return Network{}, err
	}
	network := Network{ChainID: genesis.ChainID}
	all := make([]settings, o.Validators)
	keys := make([]crypto.PubKey, o.Validators)
	ids := make([]string, o.Validators)
	for i := range all {
		home := filepath.Join(o.Dir, fmt.Sprintf("validator%d", i))
		all[i] = settings{
			ChainID: genesis.ChainID, BlockTime: o.BlockTime.String(),
			RPC: fmt.Sprintf("127.0.0.1:%d", o.BasePort+2*i), P2P: fmt.Sprintf("127.0.0.1:%d", o.BasePort+2*i+1),
		}
		if ids[i], keys[i], err = makeHome(home); err != nil {
			return Network{}, err
		}
		network.Homes = append(network.Homes, home)
		network.Endpoints = append(network.Endpoints, "http://"+all[i].RPC)
	}
	document, err := genesis.document(keys)
	if err != nil {
		return Network{}, fmt.Errorf("writing the genesis document: %w", err)
	}
	for i, home := range network.Homes {
		for j := range all {
			if j != i {
				all[i].Peers = append(all[i].Peers, ids[j]+"@"+all[j].P2P)
			}
		}
		if err := document.SaveAs(filepath.Join(home, "genesis.json")); err != nil {
			return Network{}, fmt.Errorf("writing the genesis document: %w", err)
		}
		if err := writeSettings(home, all[i]); err != nil {
			return Network{}, err
		}
	}
	return network, nil
}

// makeHome creates a validator's directory and keys.
func makeHome(home string) (nodeID string, key crypto.PubKey, err error) {
	if _, err := os.Stat(home); err == nil {
		return "", nil, fmt.Errorf("%s exists already: remove it, or choose another directory", home)
	}
	if err := os.MkdirAll(filepath.Join(home, "data"), 0o700); err != nil {
		return "", nil, fmt.Errorf("creating the home: %w", err)
	}
	c := config.DefaultConfig().SetRoot(home)
	setPaths(c)
	node, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile())
	if err != nil {
		return "", nil, fmt.Errorf("creating the node key: %w", err)
	}
	validator := privval.GenFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile())
	validator.Save()
	return string(node.ID()), validator.Key.PubKey, nil
}

func writeSettings(home string, s settings) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the settings: %w", err)
	}
	if err := os.WriteFile(filepath.Join(home, settingsFile), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the settings: %w", err)
	}
	return nil
}

// readSettings reads what Init wrote.
func readSettings(home string) (settings, error) {
	var s settings
	path := filepath.Join(home, settingsFile)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, fmt.Errorf("%s is not the home of a validator (no %s): run devchain init first", home, settingsFile)
	case err != nil:
		return s, fmt.Errorf("reading the settings: %w", err)
	case info.Size() > maxSettingsBytes:
		return s, fmt.Errorf("reading the settings: %s has %d bytes, want at most %d", path, info.Size(), maxSettingsBytes)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("reading the settings: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("reading %s: %w", path, err)
	}
	return s, nil
}

// setPaths keeps all files of a home in it directly, and what changes in data.
func setPaths(c *config.Config) {
	c.Genesis = "genesis.json"
	c.NodeKey = "node_key.json"
	c.PrivValidatorKey = "validator_key.json"
	c.PrivValidatorState = filepath.Join("data", "validator_state.json")
	c.P2P.AddrBook = filepath.Join("data", "addrbook.json")
	c.Consensus.WalPath = filepath.Join("data", "cs.wal", "wal")
}

// config is CometBFT's configuration for a validator at home.
func (s settings) config(home string) (*config.Config, error) {
	blockTime, err := time.ParseDuration(s.BlockTime)
	if err != nil {
		return nil, fmt.Errorf("block time %q in %s: %w", s.BlockTime, filepath.Join(home, settingsFile), err)
	}
	c := config.DefaultConfig().SetRoot(home)
	setPaths(c)
	c.Moniker = filepath.Base(home)
	c.TxIndex.Indexer = "null" // clients follow blocks by height
	c.RPC.ListenAddress = "tcp://" + s.RPC
	c.RPC.MaxBodyBytes = maxRequestBytes
	c.P2P.ListenAddress = "tcp://" + s.P2P
	c.P2P.PersistentPeers = strings.Join(s.Peers, ",")
	c.P2P.PersistentPeersMaxDialPeriod = 2 * time.Second
	c.P2P.AllowDuplicateIP = true
	c.P2P.AddrBookStrict = false
	c.P2P.PexReactor = false
	c.P2P.FlushThrottleTimeout = 5 * time.Millisecond
	c.Consensus.TimeoutCommit = blockTime
	c.Consensus.TimeoutPropose = time.Second
	c.Consensus.TimeoutPrevote = 300 * time.Millisecond
	c.Consensus.TimeoutPrecommit = 300 * time.Millisecond
	c.Consensus.PeerGossipSleepDuration = 20 * time.Millisecond
	c.Consensus.CreateEmptyBlocks = true // the chain's clock: unordered timeouts are measured by block time
	return c, c.ValidateBasic()
}
