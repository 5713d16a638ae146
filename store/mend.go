package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// entries reads all rows but objects and payloads, compares those of objects
// with one another, and mends them where that is allowed.
func (k *verification) entries(ctx context.Context, mend bool) error {
	var after []byte
	for {
		n := 0
		c := &comparison{k: k}
		err := k.s.view(func(txn *badger.Txn) error {
			c.txn = txn
			return scan(txn, nil, after, func(key []byte, r row) (bool, error) {
				n++
				after = append(bytes.Clone(key), 0)
				return n < pageSize, c.row(key, r)
			})
		})
		for _, r := range c.gone {
			k.lose(r.id, r.name)
		}
		if err == nil {
			err = errors.Join(ctx.Err(), k.s.goingOn())
		}
		for _, m := range c.wrong {
			if err == nil && mend {
				err = k.mend(ctx, m)
			}
		}
		if err != nil {
			return storeError("comparing entries", err)
		}
		if n < pageSize {
			return nil
		}
	}
}

// mend makes an entry right, if it still is wrong.
func (k *verification) mend(ctx context.Context, m mending) error {
	wrong := false
	err := k.s.update(ctx, 4, 0, func(w *writer) (err error) {
		if wrong, err = m.wrong(w.txn); err == nil && wrong {
			m.right(w)
		}
		return err
	})
	if err == nil && wrong {
		k.mended()
	}
	return err
}

// mending is one entry that doesn't go with others.
type mending struct {
	wrong func(*badger.Txn) (bool, error) // whether it still is so
	right func(*writer)
}

// comparison looks at rows in one snapshot.
type comparison struct {
	k     *verification
	txn   *badger.Txn
	wrong []mending
	gone  []lost
}

// lost is an object of which a reference is left.
type lost struct {
	id   agreement.Hash
	name string
}

func (c *comparison) row(key []byte, r row) error {
	if key[0] == prefixObject {
		return c.object(key)
	}
	if key[0] != prefixPayload {
		if err := r.value(func([]byte) error { return nil }); errors.Is(err, errDecode) {
			c.k.bad(agreement.Errorf(agreement.CodeDamaged, "the value of key %x is damaged: %w", key, err).WithHint("restore the store from a backup"))
		} else if err != nil {
			return err
		}
	}
	switch key[0] {
	case prefixContent:
		return c.listed(bytes.Clone(key))
	case prefixIndexed:
		return c.indexed(bytes.Clone(key))
	case prefixReference:
		return c.reference(key, r)
	case prefixHeld:
		return c.held(bytes.Clone(key))
	case prefixExpiry:
		return c.expiry(bytes.Clone(key))
	case prefixUnheld:
		return c.unheld(bytes.Clone(key))
	case prefixPayload, prefixLeaves:
		id, err := lastHash(key)
		if err != nil {
			return err
		}
		there, err := hasIn(c.txn, objectKey(id))
		if err == nil && !there {
			c.k.stray()
		}
		return err
	}
	return nil
}

func (k *verification) stray() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.found.Strays++
}

// remove removes an entry while that function says that it is wrong.
func (c *comparison) remove(key []byte, wrong func(*badger.Txn) (bool, error)) error {
	return c.fix(wrong, func(w *writer) { w.del(key) })
}

func (c *comparison) fix(wrong func(*badger.Txn) (bool, error), right func(*writer)) error {
	is, err := wrong(c.txn)
	if err == nil && is {
		c.wrong = append(c.wrong, mending{wrong, right})
	}
	return err
}

// object: an object is listed under its content, and unheld if nothing keeps
// it.
func (c *comparison) object(key []byte) error {
	id, err := lastHash(key)
	if err != nil {
		return err
	}
	o, found, err := findIn(c.txn, id)
	if err != nil || found == undescribed {
		return err
	}
	listed := contentKey(o.ContentHash, id)
	err = c.fix(missing(objectKey(id), listed), func(w *writer) { w.set(listed, nil) })
	if err != nil {
		return err
	}
	return c.fix(func(txn *badger.Txn) (bool, error) {
		if free, err := hasIn(txn, unheldKey(id)); err != nil || free {
			return false, err
		}
		there, err := hasIn(txn, objectKey(id))
		if err != nil || !there {
			return false, err
		}
		refs, err := referencesIn(txn, id, 1)
		return len(refs) == 0, err
	}, func(w *writer) { w.set(unheldKey(id), encodeTime(time.Now())) })
}

// missing reports an entry that isn't there while another is.
func missing(of, entry []byte) func(*badger.Txn) (bool, error) {
	return func(txn *badger.Txn) (bool, error) {
		if there, err := hasIn(txn, entry); err != nil || there {
			return false, err
		}
		return hasIn(txn, of)
	}
}

// listed: what is listed under a content is an object of it.
func (c *comparison) listed(key []byte) error {
	id, err := lastHash(key)
	if err != nil {
		return err
	}
	return c.remove(key, func(txn *badger.Txn) (bool, error) {
		o, found, err := findIn(txn, id)
		return found == absent || found != undescribed && !bytes.Equal(contentKey(o.ContentHash, id), key), err
	})
}

