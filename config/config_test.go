package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write config.example.toml anew")

// The example at the repository's root is what the code says.
func TestExampleFileMatchesTheCode(t *testing.T) {
	const path = "../config.example.toml"
	if *update {
		if err := os.WriteFile(path, Example(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, Example()) {
		t.Errorf("%s differs from config.Example(); run: go test ./config -update", path)
	}
}

func TestExampleIsTheDefault(t *testing.T) {
	c, e := parse(Example(), "/h")
	if e != nil {
		t.Fatal(e)
	}
	if !reflect.DeepEqual(c, Default("/h")) {
		t.Errorf("loaded %+v\nwant   %+v", c, Default("/h"))
	}
}

// Every setting has a line of explanation; a rule's are explained together.
func TestEverySettingIsExplained(t *testing.T) {
	for section := range fields(reflect.TypeFor[Config]()) {
		if section.Tag.Get("comment") == "" {
			t.Errorf("section %s has no explanation", section.Name)
		}
		for f := range fields(section.Type) {
			if f.Tag.Get("toml") == "" || f.Tag.Get("comment") == "" && f.Name != "Rules" {
				t.Errorf("%s.%s has no name or explanation", section.Name, f.Name)
			}
		}
	}
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Home != filepath.Dir(path) || c.SocketPath() != filepath.Join(c.Home, "affiliate.sock") {
		t.Errorf("home %q, socket %q", c.Home, c.SocketPath())
	}
}

func TestMissingFileSaysHowToMakeOne(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), FileName))
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint, "affiliate init") {
		t.Errorf("got %v", err)
	}
}

const address = "tp1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnenln70"

// What is wrong is shown at its line, with a caret under it.
func TestErrorsShowTheLine(t *testing.T) {
	tests := []struct {
		name, doc string
		text      string // Error() without the file
		caret     string // last line of Excerpt(), without its margin
	}{
		{"unknown key", "[p2p]\nlistn = []\n", "2: there is no setting p2p.listn", "^^^^^"},
		{"unknown section", "[log]\nlevel=\"info\"\n\n[p3p]\n", "4: there is no setting p3p", " ^^^"},
		{"unknown key of a rule", "[[policy.rule]]\naction=\"ask\"\nwho=1\n", "3: there is no setting policy.rule.who", "^^^"},
		{"key without section", "nme = \"x\"\n", "1: there is no setting nme", "^^^"},
		{"key below a value", "[log.level]\nx=1\n", "1: log.level: must be text in quotes, not a section", " ^^^^^^^^^"},
		{"text for a list", "[p2p]\nlisten = \"x\"", "2: p2p.listen: must be a list, not text", "         ^^^"},
		{"number in a list", "[p2p]\nlisten = [\"/ip4/1.2.3.4/tcp/1\", 5]", "2: p2p.listen[1]: must be text in quotes, not a number without quotes", "                                ^"},
		{"number for a duration", "[exec]\ntimeout = 10", "2: exec.timeout: must be text in quotes, with a unit, not a number without quotes", "          ^^"},
		{"number for a size", "exec.memory_limit = 1", "1: exec.memory_limit: must be text in quotes, with a unit, not a number without quotes", "                    ^"},
		{"fraction", "[exec]\nworkers = 1.5", "2: exec.workers: must be a whole number, not a number with a fraction", "          ^^^"},
		{"date", "[log]\nlevel = 2020-01-01", "2: log.level: must be text in quotes, not a date or time", "        ^^^^^^^^^^"},
		{"bad duration", "[exec]\n  timeout = \"soon\" # now", `2: exec.timeout: "soon" is not a duration (want a number and a unit, such as "30s", "2m" or "36h")`, "            ^^^^^^"},
		{"bad size", "[store]\nmax_object_size = \"64 MB\"", `2: store.max_object_size: "64 MB" is not a size (want a whole number and a unit, such as "512KiB", "64MiB" or "1GiB")`, "                  ^^^^^^^"},
		{"negative", "[chain]\ngas_limit = -1", "2: chain.gas_limit: negative integer value -1 cannot be stored in uint64", "            ^^"},
		{"impossible value", "[chain]\n\ncosign_lifetime = \"6m\"", "3: chain.cosign_lifetime: must be between 10s and 5m, not 6m", "                  ^^^^"},
		{"impossible word", "log = { level = \"loud\" }", `1: log.level: must be "debug", "info", "warn" or "error", not "loud"`, "                ^^^^^^"},
		{"two settings at odds", "[agreements]\nlifetime = \"48h\"\nmax_lifetime = \"24h\"", "2: agreements.lifetime: 48h is longer than max_lifetime, which is 24h", "           ^^^^^"},
		{"element", "[p2p]\nmembers = [\n  \"" + address + "\",\n\t\"tp1x\",\n]", "4: p2p.members[1]: the address has a typing error: its checksum is wrong", "\t^^^^^^"},
		{"second rule", "[[policy.rule]]\naction = \"ask\"\n[[policy.rule]]\naction = \"maybe\"", `4: policy.rule[1].action: must be "ask", "approve" or "reject", not "maybe"`, "         ^^^^^^^"},
		{"what isn't there", "[[policy.rule]]\ncontract = \"loan\"", `1: policy.rule[0].action: must be "ask", "approve" or "reject", not ""`, "  ^^^^^^^^^^^"},
		{"broken TOML", "[log]\nlevel = \"info\n", "2: not valid TOML: basic strings cannot have new lines", ""},
		{"set twice", "[log]\nlevel = \"info\"\nlevel = \"warn\"", "3: level: key level is already defined", "^"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, e := parse([]byte(tt.doc), "/h")
			if e == nil {
				t.Fatal("accepted")
			}
			e.File = "f"
			if got := strings.TrimPrefix(e.Error(), "f:"); got != tt.text {
				t.Errorf("error\n  %s\nwant\n  %s", got, tt.text)
			}
			_, last, _ := strings.Cut(e.Excerpt(), "\n")
			if _, caret, _ := strings.Cut(last, "| "); tt.caret != "" && caret != tt.caret {
				t.Errorf("caret\n%s\nwant\n%s", e.Excerpt(), tt.caret)
			}
		})
	}
}

