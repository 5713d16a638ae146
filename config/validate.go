package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSocketPath keeps the socket's path inside what the kernel accepts (108
// bytes on Linux, 104 on macOS), in bytes.
const maxSocketPath = 100

// maxContractName is the longest name that a manifest may have, in bytes.
const maxContractName = 200

// Validate finds the first value that can't work, in the order of the file's
// sections, as an *Error. It looks at nothing outside c.
func (c Config) Validate() error {
	checks := []func() *Error{
		c.checkAffiliate, c.checkKeys, c.checkAPI, c.checkChain, c.checkP2P, c.checkStore, c.checkRetention, c.checkExec,
		c.checkContracts, c.checkAgreements, c.checkPolicy, c.checkLog, c.checkMetrics,
	}
	for _, check := range checks {
		if e := check(); e != nil {
			return e
		}
	}
	return nil
}

func (c Config) checkAffiliate() *Error {
	if n := len(c.Affiliate.Name); n < 1 || n > 64 {
		return problem("affiliate.name", "must have 1 to 64 bytes, not %d", n)
	}
	if !utf8.ValidString(c.Affiliate.Name) || strings.ContainsFunc(c.Affiliate.Name, unicode.IsControl) {
		return problem("affiliate.name", "must be printable text")
	}
	return nil
}

func (c Config) checkKeys() *Error {
	k := c.Keys
	switch {
	case k.Unprotected && k.PassphraseFile != "":
		return problem("keys.unprotected", "unprotected keys have no passphrase, but passphrase_file is set").
			hint("remove one of the two")
	case k.Unprotected && (k.Unlock != UnlockPassphrase || k.KeyFile != ""):
		return problem("keys.unprotected", "nothing has to open unprotected keys, but unlock or key_file is set").
			hint("remove one of the two")
	case k.Unlock == UnlockKeyFile && k.KeyFile == "":
		return problem("keys.key_file", "must name the file that opens the keys")
	case k.Unlock != UnlockKeyFile && k.KeyFile != "":
		return problem("keys.key_file", "the key file is not used, because unlock is %q", k.Unlock).
			hint(`set unlock = "key_file", or remove it`)
	case k.Unlock != UnlockPassphrase && k.PassphraseFile != "":
		return problem("keys.passphrase_file", "the passphrase file is not used, because unlock is %q", k.Unlock).
			hint(`set unlock = "passphrase", or remove it`)
	case k.KeyFile != "" && filepath.IsLocal(k.KeyFile):
		return problem("keys.key_file", "%s lies inside the home directory", k.KeyFile).
			hint("keep it elsewhere: whoever copies the home directory must not get the key that opens it")
	}
	return oneOf("keys.unlock", string(k.Unlock), string(UnlockPassphrase), string(UnlockKeyFile), string(UnlockKeyring))
}

func (c Config) checkAPI() *Error {
	if c.API.Socket == "" {
		return problem("api.socket", "must not be empty")
	}
	if p := c.SocketPath(); len(p) > maxSocketPath {
		return problem("api.socket", "%s has %d bytes; a socket's path can have %d", p, len(p), maxSocketPath).
			hint("set a shorter absolute path here, in a directory that only you can enter")
	}
	return nil
}

