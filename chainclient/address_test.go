package chainclient

import (
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// TestAddressVectors takes its values from Provenance's own tests.
func TestAddressVectors(t *testing.T) {
	id := func(s string) agreement.UUID {
		u, err := agreement.ParseUUID(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	scope, session := id("91978ba2-5f35-459a-86a7-feca1b0512e0"), id("5803f8bc-6067-4eb5-951f-2121671c2ec0")
	for got, want := range map[string]string{
		ScopeAddress(scope):            "scope1qzge0zaztu65tx5x5llv5xc9ztsqxlkwel",
		SessionAddress(scope, session): "session1qxge0zaztu65tx5x5llv5xc9zts9sqlch3sxwn44j50jzgt8rshvqyfrjcr",
		ContractSpecAddress(id("def6bc0a-c9dd-4874-948f-5206e6060a84")): "contractspec1q000d0q2e8w5say53afqdesxp2zqzkr4fn",
		ScopeSpecAddress(id("dc83ea70-eacd-40fe-9adf-1cf6148bf8a2")):    "scopespec1qnwg86nsatx5pl56muw0v9ytlz3qu3jx6m",
	} {
		if got != want {
			t.Errorf("address %s, want %s", got, want)
		}
	}
	for _, s := range []string{scope.String(), ScopeAddress(scope), strings.ToUpper(ScopeAddress(scope))} {
		if u, err := ParseScope(s); err != nil || u != scope {
			t.Errorf("ParseScope(%s) = %s, %v", s, u, err)
		}
	}
	for _, s := range []string{"", "scope1", SessionAddress(scope, session), ScopeSpecAddress(scope), ScopeAddress(scope) + "q", strings.Repeat("scope1", 100)} {
		if _, err := ParseScope(s); agreement.CodeOf(err) != agreement.CodeBadRequest {
			t.Errorf("ParseScope(%q): %v", s, err)
		}
	}
	if u, err := ParseScopeSpec(ScopeSpecAddress(scope)); err != nil || u != scope {
		t.Errorf("ParseScopeSpec: %s, %v", u, err)
	}
}

func TestConfigErrors(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"endpoint":        func(c *Config) { c.Endpoint = "127.0.0.1" },
		"id":              func(c *Config) { c.ChainID = "" },
		"prefix":          func(c *Config) { c.Prefix = "" },
		"fee":             func(c *Config) { c.Fee = "much" },
		"cosign_lifetime": func(c *Config) { c.CosignLifetime = MaxCosignLifetime + 1 },
		"poll_interval":   func(c *Config) { c.PollInterval = -1 },
	} {
		cfg := testConfig
		change(&cfg)
		_, err := New(cfg, newSigner("a"), nil)
		wantCode(t, err, agreement.CodeBadRequest)
		if !strings.Contains(err.Error(), "[chain] "+key) {
			t.Errorf("%q does not name [chain] %s", err, key)
		}
	}
	cfg := testConfig
	cfg.Prefix = "pb"
	if _, err := New(cfg, newSigner("a"), nil); err == nil {
		t.Error("a signer of another network is accepted")
	}
	cfg = testConfig
	cfg.Endpoint = "http://user:secret@127.0.0.1:1"
	c, err := New(cfg, newSigner("a"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(t.Context())
	wantCode(t, err, agreement.CodeChainUnreachable)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows a password: %v", err)
	}
}
