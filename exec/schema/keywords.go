package schema

import (
	"bytes"
	"strconv"
	"strings"
)

func (c *compiler) numbers(n *node, name string, v span) (known bool, err error) {
	switch name {
	case "minimum":
		n.least, err = c.number(v)
	case "maximum":
		n.most, err = c.number(v)
	case "exclusiveMinimum":
		n.above, err = c.number(v)
	case "exclusiveMaximum":
		n.below, err = c.number(v)
	case "multipleOf":
		var f *float64
		if f, err = c.number(v); err == nil && *f <= 0 {
			err = c.fail("a number greater than 0")
		}
		d := toDecimal(c.doc.of(v))
		n.multiple = &d
		n.weight += multipleWork
	default:
		return false, nil
	}
	return true, err
}

func (c *compiler) strings(n *node, name string, v span) (known bool, err error) {
	switch name {
	case "minLength":
		n.minLength, err = c.count(v)
	case "maxLength":
		n.maxLength, err = c.count(v)
	case "pattern":
		var text string
		if text, err = c.text(v); err == nil {
			n.pattern, err = c.pattern(text)
		}
	case "format":
		var text string
		if text, err = c.text(v); err == nil {
			if n.format = formatOf(text); n.format == nil {
				err = c.fail("only date, date-time and uuid are checked; write a pattern, or leave it out")
			}
		}
	default:
		return false, nil
	}
	return true, err
}

func (c *compiler) arrays(n *node, name string, v span) (known bool, err error) {
	switch name {
	case "prefixItems":
		n.prefix, err = c.schemas(v)
	case "items":
		n.items, err = c.schema(v.at)
	case "contains":
		n.contains, err = c.schema(v.at)
	case "minContains":
		n.minContains, err = c.count(v)
	case "maxContains":
		n.maxContains, err = c.count(v)
	case "minItems":
		n.minItems, err = c.count(v)
	case "maxItems":
		n.maxItems, err = c.count(v)
	case "uniqueItems":
		k := c.doc.kindOf(v)
		if n.unique = c.doc.byte(v.at) == 't'; k != kindBoolean {
			err = c.fail("true or false")
		}
	default:
		return false, nil
	}
	return true, err
}

func (c *compiler) objects(n *node, name string, v span) (known bool, err error) {
	switch name {
	case "properties":
		n.properties = map[string]*node{}
		err = c.named(v, func(inner string, m *node) error {
			n.properties[inner] = m
			return nil
		})
	case "patternProperties":
		err = c.named(v, func(inner string, m *node) error {
			p, err := c.pattern(unescape(inner))
			n.patterns = append(n.patterns, patternProperty{p, m})
			return err
		})
	case "additionalProperties":
		n.additional, err = c.schema(v.at)
	case "propertyNames":
		n.memberNames, err = c.schema(v.at)
	case "minProperties":
		n.minProperties, err = c.count(v)
	case "maxProperties":
		n.maxProperties, err = c.count(v)
	case "required":
		n.required, err = c.memberList(n, v)
	case "dependentRequired":
		err = c.object(v, func(inner string, v span) error {
			others, err := c.memberList(n, v)
			n.dependent = append(n.dependent, dependency{on: n.name(inner), required: others})
			return err
		})
	case "dependentSchemas":
		err = c.named(v, func(inner string, m *node) error {
			n.dependent = append(n.dependent, dependency{on: n.name(inner), schema: m})
			return nil
		})
	default:
		return false, nil
	}
	n.members = true
	return true, err
}

func (c *compiler) combined(n *node, name string, v span) (known bool, err error) {
	switch name {
	case "allOf":
		n.allOf, err = c.schemas(v)
	case "anyOf":
		n.anyOf, err = c.schemas(v)
	case "oneOf":
		n.oneOf, err = c.schemas(v)
	case "not":
		n.not, err = c.schema(v.at)
	case "if":
		n.when, err = c.schema(v.at)
	case "then":
		n.then, err = c.schema(v.at)
	case "else":
		n.otherwise, err = c.schema(v.at)
	default:
		return false, nil
	}
	return true, err
}

func (c *compiler) value(at int) span { return span{at, c.doc.skip(at)} }

func (c *compiler) text(v span) (string, error) {
	if c.doc.byte(v.at) != '"' {
		return "", c.fail("a string")
	}
	return string(c.doc.text(v, nil)), nil
}

func (c *compiler) number(v span) (*float64, error) {
	if c.doc.kindOf(v)&kindNumber == 0 {
		return nil, c.fail("a number")
	}
	f := double(c.doc.of(v))
	return &f, nil
}

func (c *compiler) count(v span) (int64, error) {
	n, err := strconv.ParseInt(string(c.doc.of(v)), 10, 64)
	if err != nil || n < 0 {
		return 0, c.fail("a whole number, 0 or greater")
	}
	return n, nil
}

// list reads an array that isn't empty.
func (c *compiler) list(v span, each func(int, span) error) error {
	if c.doc.byte(v.at) != '[' || v.end-v.at < 3 {
		return c.fail("a list that isn't empty")
	}
	for i, item := range c.doc.items(v) {
		if err := each(i, item); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) schemas(v span) ([]*node, error) {
	var all []*node
	err := c.list(v, func(i int, v span) error {
		return c.below(strconv.Itoa(i), func() error {
			n, err := c.schema(v.at)
			all = append(all, n)
			return err
		})
	})
	return all, err
}

func (c *compiler) object(v span, each func(inner string, v span) error) error {
	if c.doc.byte(v.at) != '{' {
		return c.fail("an object")
	}
	for name, value := range c.doc.members(v) {
		inner := string(c.doc.inner(name))
		if err := c.below(pointer(inner), func() error { return each(inner, value) }); err != nil {
			return err
		}
	}
	return nil
}

// named reads an object of schemas.
func (c *compiler) named(v span, each func(inner string, n *node) error) error {
	return c.object(v, func(inner string, v span) error {
		n, err := c.schema(v.at)
		if err != nil {
			return err
		}
		return each(inner, n)
	})
}

// memberList reads an array of different strings, which may be empty.
func (c *compiler) memberList(n *node, v span) ([]int, error) {
	all := []int{}
	if bytes.Equal(c.doc.of(v), []byte("[]")) {
		return all, nil
	}
	seen := map[string]bool{}
	err := c.list(v, func(_ int, v span) error {
		inner := string(c.doc.inner(v))
		if c.doc.byte(v.at) != '"' || seen[inner] {
			return c.fail("a list of different strings")
		}
		seen[inner] = true
		all = append(all, n.name(inner))
		n.weight++
		return nil
	})
	return all, err
}

// unescape turns the inside of a canonical string into what it means.
func unescape(inner string) string {
	return string(document(`"`+inner+`"`).text(span{0, len(inner) + 2}, nil))
}

// pointer is a name as one step of a JSON pointer.
func pointer(inner string) string {
	return strings.ReplaceAll(strings.ReplaceAll(unescape(inner), "~", "~0"), "/", "~1")
}