func (c Config) checkChain() *Error {
	ch := c.Chain
	chainID := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$`)
	if !chainID.MatchString(ch.ID) {
		return problem("chain.id", "%q is not a chain id (want 1 to 50 letters, digits, dots, dashes)", ch.ID)
	}
	u, err := url.Parse(ch.Endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return problem("chain.endpoint", "%q is not an http or https address", ch.Endpoint).
			hint(`write it as "http://HOST:PORT"`)
	}
	if ch.Prefix != "tp" && ch.Prefix != "pb" {
		return problem("chain.prefix", `must be "tp" or "pb", not %q`, ch.Prefix)
	}
	coin := regexp.MustCompile(`^[0-9]{1,30}[a-zA-Z][a-zA-Z0-9/:._-]{2,127}$`)
	if ch.Fee != "auto" && !coin.MatchString(ch.Fee) {
		return problem("chain.fee", `%q is neither "auto" nor an amount such as "3nhash"`, ch.Fee)
	}
	return first(
		within("chain.gas_limit", ch.GasLimit, 100_000, 100_000_000),
		within("chain.cosign_lifetime", ch.CosignLifetime, 10*Second, 5*Minute),
		within("chain.poll_interval", ch.PollInterval, 50*Millisecond, Minute),
	)
}

func (c Config) checkP2P() *Error {
	p := c.P2P
	if len(p.Listen) == 0 {
		return problem("p2p.listen", "must name at least one multiaddress")
	}
	lists := []struct {
		key      string
		list     []string
		withPeer bool
	}{{"p2p.listen", p.Listen, false}, {"p2p.announce", p.Announce, false}, {"p2p.bootstrap", p.Bootstrap, true}}
	for _, l := range lists {
		for i, a := range l.list {
			if err := checkMultiaddr(a, l.withPeer); err != nil {
				return problem(fmt.Sprintf("%s[%d]", l.key, i), "%v", err)
			}
		}
	}
	for i, m := range p.Members {
		if m == "*" {
			continue
		}
		if err := checkAddress(c.Chain.Prefix, m); err != nil {
			return problem(fmt.Sprintf("p2p.members[%d]", i), "%v", err)
		}
	}
	return within("p2p.record_lifetime", p.RecordLifetime, 10*Minute, 720*Hour)
}

func (c Config) checkExec() *Error {
	x := c.Exec
	return first(
		within("exec.memory_limit", x.MemoryLimit, MiB, 4*GiB),
		within("exec.fuel_limit", x.FuelLimit, 1_000_000, 1_000_000_000_000),
		within("exec.module_limit", x.ModuleLimit, 64*KiB, 64*MiB),
		within("exec.output_limit", x.OutputLimit, KiB, 64*MiB),
		within("exec.timeout", x.Timeout, 100*Millisecond, 10*Minute),
		within("exec.workers", x.Workers, 1, 256),
	)
}

func (c Config) checkContracts() *Error {
	return oneOf("contracts.vet", string(c.Contracts.Vet), string(VetRequired), string(VetOpen))
}

func (c Config) checkAgreements() *Error {
	a := c.Agreements
	if e := within("agreements.max_lifetime", a.MaxLifetime, 10*Second, 8760*Hour); e != nil {
		return e
	}
	if a.Lifetime > a.MaxLifetime {
		return problem("agreements.lifetime", "%s is longer than max_lifetime, which is %s", a.Lifetime, a.MaxLifetime)
	}
	return first(
		within("agreements.lifetime", a.Lifetime, 10*Second, 8760*Hour),
		within("agreements.acknowledge_within", a.AcknowledgeWithin, 10*Second, 8760*Hour),
		within("agreements.max_open", a.MaxOpen, 1, 1_000_000),
	)
}

func (c Config) checkPolicy() *Error {
	if e := c.Policy.Default.check("policy.default"); e != nil {
		return e
	}
	for i, r := range c.Policy.Rules {
		key := fmt.Sprintf("policy.rule[%d]", i)
		if e := checkRuleContract(key+".contract", r.Contract); e != nil {
			return e
		}
		if r.Proposer != "" && r.Proposer != "*" {
			if err := checkAddress(c.Chain.Prefix, r.Proposer); err != nil {
				return problem(key+".proposer", "%v", err)
			}
		}
		if e := r.Action.check(key + ".action"); e != nil {
			return e
		}
	}
	return nil
}

// checkRuleContract refuses what looks like a contract and would match none:
// a rule that never matches is one that silently does nothing.
func checkRuleContract(key, text string) *Error {
	const digits, shortest = 64, 8 // of a hash, and of what the commands take for the beginning of one
	switch hex := strings.Trim(text, "0123456789abcdefABCDEF") == ""; {
	case len(text) > maxContractName:
		return problem(key, "must be a hash or a name of at most %d bytes", maxContractName)
	case hex && len(text) == digits && strings.ToLower(text) != text:
		return problem(key, "a hash is written in small letters")
	case hex && len(text) >= shortest && len(text) != digits:
		return problem(key, "%q looks like a part of a hash; a rule wants all %d digits", text, digits)
	case strings.Contains(text, "@"):
		return problem(key, "a rule takes a contract's hash or its name, without a version")
	}
	return nil
}

func (a Action) check(key string) *Error {
	return oneOf(key, string(a), string(Ask), string(Approve), string(Reject))
}

func (c Config) checkLog() *Error {
	return first(
		oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error"),
		oneOf("log.format", c.Log.Format, "text", "json"),
	)
}

func (c Config) checkMetrics() *Error {
	listen := c.Metrics.Listen
	if listen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(listen)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 {
		return problem("metrics.listen", "%q is not an address and a port", listen).hint(`write it as "127.0.0.1:PORT"`)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return problem("metrics.listen", "%q is not a loopback address", host).
			hint("use 127.0.0.1 or [::1]; a proxy can publish it with access control")
	}
	return nil
}

// checkMultiaddr looks at the outline only; p2p parses it for good.
func checkMultiaddr(a string, withPeer bool) error {
	parts := strings.Split(a, "/")
	hosts := []string{"ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr"}
	if len(parts) < 3 || parts[0] != "" || !slices.Contains(hosts, parts[1]) || slices.Contains(parts[1:], "") {
		return fmt.Errorf("%q is not a multiaddress (want for example /ip4/192.0.2.1/udp/4100/quic-v1)", a)
	}
	if strings.HasPrefix(parts[1], "ip") {
		if ip, err := netip.ParseAddr(parts[2]); err != nil || ip.Is4() != (parts[1] == "ip4") {
			return fmt.Errorf("%q is not an %s address", parts[2], parts[1])
		}
	}
	for i, p := range parts {
		if p != "tcp" && p != "udp" {
			continue
		}
		if i+1 == len(parts) {
			return fmt.Errorf("%q lacks the port after %s", a, p)
		}
		if _, err := strconv.ParseUint(parts[i+1], 10, 16); err != nil {
			return fmt.Errorf("%q is not a port", parts[i+1])
		}
	}
	if hasPeer := len(parts) > 4 && parts[len(parts)-2] == "p2p"; hasPeer != withPeer {
		if withPeer {
			return fmt.Errorf("%q must end in /p2p/PEERID", a)
		}
		return fmt.Errorf("%q must not name a peer id: it is this node's own", a)
	}
	return nil
}

func oneOf(key, value string, allowed ...string) *Error {
	if slices.Contains(allowed, value) {
		return nil
	}
	quoted := make([]string, len(allowed))
	for i, a := range allowed {
		quoted[i] = strconv.Quote(a)
	}
	last := len(quoted) - 1
	return problem(key, "must be %s or %s, not %q", strings.Join(quoted[:last], ", "), quoted[last], value)
}

func within[T cmp.Ordered](key string, value, low, high T) *Error {
	if value < low || value > high {
		return problem(key, "must be between %v and %v, not %v", low, high, value)
	}
	return nil
}

func first(errs ...*Error) *Error {
	for _, e := range errs {
		if e != nil {
			return e
		}
	}
	return nil
}
