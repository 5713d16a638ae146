package keys

import "github.com/affiliate-node/affiliate/agreement"

// Grant returns the header with one more recipient, for the same payload. The
// stanzas of the others stay byte for byte. Whether the recipient is among
// them can't be seen: who grants keeps the list. Errors: CodeBadMessage for a
// recipient that isn't a post-quantum one, CodeTooLarge when there are
// MaxReaders already, CodeNotAuthorized and CodeDamaged as Open.
func (r *Ring) Grant(header []byte, recipient string) ([]byte, error) {
	to, err := parseRecipient(recipient)
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	if len(h.stanzas) == MaxReaders {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "the object has %d readers, the limit", MaxReaders).
			WithHint("put the content again, with the readers that it needs")
	}
	key, _, err := h.unwrap(r.identities())
	if err != nil {
		return nil, err
	}
	s, err := newStanza(key, to)
	if err != nil {
		return nil, err
	}
	h.stanzas = append(h.stanzas, s)
	h.mac = h.computeMAC(key)
	return h.bytes(), nil
}

// Rewrap replaces this affiliate's own stanza, where it is for a previous
// identity, by one for the current. The other stanzas stay byte for byte. The
// flag is false, and the header returned as it was, when the current identity
// opens it already. Errors: CodeNotAuthorized and CodeDamaged as Open.
func (r *Ring) Rewrap(header []byte) ([]byte, bool, error) {
	h, err := parseHeader(header)
	if err != nil {
		return nil, false, err
	}
	ids := r.identities()
	key, at, err := h.unwrap(ids)
	if err != nil {
		return nil, false, err
	}
	if at.identity == 0 {
		return header, false, nil
	}
	s, err := newStanza(key, ids[0].key.Recipient())
	if err != nil {
		return nil, false, err
	}
	h.stanzas[at.stanza] = s
	h.mac = h.computeMAC(key)
	return h.bytes(), true, nil
}
