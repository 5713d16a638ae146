package chainclient_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/contract"
)

// TestAgreementOnChain carries two agreements of three parties through the
// development chain: publish, co-sign, commit, read back.
func TestAgreementOnChain(t *testing.T) {
	_, ps := start(t, "alice", "bob", "carol")
	alice, bob, carol := ps[0], ps[1], ps[2]
	spec := loan("io.example.Loan")

	err := bob.CheckSpecification(t.Context(), spec)
	wantCode(t, err, agreement.CodeUnknownContract)
	hash, err := alice.Publish(t.Context(), spec)
	if err != nil || len(hash) != 64 {
		t.Fatalf("publishing: %q, %v", hash, err)
	}
	if hash, err = alice.Publish(t.Context(), spec); err != nil || hash != "" {
		t.Errorf("publishing again: %q, %v", hash, err)
	}
	if hash, err = bob.Publish(t.Context(), spec); err != nil || hash != "" {
		t.Errorf("publishing what another published: %q, %v", hash, err)
	}
	for _, p := range ps {
		if err := p.CheckSpecification(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}

	_, err = carol.Scope(t.Context(), uid("scope"))
	if !errors.Is(err, agreement.ErrNotFound) {
		t.Errorf("a scope before it exists: %v", err)
	}
	first := write(spec, "first", ps, agreement.AbsentHash())
	first.NewScope, first.ValueOwner = true, alice.Address()
	first.Owners = []agreement.Party{{Address: alice.Address(), Role: "ORIGINATOR"}}
	commit := submit(t, ps, first)
	wantScope(t, carol.Client, first, commit, nil)

	// The second is proposed by another party, and gives carol data access.
	second := write(spec, "second", []party{alice, bob, carol}, commit.Records["terms"])
	second.Signers = []string{bob.Address(), alice.Address(), carol.Address()}
	second.AddedDataAccess = []string{carol.Address()}
	commit = submit(t, []party{bob, alice, carol}, second)
	wantScope(t, alice.Client, second, commit, []string{carol.Address()})
}

func wantScope(t *testing.T, c *chainclient.Client, w chainclient.Write, commit chainclient.Commit, access []string) {
	t.Helper()
	scope, err := c.Scope(t.Context(), w.Scope)
	if err != nil {
		t.Fatal(err)
	}
	if scope.ID != w.Scope || scope.Specification != w.ScopeSpec || len(scope.Owners) != 1 || scope.Owners[0].Role != "ORIGINATOR" ||
		scope.ValueOwner != scope.Owners[0].Address || strings.Join(scope.DataAccess, " ") != strings.Join(access, " ") {
		t.Errorf("scope %+v", scope)
	}
	if len(scope.Records) != len(w.Records) || len(commit.Records) != len(w.Records) {
		t.Errorf("records %v, in the commit %v", scope.Records, commit.Records)
	}
	for _, r := range w.Records {
		got := scope.Records[r.Name]
		if got.Hash != r.Output || commit.Records[r.Name] != r.Output || got.Session != w.Session ||
			got.Contract != agreement.ContractSpecificationID(w.Contract) {
			t.Errorf("record %s: %+v, in the commit %q, want %q", r.Name, got, commit.Records[r.Name], r.Output)
		}
	}
}

// TestSpecificationsDiffer: a contract under the same hash whose manifest says
// something else is found out, and can't be published by another.
func TestSpecificationsDiffer(t *testing.T) {
	_, ps := start(t, "alice", "bob")
	alice, bob := ps[0], ps[1]
	spec := loan("io.example.Loan")
	if _, err := alice.Publish(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*contract.Manifest){
		"name":   func(m *contract.Manifest) { m.Name = "io.example.Other" },
		"role":   func(m *contract.Manifest) { m.Roles = m.Roles[:2] },
		"number": func(m *contract.Manifest) { m.Roles[1].Min = 2 },
		"record": func(m *contract.Manifest) { m.Functions[1].Record.Type = "Other" },
		"who":    func(m *contract.Manifest) { m.Functions[1].Role = "INVESTOR" },
		"input":  func(m *contract.Manifest) { m.Functions[1].Inputs = []string{"application"} },
		"less":   func(m *contract.Manifest) { m.Functions = m.Functions[:1] },
		"scope":  func(m *contract.Manifest) { m.ScopeSpecifications[0].Roles = []string{"OWNER"} },
	} {
		changed := loan("io.example.Loan")
		change(&changed.Manifest)
		if err := bob.CheckSpecification(t.Context(), changed); agreement.CodeOf(err) != agreement.CodeSpecification {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := bob.Publish(t.Context(), changed); agreement.CodeOf(err) != agreement.CodeSpecification {
			t.Errorf("publishing with another %s: %v", name, err)
		}
	}
	// A second contract on the same kind of scope: its owner may add it, others not.
	other := loan("io.example.Servicing")
	_, err := bob.Publish(t.Context(), other)
	wantCode(t, err, agreement.CodeSpecification)
	if _, err := alice.Publish(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := bob.CheckSpecification(t.Context(), other); err != nil {
		t.Error(err)
	}
}

// cosigned builds a body of w and has the other party sign it too.
func cosigned(t *testing.T, proposer, other party, w chainclient.Write, timeout time.Time) ([]byte, []chainclient.Cosignature) {
	t.Helper()
	body, err := proposer.BuildBody(w, timeout)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := other.Cosign(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	return body, []chainclient.Cosignature{{Address: other.Address(), AccountKey: other.AccountKey(), Signature: sig}}
}

func TestWrongChainAndStranger(t *testing.T) {
	chain, ps := start(t, "alice")
	_, err := client(t, chain, "other-1", ps[0].signer).Status(t.Context())
	wantCode(t, err, agreement.CodeChainMismatch)
	_, err = client(t, chain, chain.ChainID, newSigner("stranger")).Cosign(t.Context(), []byte("body"))
	wantCode(t, err, agreement.CodeChainRefused)
}

// TestChainRefusals: what the chain says about bad transactions comes out as
// the code that says what to do.
func TestChainRefusals(t *testing.T) {
	chain, ps := start(t, "alice", "bob")
	alice, bob := ps[0], ps[1]
	fixed, err := chainclient.New(chainclient.Config{
		ChainID: chain.ChainID, Endpoint: chain.Endpoint, Prefix: "tp", Fee: "100000000000nhash",
	}, alice.signer, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	timeout, err := alice.NewTimeout(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	assemble := func(w chainclient.Write, timeout time.Time) ([]byte, agreement.Hash) {
		body, cosigs := cosigned(t, alice, bob, w, timeout)
		tx, _, err := fixed.Assemble(t.Context(), body, w.Signers, cosigs)
		if err != nil {
			t.Fatal(err)
		}
		return tx, sha256.Sum256(body)
	}

	// The contract is not published, so the transaction fails. With the fee
	// "auto" a trial run finds that out before anything is burnt.
	w := write(loan("io.example.Loan"), "first", []party{alice, bob}, agreement.AbsentHash())
	body, cosigs := cosigned(t, alice, bob, w, timeout)
	_, _, err = alice.Assemble(t.Context(), body, w.Signers, cosigs)
	wantCode(t, err, agreement.CodeChainRefused)

	// With a set fee it reaches a block, and everybody sees it fail there.
	tx, bodyHash := assemble(w, timeout)
	if err := fixed.Broadcast(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	commit := await(t, bob.Client, w.Session)
	if commit.Code == 0 || commit.Log == "" || commit.TxHash != chainclient.TxHash(tx) || commit.Body != bodyHash {
		t.Errorf("commit %+v", commit)
	}
	if err := fixed.Broadcast(t.Context(), tx); err != nil {
		t.Errorf("broadcasting a failed transaction again: %v", err)
	}

	// Neither a spent timeout nor a past one can ever pass.
	w.Session = uid("another")
	tx, _ = assemble(w, timeout)
	wantCode(t, fixed.Broadcast(t.Context(), tx), agreement.CodeExpired)
	tx, _ = assemble(w, timeout.Add(-time.Hour))
	wantCode(t, fixed.Broadcast(t.Context(), tx), agreement.CodeExpired)
}

// TestManyInFlight: agreements of the same parties don't wait for one another
// and commit in any order.
func TestManyInFlight(t *testing.T) {
	_, ps := start(t, "alice", "bob", "carol")
	spec := loan("io.example.Loan")
	if _, err := ps[0].Publish(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	txs, open := map[string][]byte{}, map[agreement.ID]bool{} // a map shuffles
	for i := range 20 {
		name := fmt.Sprint("flight ", i)
		order := append(append([]party{}, ps[i%3:]...), ps[:i%3]...)
		w := write(spec, name, order, agreement.AbsentHash())
		w.Scope, w.NewScope = uid("scope of "+name), true
		w.Owners = []agreement.Party{{Address: ps[0].Address(), Role: "ORIGINATOR"}}
		tx, _, hash := sign(t, order, w)
		txs[hash], open[w.Session] = tx, true
	}
	for _, tx := range txs {
		if err := ps[0].Broadcast(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := ps[1].Follow(ctx, 1, func(_ context.Context, b chainclient.Block) error {
		for _, c := range b.Commits {
			if c.Code != 0 || !open[c.Agreement] {
				t.Errorf("commit %+v", c)
			}
			delete(open, c.Agreement)
		}
		if len(open) == 0 {
			return errSeen
		}
		return nil
	})
	if !errors.Is(err, errSeen) {
		t.Fatalf("%d of 20 were not committed: %v", len(open), err)
	}
}
