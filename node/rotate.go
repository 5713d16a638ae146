package node

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/keys"
	"github.com/affiliate-node/affiliate/store"
)

// DefaultOldKeys is how long a replaced encryption identity goes on opening
// what others have sealed to it: as long as mail is kept, and a day for records
// that are still believed.
const DefaultOldKeys = mailLifetime + 24*time.Hour

// Where the walk over all headers is, and for which identity.
const (
	rotationCursor = "rotation"          // first 8 bytes of an object's id
	rotationFor    = "rotation-identity" // number
	rotationDone   = "rotation-done"     // number of the identity that everything is wrapped for
	rotationEvery  = time.Minute
)

// rotationStatus says how far a rotation is.
type rotationStatus struct {
	Running       bool            // objects are left to be wrapped for the current identity
	Identities    []keys.Identity // the current one first
	Objects, Done int64           // while it runs: there are, and have been gone through since the start of the node
	OldUntil      time.Time       // when the other identities are forgotten; zero with one
	Problem       string          // what keeps it from going on
}

// rotations is the walk over all headers.
type rotations struct {
	wake chan struct{} // holds one element when there is something to do

	mu      sync.Mutex // guards what follows
	objects int64
	done    int64
	problem string
}

func newRotations() *rotations { return &rotations{wake: make(chan struct{}, 1)} }

func (r *rotations) set(change func(*rotations)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

// rotate makes a new encryption identity and tells the others. What is sealed
// to the old one is wrapped for the new one in the background; both open until
// that has ended, and until nobody can still seal to the old one.
func (n *Node) rotate(context.Context) error {
	if running, err := n.rotating(); err != nil {
		return err
	} else if running {
		return agreement.Errorf(agreement.CodeInUse, "a rotation is under way").
			WithHint("`affiliate keys rotation` says how far it is; rotate again when it has ended")
	}
	id, err := n.ring.Rotate(time.Now())
	if err != nil {
		return err
	}
	n.log.Info("a new encryption identity", "number", id.Number, "recipient", id.Recipient)
	if err := n.announceSelf(); err != nil {
		n.log.Warn("the new recipient is announced later", "error", err)
	}
	select {
	case n.rotations.wake <- struct{}{}:
	default:
	}
	return nil
}

// rotating reports whether headers are left to be wrapped.
func (n *Node) rotating() (bool, error) {
	ids := n.ring.Identities()
	if len(ids) == 1 {
		return false, nil
	}
	done, err := n.store.Cursor(rotationDone)
	return done != uint64(ids[0].Number), err //nolint:gosec // positive
}

// oldUntil is when the identities but the current one are forgotten.
func (n *Node) oldUntil(ids []keys.Identity) time.Time {
	keep := n.cfg.OldKeys
	if keep == 0 {
		keep = DefaultOldKeys
	}
	return ids[0].Created.Add(keep)
}

func (n *Node) rotation() rotationStatus {
	out := rotationStatus{Identities: n.ring.Identities()}
	if len(out.Identities) > 1 {
		out.OldUntil = n.oldUntil(out.Identities)
	}
	running, err := n.rotating()
	n.rotations.set(func(r *rotations) {
		if out.Running = running; running {
			out.Objects, out.Done = r.objects, r.done
		}
		out.Problem = r.problem
	})
	if err != nil {
		out.Problem = err.Error()
	}
	return out
}

// keepRotating carries a rotation on, from where the last run left it.
func (n *Node) keepRotating(ctx context.Context) error {
	ticker := time.NewTicker(rotationEvery)
	defer ticker.Stop()
	for {
		err := n.carryRotation(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			n.log.Warn("a rotation is carried on later", "error", err)
		}
		n.rotations.set(func(r *rotations) {
			if r.problem = ""; err != nil {
				r.problem = short(advised(err))
			}
		})
		select {
		case <-ctx.Done():
			return nil
		case <-n.rotations.wake:
		case <-ticker.C:
		}
	}
}

// carryRotation wraps what isn't wrapped for the current identity, and forgets
// the others when their time has come: after one more walk, because others have
// sealed to them since.
func (n *Node) carryRotation(ctx context.Context, now time.Time) error {
	ids := n.ring.Identities()
	if len(ids) == 1 {
		return nil
	}
	if running, err := n.rotating(); err != nil {
		return err
	} else if running {
		if err := n.rewrapAll(ctx, ids[0].Number); err != nil {
			return err
		}
	}
	if now.Before(n.oldUntil(ids)) {
		return nil
	}
	if err := n.rewrapAll(ctx, ids[0].Number); err != nil {
		return err
	}
	if err := n.ring.EndRotation(ids[0].Number); err != nil {
		return err
	}
	n.log.Info("the old encryption identities are forgotten", "current", ids[0].Number)
	return nil
}

// rewrapAll goes through all headers. A restart goes on where it was.
func (n *Node) rewrapAll(ctx context.Context, number int) error {
	at, err := n.rotationStart(ctx, number)
	if err != nil {
		return err
	}
	total, err := n.store.CountObjects()
	if err != nil {
		return err
	}
	n.rotations.set(func(r *rotations) { r.objects, r.done = total, 0 })
	for {
		page, err := n.store.ObjectsAfter(at)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, o := range page {
			if err := n.rewrap(ctx, o); err != nil {
				return err
			}
			n.rotations.set(func(r *rotations) { r.done++ })
		}
		at = page[len(page)-1].ID
		if err := n.store.SetCursor(ctx, rotationCursor, binary.BigEndian.Uint64(at[:])); err != nil {
			return err
		}
	}
	if err := n.store.SetCursor(ctx, rotationCursor, 0); err != nil { // for the next walk
		return err
	}
	return n.store.SetCursor(ctx, rotationDone, uint64(number)) //nolint:gosec // positive
}

// rotationStart is the object after which the walk goes on.
func (n *Node) rotationStart(ctx context.Context, number int) (at agreement.Hash, err error) {
	of, err := n.store.Cursor(rotationFor)
	if err != nil {
		return at, err
	}
	if of != uint64(number) { //nolint:gosec // positive
		if err := n.store.SetCursor(ctx, rotationCursor, 0); err != nil {
			return at, err
		}
		return at, n.store.SetCursor(ctx, rotationFor, uint64(number)) //nolint:gosec // positive
	}
	place, err := n.store.Cursor(rotationCursor)
	binary.BigEndian.PutUint64(at[:], place)
	return at, err
}

// rewrap wraps one object's file key for the current identity. One whose header
// no identity opens, or that is gone, stays as it is.
func (n *Node) rewrap(ctx context.Context, o store.Object) error {
	_, stale, err := n.ring.Rewrap(o.Header) // most need nothing the second time
	if err == nil && stale {
		err = n.store.SetHeader(ctx, o.ID, func(o *store.Object) (err error) {
			o.Header, _, err = n.ring.Rewrap(o.Header)
			return err
		})
	}
	code := agreement.CodeOf(err)
	if code == agreement.CodeDamaged || code == agreement.CodeNotAuthorized {
		n.log.Error("an object's header can't be opened, and isn't wrapped anew", "object", o.ID, "error", err)
		return nil
	}
	if errors.Is(err, agreement.ErrNotFound) {
		return nil
	}
	return err
}

// announceSelf makes a new affiliate record, with what has changed in it, and
// tells the others.
func (n *Node) announceSelf() error {
	if n.cfg.RunUnvetted {
		n.host.SetVetting(nil)
		return nil
	}
	return n.announceVetting()
}
