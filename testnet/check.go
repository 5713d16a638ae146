package testnet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/chainclient"
)

// objectLimit is the largest object that a check reads, in bytes.
const objectLimit = 4 << 20

// check looks at everything from outside: the chain as a stranger reads it,
// each affiliate as one of its applications does.
func (s *scenario) check(ctx context.Context) error {
	s.report.Title("Checking from outside")
	for _, r := range s.runs {
		lines, err := s.net.checkRun(ctx, s.obs, r)
		if err != nil {
			return fmt.Errorf("checking %s (agreement %s): %w", r.short, r.id, err)
		}
		for _, line := range lines {
			s.report.Line("%-10s %s", r.short, line)
		}
	}
	return nil
}

// checkRun checks one agreement that is final, and tells what it found.
func (n *Net) checkRun(ctx context.Context, obs *observer, r *agreementRun) ([]string, error) {
	if r.phase != phaseComplete {
		line, err := n.checkFailed(ctx, obs, r)
		return []string{line}, err
	}
	var lines []string
	for _, check := range []func(context.Context, *observer, *agreementRun) (string, error){
		n.checkAgreement, n.checkCommit, n.checkRecords, n.checkInputs, n.checkSearch, n.checkOutsiders,
	} {
		line, err := check(ctx, obs, r)
		if err != nil {
			return lines, err
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// checkAgreement asks every party once more for the agreement's state.
func (n *Net) checkAgreement(ctx context.Context, _ *observer, r *agreementRun) (string, error) {
	for _, p := range r.parties {
		a, err := p.affiliate.agreement(ctx, r.id.String())
		if err != nil {
			return "", fmt.Errorf("asking %s: %w", p.affiliate.Name, err)
		}
		if a.GetPhase() != phaseComplete {
			return "", fmt.Errorf("it is %q on %s", a.GetPhase(), p.affiliate.Name)
		}
		if err := finalState(a, p.affiliate, r.proposer); err != nil {
			return "", fmt.Errorf("on %s: %w", p.affiliate.Name, err)
		}
	}
	return fmt.Sprintf("complete and acknowledged on %d of %d parties", len(r.parties), len(r.parties)), nil
}

// checkCommit compares what the parties say of the transaction with the block.
func (n *Net) checkCommit(ctx context.Context, obs *observer, r *agreementRun) (string, error) {
	var good []chainCommit
	for _, c := range obs.Commits(r.id) {
		if c.Code == 0 {
			good = append(good, c)
		}
	}
	if len(good) != 1 {
		return "", fmt.Errorf("%d transactions on chain carry it, not 1", len(good))
	}
	c := good[0]
	if c.Signed*3 <= c.All*2 {
		return "", fmt.Errorf("only %d of %d validators signed block %d", c.Signed, c.All, c.Height)
	}
	for _, p := range r.parties {
		a, err := p.affiliate.agreement(ctx, r.id.String())
		if err != nil {
			return "", fmt.Errorf("asking %s: %w", p.affiliate.Name, err)
		}
		if a.GetHeight() != c.Height || a.GetTxHash() != c.TxHash {
			return "", fmt.Errorf("%s says block %d, tx %s; the chain has block %d, tx %s",
				p.affiliate.Name, a.GetHeight(), a.GetTxHash(), c.Height, c.TxHash)
		}
	}
	return fmt.Sprintf("one transaction, in block %d, signed by %d of %d validators", c.Height, c.Signed, c.All), nil
}

func (n *Net) onChain(ctx context.Context, scope string) (chainclient.Scope, error) {
	id, err := chainclient.ParseScope(scope)
	if err != nil {
		return chainclient.Scope{}, err
	}
	return n.reader.Scope(ctx, id)
}

// checkRecords opens every record on every party and recomputes its hash.
func (n *Net) checkRecords(ctx context.Context, _ *observer, r *agreementRun) (string, error) {
	a, err := r.proposer.agreement(ctx, r.id.String())
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", r.proposer.Name, err)
	}
	scope, err := n.onChain(ctx, r.scope)
	if err != nil {
		return "", fmt.Errorf("reading scope %s from the chain: %w", r.scope, err)
	}
	checked := 0
	for _, res := range a.GetRecords() {
		if res.GetOutcome() != affiliatev1.Outcome_OUTCOME_PASS {
			continue
		}
		rec, ok := scope.Records[res.GetRecord()]
		if !ok {
			return "", fmt.Errorf("record %q is not on chain", res.GetRecord())
		}
		if rec.Session == r.id && rec.Hash != res.GetOutputHash() {
			return "", fmt.Errorf("record %q has hash %s on chain and %s in the agreement", res.GetRecord(), rec.Hash, res.GetOutputHash())
		}
		for _, p := range r.parties {
			if err := checkRecord(ctx, p.affiliate, r.scope, res.GetRecord(), rec.Hash); err != nil {
				return "", err
			}
		}
		checked++
	}
	if checked == 0 {
		return "", errors.New("it made no record")
	}
	return fmt.Sprintf("%d records opened on each of %d parties: the recomputed hashes are those on chain", checked, len(r.parties)), nil
}

func checkRecord(ctx context.Context, a *Affiliate, scope, name, hash string) error {
	rec, err := a.record(ctx, scope, name)
	if err != nil {
		return fmt.Errorf("reading record %q on %s: %w", name, a.Name, err)
	}
	if len(rec.GetSalt()) != agreement.SaltSize {
		return fmt.Errorf("record %q on %s has a salt of %d bytes", name, a.Name, len(rec.GetSalt()))
	}
	if got := agreement.Commitment(rec.GetSalt(), rec.GetContent()); got != hash {
		return fmt.Errorf("record %q on %s hashes to %s, the chain has %s", name, a.Name, got, hash)
	}
	if got := contentHash(rec.GetContent()); got != rec.GetContentHash() {
		return fmt.Errorf("record %q on %s has content hash %s, not %s", name, a.Name, got, rec.GetContentHash())
	}
	content, err := a.object(ctx, rec.GetContentHash(), objectLimit)
	if err != nil {
		return fmt.Errorf("opening the object of record %q on %s: %w", name, a.Name, err)
	}
	if contentHash(content) != rec.GetContentHash() {
		return fmt.Errorf("the object of record %q on %s is not what its hash says", name, a.Name)
	}
	return nil
}

func contentHash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// stored is an input as the store holds it: JSON in its canonical form.
func (in runInput) stored() ([]byte, error) {
	if in.media != mediaJSON {
		return in.content, nil
	}
	return agreement.Canonical(in.content)
}

// checkInputs opens the sealed inputs on every party.
func (n *Net) checkInputs(ctx context.Context, _ *observer, r *agreementRun) (string, error) {
	size := 0
	for _, in := range r.inputs {
		want, err := in.stored()
		if err != nil {
			return "", fmt.Errorf("input %q: %w", in.name, err)
		}
		size += len(want)
		for _, p := range r.parties {
			got, err := p.affiliate.object(ctx, contentHash(want), objectLimit)
			if err != nil {
				return "", fmt.Errorf("opening input %q on %s: %w", in.name, p.affiliate.Name, err)
			}
			if contentHash(got) != contentHash(want) {
				return "", fmt.Errorf("input %q on %s is not what was proposed", in.name, p.affiliate.Name)
			}
		}
	}
	return fmt.Sprintf("%d inputs of %d bytes opened on each party, equal to what was proposed", len(r.inputs), size), nil
}

// checkSearch finds the records by an indexed field on every party.
func (n *Net) checkSearch(ctx context.Context, _ *observer, r *agreementRun) (string, error) {
	if r.query == "" {
		return "", nil
	}
	for _, p := range r.parties {
		found, err := p.affiliate.search(ctx, r.query)
		if err != nil {
			return "", fmt.Errorf("searching %s for %s: %w", p.affiliate.Name, r.query, err)
		}
		hit := false
		for _, f := range found {
			hit = hit || f.GetScopeId() == r.scope
		}
		if !hit {
			return "", fmt.Errorf("a search for %s on %s finds %d records, and not this one", r.query, p.affiliate.Name, len(found))
		}
	}
	return fmt.Sprintf("search %q finds it on each party", r.query), nil
}

// checkOutsiders shows that who is no party holds and can open nothing.
func (n *Net) checkOutsiders(ctx context.Context, _ *observer, r *agreementRun) (string, error) {
	hashes, err := n.objectsOf(ctx, r)
	if err != nil {
		return "", err
	}
	outsiders := 0
	for _, a := range n.Affiliates {
		if r.isParty(a) {
			continue
		}
		outsiders++
		if err := n.checkOutsider(ctx, r, a, hashes); err != nil {
			return "", err
		}
	}
	if outsiders == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d affiliates that are no party know no agreement, hold no record and can open none of %d objects",
		outsiders, len(hashes)), nil
}

// objectsOf lists the content hashes of an agreement's inputs and records.
func (n *Net) objectsOf(ctx context.Context, r *agreementRun) ([]string, error) {
	var hashes []string
	for _, in := range r.inputs {
		content, err := in.stored()
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, contentHash(content))
	}
	a, err := r.proposer.agreement(ctx, r.id.String())
	if err != nil {
		return nil, err
	}
	for _, res := range a.GetRecords() {
		if res.GetOutcome() != affiliatev1.Outcome_OUTCOME_PASS {
			continue
		}
		rec, err := r.proposer.record(ctx, r.scope, res.GetRecord())
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, rec.GetContentHash())
	}
	return hashes, nil
}

