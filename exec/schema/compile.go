package schema

import (
	"fmt"
	"net/url"
	"strings"
)

const draft = "https://json-schema.org/draft/2020-12/schema"

// compiler reads a canonical schema into nodes.
type compiler struct {
	doc      document
	path     []string // members down to where it reads
	schemata int      // read so far
	nodes    []*node
	always   *node
	never    *node
	unfolded int              // of all patterns
	targets  map[string]*node // that $ref can mean
}

func (c *compiler) fail(format string, args ...any) error {
	place := "the schema"
	if len(c.path) > 0 {
		place = quote("/" + strings.Join(c.path, "/"))
	}
	return fmt.Errorf("%s: %s", place, fmt.Sprintf(format, args...))
}

// below runs f one step deeper in the schema.
func (c *compiler) below(step string, f func() error) error {
	c.path = append(c.path, step)
	err := f()
	c.path = c.path[:len(c.path)-1]
	return err
}

func (c *compiler) schema(at int) (*node, error) {
	if c.schemata++; c.schemata > MaxSchemas {
		return nil, c.fail("more than %d schemas; make it smaller", MaxSchemas)
	}
	switch c.doc.byte(at) {
	case 't':
		return c.always, nil
	case 'f':
		return c.never, nil
	case '{':
	default:
		return nil, c.fail("a schema is an object, true or false")
	}
	n := newNode()
	c.nodes = append(c.nodes, n)
	for name, value := range c.doc.members(c.value(at)) {
		keyword := string(c.doc.text(name, nil))
		if err := c.below(keyword, func() error { return c.keyword(n, keyword, value) }); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (c *compiler) keyword(n *node, name string, v span) error {
	for _, group := range []func(*node, string, span) (bool, error){
		c.general, c.numbers, c.strings, c.arrays, c.objects, c.combined,
	} {
		if known, err := group(n, name, v); known {
			return err
		}
	}
	hint := "correct it, or name it x-… if it is a note"
	switch name {
	case "definitions":
		hint = "draft 2020-12 has $defs"
	case "additionalItems":
		hint = "draft 2020-12 has items, after prefixItems"
	case "dependencies":
		hint = "draft 2020-12 has dependentRequired and dependentSchemas"
	case "unevaluatedItems", "unevaluatedProperties":
		hint = "write items or additionalProperties"
	case "$anchor", "$dynamicAnchor", "$dynamicRef":
		hint = "write $ref with #/$defs/NAME"
	}
	return c.fail("the keyword isn't known; %s", hint)
}

// general reads annotations and what holds for values of every type.
func (c *compiler) general(n *node, name string, v span) (known bool, err error) {
	switch name {
	case "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment",
		"contentEncoding", "contentMediaType", "contentSchema":
	case "$schema":
		if text, err := c.text(v); err != nil || strings.TrimSuffix(text, "#") != draft || len(c.path) > 1 {
			return true, c.fail("only %s is known, in the root", draft)
		}
	case "$id":
		if text, err := c.text(v); err != nil || strings.Contains(text, "#") || len(c.path) > 1 {
			return true, c.fail("a URI without a fragment, in the root only")
		}
	case "$defs":
		return true, c.definitions(v)
	case "$ref":
		n.to, err = c.target(v)
	case "type":
		n.kinds, err = c.kinds(v)
	case "const":
		n.constant = c.doc.of(v)
	case "enum":
		n.enum = map[string]bool{}
		err = c.list(v, func(_ int, v span) error {
			n.enum[string(c.doc.of(v))] = true
			return nil
		})
	default:
		return strings.HasPrefix(name, "x-"), nil
	}
	return true, err
}

func (c *compiler) definitions(v span) error {
	if len(c.path) > 1 {
		return c.fail("only the root has $defs; move them there")
	}
	return c.named(v, func(inner string, n *node) error {
		c.targets["#/$defs/"+unescape(inner)] = n
		return nil
	})
}

// target reads a reference and writes it as the keys of targets are.
func (c *compiler) target(v span) (string, error) {
	text, err := c.text(v)
	if err != nil {
		return "", err
	}
	name, below := strings.CutPrefix(text, "#/$defs/")
	if text != "#" && (!below || strings.Contains(name, "/")) {
		return "", c.fail(`a reference is "#" or "#/$defs/NAME"; move what it means to $defs`)
	}
	if name, err = url.PathUnescape(name); err != nil {
		return "", c.fail("%% stands before two hexadecimal digits")
	}
	if text == "#" {
		return text, nil
	}
	return "#/$defs/" + strings.NewReplacer("~1", "/", "~0", "~").Replace(name), nil
}

var kindNames = [...]string{"null", "boolean", "object", "array", "number", "integer", "string"}

func (c *compiler) kinds(v span) (kind, error) {
	var all kind
	each := func(_ int, v span) error {
		text, _ := c.text(v)
		for i, name := range kindNames {
			if k := kind(1) << i; name == text && all&k == 0 {
				all |= k
				return nil
			}
		}
		return c.fail("one of %s, or a list without repetition", strings.Join(kindNames[:], ", "))
	}
	if c.doc.byte(v.at) != '[' {
		return all, each(0, v)
	}
	err := c.list(v, each)
	return all, err
}

// link connects references, and refuses what would apply to one value without
// end, or too often.
func (c *compiler) link() error {
	c.path = nil
	for _, n := range c.nodes {
		if n.to == "" {
			continue
		}
		if n.reference = c.targets[n.to]; n.reference == nil {
			return c.fail("$ref %s means nothing; add it to the root's $defs", quote(n.to))
		}
	}
	for _, n := range c.nodes {
		if err := c.unfold(n); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) unfold(n *node) error {
	if n.size > 0 {
		return nil
	}
	if n.unfinished {
		return c.fail("$ref leads back to itself on the same value; refer below properties or items")
	}
	n.unfinished = true
	size, height := int64(1), 0
	for _, m := range n.inPlace() {
		if m == nil {
			continue
		}
		if err := c.unfold(m); err != nil {
			return err
		}
		size, height = size+m.size, max(height, m.height)
	}
	n.unfinished, n.size, n.height = false, size, height+1
	if n.size > MaxUnfolded || n.height > MaxHeight {
		return c.fail("more than %d schemas, or %d inside one another, apply to one value; make it smaller", MaxUnfolded, MaxHeight)
	}
	return nil
}
