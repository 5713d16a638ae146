package schema

import (
	"bytes"
	"hash/maphash"
	"math"
	"strconv"

	"github.com/affiliate-node/affiliate/agreement"
)

// run is one check of one document.
type run struct {
	doc    document
	left   int64    // of MaxWork
	quiet  int      // above 0, a schema that doesn't hold isn't a violation
	rule   string   // that is broken
	place  []string // where, innermost first
	seen   []bool   // names that the open objects were looked through for
	buf    []byte   // for texts with escapes
	values *set     // of the array that is looked at
}

// maxDepth of nested values; the names in the innermost object are one deeper.
const maxDepth = agreement.MaxCanonicalDepth + 1

// fail notes the rule that is broken; its argument may be cut.
func (r *run) fail(rule, argument string) bool {
	if r.quiet == 0 {
		if r.rule = rule; argument != "" {
			r.rule += " " + clip(argument, 80)
		}
	}
	return false
}

// in adds a step to the place of a violation below.
func (r *run) in(step func() string, ok bool) bool {
	if !ok && r.quiet == 0 {
		r.place = append(r.place, "/"+step())
	}
	return ok
}

// apply reports whether the value at v keeps to n. Once the work is used up it
// says no, whatever that leads to.
func (r *run) apply(n *node, v span, depth int) bool {
	if r.left -= n.weight + int64(v.end-v.at); r.left < 0 {
		return false
	}
	if n.never {
		return r.fail("false: nothing is allowed here", "")
	}
	k := r.doc.kindOf(v)
	switch {
	case depth > maxDepth:
		return r.fail("nested too deep", "")
	case n.kinds != 0 && n.kinds&k == 0:
		return r.fail("type", n.kinds.String())
	case n.constant != nil && !bytes.Equal(n.constant, r.doc.of(v)):
		return r.fail("const", "")
	case n.enum != nil && !n.enum[string(r.doc.of(v))]:
		return r.fail("enum", "")
	}
	ok := true
	switch {
	case k&kindNumber != 0:
		ok = r.number(n, v)
	case k == kindText:
		ok = r.text(n, v)
	case k == kindArray:
		ok = r.array(n, v, depth)
	case k == kindObject:
		ok = r.object(n, v, depth)
	}
	return ok && r.combined(n, v, depth)
}

// holds is apply where a no isn't a violation yet.
func (r *run) holds(n *node, v span, depth int) bool {
	r.quiet++
	ok := r.apply(n, v, depth)
	r.quiet--
	return ok
}

func (r *run) combined(n *node, v span, depth int) bool {
	if n.reference != nil && !r.apply(n.reference, v, depth) {
		return false
	}
	for _, m := range n.allOf {
		if !r.apply(m, v, depth) {
			return false
		}
	}
	if n.anyOf != nil && r.among(n.anyOf, v, depth, 1) == 0 {
		return r.fail("anyOf: none of the schemas holds", "")
	}
	if n.oneOf != nil {
		if held := r.among(n.oneOf, v, depth, 2); held != 1 {
			return r.fail("oneOf: not exactly one of the schemas holds", "")
		}
	}
	if n.not != nil && r.holds(n.not, v, depth) {
		return r.fail("not", "")
	}
	if n.when == nil || n.then == nil && n.otherwise == nil {
		return true
	}
	next := n.otherwise
	if r.holds(n.when, v, depth) {
		next = n.then
	}
	return next == nil || r.apply(next, v, depth)
}

// among counts the schemas that hold, up to enough.
func (r *run) among(list []*node, v span, depth, enough int) int {
	held := 0
	for _, m := range list {
		if r.holds(m, v, depth) {
			held++
		}
		if held == enough || r.left < 0 {
			break
		}
	}
	return held
}

func (r *run) number(n *node, v span) bool {
	if n.least == nil && n.most == nil && n.above == nil && n.below == nil && n.multiple == nil {
		return true
	}
	f := double(r.doc.of(v))
	switch {
	case n.least != nil && f < *n.least:
		return r.fail("minimum", decimalText(*n.least))
	case n.most != nil && f > *n.most:
		return r.fail("maximum", decimalText(*n.most))
	case n.above != nil && f <= *n.above:
		return r.fail("exclusiveMinimum", decimalText(*n.above))
	case n.below != nil && f >= *n.below:
		return r.fail("exclusiveMaximum", decimalText(*n.below))
	case n.multiple != nil && !toDecimal(r.doc.of(v)).multipleOf(*n.multiple):
		return r.fail("multipleOf", "")
	}
	return true
}

func (r *run) text(n *node, v span) bool {
	if n.minLength > 0 || int64(v.end-v.at-2) > n.maxLength { // every character has a byte or more
		switch length := r.doc.length(v); {
		case length < n.minLength:
			return r.fail("minLength", strconv.FormatInt(n.minLength, 10))
		case length > n.maxLength:
			return r.fail("maxLength", strconv.FormatInt(n.maxLength, 10))
		}
	}
	if n.pattern == nil && n.format == nil {
		return true
	}
	text := r.plain(v)
	if n.format != nil && (len(text) > maxFormat || !n.format.has(text)) {
		return r.fail("format", n.format.name)
	}
	if n.pattern != nil && !r.match(n.pattern, text) {
		return r.fail("pattern", quote(n.pattern.text))
	}
	return true
}

// plain is a string as it is meant, until the next one.
func (r *run) plain(v span) []byte {
	text := r.doc.text(v, r.buf)
	if bytes.IndexByte(r.doc.inner(v), '\\') >= 0 {
		r.buf = text
	}
	return text
}

func (r *run) match(p *pattern, text []byte) bool {
	r.left -= patternWork * p.size * int64(len(text)+1)
	return r.left >= 0 && p.Match(text)
}

func (r *run) array(n *node, v span, depth int) bool {
	count := int64(0)
	if n.prefix != nil || n.items != nil || n.minItems > 0 || n.maxItems < int64(v.end-v.at) {
		for i, item := range r.doc.items(v) {
			count++
			m := n.items
			if i < len(n.prefix) {
				m = n.prefix[i]
			}
			if m != nil && !r.in(func() string { return strconv.Itoa(i) }, r.apply(m, item, depth+1)) {
				return false
			}
		}
	}
	switch {
	case count < n.minItems:
		return r.fail("minItems", strconv.FormatInt(n.minItems, 10))
	case count > n.maxItems:
		return r.fail("maxItems", strconv.FormatInt(n.maxItems, 10))
	case n.unique && !r.unique(v):
		return r.fail("uniqueItems", "")
	}
	return n.contains == nil || r.contains(n, v, depth)
}

func (r *run) unique(v span) bool {
	r.left -= uniqueWork * int64(v.end-v.at)
	if r.values == nil {
		r.values = &set{doc: r.doc, seed: maphash.MakeSeed()}
	}
	r.values.empty()
	for _, item := range r.doc.items(v) {
		if r.left < 0 || !r.values.add(item) {
			return false
		}
	}
	return true
}

func (r *run) contains(n *node, v span, depth int) bool {
	found, enough := int64(0), n.minContains
	if n.maxContains < math.MaxInt64 {
		enough = max(enough, n.maxContains+1)
	}
	for _, item := range r.doc.items(v) {
		if found >= enough || r.left < 0 {
			break
		}
		if r.holds(n.contains, item, depth+1) {
			found++
		}
	}
	switch {
	case found < n.minContains:
		return r.fail("contains, at least", strconv.FormatInt(n.minContains, 10))
	case found > n.maxContains:
		return r.fail("contains, at most", strconv.FormatInt(n.maxContains, 10))
	}
	return true
}
