package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store"
)

// References that this affiliate's own people make and end. Those of
// agreements are the agreement's id.
const (
	refPut      = "put"
	refPin      = "pin:" // prefix; followed by a label
	refContract = "contract:"
)

// maxLabel is the longest label of a pin, in bytes.
const maxLabel = store.MaxName - len(refPin)

// reader is who can open a content that this node holds, and why.
type reader struct{ Address, Why string }

const (
	whySelf    = "this affiliate"
	whyGranted = "granted"
)

// readers says who can open what this node holds of a content, this affiliate
// first. Others may hold sealings of their own, which nobody here knows of.
func (n *Node) readers(content agreement.Hash) ([]reader, error) {
	objects, err := n.sealings(content)
	if err != nil {
		return nil, err
	}
	out := []reader{{n.ring.Address(), whySelf}}
	add := func(address, why string) {
		i := slices.IndexFunc(out, func(r reader) bool { return r.Address == address })
		switch {
		case i < 0:
			out = append(out, reader{address, why})
		case !slices.Contains(strings.Split(out[i].Why, ", "), why):
			out[i].Why += ", " + why
		}
	}
	for _, o := range objects {
		needs, err := n.needs(o)
		if err != nil {
			return nil, err
		}
		for _, address := range o.Audience {
			if address == n.ring.Address() {
				continue
			}
			if reasons := needs.of(address); len(reasons) > 0 {
				for _, why := range reasons {
					add(address, why)
				}
				continue
			}
			add(address, whyGranted)
		}
	}
	return out, nil
}

// sealings are the objects of a content, at least one, damaged ones too.
func (n *Node) sealings(content agreement.Hash) ([]store.Object, error) {
	objects, err := n.store.ObjectsByContent(content)
	if err != nil {
		return nil, err
	}
	damaged, err := n.store.DamagedByContent(content)
	if err != nil {
		return nil, err
	}
	if objects = append(objects, damaged...); len(objects) == 0 {
		return nil, notHeld(content)
	}
	return objects, nil
}

func notHeld(content agreement.Hash) error {
	return agreement.Errorf(agreement.CodeNotFound, "content %s: %w", content, agreement.ErrNotFound).
		WithHint("an affiliate holds what it has put itself, and the data of agreements that it takes part in")
}

// need is a reason why an object is kept, and who has to be able to read it.
type need struct {
	state     agreement.State // phase None: no agreement
	audience  []string
	why       func(address string) string
	committed bool
}

// open reports whether an agreement needs it that hasn't ended.
func (one need) open() bool { return one.state.Phase != agreement.None && !one.state.Phase.Final() }

type needs []need

func (all needs) of(address string) (why []string) {
	for _, one := range all {
		if slices.Contains(one.audience, address) {
			why = append(why, one.why(address))
		}
	}
	return why
}

// needs reads what the agreements say that keep an object, and counts the
// members that a module was published to.
func (n *Node) needs(o store.Object) (all needs, err error) {
	refs, err := n.store.References(o.ID)
	if err != nil {
		return nil, err
	}
	for _, r := range refs {
		if hash, ok := strings.CutPrefix(r.Name, refContract); ok {
			all = append(all, need{audience: o.Audience, why: func(string) string { return "member, for contract " + hash }})
			continue
		}
		id, err := agreement.ParseUUID(r.Name)
		if err != nil {
			continue
		}
		one, err := n.needOf(id)
		if err != nil {
			return nil, err
		}
		if one.state.Phase != agreement.None {
			all = append(all, one)
		}
	}
	return all, nil
}

func (n *Node) needOf(id agreement.ID) (need, error) {
	s, err := n.state(id)
	if err != nil || s.Phase == agreement.None || !s.HasTerms() {
		return need{}, err
	}
	t, err := n.termsOf(s)
	if err != nil {
		return need{}, err
	}
	audience, err := t.audience()
	return need{
		state: s, audience: audience, committed: committed(s),
		why: func(address string) string { return fmt.Sprintf("%s of agreement %s", t.partOf(address), id) },
	}, err
}

