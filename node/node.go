// Package node drives agreements: events in, effects out, with the outbox,
// the policy and the API. It never holds an agreement's truth in memory: what
// counts is in the store before anybody hears of it.
package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/exec"
	"github.com/affiliate-node/affiliate/index"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/p2p"
	"github.com/affiliate-node/affiliate/store"
)

// Config is what the node itself has to know.
type Config struct {
	Name, Version string
	Network       string        // chain id
	Prefix        string        // bech32 prefix of accounts
	ChainEndpoint string        // for people, in status
	Lifetime      time.Duration // of an agreement, unless the proposer says otherwise
	MaxLifetime   time.Duration // that this node accepts or proposes
	AckWithin     time.Duration // how long acknowledgements are waited for
	MaxOpen       int           // open agreements; more are refused
	MaxObjectSize int64         // bytes
	Policy        Policy
	RunUnvetted   bool // contracts that this affiliate hasn't vetted, too
	Retention     Retention
	OldKeys       time.Duration // how long replaced encryption identities still open; 0 means DefaultOldKeys
}

// Deps are the parts that the node drives.
type Deps struct {
	Ring    *keys.Ring
	Store   *store.Store
	Index   *index.Index
	Engine  *exec.Engine
	Chain   *chainclient.Client
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Node is one affiliate's daemon, apart from its process.
type Node struct {
	cfg     Config
	ring    *keys.Ring
	store   *store.Store
	index   *index.Index
	engine  *exec.Engine
	chain   *chainclient.Client
	host    *p2p.Host
	log     *slog.Logger
	started time.Time

	locks      keyedLocks // one per agreement: held from reading a state to committing the next
	queue      *queue
	timers     *timers
	reach      *reach
	claims     *claims
	contracts  *contractCache
	tracing    chan struct{} // one place: a trace takes memory, and of the places to execute it leaves the others
	repairs    *repairs
	rotations  *rotations
	drafts     drafts
	announcing sync.Mutex    // one list of vetted contracts at a time
	lastBlock  time.Time     // when takeBlock was last called
	following  chan struct{} // closed when it is known from which block on the chain is followed
}

// New puts a node together and starts nothing.
func New(cfg Config, network p2p.Config, d Deps) (*Node, error) {
	if err := cfg.Policy.check(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, ring: d.Ring, store: d.Store, index: d.Index, engine: d.Engine, chain: d.Chain,
		log: d.Log, started: time.Now(),
		timers: newTimers(), reach: newReach(), claims: newClaims(), contracts: newContractCache(),
		tracing: make(chan struct{}, 1), following: make(chan struct{}),
		repairs: newRepairs(), rotations: newRotations(), drafts: drafts{count: map[agreement.ID]int{}},
	}
	n.store.SignTombstones(n.tombstone)
	n.queue = newQueue(n.carryOut)
	host, err := p2p.New(network, d.Ring, d.Store, n, d.Metrics, d.Log.With("part", "p2p"))
	if err != nil {
		return nil, fmt.Errorf("setting up the network: %w", err)
	}
	n.host = host
	if err := n.announceVetting(); err != nil {
		return nil, fmt.Errorf("reading which contracts are vetted: %w", err)
	}
	return n, nil
}

// Run takes up what was left undone, and drives agreements until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	err := n.catchUpIndex(ctx)
	if err == nil {
		err = n.takeUp()
	}
	if err == nil {
		err = n.resumeVetted(ctx) // the policy may have changed
	}
	if err == nil {
		err = n.sweepRetention(ctx)
	}
	if err != nil {
		return fmt.Errorf("taking up what was left undone: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.store.Run(ctx) })
	g.Go(func() error { return n.host.Run(ctx) })
	g.Go(func() error { return n.work(ctx) })
	g.Go(func() error { return n.tick(ctx) })
	g.Go(func() error { return n.follow(ctx) })
	g.Go(func() error { return n.keepRetention(ctx) })
	g.Go(func() error { return n.keepRepairing(ctx) })
	g.Go(func() error { return n.keepRotating(ctx) })
	return g.Wait()
}

// takeUp is all that a crash needs: pending effects and stored mail are queued
// again, deadlines are set again.
func (n *Node) takeUp() error {
	for id, raw := range n.store.OpenAgreements() {
		s, err := agreement.DecodeState(raw)
		if err != nil {
			return fmt.Errorf("agreement %s: %w", id, err)
		}
		n.timers.set(s)
		n.claims.recover(s)
	}
	effects, err := n.store.Effects()
	if err != nil {
		return err
	}
	for _, e := range effects {
		n.queue.add(effectTask(e))
	}
	mail, err := n.store.Inbox()
	if err != nil {
		return err
	}
	for _, m := range mail {
		n.queue.add(mailTask(m, keys.SenderOf(m.Signed)))
	}
	if len(effects)+len(mail) > 0 {
		n.log.Info("taking up what was left undone", "effects", len(effects), "mail", len(mail))
	}
	return nil
}

// work carries out what is pending, once it is known where the chain's blocks
// will be taken up: what this node signs mustn't be in an earlier one.
func (n *Node) work(ctx context.Context) error {
	select {
	case <-n.following:
		return n.queue.run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// tick looks at agreements whose wall-clock deadline has come.
func (n *Node) tick(ctx context.Context) error {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			for _, id := range n.timers.dueByClock(now) {
				n.applyQuietly(ctx, id, agreement.Tick{})
			}
		}
	}
}

// follow takes the chain's blocks in, each exactly once as far as an
// agreement can tell: the cursor moves after the block's events are stored.
func (n *Node) follow(ctx context.Context) error {
	from, err := n.startHeight(ctx)
	if err != nil {
		return err
	}
	if ctx.Err() == nil {
		close(n.following)
		err = n.chain.Follow(ctx, from, n.takeBlock)
	}
	if stopping(ctx) {
		err = nil
	}
	return err
}

// startHeight is the block after the stored cursor. A node that has never
// followed starts after the chain's present height, and writes that down
// before it signs anything: nothing of it is older.
func (n *Node) startHeight(ctx context.Context) (int64, error) {
	cursor, err := n.store.Cursor(chainCursor)
	if err != nil || cursor > 0 {
		return int64(cursor) + 1, err //nolint:gosec // heights fit
	}
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		st, err := n.chain.Status(ctx)
		if err == nil && st.Height > 0 {
			return st.Height + 1, n.store.SetCursor(ctx, chainCursor, uint64(st.Height))
		}
		n.log.Warn("the chain can't be used yet", "error", err, "retry_in", wait)
		select {
		case <-ctx.Done():
			return 0, nil
		case <-time.After(wait):
		}
	}
}

const chainCursor = "chain"

// chainGap is how long no block comes until the chain is taken to have been away.
const chainGap = 30 * time.Second

func (n *Node) takeBlock(ctx context.Context, b chainclient.Block) error {
	if time.Since(n.lastBlock) > chainGap {
		n.queue.hurryChain()
	}
	n.lastBlock = time.Now()
	for _, c := range b.Commits {
		if err := n.takeCommit(ctx, b, c); err != nil {
			return err
		}
	}
	for _, id := range n.timers.dueByBlock(b.Time) {
		if _, err := n.apply(ctx, id, agreement.BlockTime{Time: b.Time}, cause{}); err != nil {
			n.log.Error("an agreement didn't take the block's time", "agreement", id, "error", err)
		}
	}
	return n.store.SetCursor(ctx, chainCursor, uint64(b.Height)) //nolint:gosec // heights are positive
}

// takeCommit passes on what the chain says of one session. Only a failure of
// the store stops the follower: the block comes again.
func (n *Node) takeCommit(ctx context.Context, b chainclient.Block, c chainclient.Commit) error {
	s, err := n.state(c.Agreement)
	if err != nil || s.Phase != agreement.None && s.Scope != c.Scope {
		return err
	}
	if c.Code == 0 && slices.Contains(c.Signers, n.ring.Address()) && !s.Signed(c.Body) {
		return n.lost(ctx, s, b, c)
	}
	if s.Phase == agreement.None {
		return nil
	}
	if c.TimedOut() {
		return nil // the block's time says the same, and leads to a new round
	}
	var e agreement.Event = agreement.Committed{Body: c.Body, Height: b.Height, TxHash: c.TxHash, Records: c.Records}
	var blobs map[string][]byte
	if c.Code != 0 {
		e = agreement.TxFailed{Body: c.Body, Height: b.Height, TxHash: c.TxHash, Text: c.Log}
	} else {
		blobs = map[string][]byte{blobBlockTime: blockTimeBlob(b)}
	}
	_, err = n.apply(ctx, c.Agreement, e, cause{blobs: blobs})
	return err
}

// keyedLocks gives each agreement a lock of its own, from a fixed number.
type keyedLocks [256]sync.Mutex

func (l *keyedLocks) of(id agreement.ID) *sync.Mutex { return &l[id[0]] }
