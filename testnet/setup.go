package testnet

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// initTimeout ends one `init` command.
const initTimeout = 60 * time.Second

// makeAffiliates makes the home of every affiliate, with keys of its own.
func (n *Net) makeAffiliates(ctx context.Context) error {
	first, err := freePorts(n.opts.Affiliates)
	if err != nil {
		return err
	}
	for i := range n.opts.Affiliates {
		a, err := n.makeAffiliate(ctx, i, first+i)
		if err != nil {
			return err
		}
		n.Affiliates = append(n.Affiliates, a)
	}
	return nil
}

func (n *Net) makeAffiliate(ctx context.Context, i, port int) (*Affiliate, error) {
	name := affiliateName(i)
	home := filepath.Join(n.Dir, name)
	socket, err := n.socketPath(home, name)
	if err != nil {
		return nil, err
	}
	out, err := run(ctx, n.build.Affiliate, "init", "--home", home, "--name", name, "--unprotected",
		"--chain-id", chainID, "--prefix", prefix, "--output", "json")
	if err != nil {
		return nil, fmt.Errorf("making the home of %s: %w", name, err)
	}
	var keys struct {
		Address    string `json:"address"`
		AccountKey []byte `json:"account_key"`
		PeerID     string `json:"peer_id"`
	}
	if err := json.Unmarshal(out, &keys); err != nil {
		return nil, fmt.Errorf("reading what init printed for %s: %w", name, err)
	}
	if len(keys.AccountKey) == 0 || keys.Address == "" || keys.PeerID == "" {
		return nil, fmt.Errorf("init printed no address, account key or peer id for %s: %s", name, out)
	}
	return &Affiliate{
		Process: &Process{Name: name, Path: n.build.Affiliate, Args: []string{"start", "--home", home}, Log: n.logFile(name)},
		Home:    home, Config: filepath.Join(home, "affiliate.toml"), Socket: socket,
		Address: keys.Address, AccountKey: keys.AccountKey, PeerID: keys.PeerID,
		Listen: []string{
			fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", port),
			fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port),
		},
	}, nil
}

// socketPath is in the home, unless that is too deep for a Unix socket.
func (n *Net) socketPath(home, name string) (string, error) {
	path := filepath.Join(home, "affiliate.sock")
	if len(path) <= socketPathLimit {
		return path, nil
	}
	if n.socketDir == "" {
		dir, err := os.MkdirTemp("", "affiliate-")
		if err != nil {
			return "", fmt.Errorf("making a directory for the sockets: %w", err)
		}
		n.socketDir = dir
	}
	return filepath.Join(n.socketDir, name), nil
}

// validatorPorts is how many consecutive ports one validator takes.
const validatorPorts = 2

// makeChain makes the homes of the validators and the genesis, in which every
// affiliate has an account with its public key and money for fees.
func (n *Net) makeChain(ctx context.Context) error {
	ports, err := freePorts(validatorPorts * n.opts.Validators)
	if err != nil {
		return err
	}
	dir := filepath.Join(n.Dir, "chain")
	args := []string{
		"init", "--dir", dir, "--chain-id", chainID, "--validators", strconv.Itoa(n.opts.Validators),
		"--base-port", strconv.Itoa(ports), "--block-time", n.opts.BlockTime.String(),
	}
	for _, a := range n.Affiliates {
		args = append(args, "--account", a.Address+":"+hex.EncodeToString(a.AccountKey))
	}
	out, err := run(ctx, n.build.Devchain, args...)
	if err != nil {
		return fmt.Errorf("making the chain: %w", err)
	}
	var network struct {
		Endpoints []string `json:"endpoints"`
		Homes     []string `json:"homes"`
	}
	if err := json.Unmarshal(out, &network); err != nil {
		return fmt.Errorf("reading what devchain init printed: %w", err)
	}
	if len(network.Endpoints) != n.opts.Validators || len(network.Homes) != n.opts.Validators {
		return fmt.Errorf("devchain init printed %d endpoints for %d validators", len(network.Endpoints), n.opts.Validators)
	}
	n.Endpoints = network.Endpoints
	for i, home := range network.Homes {
		name := "validator-" + strconv.Itoa(i)
		n.Validators = append(n.Validators, &Process{
			Name: name, Path: n.build.Devchain, Args: []string{"start", "--home", home}, Log: n.logFile(name),
		})
	}
	return n.connect()
}

// configText is the whole of an affiliate's configuration file. What isn't in
// it has the default of config.example.toml.
var configText = template.Must(template.New("affiliate.toml").Funcs(template.FuncMap{"list": tomlList}).Parse(
	`# Written by the testnet.

[affiliate]
name = "{{.Name}}"

[keys]
unprotected = true

[api]
socket = "{{.Socket}}"

[chain]
id = "{{.ChainID}}"
endpoint = "{{.Endpoint}}"
prefix = "{{.Prefix}}"
poll_interval = "100ms"
cosign_lifetime = "{{.Cosign}}"

[p2p]
listen = {{list .Listen}}
bootstrap = {{list .Bootstrap}}
members = {{list .Members}}

[policy]
default = "{{.Policy}}"
{{range .Rules}}
[[policy.rule]]
contract = "{{.Contract}}"
proposer = "{{.Proposer}}"
action = "{{.Action}}"
{{end}}
[log]
level = "info"
`))

type configRule struct{ Contract, Proposer, Action string }

// tomlList writes strings of plain characters as a TOML array.
func tomlList(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (n *Net) writeConfigs() error {
	for i, a := range n.Affiliates {
		var members, bootstrap []string
		for _, other := range n.Affiliates {
			members = append(members, other.Address)
			if other == a {
				continue
			}
			for _, m := range other.Listen {
				bootstrap = append(bootstrap, m+"/p2p/"+other.PeerID)
			}
		}
		policy, rules := "approve", []configRule(nil)
		if i == n.opts.AskAffiliate {
			policy = "ask"
			rules = []configRule{{Contract: contractLoan, Proposer: n.Affiliates[0].Address, Action: "approve"}}
		}
		var text bytes.Buffer
		err := configText.Execute(&text, map[string]any{
			"Name": a.Name, "Socket": a.Socket, "ChainID": chainID, "Prefix": prefix,
			"Endpoint": n.Endpoints[i%len(n.Endpoints)], "Listen": a.Listen, "Bootstrap": bootstrap,
			"Cosign": n.opts.CosignLifetime.String(), "Members": members, "Policy": policy, "Rules": rules,
		})
		if err != nil {
			return fmt.Errorf("making the settings of %s: %w", a.Name, err)
		}
		if err := os.WriteFile(a.Config, text.Bytes(), 0o600); err != nil {
			return fmt.Errorf("writing the settings of %s: %w", a.Name, err)
		}
	}
	return nil
}

// run runs one command to its end and returns what it printed to stdout.
func run(ctx context.Context, path string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if err == nil {
		return out, nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return nil, fmt.Errorf("running %s %s: %w", filepath.Base(path), args[0], err)
}
