package agreement_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/affiliate-node/affiliate/agreement"
)

// beyond are the numbers of RFC 8785's tables that its rules would write and
// ours refuse.
const beyond = "refused"

// The sample values of RFC 8785, appendix B.
func TestNumbersOfTheStandard(t *testing.T) {
	for bits, want := range map[uint64]string{
		0x0000000000000000: "0",
		0x8000000000000000: "0",
		0x0000000000000001: "5e-324",
		0x8000000000000001: "-5e-324",
		0x7fefffffffffffff: beyond, // 1.7976931348623157e+308
		0xffefffffffffffff: beyond,
		0x4340000000000000: "9007199254740992",
		0xc340000000000000: "-9007199254740992",
		0x4430000000000000: beyond, // 295147905179352830000
		0x44b52d02c7e14af5: beyond, // 9.999999999999997e+22
		0x44b52d02c7e14af6: beyond, // 1e+23
		0x44b52d02c7e14af7: beyond, // 1.0000000000000001e+23
		0x444b1ae4d6e2ef4e: beyond, // 999999999999999700000
		0x444b1ae4d6e2ef4f: beyond, // 999999999999999900000
		0x444b1ae4d6e2ef50: beyond, // 1e+21
		0x3eb0c6f7a0b5ed8c: "9.999999999999997e-7",
		0x3eb0c6f7a0b5ed8d: "0.000001",
		0x41b3de4355555553: "333333333.3333332",
		0x41b3de4355555554: "333333333.33333325",
		0x41b3de4355555555: "333333333.3333333",
		0x41b3de4355555556: "333333333.3333334",
		0x41b3de4355555557: "333333333.33333343",
		0xbecbf647612f3696: "-0.0000033333333333333333",
		0x43143ff3c1cb0959: "1424953923781206.2",
	} {
		for _, format := range []byte("efg") {
			in := strconv.FormatFloat(math.Float64frombits(bits), format, -1, 64)
			got, err := agreement.Canonical([]byte(in))
			if want == beyond {
				if agreement.CodeOf(err) != agreement.CodeBadJSON || !strings.Contains(err.Error(), "2^53; write it as a string") {
					t.Errorf("%s becomes %s, %v", in, got, err)
				}
			} else if err != nil || string(got) != want {
				t.Errorf("%s becomes %s, %v; want %s", in, got, err, want)
			}
		}
	}
}

func TestNumberForms(t *testing.T) {
	zeros := strings.Repeat("0", 1000)
	for in, want := range map[string]string{
		"1.10": "1.1", "1e2": "100", "1E+2": "100", "100e-2": "1", "1.0": "1", "-0.0": "0", "0e999999999999999999999": "0", "-0E-0": "0",
		"0.1": "0.1", "12.5e-1": "1.25", "1e15": "1000000000000000", "0.0000001": "1e-7", "0.00000123": "0.00000123", "-12.3e-9": "-1.23e-8", "1.5e-10": "1.5e-10",
		"9007199254740992.000": "9007199254740992", "0.9007199254740992e16": "9007199254740992", "4503599627370495.5": "4503599627370495.5",
		"0." + zeros + "1e1000": "0.1", "1" + zeros + "e-1000": "1", "1." + zeros: "1", "123" + zeros + ".0e-1001": "12.3",
		"2.2250738585072014e-308": "2.2250738585072014e-308", "1e-323": "1e-323",
	} {
		if got, err := agreement.Canonical([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%.60s becomes %s, %v; want %s", in, got, err, want)
		}
	}
	for in, why := range map[string]string{
		"9007199254740993": "2^53", "9007199254740992.5": "2^53", "-9007199254740992.0000000000000000001": "more digits", "1e16": "2^53", "1e400": "2^53", "1" + zeros: "2^53", "1e99999999999999999999": "2^53",
		"0.1000000000000000055511": "more digits", "0.10000000000000001": "more digits", "4503599627370497.2": "more digits", "1.0000000000000001": "more digits", "0.30000000000000004441": "more digits",
		"1e-400": "close to 0", "-1e-324": "close to 0", "1e-99999999999999999999": "close to 0", "4e-324": "more digits", "3e-324": "more digits",
		"1.": "digit", "1.e2": "digit", "1e": "digit", "1e+": "digit", "1e+-2": "digit", "-.5": "digit", "--1": "digit", "00.1": "needless", "1.2.3": "more text", "1_000": "more text", "0x10": "more text",
	} {
		_, err := agreement.Canonical([]byte(in))
		if agreement.CodeOf(err) != agreement.CodeBadJSON || !strings.Contains(err.Error(), why) {
			t.Errorf("%.60s: %v; want BAD_JSON with %q", in, err, why)
		}
	}
}

// Every double up to 2^53 has a form, the one that ECMAScript's rules for the
// place of the point give to its shortest digits.
func TestEveryDoubleHasItsForm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float64Range(-1<<53, 1<<53).Draw(t, "f")
		if bits := rapid.Uint64().Draw(t, "bits"); math.Abs(math.Float64frombits(bits)) <= 1<<53 {
			f = math.Float64frombits(bits)
		}
		want := strconv.FormatFloat(f, 'f', -1, 64)
		if a := math.Abs(f); a != 0 && a < 1e-6 {
			want = strings.Replace(strconv.FormatFloat(f, 'e', -1, 64), "e-0", "e-", 1)
		} else if a == 0 {
			want = "0"
		}
		for _, format := range []byte("eEfg") {
			in := strconv.FormatFloat(f, format, -1, 64)
			if got, err := agreement.Canonical([]byte(in)); err != nil || string(got) != want {
				t.Fatalf("%s becomes %s, %v; want %s", in, got, err, want)
			}
		}
	})
}

