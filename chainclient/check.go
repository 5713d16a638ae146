package chainclient

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"time"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	mdtypes "github.com/provenance-io/provenance/x/metadata/types"

	"github.com/affiliate-node/affiliate/agreement"
)

// CheckBody judges a body that a proposer wants co-signed: it must be, byte
// for byte, what this node builds from the agreed terms, with a timeout after
// now (the chain's last block time) and at most MaxCosignLifetime after it.
// BODY_MISMATCH names the first thing that differs; EXPIRED, with the timeout,
// when it has passed and all else is right. Comparing bytes leaves no room for
// fields that we don't know.
func (c *Client) CheckBody(body []byte, w Write, now time.Time) (time.Time, error) {
	if len(body) > MaxBody {
		return time.Time{}, mismatch("it has %d bytes, the limit is %d", len(body), MaxBody)
	}
	var got txtypes.TxBody
	if err := got.Unmarshal(body); err != nil {
		return time.Time{}, mismatch("it does not decode: %s", firstLine(err.Error()))
	}
	if why := envelope(&got); why != "" {
		return time.Time{}, mismatch("%s", why)
	}
	timeout := got.TimeoutTimestamp.UTC()
	want, err := c.BuildBody(w, timeout)
	if err != nil {
		return time.Time{}, fmt.Errorf("building the body to compare with: %w", err)
	}
	if !bytes.Equal(body, want) {
		return time.Time{}, mismatch("%s", difference(&got, want))
	}
	if timeout.Before(now) {
		return timeout, agreement.Errorf(agreement.CodeExpired, "the transaction expired at %s, the chain's time is %s",
			timeout.Format(time.RFC3339Nano), now.UTC().Format(time.RFC3339Nano)).
			WithHint("the proposer has to ask again with a new body")
	}
	if ttl := timeout.Sub(now); ttl > MaxCosignLifetime {
		return time.Time{}, mismatch("its timeout is %s after the chain's time, at most %s is allowed", ttl, MaxCosignLifetime)
	}
	return timeout, nil
}

func mismatch(format string, args ...any) error {
	return agreement.Errorf(agreement.CodeBodyMismatch, "the transaction body is not what was agreed: %s", fmt.Sprintf(format, args...)).
		WithHint("ask the proposer: its node built another transaction than the terms give")
}

// envelope says what is wrong with a body besides its messages.
func envelope(b *txtypes.TxBody) string {
	switch {
	case b.Memo != "":
		return "it has a memo"
	case b.TimeoutHeight != 0:
		return "it has a timeout height"
	case len(b.ExtensionOptions) != 0 || len(b.NonCriticalExtensionOptions) != 0:
		return "it has extension options"
	case !b.Unordered:
		return "it is not unordered"
	case b.TimeoutTimestamp == nil:
		return "it has no timeout"
	}
	return ""
}

// difference names the first difference between a body and the wanted bytes.
func difference(got *txtypes.TxBody, wantRaw []byte) string {
	var want txtypes.TxBody
	if err := want.Unmarshal(wantRaw); err != nil {
		return "the comparison failed: " + err.Error() // ours: can't be
	}
	for i, g := range got.Messages {
		if i >= len(want.Messages) {
			return fmt.Sprintf("it has %d messages, not %d; the first too many is %.100q", len(got.Messages), len(want.Messages), g.TypeUrl)
		}
		if d := messageDifference(g, want.Messages[i]); d != "" {
			return fmt.Sprintf("message %d: %s", i+1, d)
		}
	}
	if len(got.Messages) < len(want.Messages) {
		return fmt.Sprintf("it has %d messages, not %d; the first missing is %s",
			len(got.Messages), len(want.Messages), want.Messages[len(got.Messages)].TypeUrl)
	}
	return "it has unknown fields, or is encoded in another way"
}

func messageDifference(got, want *codectypes.Any) string {
	if got.TypeUrl != want.TypeUrl {
		return fmt.Sprintf("it is a %.100q, not a %s", got.TypeUrl, want.TypeUrl)
	}
	if bytes.Equal(got.Value, want.Value) {
		return ""
	}
	g, w := newMessage(want.TypeUrl), newMessage(want.TypeUrl)
	if g == nil || w.Unmarshal(want.Value) != nil {
		return want.TypeUrl + " differs"
	}
	if err := g.Unmarshal(got.Value); err != nil {
		return fmt.Sprintf("%s does not decode: %s", want.TypeUrl, firstLine(err.Error()))
	}
	name := want.TypeUrl[strings.LastIndexByte(want.TypeUrl, '.')+1:]
	if d := fieldDifference(name, reflect.ValueOf(g).Elem(), reflect.ValueOf(w).Elem()); d != "" {
		return d
	}
	return name + " has unknown fields, or is encoded in another way"
}

// newMessage makes an empty message of one of the types that we write.
func newMessage(url string) message {
	for _, m := range []message{
		&mdtypes.MsgWriteScopeRequest{}, &mdtypes.MsgAddScopeDataAccessRequest{},
		&mdtypes.MsgWriteSessionRequest{}, &mdtypes.MsgWriteRecordRequest{},
	} {
		if typeURL(m) == url {
			return m
		}
	}
	return nil
}

// fieldDifference walks two values of one type and names the first field that
// differs, with both values.
func fieldDifference(path string, got, want reflect.Value) string {
	if reflect.DeepEqual(got.Interface(), want.Interface()) {
		return ""
	}
	switch got.Kind() {
	case reflect.Struct:
		for i := range got.NumField() {
			if d := fieldDifference(path+"."+got.Type().Field(i).Name, got.Field(i), want.Field(i)); d != "" {
				return d
			}
		}
		return ""
	case reflect.Pointer, reflect.Interface:
		if !got.IsNil() && !want.IsNil() && got.Elem().Type() == want.Elem().Type() {
			return fieldDifference(path, got.Elem(), want.Elem())
		}
	case reflect.Slice:
		if got.Type().Elem().Kind() != reflect.Uint8 {
			return sliceDifference(path, got, want)
		}
	}
	return fmt.Sprintf("%s is %s, not %s", path, shown(got), shown(want))
}

func sliceDifference(path string, got, want reflect.Value) string {
	for i := range min(got.Len(), want.Len()) {
		if d := fieldDifference(fmt.Sprintf("%s[%d]", path, i), got.Index(i), want.Index(i)); d != "" {
			return d
		}
	}
	if got.Len() != want.Len() {
		return fmt.Sprintf("%s has %d entries, not %d", path, got.Len(), want.Len())
	}
	return ""
}

// shown is a value for people, at most 80 characters of it.
func shown(v reflect.Value) string {
	if s, ok := v.Interface().(mdtypes.MetadataAddress); ok {
		return s.String()
	}
	return fmt.Sprintf("%.80q", fmt.Sprint(v.Interface()))
}