func (n *Net) checkOutsider(ctx context.Context, r *agreementRun, a *Affiliate, hashes []string) error {
	if _, err := a.agreement(ctx, r.id.String()); codeOf(err) != agreement.CodeNotFound {
		return fmt.Errorf("%s is no party, and answers %w about the agreement", a.Name, orNone(err))
	}
	scope, err := n.onChain(ctx, r.scope)
	if err != nil {
		return err
	}
	for name := range scope.Records {
		if _, err := a.record(ctx, r.scope, name); codeOf(err) != agreement.CodeNotFound {
			return fmt.Errorf("%s is no party, and answers %w about record %q", a.Name, orNone(err), name)
		}
	}
	for _, hash := range hashes {
		if _, err := a.object(ctx, hash, objectLimit); codeOf(err) != agreement.CodeNotFound {
			return fmt.Errorf("%s is no party, and answers %w about object %s", a.Name, orNone(err), hash)
		}
	}
	if r.query == "" {
		return nil
	}
	found, err := a.search(ctx, r.query)
	if err != nil || len(found) > 0 {
		return fmt.Errorf("%s is no party, and finds %d records for %s: %w", a.Name, len(found), r.query, orNone(err))
	}
	return nil
}

var errNone = errors.New("no error")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

// checkFailed shows that a failed agreement left nothing on chain, and that
// everybody was told the same.
func (n *Net) checkFailed(ctx context.Context, obs *observer, r *agreementRun) (string, error) {
	if r.fails != "" && agreement.Code(r.code) != r.fails {
		return "", fmt.Errorf("it failed with code %s (%s), not with %s", r.code, r.message, r.fails)
	}
	if r.code == "" || r.message == "" {
		return "", fmt.Errorf("it failed without saying why (code %q, message %q)", r.code, r.message)
	}
	for _, p := range r.parties {
		a, err := p.affiliate.agreement(ctx, r.id.String())
		if err != nil {
			return "", fmt.Errorf("asking %s: %w", p.affiliate.Name, err)
		}
		if err := r.same(a, p.affiliate); err != nil {
			return "", err
		}
	}
	for _, c := range obs.Commits(r.id) {
		if c.Code == 0 {
			return "", fmt.Errorf("it failed, and tx %s in block %d carries it", c.TxHash, c.Height)
		}
	}
	scope, err := n.onChain(ctx, r.scope)
	if r.newScope && !errors.Is(err, agreement.ErrNotFound) {
		return "", fmt.Errorf("it failed, and the chain answers %w about its scope", orNone(err))
	}
	if !r.newScope && err != nil {
		return "", fmt.Errorf("reading scope %s from the chain: %w", r.scope, err)
	}
	for name, rec := range scope.Records {
		if rec.Session == r.id {
			return "", fmt.Errorf("it failed, and the chain has its record %q", name)
		}
	}
	return fmt.Sprintf("nothing on chain, and the same reason on %d of %d parties: %s: %s",
		len(r.parties), len(r.parties), r.code, r.message), nil
}
