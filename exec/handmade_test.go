package exec

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// withoutTimes leaves what parties compare, and the log.
func withoutTimes(outputs []Output) []Output {
	for i := range outputs {
		outputs[i].Elapsed = 0
	}
	return outputs
}

func sameOnBoth(t *testing.T, h handmade, r Run) Output {
	t.Helper()
	var outputs [2][]Output
	for i, e := range []*Engine{engine(t, Config{}), interpreter(t, Config{})} {
		c, err := e.Load(t.Context(), h.module())
		if err != nil {
			t.Fatal(err)
		}
		outputs[i] = withoutTimes(execute(t, e, c, r))
	}
	if !reflect.DeepEqual(outputs[0], outputs[1]) {
		t.Errorf("compiled %+v\ninterpreted %+v", outputs[0], outputs[1])
	}
	return outputs[0][0]
}

func TestHandmadeContracts(t *testing.T) {
	huge := i32(-1)
	grow := func(pages int32) []byte { return cat(i32(pages), []byte{0x40, 0, 0x1a}) }
	trapped := []byte{0x00}
	for what, c := range map[string]struct {
		body []byte
		want string // outcome, code, content or message
	}{
		"gives a record":                 {outputText(), `PASS  "text"`},
		"gives none":                     {nil, "FAIL NO_OUTPUT the function returned without a record"},
		"gives two":                      {cat(outputText(), outputText()), "FAIL EXECUTION_TRAP a second output"},
		"gives a fraction":               {cat(i32(atFloat), i32(lenFloat), callTo(fnOutput)), `PASS  {"a":1.5}`},
		"gives nothing as JSON":          {cat(i32(0), i32(0), callTo(fnOutput)), "FAIL BAD_OUTPUT"},
		"gives too much":                 {cat(grow(4), i32(0), i32(1<<16+1), callTo(fnOutput)), "FAIL OUTPUT_LIMIT"},
		"gives from outside":             {cat(i32(65530), i32(10), callTo(fnOutput)), "FAIL EXECUTION_TRAP a host call outside"},
		"gives a negative length":        {cat(i32(1), huge, callTo(fnOutput)), "FAIL EXECUTION_TRAP a host call outside"},
		"fails":                          {cat(i32(atCode), i32(lenCode), i32(atText), i32(lenText), callTo(fnFail)), `FAIL CODE "text"`},
		"fails after its record":         {cat(outputText(), i32(atCode), i32(lenCode), i32(atText), i32(lenText), callTo(fnFail)), `FAIL CODE "text"`},
		"fails without a code":           {cat(i32(0), i32(0), i32(atText), i32(lenText), callTo(fnFail)), `FAIL CONTRACT_ERROR : "text"`},
		"fails from outside":             {cat(huge, i32(4), i32(atText), i32(lenText), callTo(fnFail)), "FAIL EXECUTION_TRAP a host call outside"},
		"traps":                          {trapped, "FAIL EXECUTION_TRAP unreachable"},
		"traps after its record":         {cat(outputText(), trapped), "FAIL EXECUTION_TRAP unreachable"},
		"divides by zero":                {cat(i32(1), i32(0), []byte{0x6d, 0x1a}), "FAIL EXECUTION_TRAP integer divide by zero"},
		"overflows":                      {cat(i32(-1<<31), i32(-1), []byte{0x6d, 0x1a}), "FAIL EXECUTION_TRAP integer overflow"},
		"reads outside its memory":       {cat(huge, []byte{0x28, 2, 0, 0x1a}), "FAIL EXECUTION_TRAP out of bounds memory access"},
		"calls itself":                   {cat(i32(0), callTo(fnInvoke)), "FAIL CALL_DEPTH"},
		"is refused memory and goes on":  {cat(grow(1000), outputText()), `PASS  "text"`},
		"is refused memory and crashes":  {cat(grow(1000), trapped), "FAIL MEMORY_LIMIT"},
		"grows to the limit":             {cat(grow(15), outputText()), `PASS  "text"`},
		"grows to the limit and crashes": {cat(grow(15), trapped), "FAIL EXECUTION_TRAP"},
		"asks for a value of no kind":    {cat(i32(7), i32(atIn), i32(lenIn), callTo(fnSize), []byte{0x50, 0x45, 0x0d, 0}, trapped), "FAIL NO_OUTPUT"},
		"reads an absent value":          {cat(i32(1), i32(atIn), i32(lenIn), i32(0), i32(0), i32(4), callTo(fnRead), huge, []byte{0x47, 0x04, 0x40}, trapped, []byte{0x0b}, outputText()), `PASS  "text"`},
		"reads a value past its end":     {cat(i32(0), i32(atIn), i32(lenIn), i32(0), i32(100), i32(4), callTo(fnRead), []byte{0x04, 0x40}, trapped, []byte{0x0b}, outputText()), `PASS  "text"`},
		"reads a value to outside":       {cat(i32(0), i32(atIn), i32(lenIn), i32(65535), i32(0), i32(4), callTo(fnRead), []byte{0x1a}), "FAIL EXECUTION_TRAP a host call outside"},
		"reads a value and gives it":     {cat(i32(0), i32(atIn), i32(lenIn), i32(0), i32(0), huge, callTo(fnRead), []byte{0x1a}, i32(0), i32(7), callTo(fnOutput)), `PASS  {"a":1}`},
		"loops":                          {[]byte{0x03, 0x40, 0x0c, 0, 0x0b}, "FAIL OUT_OF_FUEL"},
		"loops after its record":         {cat(outputText(), []byte{0x03, 0x40, 0x0c, 0, 0x0b}), "FAIL OUT_OF_FUEL"},
		"logs without end":               {cat([]byte{0x03, 0x40}, i32(2), i32(atText), i32(lenText), callTo(fnLog), []byte{0x0c, 0, 0x0b}), "FAIL OUT_OF_FUEL"},
		"logs":                           {cat(i32(2), i32(atText), i32(lenText), callTo(fnLog), outputText()), `PASS  "text"`},
	} {
		out := sameOnBoth(t, handmade{body: c.body}, Run{Proposed: map[string][]byte{"in": []byte(` {"a" : 1}`)}, Time: at})
		text := fmt.Sprintf("%s %s %s%s", out.Outcome, out.Code, out.Content, out.Message)
		if !strings.HasPrefix(text, c.want) {
			t.Errorf("a contract that %s: %s; want %s", what, text, c.want)
		}
		if what == "logs" && !reflect.DeepEqual(out.Log, []string{`warning: "text"`}) {
			t.Errorf("the log is %q", out.Log)
		}
	}
}

