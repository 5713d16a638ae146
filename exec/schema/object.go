package schema

import (
	"strconv"
	"strings"
)

func (r *run) object(n *node, v span, depth int) bool {
	if !n.members {
		return true
	}
	base := len(r.seen)
	r.seen = append(r.seen, make([]bool, len(n.names))...)
	defer func() { r.seen = r.seen[:base] }()
	count := int64(0)
	for name, value := range r.doc.members(v) {
		count++
		if i, known := n.index[string(r.doc.inner(name))]; known {
			r.seen[base+i] = true
		}
		if !r.member(n, name, value, depth+1) {
			return false
		}
	}
	switch {
	case count < n.minProperties:
		return r.fail("minProperties", strconv.FormatInt(n.minProperties, 10))
	case count > n.maxProperties:
		return r.fail("maxProperties", strconv.FormatInt(n.maxProperties, 10))
	case !r.present("required", n, base, n.required):
		return false
	}
	for _, d := range n.dependent {
		switch {
		case !r.seen[base+d.on]:
		case d.schema != nil && !r.apply(d.schema, v, depth):
			return false
		case !r.present("dependentRequired", n, base, d.required):
			return false
		}
	}
	return true
}

func (r *run) present(rule string, n *node, base int, names []int) bool {
	for _, i := range names {
		if !r.seen[base+i] {
			return r.fail(rule, quote(unescape(n.names[i])))
		}
	}
	return true
}

func (r *run) member(n *node, name, value span, depth int) bool {
	if n.memberNames != nil && !r.in(star, r.apply(n.memberNames, name, depth)) {
		return false
	}
	if n.properties == nil && n.patterns == nil && n.additional == nil {
		return true
	}
	inner := r.doc.inner(name)
	m, matched := n.properties[string(inner)]
	if m != nil && !r.in(func() string { return pointer(string(inner)) }, r.apply(m, value, depth)) {
		return false
	}
	for _, p := range n.patterns {
		if !r.match(p.pattern, r.plain(name)) {
			continue
		}
		matched = true
		if !r.in(star, r.apply(p.node, value, depth)) {
			return false
		}
	}
	return matched || n.additional == nil || r.in(star, r.apply(n.additional, value, depth))
}

// star stands for the name of a member that the schema doesn't name: it is as
// private as a value.
func star() string { return "*" }

func (k kind) String() string {
	var list []string
	for i, name := range kindNames {
		if k&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, " or ")
}

func decimalText(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
