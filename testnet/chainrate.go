package testnet

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/contract"
	"github.com/affiliate-node/affiliate/keys"
)

const (
	chainRateTxs     = 300 // transactions of one measurement
	chainRateSenders = 8   // broadcasting at once
	chainRateWithin  = 2 * time.Minute
)

// chainRate measures what the chain alone does with transactions of the same
// form as the agreements': all are built and signed by all three parties
// first, then sent at once. It is in transactions a second, from the first
// one sent to the block of the last.
func (n *Net) chainRate(ctx context.Context, report *Report) (float64, error) {
	signers, err := n.signers()
	if err != nil {
		return 0, err
	}
	form, err := n.writeForm(ctx)
	if err != nil {
		return 0, err
	}
	report.Line("signing %d transactions to measure the chain alone", chainRateTxs)
	txs := make([][]byte, chainRateTxs)
	for i := range txs {
		if txs[i], err = signTx(ctx, signers, form); err != nil {
			return 0, err
		}
	}
	first, err := n.chain.height(ctx)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := sendAll(ctx, signers[0].client, txs); err != nil {
		return 0, err
	}
	var end time.Time
	seen, next := 0, first
	err = n.await(ctx, "the chain to commit them all", chainRateWithin, func(ctx context.Context) error {
		newest, err := n.chain.height(ctx)
		if err != nil {
			return err
		}
		for ; next <= newest; next++ {
			b, err := n.chain.block(ctx, next)
			if err != nil {
				return err
			}
			for i, code := range b.Codes {
				if code != 0 {
					return fmt.Errorf("transaction %d of block %d failed with code %d", i, next, code)
				}
			}
			seen += len(b.Txs)
			end = time.Now()
		}
		if seen < len(txs) {
			return fmt.Errorf("%d of %d are in blocks", seen, len(txs))
		}
		return nil
	})
	return float64(len(txs)) / end.Sub(start).Seconds(), err
}

func sendAll(ctx context.Context, c *chainclient.Client, txs [][]byte) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(chainRateSenders)
	for _, tx := range txs {
		g.Go(guard(func() error { return c.Broadcast(ctx, tx) }))
	}
	return g.Wait()
}

// chainSigner signs as one of the affiliates does, with its own key.
type chainSigner struct {
	ring   *keys.Ring
	client *chainclient.Client
}

func (n *Net) signers() ([]chainSigner, error) {
	var all []chainSigner
	for _, i := range []int{originator, servicer, investor} {
		a := n.Affiliates[i]
		ring, err := keys.Open(keys.Options{Dir: filepath.Join(a.Home, "keys"), Unprotected: true, Prefix: prefix})
		if err != nil {
			return nil, fmt.Errorf("opening the keys of %s: %w", a.Name, err)
		}
		c, err := chainclient.New(n.chainConfig(), ring, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		all = append(all, chainSigner{ring: ring, client: c})
	}
	return all, nil
}

// writeForm is what a loan writes, with hashes that stand for any.
func (n *Net) writeForm(ctx context.Context) (chainclient.Write, error) {
	known, err := n.Affiliates[originator].contract(ctx, contractLoan)
	if err != nil {
		return chainclient.Write{}, err
	}
	hash, err := agreement.ParseHash(known.GetHash())
	if err != nil {
		return chainclient.Write{}, err
	}
	var m contract.Manifest
	if err := json.Unmarshal(known.GetManifest(), &m); err != nil {
		return chainclient.Write{}, fmt.Errorf("reading the manifest: %w", err)
	}
	spec, err := agreement.ParseUUID(m.ScopeSpecifications[0].ID)
	if err != nil {
		return chainclient.Write{}, err
	}
	w := chainclient.Write{NewScope: true, ScopeSpec: spec, Contract: hash, ContractName: m.Name}
	for _, p := range n.loanParties(originator, servicer, investor) {
		w.Parties = append(w.Parties, agreement.Party{Address: p.affiliate.Address, Role: p.role})
		w.Signers = append(w.Signers, p.affiliate.Address)
	}
	w.Owners = w.Parties
	types := map[string]string{}
	for _, in := range m.Inputs {
		types[in.Name] = in.Type
	}
	for _, f := range m.Functions {
		r := chainclient.RecordWrite{Name: f.Record.Name, Method: f.Name, Output: agreement.Commitment(nil, []byte(f.Name))}
		for _, in := range f.Inputs {
			r.Inputs = append(r.Inputs, agreement.NamedHash{Name: in, Type: types[in], Hash: agreement.Commitment(nil, []byte(in))})
		}
		w.Records = append(w.Records, r)
	}
	return w, nil
}

// signTx makes one transaction of the form, on a scope of its own.
func signTx(ctx context.Context, signers []chainSigner, w chainclient.Write) ([]byte, error) {
	w.Scope, w.Session = agreement.NewUUID(), agreement.NewUUID()
	proposer := signers[0].client
	timeout, err := proposer.NewTimeout(ctx)
	if err != nil {
		return nil, err
	}
	body, err := proposer.BuildBody(w, timeout)
	if err != nil {
		return nil, err
	}
	var cosigs []chainclient.Cosignature
	for _, s := range signers[1:] {
		sig, err := s.client.Cosign(ctx, body)
		if err != nil {
			return nil, err
		}
		cosigs = append(cosigs, chainclient.Cosignature{
			Address: s.ring.Address(), AccountKey: s.ring.AccountKey(), Signature: sig,
		})
	}
	tx, _, err := proposer.Assemble(ctx, body, w.Signers, cosigs)
	return tx, err
}
