package schema

import (
	"strings"
	"testing"
	"time"
)

func patternOf(text string) (*pattern, error) { return new(compiler).pattern(text) }

// What patterns mean is what ECMA-262 says, with the flag u.
func TestPatterns(t *testing.T) {
	for text, c := range map[string]struct{ match, other []string }{
		``:                                 {[]string{"", "a"}, nil},
		`a`:                                {[]string{"a", "bab"}, []string{"", "A", "á"}},
		`^$`:                               {[]string{""}, []string{"a", "\n"}},
		`^a$`:                              {[]string{"a"}, []string{"a\n", "\na", "b\na\nb"}},
		`^.$`:                              {[]string{"a", "é", "😀", "\u0085", "\x00"}, []string{"", "\n", "\r", "\u2028", "\u2029", "ab"}},
		`^[^a]$`:                           {[]string{"b", "\n", "😀"}, []string{"a", ""}},
		`^[a-c\-x\]\\^-]+$`:                {[]string{`abc-x]\^`}, []string{"d", "["}},
		`^[-a]+[a-][.*+?(){}|$/]$`:         {[]string{"-a-.", "a-$", "--|"}, []string{"b-.", "--a"}},
		`^[😀-😂é]$`:                         {[]string{"😀", "😁", "é"}, []string{"😃", "e"}},
		`^\d\D\w\W\s\S$`:                   {[]string{"1aa- a", "9\u0665_é\ufeff\U0010ffff"}, []string{"\u0665aa- a", "1aé- a", "1aa-\u200ba"}},
		`^[\d_][\D][\w\s]{2}[^\s]$`:        {[]string{"1ab\u00a0c", "_-9\u3000é"}, []string{"a-990", "1199a", "1a-ab"}},
		`\bfoo\b`:                          {[]string{"a foo.", "foo"}, []string{"foot", "a_foo"}},
		`\Boo`:                             {[]string{"foo"}, []string{"oo"}},
		`^(?:ab|c){2,3}$`:                  {[]string{"abc", "ccc", "cabc"}, []string{"ab", "cccc", "abb"}},
		`^(ab?)*c+d?$`:                     {[]string{"c", "aabcd", "abcc"}, []string{"ad", "bc"}},
		`^a{2}b{2,}c{0}d{0,1}$`:            {[]string{"aabb", "aabbbbd"}, []string{"abb", "aabbc", "aabbdd"}},
		`^a*?b+?c??$`:                      {[]string{"b", "aabbc"}, []string{"", "ac"}},
		`^\t\n\v\f\r\x41\u00e9\^\$\.\/\|$`: {[]string{"\t\n\v\f\rAé^$./|"}, []string{"tnvfrA"}},
		`^a|b$`:                            {[]string{"ax", "xb"}, []string{"xa", "bx"}},
		`^(|a)$`:                           {[]string{"", "a"}, []string{"b"}},
		`&&|--|~~|"`:                       {[]string{"&&", "--", "~~", `"`}, []string{"&", "-"}},
	} {
		p, err := patternOf(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, s := range c.match {
			if !p.MatchString(s) {
				t.Errorf("%s doesn't match %q", text, s)
			}
		}
		for _, s := range c.other {
			if p.MatchString(s) {
				t.Errorf("%s matches %q", text, s)
			}
		}
	}
}

func TestPatternsRefused(t *testing.T) {
	for text, want := range map[string]string{
		`(`: "isn't closed", `)`: "closing bracket too many", `a)b`: "too many", `((a)`: "isn't closed", `[`: "isn't closed", `[a`: "isn't closed", `[]`: "without a character", `[^]`: "without a character",
		`*`: "nothing to repeat", `a**`: "nothing to repeat", `^*`: "nothing to repeat", `$?`: "nothing to repeat", `\b+`: "nothing to repeat", `|+`: "nothing to repeat", `(?:*)`: "nothing to repeat", `{`: "nothing to repeat", `a{1}{2}`: "nothing to repeat",
		`]`: "bracket that stands", `}`: "bracket that stands", `[[a]`: "bracket that stands", `[[:alpha:]]`: "bracket that stands",
		`a{`: "a repetition is", `a{}`: "a repetition is", `a{,3}`: "a repetition is", `a{3,2}`: "a repetition is", `a{1001}`: "a repetition is", `a{-1}`: "a repetition is", `a{+1}`: "a repetition is", `a{1_0}`: "a repetition is", `a{1, 2}`: "a repetition is", `a{00001}`: "a repetition is",
		`(?=a)`: "lookaround", `(?!a)`: "lookaround", `(?<=a)b`: "lookaround", `(?<n>a)`: "named groups", `(?P<n>a)`: "named groups", `(?i)a`: "flags", `(?i:a)`: "flags",
		`\1`: "escape", `\k<n>`: "escape", `\p{L}`: "escape", `\P{L}`: "escape", `\a`: "escape", `\z`: "escape", `\A`: "escape", `\Q.\E`: "escape", `\C`: "escape", `\0`: "escape", `\-`: "escape", `\e`: "escape", `\cA`: "escape", `\é`: "escape", `[\b]`: "escape", `[\B]`: "escape", `[\p{L}]`: "escape", `\`: "at the end", `[\`: "at the end",
		`\x4`: "hexadecimal", `\u12`: "hexadecimal", `\ud83d`: "hexadecimal", `\u{41}`: "hexadecimal", `\xzz`: "hexadecimal", `\x{41}`: "hexadecimal",
		`[b-a]`: "backwards", `[a-\d]`: "backwards", `[\d-a]`: "backwards", `[\w-\d]`: "backwards", "a\x00": `write \x00`,
		strings.Repeat("a", MaxPattern+1): "at most 1000", `(a{100}){11}`: "unfolds to", `((((a{9}){9}){9}){9}){9}`: "unfolds to", `(((a{1000}){1000}){1000}){1000}`: "unfolds to",
		strings.Repeat("(", 25) + strings.Repeat(")", 25): "too many brackets",
	} {
		_, err := patternOf(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.50s: %v; want %q", text, err, want)
		}
	}
}

// The sets that a pattern names, and those that they leave out, share no character
// and leave none, and \s is what ECMA-262 lists.
func TestSetsOfPatterns(t *testing.T) {
	t.Parallel()
	for _, set := range []string{`\d`, `\w`, `\s`} {
		in, err1 := patternOf("^" + set + "$")
		out, err2 := patternOf("^[" + strings.ToUpper(set) + "]$")
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		for r := rune(0); r < 0x11000; r++ {
			if s := string(r); in.MatchString(s) == out.MatchString(s) {
				t.Errorf("%s and its opposite agree on %U", set, r)
			}
		}
	}
	spaces, err := patternOf(`^[\s]{25}$`)
	if all := "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"; err != nil || !spaces.MatchString(all) {
		t.Errorf("a space isn't one, %v", err)
	}
}

// Patterns that take other engines years end in time that grows with the text.
func TestPatternsAreLinear(t *testing.T) {
	t.Parallel()
	text := []byte(strings.Repeat("a", 100_000) + "!")
	for _, p := range []string{`^(a+)+$`, `^(a|aa)+$`, `^(a|a?)+$`, `(.*a){12}b`, `^(([a-z])+.)+[A-Z]([a-z])+$`} {
		re, err := patternOf(p)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if re.Match(text) {
			t.Errorf("%s matches", p)
		}
		if d := time.Since(begin); d > 5*time.Second { // takes up to 50 ms
			t.Errorf("%s took %v", p, d)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{`^[A-Z]{3}\d?$`, `(?:a|[^\s\]b-z])*?\u00e9`, `\p{L}`, `a{2,1}`, `[\`, `((|))`} {
		f.Add(s, "ABC1")
	}
	f.Fuzz(func(t *testing.T, text, s string) {
		p, err := patternOf(text)
		if err != nil {
			if strings.Contains(err.Error(), "linear") {
				t.Errorf("package regexp refuses %q", text) // so its version would matter
			}
			return
		}
		s = clip(s, 1000)
		if p.size < 1 || p.size > MaxPattern {
			t.Errorf("%q unfolds to %d", text, p.size)
		}
		if strings.Trim(text, "abc123 ") == "" && p.MatchString(s) != strings.Contains(s, text) {
			t.Errorf("%q on %q: %v", text, s, !strings.Contains(s, text))
		}
	})
}
