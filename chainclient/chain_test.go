package chainclient_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	cosmoskey "github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	"github.com/cosmos/cosmos-sdk/types/bech32"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/devchain"
)

// patience bounds every wait for the development chain.
const patience = 20 * time.Second

type signer struct{ key *secp256k1.PrivateKey }

func newSigner(seed string) signer {
	sum := sha256.Sum256([]byte("chainclient devchain test " + seed))
	return signer{secp256k1.PrivKeyFromBytes(sum[:])}
}

func (s signer) AccountKey() []byte { return s.key.PubKey().SerializeCompressed() }

func (s signer) Address() string {
	a, err := bech32.ConvertAndEncode("tp", (&cosmoskey.PubKey{Key: s.AccountKey()}).Address())
	if err != nil {
		panic(err)
	}
	return a
}

func (s signer) Sign(msg []byte) ([]byte, error) {
	sum := sha256.Sum256(msg)
	return ecdsa.SignCompact(s.key, sum[:], true)[1:], nil
}

// party is one affiliate of the test.
type party struct {
	signer
	*chainclient.Client
}

func (p party) Address() string { return p.signer.Address() }

// start runs a chain with an account and a client for each name.
func start(t *testing.T, names ...string) (*devchain.TestChain, []party) {
	t.Helper()
	var g devchain.Genesis
	var ps []party
	for _, n := range names {
		s := newSigner(n)
		g.Accounts = append(g.Accounts, devchain.Account{Address: s.Address(), PublicKey: s.AccountKey()})
		ps = append(ps, party{signer: s})
	}
	chain := devchain.StartTest(t, g)
	for i := range ps {
		ps[i].Client = client(t, chain, chain.ChainID, ps[i].signer)
	}
	return chain, ps
}

func client(t *testing.T, chain *devchain.TestChain, id string, s chainclient.Signer) *chainclient.Client {
	t.Helper()
	c, err := chainclient.New(chainclient.Config{
		ChainID: id, Endpoint: chain.Endpoint, Prefix: "tp", PollInterval: 20 * time.Millisecond,
	}, s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func uid(name string) agreement.UUID {
	sum := sha256.Sum256([]byte(name))
	return agreement.UUID(sum[:16])
}

func loan(contractName string) chainclient.Specification {
	return chainclient.Specification{
		Contract: sha256.Sum256([]byte(contractName)),
		Manifest: contract.Manifest{
			ABI: 1, Name: contractName, Version: "1",
			Roles: []contract.RoleSpec{{Role: "ORIGINATOR"}, {Role: "SERVICER", Min: 1, Max: 2}, {Role: "INVESTOR"}},
			ScopeSpecifications: []contract.ScopeSpecification{
				{ID: uid("loan scope").String(), Name: "Loan", Description: "A loan", Roles: []string{"ORIGINATOR"}},
			},
			Inputs:   []contract.ValueSpec{{Name: "application", Type: "Application"}, {Name: "pdf", Type: "Document"}},
			Existing: []contract.ValueSpec{{Name: "terms", Type: "Terms", Optional: true}},
			Functions: []contract.Function{
				{Name: "originate", Role: "ORIGINATOR", Inputs: []string{"application"}, Existing: []string{"terms"}, Record: contract.RecordSpec{Name: "terms", Type: "Terms"}},
				{Name: "attach", Role: "SERVICER", Inputs: []string{"pdf"}, Record: contract.RecordSpec{Name: "document", Type: "Document"}},
			},
		},
	}
}

// write makes what an agreement of the loan contract writes.
func write(s chainclient.Specification, session string, ps []party, existing string) chainclient.Write {
	hash := func(what string) string {
		return agreement.Commitment([]byte(session+strings.Repeat("s", 32)), []byte(what))
	}
	w := chainclient.Write{
		Scope: uid("scope"), Session: uid(session), ScopeSpec: uid("loan scope"),
		Contract: s.Contract, ContractName: s.Manifest.Name,
		Records: []chainclient.RecordWrite{
			{Name: "terms", Method: "originate", Output: hash("terms"), Inputs: []agreement.NamedHash{
				{Name: "application", Hash: hash("application"), Type: "Application"}, {Name: "terms", Hash: existing, Type: "Terms"},
			}},
			{Name: "document", Method: "attach", Output: hash("document"), Inputs: []agreement.NamedHash{{Name: "pdf", Hash: hash("pdf"), Type: "Document"}}},
		},
	}
	for i, p := range ps {
		w.Signers = append(w.Signers, p.Address())
		w.Parties = append(w.Parties, agreement.Party{Address: p.Address(), Role: []agreement.Role{"ORIGINATOR", "SERVICER", "INVESTOR"}[i]})
	}
	return w
}

// sign has everybody check and co-sign a body of w, and assembles it.
func sign(t *testing.T, ps []party, w chainclient.Write) (tx, body []byte, hash string) {
	t.Helper()
	proposer := ps[0]
	timeout, err := proposer.NewTimeout(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if body, err = proposer.BuildBody(w, timeout); err != nil {
		t.Fatal(err)
	}
	var cosigs []chainclient.Cosignature
	for _, p := range ps[1:] {
		st, err := p.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.CheckBody(body, w, st.BlockTime); err != nil {
			t.Fatal(err)
		}
		sig, err := p.Cosign(t.Context(), body)
		if err != nil {
			t.Fatal(err)
		}
		cosigs = append(cosigs, chainclient.Cosignature{Address: p.Address(), AccountKey: p.AccountKey(), Signature: sig})
	}
	if tx, hash, err = proposer.Assemble(t.Context(), body, w.Signers, cosigs); err != nil {
		t.Fatal(err)
	}
	return tx, body, hash
}

var errSeen = errors.New("seen")

// await follows the chain from its start until it sees the session.
func await(t *testing.T, c *chainclient.Client, session agreement.UUID) chainclient.Commit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var found chainclient.Commit
	next := int64(1)
	err := c.Follow(ctx, next, func(_ context.Context, b chainclient.Block) error {
		if b.Height != next {
			t.Errorf("block %d comes after %d", b.Height, next-1)
		}
		next++
		for _, commit := range b.Commits {
			if commit.Agreement == session {
				found = commit
				return errSeen
			}
		}
		return nil
	})
	if !errors.Is(err, errSeen) {
		ok, text, height, _ := c.Health()
		t.Fatalf("waiting for session %s: %v (connected %v, %q, height %d)", session, err, ok, text, height)
	}
	return found
}

func submit(t *testing.T, ps []party, w chainclient.Write) chainclient.Commit {
	t.Helper()
	tx, body, hash := sign(t, ps, w)
	if err := ps[0].Broadcast(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	commit := await(t, ps[len(ps)-1].Client, w.Session)
	if commit.Code != 0 || commit.TxHash != hash || commit.Body != sha256.Sum256(body) || commit.Scope != w.Scope {
		t.Fatalf("commit %+v, transaction %s", commit, hash)
	}
	if err := ps[0].Broadcast(t.Context(), tx); err != nil {
		t.Errorf("broadcasting a committed transaction again: %v", err)
	}
	return commit
}

func wantCode(t *testing.T, err error, code agreement.Code) {
	t.Helper()
	if err == nil || agreement.CodeOf(err) != code {
		t.Fatalf("error is %v, want %s", err, code)
	}
}