// partOf says as what somebody may read an agreement's data.
func (t *terms) partOf(address string) string {
	for _, p := range t.Parties {
		if p.Address == address {
			return "party"
		}
	}
	for _, p := range t.Owners {
		if p.Address == address {
			return "owner"
		}
	}
	return "data access"
}

// grant lets one more affiliate open a content, in this node's sealing of it:
// its header gets one more wrapped key, and the payload isn't touched. Who can
// read it already changes nothing.
func (n *Node) grant(ctx context.Context, content agreement.Hash, address string) error {
	if err := n.checkKnown("the reader", address); err != nil {
		return err
	}
	objects, err := n.store.ObjectsByContent(content)
	if err == nil && len(objects) == 0 {
		err = n.missing(content)
	}
	if err != nil {
		return err
	}
	may := func(o store.Object) bool { return slices.Contains(o.Audience, address) }
	if address == n.ring.Address() || slices.ContainsFunc(objects, may) {
		return nil
	}
	recipient, err := n.recipientOf(address)
	if err != nil {
		return err
	}
	for _, o := range objects {
		err = n.store.SetHeader(ctx, o.ID, func(o *store.Object) (err error) {
			if may(*o) {
				return nil
			}
			o.Audience = append(o.Audience, address)
			o.Header, err = n.ring.Grant(o.Header, recipient)
			return err
		})
		if err == nil {
			n.log.Info("a content may be read by one more affiliate", "content", content, "object", o.ID, "reader", address)
			return nil
		}
	}
	return err
}

// recipientOf is the recipient that an affiliate has announced last.
func (n *Node) recipientOf(address string) (string, error) {
	rec, ok := n.host.Affiliate(address)
	if !ok {
		return "", agreement.Errorf(agreement.CodeUnknownParty, "nothing is known here of %s", address)
	}
	return rec.Recipient, nil
}

// revoke takes a granted reader back: what it could open is sealed anew for
// the others, under another object id, and the old object is purged. What it
// has read it keeps. Who reads as an agreement's terms say stays a reader.
func (n *Node) revoke(ctx context.Context, content agreement.Hash, address string) error {
	if address == n.ring.Address() {
		return agreement.Errorf(agreement.CodeBadRequest, "this affiliate can't be kept from what it holds").
			WithHint("to remove it, use `affiliate object delete`")
	}
	objects, err := n.sealings(content)
	if err != nil {
		return err
	}
	objects = slices.DeleteFunc(objects, func(o store.Object) bool { return !slices.Contains(o.Audience, address) })
	if len(objects) == 0 {
		return agreement.Errorf(agreement.CodeNotFound, "%s can't open content %s here", address, content).
			WithHint("`affiliate object readers` lists who can")
	}
	for _, o := range objects { // before anything changes
		if err := n.mayRevoke(o, address); err != nil {
			return err
		}
	}
	for _, o := range objects {
		if err := n.sealWithout(ctx, o, address); err != nil {
			return err
		}
	}
	return nil
}

// mayRevoke refuses to take a reader from an object that an agreement lives by.
func (n *Node) mayRevoke(o store.Object, address string) error {
	all, err := n.needs(o)
	if err != nil {
		return err
	}
	for _, one := range all {
		switch {
		case one.committed && slices.Contains(one.audience, address):
			return agreement.Errorf(agreement.CodeBadRequest, "%s reads it as %s, which is on chain", address, one.why(address)).
				WithHint("who has taken part in what is recorded can't be made to have not read it; only what was granted can be revoked")
		case one.open():
			return agreement.Errorf(agreement.CodeInUse, "agreement %s is open, and its data can't change", one.state.ID).
				WithHint("wait until it has ended, or cancel it; then revoke again")
		}
	}
	return nil
}