// Values that can't work are refused, each under its own key.
func TestImpossibleValues(t *testing.T) {
	tests := []struct {
		key    string
		change func(*Config)
	}{
		{"affiliate.name", func(c *Config) { c.Affiliate.Name = "" }},
		{"affiliate.name", func(c *Config) { c.Affiliate.Name = "a\x1b[31m" }},
		{"keys.unprotected", func(c *Config) { c.Keys.PassphraseFile, c.Keys.Unprotected = "p", true }},
		{"keys.unprotected", func(c *Config) { c.Keys.Unlock, c.Keys.Unprotected = UnlockKeyring, true }},
		{"keys.unlock", func(c *Config) { c.Keys.Unlock = "magic" }},
		{"keys.key_file", func(c *Config) { c.Keys.Unlock = UnlockKeyFile }},
		{"keys.key_file", func(c *Config) { c.Keys.KeyFile = "/k" }},
		{"keys.key_file", func(c *Config) { c.Keys.Unlock, c.Keys.KeyFile = UnlockKeyFile, "keys/../k" }},
		{"keys.passphrase_file", func(c *Config) { c.Keys.Unlock, c.Keys.PassphraseFile = UnlockKeyring, "/p" }},
		{"api.socket", func(c *Config) { c.API.Socket = "" }},
		{"api.socket", func(c *Config) { c.API.Socket = strings.Repeat("x", 101) }},
		{"chain.id", func(c *Config) { c.Chain.ID = "a b" }},
		{"chain.endpoint", func(c *Config) { c.Chain.Endpoint = "localhost:26657" }},
		{"chain.prefix", func(c *Config) { c.Chain.Prefix = "cosmos" }},
		{"chain.fee", func(c *Config) { c.Chain.Fee = "cheap" }},
		{"chain.gas_limit", func(c *Config) { c.Chain.GasLimit = 1 }},
		{"chain.poll_interval", func(c *Config) { c.Chain.PollInterval = 0 }},
		{"p2p.listen", func(c *Config) { c.P2P.Listen = nil }},
		{"p2p.listen[0]", func(c *Config) { c.P2P.Listen = []string{"0.0.0.0:4100"} }},
		{"p2p.listen[0]", func(c *Config) { c.P2P.Listen = []string{"/ip4/1.2.3/tcp/1"} }},
		{"p2p.listen[0]", func(c *Config) { c.P2P.Listen = []string{"/ip4/1.2.3.4/tcp/70000"} }},
		{"p2p.bootstrap[0]", func(c *Config) { c.P2P.Bootstrap = []string{"/ip4/1.2.3.4/tcp/1"} }},
		{"p2p.members[0]", func(c *Config) { c.P2P.Members = []string{"pb1abc"} }},
		{"p2p.record_lifetime", func(c *Config) { c.P2P.RecordLifetime = Minute }},
		{"store.max_object_size", func(c *Config) { c.Store.MaxObjectSize = 0 }},
		{"store.disk_budget", func(c *Config) { c.Store.DiskBudget = 1 }},
		{"store.disk_reserve", func(c *Config) { c.Store.DiskReserve = -1 }},
		{"store.grace", func(c *Config) { c.Store.Grace = 0 }},
		{"store.compact_after", func(c *Config) { c.Store.CompactAfter = Second }},
		{"store.payloads", func(c *Config) { c.Store.Payloads = "https://bucket" }},
		{"store.payloads", func(c *Config) { c.Store.Payloads = "s3://key:secret@bucket" }},
		{"retention.failed", func(c *Config) { c.Retention.Failed = -1 }},
		{"retention.rule[0].contract", func(c *Config) { c.Retention.Rules = []KeepRule{{Keep: Keep(Hour)}} }},
		{"retention.rule[0].keep", func(c *Config) { c.Retention.Rules = []KeepRule{{"loan", 1}} }},
		{"exec.workers", func(c *Config) { c.Exec.Workers = 0 }},
		{"contracts.vet", func(c *Config) { c.Contracts.Vet = "no" }},
		{"agreements.max_open", func(c *Config) { c.Agreements.MaxOpen = -1 }},
		{"policy.default", func(c *Config) { c.Policy.Default = "yes" }},
		{"policy.rule[0].contract", func(c *Config) { c.Policy.Rules = []Rule{{Contract: "64a722c905aa", Action: Ask}} }},
		{"policy.rule[0].contract", func(c *Config) {
			c.Policy.Rules = []Rule{{Contract: strings.Repeat("AB", 32), Action: Reject}}
		}},
		{"policy.rule[0].contract", func(c *Config) { c.Policy.Rules = []Rule{{Contract: "loan@1.0.0", Action: Ask}} }},
		{"policy.rule[0].proposer", func(c *Config) { c.Policy.Rules = []Rule{{Proposer: "bob", Action: Ask}} }},
		{"log.format", func(c *Config) { c.Log.Format = "xml" }},
		{"metrics.listen", func(c *Config) { c.Metrics.Listen = "0.0.0.0:9600" }},
		{"metrics.listen", func(c *Config) { c.Metrics.Listen = "9600" }},
	}
	for _, tt := range tests {
		c := Default("/h")
		tt.change(&c)
		var e *Error
		if err := c.Validate(); !errors.As(err, &e) || e.Key != tt.key {
			t.Errorf("%s: got %v", tt.key, err)
		}
	}
}