// indexed: what records say of a content goes with its last sealing. An object
// whose description is damaged doesn't tell of which content it was.
func (c *comparison) indexed(key []byte) error {
	content, scope, name, err := splitIndexedKey(key)
	if err != nil {
		return err
	}
	return c.fix(func(txn *badger.Txn) (bool, error) {
		if there, err := hasIn(txn, key); err != nil || !there {
			return false, err
		}
		sealed := false
		err := scan(txn, contentOf(content), nil, func([]byte, row) (bool, error) { sealed = true; return false, nil })
		return !sealed, err
	}, func(w *writer) { w.erase(key, scope, name, time.Now()) })
}

// reference: what is referred to is there, and each reference is found by its
// name and by its time.
func (c *comparison) reference(key []byte, r row) error {
	id, name, err := splitReferenceKey(key)
	if err != nil {
		return err
	}
	there, err := hasIn(c.txn, objectKey(id))
	if err != nil {
		return err
	}
	if !there {
		c.gone = append(c.gone, lost{id, name})
	}
	held := heldKey(name, id)
	if err := c.fix(missing(bytes.Clone(key), held), func(w *writer) { w.set(held, nil) }); err != nil {
		return err
	}
	var until time.Time
	err = r.value(func(b []byte) (err error) { until, err = decodeTime(b); return err })
	if err != nil || until.IsZero() {
		return nil //nolint:nilerr // reported already; it keeps its object
	}
	expires := expiryKey(until, id, name)
	return c.fix(missing(bytes.Clone(key), expires), func(w *writer) { w.set(expires, nil) })
}

// lose reports an object of which only references are left, once.
func (k *verification) lose(id agreement.Hash, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost == id {
		return // references come in the order of ids
	}
	k.lost = id
	k.found.Damaged++
	if k.each != nil {
		k.each(Object{ID: id}, agreement.Errorf(agreement.CodeDamaged, "object %s is lost: %s keeps it, and it isn't there", id, name).
			WithHint("fetch it from a peer that has it, or restore a backup"))
	}
}

// held: what a name keeps has a reference of that name.
func (c *comparison) held(key []byte) error {
	name, id, err := splitHeldKey(key)
	if err != nil {
		return err
	}
	return c.remove(key, func(txn *badger.Txn) (bool, error) {
		there, err := hasIn(txn, referenceKey(id, name))
		return !there, err
	})
}

// expiry: what expires is a reference of that time. One that can't be read
// keeps its object.
func (c *comparison) expiry(key []byte) error {
	at, id, name, err := splitExpiryKey(key)
	if err != nil {
		return err
	}
	return c.remove(key, func(txn *badger.Txn) (bool, error) {
		until, _, err := untilIn(txn, id, name)
		return until.IsZero() || seconds(until) != at, err
	})
}

// unheld: what is unheld is an object without references.
func (c *comparison) unheld(key []byte) error {
	id, err := lastHash(key)
	if err != nil {
		return err
	}
	return c.remove(key, func(txn *badger.Txn) (bool, error) {
		there, err := hasIn(txn, objectKey(id))
		if err != nil || !there {
			return !there, err
		}
		refs, err := referencesIn(txn, id, 1)
		return len(refs) > 0, err
	})
}

// totals compares what there is with what there should be, and makes the
// totals right.
func (k *verification) totals(ctx context.Context) error {
	var want, is totals
	known := false // all sizes
	err := k.s.view(func(txn *badger.Txn) (err error) {
		if err = getValue(txn, totalsKey(), func(b []byte) (err error) { want, err = decodeTotals(b); return err }); err != nil {
			return err
		}
		is, known, err = countTotals(ctx, txn)
		return err
	})
	if err != nil {
		return readError(err, "the totals")
	}
	if !known {
		is.bytes = want.bytes
	}
	if is.objects != want.objects || is.references != want.references {
		k.bad(agreement.Errorf(agreement.CodeDamaged, "the database has %d objects with %d references, and should have %d with %d",
			is.objects, is.references, want.objects, want.references).WithHint("restore the store from a backup"))
	} else if is.bytes == want.bytes {
		return nil
	}
	err = k.s.update(ctx, 1, 0, func(w *writer) error {
		w.mem.totals.objects += is.objects - want.objects
		w.mem.totals.bytes += is.bytes - want.bytes
		w.mem.totals.references += is.references - want.references
		w.counted = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("correcting the totals: %w", err)
	}
	return nil
}

// countTotals counts what there is. Without the size of an object that can't be
// read, the bytes aren't known.
func countTotals(ctx context.Context, txn *badger.Txn) (t totals, known bool, err error) {
	known = true
	err = scan(txn, []byte{prefixObject}, nil, func(key []byte, r row) (bool, error) {
		id, err := lastHash(key)
		if err != nil {
			return false, err
		}
		o, err := describedBy(id, r)
		if errors.Is(err, errDecode) {
			known, err = false, nil
		}
		t.objects++
		t.bytes += o.SealedSize
		return err == nil && ctx.Err() == nil, errors.Join(err, ctx.Err())
	})
	if err == nil {
		t.references, err = countIn(ctx, txn, prefixReference)
	}
	return t, known, err
}

// strays counts payloads in the home that the database doesn't know. They stay:
// the home may be shared, or the database not be the one that it was.
func (k *verification) strays(ctx context.Context) error {
	return k.s.home.List(ctx, func(id agreement.Hash, _ int64, _ time.Time) error {
		for _, key := range [][]byte{objectKey(id), puttingKey(id)} {
			if there, err := k.s.hasKey(key); err != nil || there {
				return err
			}
		}
		k.stray()
		return nil
	})
}
