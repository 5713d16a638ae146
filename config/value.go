package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that is written as text, such as "2m" or "36h".
type Duration time.Duration

// Units of durations.
const (
	Millisecond = Duration(time.Millisecond)
	Second      = Duration(time.Second)
	Minute      = Duration(time.Minute)
	Hour        = Duration(time.Hour)
)

// Std returns d for the standard library.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String gives the shortest form: 24h, not 24h0m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText gives the form that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a number and a unit (ms, s, m, h), or several.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration (want a number and a unit, such as \"30s\", \"2m\" or \"36h\")", b)
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes that is written as text, such as "64MiB".
type Size int64

// Units of sizes.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// sizeUnits, largest first.
func sizeUnits() []struct {
	name string
	size Size
} {
	return []struct {
		name string
		size Size
	}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}}
}

// Bytes returns the number of bytes.
func (s Size) Bytes() int64 { return int64(s) }

// String uses the largest unit that divides s.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s%u.size == 0 && (s != 0 || u.size == 1) {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return "" // unreachable: every size is a number of bytes
}

// MarshalText gives the form that UnmarshalText reads.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a whole number and a unit: B, KiB, MiB, GiB or TiB.
func (s *Size) UnmarshalText(b []byte) error {
	text := string(b)
	for _, u := range sizeUnits() {
		digits, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 62)
		if err != nil || Size(n) > (1<<62)/u.size { //nolint:gosec // below 2^62
			break
		}
		*s = Size(n) * u.size //nolint:gosec // below 2^62
		return nil
	}
	return fmt.Errorf("%q is not a size (want a whole number and a unit, such as \"512KiB\", \"64MiB\" or \"1GiB\")", text)
}
