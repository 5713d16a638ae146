package config

import (
	"bytes"
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// Example returns a configuration file with every setting, its default and a
// line of explanation; config.example.toml is this text.
func Example() []byte { return Encode(Default("")) }

// Encode writes c as a file that Load reads, every setting with its
// explanation.
func Encode(c Config) []byte {
	var b bytes.Buffer
	b.WriteString("# Configuration of an affiliate: HOME/" + FileName + "\n" +
		"#\n# Every setting is here. One that is left out has its default.\n" +
		"# Relative paths start at this file's directory (HOME).\n")
	root := reflect.ValueOf(c)
	for section := range fields(root.Type()) {
		b.WriteString("\n")
		writeComment(&b, section.Tag.Get("comment"))
		fmt.Fprintf(&b, "[%s]\n", section.Tag.Get("toml"))
		writeSection(&b, root.FieldByIndex(section.Index))
	}
	return b.Bytes()
}

func writeSection(b *bytes.Buffer, section reflect.Value) {
	for f := range fields(section.Type()) {
		v := section.FieldByIndex(f.Index)
		if rules, ok := v.Interface().([]Rule); ok {
			writeRules(b, rules)
			continue
		}
		if rules, ok := v.Interface().([]KeepRule); ok {
			writeKeepRules(b, rules)
			continue
		}
		writeComment(b, f.Tag.Get("comment"))
		fmt.Fprintf(b, "%s = %s\n", f.Tag.Get("toml"), literal(v))
	}
}

func writeRules(b *bytes.Buffer, rules []Rule) {
	writeComment(b, `Rules, in order; the first that matches a proposal decides, before "default". `+
		`contract is a whole hash or a name, proposer an account address; "*" or nothing matches any. `+
		`A name is only what a module says of itself, and anybody can give another module the same one: `+
		`name the hash, as affiliate contract show prints it, unless the rule names a proposer whom you trust. `+
		`A rule that names the hash and doesn't reject vets the contract, whoever proposes it; one that names it otherwise doesn't.`)
	if len(rules) == 0 {
		b.WriteString("# [[policy.rule]]\n# contract = \"0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0\"\n# proposer = \"*\"\n# action = \"approve\"\n")
	}
	for _, r := range rules {
		b.WriteString("[[policy.rule]]\n")
		writeSection(b, reflect.ValueOf(r))
	}
}

func writeKeepRules(b *bytes.Buffer, rules []KeepRule) {
	writeComment(b, `Rules, in order; the first that matches an agreement's contract decides, before "default". `+
		`contract is a whole hash or a name. A record that a later agreement reads is kept for that one too.`)
	if len(rules) == 0 {
		b.WriteString("# [[retention.rule]]\n# contract = \"loan\"\n# keep = \"10y\"\n")
	}
	for _, r := range rules {
		b.WriteString("[[retention.rule]]\n")
		writeSection(b, reflect.ValueOf(r))
	}
}

// commentWidth is where comments are broken, in bytes.
const commentWidth = 96

func writeComment(b *bytes.Buffer, text string) {
	const prefix = "# "
	if text == "" {
		return
	}
	line := prefix
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > commentWidth {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = prefix
		}
		line += word + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

// literal writes a value as TOML. Only the types that settings have occur.
func literal(v reflect.Value) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err == nil {
			return quote(string(text))
		}
	}
	switch v.Kind() {
	case reflect.String:
		return quote(v.String())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = literal(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	default:
		return fmt.Sprint(v.Interface())
	}
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