// What Encode writes, Load reads back.
func TestEncodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Default("/h")
		c.Affiliate.Name = rapid.StringMatching(`[ -~äß€]{1,20}`).Draw(t, "name")
		c.P2P.Members = rapid.SliceOfN(rapid.SampledFrom([]string{"*", address}), 1, 3).Draw(t, "members")
		c.Agreements.Lifetime = Duration(rapid.Int64Range(int64(10*Second), int64(720*Hour)).Draw(t, "lifetime"))
		c.Store.MaxObjectSize = Size(rapid.Int64Range(int64(64*KiB), int64(TiB)).Draw(t, "size"))
		c.Policy.Rules = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Rule {
			return Rule{
				Contract: rapid.StringMatching(`[g-z"\\\n]{0,9}`).Draw(t, "contract"),
				Proposer: "*", Action: rapid.SampledFrom([]Action{Ask, Approve, Reject}).Draw(t, "action"),
			}
		}), 1, 3).Draw(t, "rules")
		got, e := parse(Encode(c), "/h")
		if e != nil {
			t.Fatalf("%v\n%s", e, Encode(c))
		}
		if !reflect.DeepEqual(got, c) {
			t.Fatalf("got  %+v\nwant %+v", got, c)
		}
	})
}

func TestDurationsAndSizesAreShort(t *testing.T) {
	for want, d := range map[string]Duration{
		"24h": 24 * Hour, "2m": 2 * Minute, "1m30s": 90 * Second, "500ms": 500 * Millisecond,
		"1h0m1s": Hour + Second, "0s": 0, "20m": 20 * Minute, "10h10m": 10*Hour + 10*Minute,
	} {
		if d.String() != want {
			t.Errorf("%d is written %q, want %q", d, d, want)
		}
	}
	for want, s := range map[string]Size{"0B": 0, "1KiB": KiB, "1536KiB": 1536 * KiB, "1GiB": GiB, "1025B": 1025} {
		if s.String() != want {
			t.Errorf("%d is written %q, want %q", int64(s), s, want)
		}
	}
	var s Size
	for _, bad := range []string{"", "1", "-1B", "1.5MiB", "9999999999TiB", "MiB", "1mib"} {
		if s.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("size %q was accepted", bad)
		}
	}
}

// The checksum is BIP-173's: its own valid examples pass, one letter more or
// another one doesn't.
func TestAddressChecksum(t *testing.T) {
	for prefix, valid := range map[string]string{
		"a": "a12uel5l", "split": "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w", "tp": address,
	} {
		if err := checkAddress(prefix, valid); err != nil {
			t.Errorf("%s: %v", valid, err)
		}
		for _, bad := range []string{valid + "q", valid[:len(valid)-1], "x" + valid, valid[:len(valid)-1] + "b"} {
			if checkAddress(prefix, bad) == nil {
				t.Errorf("%s was accepted", bad)
			}
		}
	}
}

// FuzzParse shows that no file makes the reader panic, and that every error
// points inside the file.
func FuzzParse(f *testing.F) {
	f.Add(Example())
	f.Add([]byte("[p2p]\nlisten = [\"/ip4/1.2.3.4/tcp/1\",\n5]\n[[policy.rule]]\n"))
	f.Add([]byte("policy = {rule=[{action=\"x\"}]}\n\"a.b\"=1"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		_, e := parse(doc, "/h")
		if e != nil && (e.Line < 0 || e.Line > bytes.Count(doc, []byte("\n"))+1) {
			t.Errorf("line %d of %q", e.Line, doc)
		}
		if e != nil {
			_ = e.Excerpt()
		}
	})
}
