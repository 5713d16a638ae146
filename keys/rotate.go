package keys

import (
	"slices"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
)

// identities returns the ring's identities, the current one first. The slice
// is never changed.
func (r *Ring) identities() []identity { return *r.held.Load() }

// Identities describes the encryption identities, the current one first. With
// more than one, a rotation is under way.
func (r *Ring) Identities() []Identity {
	var list []Identity
	for _, id := range r.identities() {
		list = append(list, id.public())
	}
	return list
}

// Rotate starts a rotation: it makes an encryption identity and writes it to
// the key directory, and then it is the current one. The others stay and go
// on opening what is sealed to them, until EndRotation. Nothing else changes:
// not the account and node keys, nor what is derived from the root secret.
// When it returns, others may be told the new recipient. CodeInUse when the
// ring holds MaxIdentities.
func (r *Ring) Rotate(now time.Time) (Identity, error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	ids := r.identities()
	if len(ids) == MaxIdentities {
		return Identity{}, agreement.Errorf(agreement.CodeInUse, "there are %d encryption identities, the limit", MaxIdentities).
			WithHint("end the rotation that is under way, once everything is wrapped for the current identity")
	}
	id, err := newIdentity(ids[0].number+1, now)
	if err != nil {
		return Identity{}, agreement.Errorf(agreement.CodeInternal, "making an encryption identity: %w", err)
	}
	if err := r.hold(slices.Concat([]identity{id}, ids)); err != nil {
		return Identity{}, err
	}
	return id.public(), nil
}

// EndRotation forgets all identities but the current one, whose number the
// caller states: it is the one for which everything was wrapped. What is still
// sealed to the others can never be opened again, here. CodeBadRequest when
// another identity is current.
func (r *Ring) EndRotation(current int) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	ids := r.identities()
	if ids[0].number != current {
		return agreement.Errorf(agreement.CodeBadRequest, "the current encryption identity is number %d, not %d", ids[0].number, current).
			WithHint("nothing was forgotten; wrap everything for the current identity first")
	}
	return r.hold(ids[:1:1])
}

// hold makes identities durable and then uses them. The caller holds changing.
func (r *Ring) hold(ids []identity) error {
	err := r.fixed
	if err == nil {
		err = writeIdentities(r.dir, r.locked, r.root, ids)
	}
	if err != nil {
		return agreement.Errorf(agreement.CodeInternal, "writing the encryption identities: %w", err).
			WithHint("make %s writable and see that the disk has room; nothing is lost", r.dir)
	}
	r.held.Store(&ids)
	r.opened.Purge()
	return nil
}
