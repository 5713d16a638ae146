package schema

import "math"

// node is one schema, ready to be applied. A nil pointer or slice, or none,
// demands nothing.
type node struct {
	never    bool // the schema false
	kinds    kind // 0 for all
	constant []byte
	enum     map[string]bool

	least, most, above, below *float64
	multiple                  *decimal

	minLength, maxLength int64
	pattern              *pattern
	format               *format

	prefix                   []*node
	items, contains          *node
	minContains, maxContains int64
	minItems, maxItems       int64
	unique                   bool

	properties                   map[string]*node // by inner
	patterns                     []patternProperty
	additional, memberNames      *node
	minProperties, maxProperties int64
	required                     []int // of names
	dependent                    []dependency
	members                      bool           // something is demanded of objects
	names                        []string       // that required and dependent mention
	index                        map[string]int // of names, by inner

	reference                  *node
	allOf, anyOf, oneOf        []*node
	not, when, then, otherwise *node

	weight     int64 // what it costs to apply it to an empty value
	to         string
	size       int64 // schemas that apply to one value; 0 if not counted yet
	height     int
	unfinished bool
}

type patternProperty struct {
	*pattern
	*node
}

// dependency is what a member demands by being there: others, or a schema of
// the object.
type dependency struct {
	on       int // of names
	required []int
	schema   *node
}

func newNode() *node {
	return &node{
		maxLength: math.MaxInt64, maxItems: math.MaxInt64, maxProperties: math.MaxInt64,
		minContains: 1, maxContains: math.MaxInt64, weight: 1,
	}
}

// name gives a name that the node must find in objects its place.
func (n *node) name(inner string) int {
	if i, ok := n.index[inner]; ok {
		return i
	}
	if n.index == nil {
		n.index = map[string]int{}
	}
	n.index[inner] = len(n.names)
	n.names = append(n.names, inner)
	n.weight++
	return len(n.names) - 1
}

// inPlace gives the schemas that apply to the same value.
func (n *node) inPlace() []*node {
	list := append(append(append([]*node{}, n.allOf...), n.anyOf...), n.oneOf...)
	for _, d := range n.dependent {
		list = append(list, d.schema)
	}
	return append(list, n.reference, n.not, n.when, n.then, n.otherwise)
}