// sealWithout replaces an object by one that the others can open. It can be
// done again after a crash at any moment.
func (n *Node) sealWithout(ctx context.Context, o store.Object, address string) error {
	const why = "sealed anew, for fewer readers"
	refs, err := n.store.References(o.ID)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return n.purge(ctx, o, why)
	}
	id, err := n.replacement(ctx, o, address, refs)
	if err != nil {
		return err
	}
	n.log.Info("a content is sealed anew, for fewer readers", "content", o.ContentHash, "object", id, "instead_of", o.ID, "without", address)
	return n.replace(ctx, o, id, why)
}

// replacement is an object of the same content for all readers but one.
func (n *Node) replacement(ctx context.Context, o store.Object, without string, refs []store.Reference) (agreement.Hash, error) {
	audience := slices.DeleteFunc(slices.Clone(o.Audience), func(a string) bool { return a == without })
	others, err := n.store.ObjectsByContent(o.ContentHash)
	if err != nil {
		return agreement.Hash{}, err
	}
	for _, other := range others {
		if sameSet(other.Audience, audience) {
			return other.ID, nil
		}
	}
	content, err := n.open(ctx, o)
	if err != nil {
		return agreement.Hash{}, err
	}
	defer content.Close()
	ref, err := n.sealAs(ctx, content, sealing{
		mediaType: o.MediaType, owner: refs[0].Name, until: refs[0].Until, audience: audience, fresh: true,
		required: slices.DeleteFunc(slices.Clone(audience), func(a string) bool { return a == n.ring.Address() }),
	})
	if err != nil {
		return agreement.Hash{}, err
	}
	return agreement.Hash(ref.ObjectId), nil
}

// forget ends what this affiliate's people keep a content for: that it was
// put, and all pins. What an agreement needs of it stays; else it is purged
// after the grace time.
func (n *Node) forget(ctx context.Context, content agreement.Hash) error {
	objects, err := n.sealings(content)
	if err != nil {
		return err
	}
	released := false
	for _, o := range objects {
		refs, err := n.store.References(o.ID)
		if err != nil {
			return err
		}
		for _, r := range refs {
			if r.Name != refPut && !strings.HasPrefix(r.Name, refPin) {
				continue
			}
			if err := n.store.ReleaseObject(ctx, o.ID, r.Name); err != nil {
				return err
			}
			released = true
		}
	}
	if !released {
		return agreement.Errorf(agreement.CodeNotFound, "content %s was neither put nor pinned here", content).
			WithHint("what agreements and contracts need is kept for them; how long, [retention] in affiliate.toml says")
	}
	return nil
}

// pin keeps a content under a label until a time; zero means until it is
// forgotten. The same label again changes the time.
func (n *Node) pin(ctx context.Context, content agreement.Hash, label string, until time.Time) error {
	if len(label) < 1 || len(label) > maxLabel || !utf8.ValidString(label) || strings.ContainsFunc(label, unicode.IsControl) {
		return agreement.Errorf(agreement.CodeBadRequest, "a label is printable text of 1 to %d bytes", maxLabel).WithHint("choose another one")
	}
	if !until.IsZero() && !until.After(time.Now()) {
		return agreement.Errorf(agreement.CodeBadRequest, "%s is over", until.UTC().Format(time.RFC3339)).WithHint("name a time to come, or none")
	}
	objects, err := n.store.ObjectsByContent(content)
	if err == nil && len(objects) == 0 {
		err = n.missing(content)
	}
	if err != nil {
		return err
	}
	chosen := objects[0]
	for _, o := range objects {
		refs, err := n.store.References(o.ID)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(refs, func(r store.Reference) bool { return r.Name == refPin+label }) {
			chosen = o
		}
	}
	return n.store.Hold(ctx, chosen.ID, refPin+label, until)
}

// missing says why a content can't be read: it isn't here, or is damaged.
func (n *Node) missing(content agreement.Hash) error {
	damaged, err := n.store.DamagedByContent(content)
	if err != nil {
		return err
	}
	if len(damaged) == 0 {
		return notHeld(content)
	}
	_, err = n.store.Object(damaged[0].ID)
	for _, o := range damaged {
		n.repairs.want(o.ID)
	}
	return errors.Join(err)
}