func TestBytesStayAsTheyAre(t *testing.T) {
	out := sameOnBoth(t, handmade{record: "application/octet-stream", body: cat(i32(atFloat), i32(lenFloat), callTo(fnOutput))}, Run{Time: at})
	if string(out.Content) != `{"a":1.5}` {
		t.Errorf("%+v", out)
	}
}

// A module can't reach the run's values, or end it, before it is initialised.
func TestInitialisationSeesNothing(t *testing.T) {
	for what, c := range map[string]struct {
		initialize []byte
		ok         bool
	}{
		"logs":    {cat(i32(1), i32(atText), i32(lenText), callTo(fnLog)), true},
		"reads":   {cat(i32(0), i32(atIn), i32(lenIn), callTo(fnSize), []byte{0x1a}), false},
		"outputs": {outputText(), false},
		"fails":   {cat(i32(atCode), i32(lenCode), i32(atText), i32(lenText), callTo(fnFail)), false},
		"traps":   {[]byte{0}, false},
	} {
		h := handmade{body: outputText(), extra: [][]byte{c.initialize}, sections: map[byte][]byte{
			7: vec(exported(exportMemory, 2, 0), exported(exportDescribe, 0, fnDescribe), exported(exportInvoke, 0, fnInvoke), exported(exportInitialize, 0, fnExtra)),
		}}
		e := engine(t, Config{})
		loaded, err := e.Load(t.Context(), h.module())
		if !c.ok {
			wantCode(t, err, agreement.CodeBadModule, "initialise itself", CodeTrap)
			continue
		}
		if err != nil {
			t.Fatalf("a module that %s: %v", what, err)
		}
		if out := execute(t, e, loaded, Run{Time: at})[0]; out.Outcome != agreement.Pass {
			t.Errorf("a module that %s: %+v", what, out)
		}
	}
}

func TestDescribeIsChecked(t *testing.T) {
	text := func(s string) handmade {
		return handmade{describe: cat(i32(0), i32(int32(len(s))), callTo(fnOutput)), sections: map[byte][]byte{11: vec(data(0, []byte(s)))}}
	}
	double := strings.Replace(string(handmade{}.manifest()), `"abi":1`, `"abi":1,"abi":1`, 1)
	for _, c := range []struct {
		h    handmade
		code agreement.Code
		word string
	}{
		{handmade{describe: []byte{0}}, agreement.CodeBadModule, "unreachable"},
		{handmade{describe: []byte{0x01}}, agreement.CodeBadModule, CodeNoOutput},
		{handmade{describe: cat(i32(0), i32(contract.MaxManifest+1), callTo(fnOutput)), memory: []byte{0, 8}}, agreement.CodeBadModule, CodeOutputLimit},
		{handmade{describe: []byte{0x03, 0x40, 0x0c, 0, 0x0b}}, agreement.CodeBadModule, CodeOutOfFuel},
		{handmade{sections: map[byte][]byte{11: vec(data(65530, []byte("too long for the memory")))}}, agreement.CodeBadModule, "outside of the memory"},
		{text("no manifest"), agreement.CodeBadManifest, "JSON"},
		{text("{}"), agreement.CodeBadManifest, "abi"},
		{text(double), agreement.CodeBadManifest, "twice"},
	} {
		_, err := engine(t, Config{}).Load(t.Context(), c.h.module())
		wantCode(t, err, c.code, c.word)
	}
}

func TestHandmadeManifestIsRead(t *testing.T) {
	c, err := engine(t, Config{}).Load(t.Context(), handmade{}.module())
	if err != nil || c.Manifest.Name != "handmade" {
		t.Fatalf("%+v, %v", c, err)
	}
}
