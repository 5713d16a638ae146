package keys

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
)

// MaxIdentities is how many encryption identities a ring holds at most, the
// current one included: each is tried on each recipient of what is opened.
const MaxIdentities = 8

// Identity describes an encryption identity.
type Identity struct {
	Number    int       // 1 for the first one of an affiliate, then upwards
	Created   time.Time // UTC, whole seconds; zero where it isn't known
	Recipient string    // to which others seal
}

// identity is an encryption identity with its key.
type identity struct {
	number  int
	created time.Time
	key     *age.HybridIdentity
}

func (id identity) public() Identity {
	return Identity{Number: id.number, Created: id.created, Recipient: id.key.Recipient().String()}
}

// newIdentity makes an identity.
func newIdentity(number int, now time.Time) (identity, error) {
	key, err := age.GenerateHybridIdentity()
	return identity{number, now.UTC().Truncate(time.Second), key}, err
}

// The text of the identities is one that age's own tools read. Each identity
// is a comment with its number and time, and the identity itself.
const (
	identitiesTitle = "# affiliate identities 1"
	timeUnknown     = "unknown"
)

// errIdentities doesn't quote the file, which holds keys.
var errIdentities = errors.New("the encryption identities can't be read")

// encodeIdentities writes identities, the current one first.
func encodeIdentities(ids []identity) []byte {
	var b bytes.Buffer
	b.WriteString(identitiesTitle + "\n")
	for _, id := range ids {
		created := timeUnknown
		if !id.created.IsZero() {
			created = id.created.Format(time.RFC3339)
		}
		fmt.Fprintf(&b, "# %d %s\n%s\n", id.number, created, id.key)
	}
	return b.Bytes()
}

// parseIdentities reads exactly what encodeIdentities writes.
func parseIdentities(text []byte) ([]identity, error) {
	lines := strings.Split(string(text), "\n")
	count := (len(lines) - 2) / 2
	if lines[0] != identitiesTitle || count < 1 || count > MaxIdentities {
		return nil, errIdentities
	}
	ids := make([]identity, count)
	for i := range ids {
		var err error
		if ids[i], err = parseIdentity(lines[2*i+1], lines[2*i+2]); err != nil {
			return nil, err
		}
		if i > 0 && ids[i].number >= ids[i-1].number {
			return nil, errIdentities
		}
	}
	if !bytes.Equal(encodeIdentities(ids), text) {
		return nil, errIdentities
	}
	return ids, nil
}

func parseIdentity(comment, key string) (id identity, err error) {
	fields := strings.Split(comment, " ")
	if len(fields) != 3 {
		return id, errIdentities
	}
	if id.number, err = strconv.Atoi(fields[1]); err != nil || id.number < 1 {
		return id, errIdentities
	}
	if fields[2] != timeUnknown {
		if id.created, err = time.Parse(time.RFC3339, fields[2]); err != nil {
			return id, errIdentities
		}
		id.created = id.created.UTC()
	}
	if id.key, err = age.ParseHybridIdentity(key); err != nil {
		return id, errIdentities // the cause could quote the key
	}
	return id, nil
}