// keptNumber gives numbers in several notations that have a form.
var keptNumber = rapid.Custom(func(t *rapid.T) string {
	n := rapid.Int64Range(1, 1e15-1).Draw(t, "digits") * rapid.SampledFrom([]int64{1, -1}).Draw(t, "sign")
	point := rapid.IntRange(0, 30).Draw(t, "point")
	d := new(big.Rat).SetFrac(big.NewInt(n), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(point)), nil))
	return rapid.SampledFrom([]string{
		fmt.Sprintf("%de-%d", n, point),
		fmt.Sprintf("%d%sE-%d", n, strings.Repeat("0", 7), point+7),
		d.FloatString(point + rapid.IntRange(0, 9).Draw(t, "more")),
	}).Draw(t, "notation")
})

// writtenNumber gives numbers as JSON may have them, kept or not.
var writtenNumber = rapid.StringMatching(`-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?`)

// Whatever is written is refused, or its form means the same decimal, to
// encoding/json too.
func TestNumbersKeepTheirValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		checkNumber(t, rapid.OneOf(keptNumber, writtenNumber).Draw(t, "number"))
	})
}

// Of what has fifteen digits and isn't too large or small, nothing is refused.
func TestFifteenDigitsAreKept(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := keptNumber.Draw(t, "number")
		if _, err := agreement.Canonical([]byte(in)); err != nil {
			t.Fatalf("%s: %v", in, err)
		}
	})
}

func checkNumber(t fataler, in string) {
	got, err := agreement.Canonical([]byte(in))
	if err != nil {
		return
	}
	checkForm(t, []byte(in), got)
	var a, b float64
	if json.Unmarshal([]byte(in), &a) != nil || json.Unmarshal(got, &b) != nil || a != b {
		t.Fatalf("%s is %v, its form %s is %v", in, a, got, b)
	}
	if bits, err := json.Marshal(a); err != nil || exactNumber(string(bits)) != exactNumber(string(got)) {
		t.Fatalf("%s is read as %s", in, bits)
	}
}

func FuzzCanonicalNumber(f *testing.F) {
	for _, s := range []string{"0", "-1.50e-7", "9007199254740993", "0.1000000000000000055511", "1e400", "5e-324", "100000e-4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if strings.Trim(in, "0123456789-+.eE") == "" {
			checkNumber(t, in)
		}
	})
}

// exactNumber writes a number as digits and an exponent, by other means than
// Canonical does.
func exactNumber(s string) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(s), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits, _ := new(big.Int).SetString(whole+fraction, 10)
	e, ok := new(big.Int).SetString("0"+strings.TrimLeft(exponent, "+-"), 10)
	if digits.Sign() == 0 || !ok {
		return "0"
	}
	if strings.HasPrefix(exponent, "-") {
		e.Neg(e)
	}
	text := strings.TrimRight(digits.String(), "0")
	e.Add(e, big.NewInt(int64(len(digits.String())-len(text)-len(fraction))))
	return text + "e" + e.String()
}

// The work is in proportion to what is written: a megabyte of digits takes
// no longer than a megabyte of anything else.
func TestLongNumbersAreCheap(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("7", 1<<20)
	for _, in := range []string{long, "0." + long, "0." + strings.Repeat("0", 1<<20) + "1", "1e" + long, "1e-" + long, "1" + strings.Repeat("0", 1<<20) + "e-1048576"} {
		begin := time.Now()
		if _, err := agreement.Canonical([]byte(in)); err != nil && agreement.CodeOf(err) != agreement.CodeBadJSON {
			t.Error(err)
		}
		if d := time.Since(begin); d > 2*time.Second { // takes 5 ms
			t.Errorf("%.20s… took %v", in, d)
		}
	}
}

func BenchmarkCanonicalNumbers(b *testing.B) {
	for name, in := range map[string]string{"integers": "25000000,", "decimals": "1234.56,", "doubles": "333333333.33333325,"} {
		doc := []byte("[" + strings.Repeat(in, 10000) + "0]")
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if _, err := agreement.Canonical(doc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
