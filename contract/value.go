package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Value is an input or an existing record, read when it is asked for.
type Value struct {
	host Host
	kind int
	name string
}

// Exists tells whether there is such a value; an optional one may be absent.
func (v Value) Exists() bool {
	_, ok := v.host.Value(v.kind, v.name)
	return ok
}

// Bytes returns the value as it is. One that is absent is a Failure with
// CodeInputMissing.
func (v Value) Bytes() ([]byte, error) {
	b, ok := v.host.Value(v.kind, v.name)
	if !ok {
		return nil, Fail(CodeInputMissing, "there is no %s", v.name)
	}
	return b, nil
}

// JSON reads the value into the variable that into points to. A field of an
// input that the variable doesn't have is an error, so that a typing error in
// an input can't pass unseen; an existing record may have more fields than a
// handler cares for. What can't be read is a Failure with CodeInputInvalid.
func (v Value) JSON(into any) error {
	b, err := v.Bytes()
	if err != nil {
		return err
	}
	if err := decode(b, into, v.kind == KindProposed); err != nil {
		return Fail(CodeInputInvalid, "%s: %s", v.name, err)
	}
	return nil
}

func decode(b []byte, into any, strict bool) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more text after the document")
	}
	return nil
}

// Encode gives the bytes of what a handler returned: []byte as they are,
// anything else as JSON. The host makes JSON canonical.
func Encode(result any) ([]byte, error) {
	if b, ok := result.([]byte); ok {
		return b, nil
	}
	b, err := json.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("writing the record: %w", err)
	}
	return b, nil
}
