package config

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Keep is how long something is kept: a duration that may have days and years,
// or for ever.
type Keep time.Duration

// Forever is the Keep without an end.
const Forever Keep = 0

const (
	keepForever = "forever"
	day         = Keep(24 * Hour)
	year        = 365 * day
	longestKeep = 200 * year // a duration has no more than 292 of them
	minBudget   = 64 * MiB
	maxDisk     = 1 << 20 * GiB
)

// Std returns k for the standard library, zero for ever.
func (k Keep) Std() time.Duration { return time.Duration(k) }

// String uses the largest unit that divides k.
func (k Keep) String() string {
	switch {
	case k == Forever:
		return keepForever
	case k%year == 0:
		return strconv.FormatInt(int64(k/year), 10) + "y"
	case k%day == 0:
		return strconv.FormatInt(int64(k/day), 10) + "d"
	}
	return Duration(k).String()
}

// MarshalText gives the form that UnmarshalText reads.
func (k Keep) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads "forever", a whole number of days (d) or years (y), or a
// duration.
func (k *Keep) UnmarshalText(b []byte) error {
	text := string(b)
	if text == keepForever {
		*k = Forever
		return nil
	}
	for suffix, unit := range map[string]Keep{"d": day, "y": year} {
		if digits, ok := strings.CutSuffix(text, suffix); ok {
			n, err := strconv.ParseUint(digits, 10, 32)
			if err != nil || n > uint64(longestKeep/unit) { //nolint:gosec // positive
				return badKeep(text)
			}
			*k = Keep(n) * unit //nolint:gosec // bounded above
			return checkKeep(*k, text)
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return badKeep(text)
	}
	*k = Keep(d)
	return checkKeep(*k, text)
}

// checkKeep keeps nought from meaning for ever.
func checkKeep(k Keep, text string) error {
	if k <= 0 {
		return badKeep(text)
	}
	return nil
}

func badKeep(text string) error {
	return fmt.Errorf("%q is not a time to keep data (want \"forever\", or a number and a unit, such as \"30m\", \"36h\", \"90d\" or \"7y\"; at most 200y)", text)
}

func (c Config) checkStore() *Error {
	s := c.Store
	if s.DiskBudget != 0 {
		if e := within("store.disk_budget", s.DiskBudget, minBudget, maxDisk); e != nil {
			return e.hint(`"0B" is no budget`)
		}
	}
	return first(
		within("store.max_object_size", s.MaxObjectSize, 64*KiB, TiB),
		checkPayloads(s.Payloads),
		within("store.disk_reserve", s.DiskReserve, 0, TiB),
		within("store.grace", s.Grace, Second, 8760*Hour),
		within("store.compact_after", s.CompactAfter, Minute, 8760*Hour),
	)
}

// checkPayloads looks at the outline only; store/blob asks the server.
func checkPayloads(text string) *Error {
	const key = "store.payloads"
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" || u.Host == "" {
		return problem(key, "must be empty or the address of a bucket").
			hint(`write it as "s3://BUCKET/PREFIX?endpoint=https://HOST&region=NAME", or leave it empty for files`)
	}
	if u.User != nil {
		return problem(key, "must not have credentials").
			hint("give them in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return nil
}

func (c Config) checkRetention() *Error {
	r := c.Retention
	shortest := Keep(Second)
	for key, k := range map[string]Keep{"retention.failed": r.Failed, "retention.default": r.Default} {
		if k != Forever {
			if e := within(key, k, shortest, longestKeep); e != nil {
				return e
			}
		}
	}
	for i, rule := range r.Rules {
		key := fmt.Sprintf("retention.rule[%d]", i)
		if rule.Contract == "" || rule.Contract == "*" {
			return problem(key+".contract", "must be a hash or a name").hint("what holds for all contracts is retention.default")
		}
		if e := checkRuleContract(key+".contract", rule.Contract); e != nil {
			return e
		}
		if rule.Keep != Forever {
			if e := within(key+".keep", rule.Keep, shortest, longestKeep); e != nil {
				return e
			}
		}
	}
	return nil
}
