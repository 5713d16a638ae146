package schema

import (
	"bytes"
	"regexp"
	"time"
)

// format is a kind of text with a name.
type format struct {
	name string
	has  func(text []byte) bool
}

// maxFormat is longer than whatever has a format, in bytes.
const maxFormat = 64

func formatOf(name string) *format {
	switch name {
	case "date":
		return &format{name, isDate}
	case "date-time":
		return &format{name, isDateTime}
	case "uuid":
		return &format{name, regexp.MustCompile(`^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`).Match}
	}
	return nil
}

// isDate is full-date of RFC 3339.
func isDate(text []byte) bool {
	if len(text) != len(time.DateOnly) {
		return false
	}
	_, err := time.Parse(time.DateOnly, string(text))
	return err == nil
}

// isDateTime is date-time of RFC 3339. A leap second is one at the end of a day
// in UTC.
func isDateTime(text []byte) bool {
	if len(text) < 20 || !isDate(text[:10]) || text[10]|' ' != 't' || text[16] != ':' {
		return false
	}
	at, ok := clock(text[11:16])
	second, zone := twoDigits(text[17:19]), text[19:]
	if zone[0] == '.' {
		rest := bytes.TrimLeft(zone[1:], "0123456789")
		ok, zone = ok && len(rest) < len(zone)-1, rest
	}
	offset, known := fromUTC(zone)
	if !ok || !known || second < 0 || second > 60 {
		return false
	}
	return second < 60 || (at-offset+24*60)%(24*60) == 24*60-1
}

// fromUTC reads a time zone, in minutes.
func fromUTC(zone []byte) (int, bool) {
	if len(zone) == 1 {
		return 0, zone[0]|' ' == 'z'
	}
	if len(zone) != 6 || zone[0] != '+' && zone[0] != '-' {
		return 0, false
	}
	offset, ok := clock(zone[1:])
	if zone[0] == '-' {
		offset = -offset
	}
	return offset, ok
}

// clock reads a time of day such as 23:59, in minutes.
func clock(text []byte) (int, bool) {
	hour, minute := twoDigits(text), twoDigits(text[3:])
	return 60*hour + minute, 0 <= hour && hour < 24 && text[2] == ':' && 0 <= minute && minute < 60
}

// twoDigits reads the first two bytes as a number, -1 if they aren't one.
func twoDigits(text []byte) int {
	a, b := text[0]-'0', text[1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(10*a + b)
}
