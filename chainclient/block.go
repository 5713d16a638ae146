package chainclient

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	mdtypes "github.com/provenance-io/provenance/x/metadata/types"

	"github.com/affiliate-node/affiliate/agreement"
)

// Commit is one session that a transaction wrote, or tried to.
type Commit struct {
	Agreement agreement.ID // the session's UUID
	Scope     agreement.UUID
	Code      uint32            // 0 = committed; otherwise nothing was written
	Log       string            // why not, one line of at most 512 bytes
	TxHash    string            // upper-case hexadecimal
	Body      agreement.Hash    // SHA-256 of the body's bytes
	Records   map[string]string // name -> output hash, of the same session
	Parties   []agreement.Party // of the session
	Signers   []string          // addresses that signed the transaction for the session, if it is committed
}

// TimedOut reports whether the transaction failed because its body had timed
// out: nobody did anything wrong, and another body may commit.
func (c Commit) TimedOut() bool { return c.Code == sdkTimeout }

// Block is what a block says about agreements. Anybody can write a session
// with any id, so a Commit is an agreement's only when its Body is.
type Block struct {
	Height  int64
	Time    time.Time
	Commits []Commit // one per WriteSession, in order, failed ones too
}

// rawBlock is a block as the endpoint gives it.
type rawBlock struct {
	height         int64
	time           time.Time
	hash, lastHash []byte
	txs            [][]byte
	results        []txResult // one per tx
}

type txResult struct {
	code           uint32
	codespace, log string
}

// block reads a block and, if it has transactions, their results.
func (c *Client) block(ctx context.Context, height int64) (rawBlock, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := c.rpc.Block(ctx, &height)
	if err != nil {
		return rawBlock{}, c.unreachable(ctx, fmt.Sprintf("reading block %d", height), err)
	}
	if res.Block == nil || res.Block.Height != height || res.Block.ChainID != c.cfg.ChainID {
		return rawBlock{}, agreement.Errorf(agreement.CodeChainMismatch, "the endpoint %s answered with another block than %d of %s",
			c.endpoint, height, c.cfg.ChainID).WithHint("check [chain] endpoint and [chain] id")
	}
	b := rawBlock{height: height, time: res.Block.Time.UTC(), hash: res.BlockID.Hash, lastHash: res.Block.LastBlockID.Hash}
	for _, tx := range res.Block.Txs {
		b.txs = append(b.txs, tx)
	}
	if len(b.txs) == 0 {
		return b, nil
	}
	results, err := c.rpc.BlockResults(ctx, &height)
	if err == nil && len(results.TxsResults) != len(b.txs) {
		err = fmt.Errorf("%d results for %d transactions", len(results.TxsResults), len(b.txs))
	}
	if err != nil {
		return rawBlock{}, c.unreachable(ctx, fmt.Sprintf("reading the results of block %d", height), err)
	}
	for _, r := range results.TxsResults {
		b.results = append(b.results, txResult{code: r.Code, codespace: r.Codespace, log: r.Log})
	}
	return b, nil
}

// decodeBlock finds the sessions. A transaction that doesn't decode holds
// none: the chain refused it too.
func decodeBlock(b rawBlock) Block {
	out := Block{Height: b.height, Time: b.time}
	for i, tx := range b.txs {
		if i < len(b.results) {
			out.Commits = append(out.Commits, decodeTx(tx, b.results[i])...)
		}
	}
	return out
}

func decodeTx(tx []byte, r txResult) []Commit {
	var raw txtypes.TxRaw
	var body txtypes.TxBody
	if raw.Unmarshal(tx) != nil || body.Unmarshal(raw.BodyBytes) != nil {
		return nil
	}
	var commits []Commit
	records := map[string]map[string]string{} // by session id
	for _, m := range body.Messages {
		switch m.TypeUrl {
		case typeURL(&mdtypes.MsgWriteSessionRequest{}):
			if c, ok := decodeSession(m.Value); ok {
				commits = append(commits, c)
			}
		case typeURL(&mdtypes.MsgWriteRecordRequest{}):
			if id, name, output, ok := decodeRecord(m.Value); ok {
				if records[string(id)] == nil {
					records[string(id)] = map[string]string{}
				}
				records[string(id)][name] = output
			}
		}
	}
	for i := range commits {
		c := &commits[i]
		c.Code, c.TxHash, c.Body = r.code, TxHash(tx), sha256.Sum256(raw.BodyBytes)
		if r.code != 0 {
			c.Log = firstLine(r.log)
		}
		c.Records = records[string(sessionKey(c.Scope, c.Agreement))]
	}
	return commits
}

func sessionKey(scope, session agreement.UUID) mdtypes.MetadataAddress {
	return sessionID(Write{Scope: scope, Session: session})
}

// decodeSession returns what a message says that writes a session, whose id is
// given in one of two ways.
func decodeSession(value []byte) (Commit, bool) {
	var m mdtypes.MsgWriteSessionRequest
	if m.Unmarshal(value) != nil || m.ConvertOptionalFields() != nil || !m.Session.SessionId.IsSessionAddress() {
		return Commit{}, false
	}
	id := m.Session.SessionId
	c := Commit{Scope: agreement.UUID(id[1:17]), Agreement: agreement.UUID(id[17:33]), Signers: m.Signers}
	for _, p := range m.Session.Parties {
		c.Parties = append(c.Parties, agreement.Party{Address: p.Address, Role: roleOf(p.Role)})
	}
	return c, true
}

func decodeRecord(value []byte) (session mdtypes.MetadataAddress, name, output string, ok bool) {
	var m mdtypes.MsgWriteRecordRequest
	if m.Unmarshal(value) != nil || m.ConvertOptionalFields() != nil || !m.Record.SessionId.IsSessionAddress() {
		return nil, "", "", false
	}
	if len(m.Record.Outputs) > 0 {
		output = m.Record.Outputs[0].Hash
	}
	return m.Record.SessionId, m.Record.Name, output, true
}
