package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

func TestExamples(t *testing.T) {
	e := engine(t, Config{})
	c := load(t, e, "loan")
	loan := execute(t, e, c, loanRun(t))
	want := `{"borrower":{"country":"US","name":"Ada Lovelace"},"currency":"USD","loan_id":"L-2026-0001","maturity":"2056-01-31","months":360,"principal":25000000,"rate":"6.25","start":"2026-01-31"}`
	if len(loan) != 2 || loan[0].Outcome != agreement.Pass || string(loan[0].Content) != want {
		t.Errorf("terms: %+v", loan[0])
	}
	if loan[1].Outcome != agreement.Pass || !bytes.Equal(loan[1].Content, pdf(300_000)) {
		t.Errorf("document: %s %s %s", loan[1].Outcome, loan[1].Code, loan[1].Message)
	}
	if fields := contract.IndexFields(c.Manifest.Functions[0].Record, loan[0].Content); fields["borrower"] != "Ada Lovelace" || fields["loan_id"] != "L-2026-0001" {
		t.Errorf("the index gets %v", fields)
	}

	payment := execute(t, e, load(t, e, "payment"), Run{
		Proposed: map[string][]byte{"payment": sample(t, "payment/testdata/payment.json")},
		Existing: map[string][]byte{"terms": loan[0].Content}, Time: at,
	})
	want = `{"currency":"USD","last_payment":{"amount":153929,"currency":"USD","date":"2026-02-28","reference":"P-0001"},"loan_id":"L-2026-0001","outstanding":24846071,"paid":153929,"payments":1}`
	if string(payment[0].Content) != want {
		t.Errorf("balance: %+v", payment[0])
	}

	c, run := load(t, e, "appraisal"), Run{
		Proposed: map[string][]byte{"valuation": sample(t, "appraisal/testdata/valuation.json")},
		Context:  map[string][]byte{"invoker": []byte("tp1me"), "time": []byte("another")}, Time: at,
	}
	want = `{"asset":"12 Analytical Way","currency":"USD","owner":"tp1me","time":"2026-02-03T04:05:06Z","value":31000000}`
	out := execute(t, e, c, run)
	if string(out[0].Content) != want {
		t.Errorf("appraisal: %+v", out[0])
	}
	run.Existing = map[string][]byte{"appraisal": out[0].Content}
	if again := execute(t, e, c, run); again[0].Outcome != agreement.Skip || again[0].Content != nil {
		t.Errorf("a second appraisal: %+v", again[0])
	}
}

func TestFailHasTheContractsCode(t *testing.T) {
	e := engine(t, Config{})
	run := loanRun(t)
	run.Proposed["application"] = bytes.Replace(run.Proposed["application"], []byte("25000000"), []byte("-1"), 1)
	out := execute(t, e, load(t, e, "loan"), run)
	if len(out) != 1 || out[0].Outcome != agreement.Fail || out[0].Code != "LOAN_PRINCIPAL_INVALID" || !strings.Contains(out[0].Message, "-1") {
		t.Errorf("%+v", out)
	}
}

func TestContractHash(t *testing.T) {
	e := engine(t, Config{})
	c := load(t, e, "loan")
	doc, err := json.Marshal(c.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	if doc, err = agreement.Canonical(doc); err != nil || !bytes.Equal(doc, c.ManifestJSON) {
		t.Errorf("the manifest is %s, its JSON %s, %v", doc, c.ManifestJSON, err)
	}
	if want := agreement.ContractHash(example(t, "loan"), c.ManifestJSON); c.Hash != want {
		t.Errorf("hash %s; want %s", c.Hash, want)
	}
	if again := load(t, e, "loan"); again != c {
		t.Error("a module that is loaded was loaded again")
	}
}

// probeRun has the probe contract do one thing.
func probeRun(do string) Run {
	return Run{Proposed: map[string][]byte{"do": fmt.Appendf(nil, "%q", do)}, Time: at}
}

// What a Go program takes from its surroundings is the same in every run, on
// the compiler and on the interpreter.
func TestSameBytesOut(t *testing.T) {
	compiled, interpreted := engine(t, Config{}), interpreter(t, Config{})
	c := load(t, compiled, "probe")
	if i := load(t, interpreted, "probe"); i.Hash != c.Hash {
		t.Fatalf("the contract is %s compiled and %s interpreted", c.Hash, i.Hash)
	}
	first := execute(t, compiled, c, probeRun("everything"))
	for _, e := range []*Engine{compiled, interpreted} {
		again := execute(t, e, c, probeRun("everything"))
		if !bytes.Equal(again[0].Content, first[0].Content) || again[0].Outcome != agreement.Pass {
			t.Errorf("first %s\nthen %s %s", first[0].Content, again[0].Content, again[0].Message)
		}
	}
	var saw map[string]any
	if err := json.Unmarshal(first[0].Content, &saw); err != nil {
		t.Fatal(err)
	}
	now := at.Format(time.RFC3339Nano)
	for field, want := range map[string]any{"now": now, "time": now, "started": "2000-01-01T00:00:00Z"} {
		if saw[field] != want {
			t.Errorf("%s is %v; want %v", field, saw[field], want)
		}
	}
	if env, ok := saw["environ"].([]any); ok && len(env) > 0 {
		t.Errorf("the environment is %v", env)
	}
	later := probeRun("everything")
	later.Time = at.Add(time.Second)
	if other := execute(t, compiled, c, later); bytes.Equal(other[0].Content, first[0].Content) {
		t.Error("the clock doesn't show the proposal's time")
	}
}

func TestEveryFunctionIsAlone(t *testing.T) {
	e := engine(t, Config{})
	out := execute(t, e, load(t, e, "probe"), probeRun("nothing"))
	if want := `{"counter":0,"hidden":false,"sees":false}`; string(out[1].Content) != want {
		t.Errorf("the second function saw %s; want %s", out[1].Content, want)
	}
}

// What a contract does to itself is a result, the same on both engines.
func TestGoContractsEnd(t *testing.T) {
	engines := []*Engine{
		engine(t, Config{Timeout: time.Minute}),
		interpreter(t, Config{Timeout: time.Minute}),
	}
	for do, want := range map[string]struct {
		code, message string
		outcome       agreement.Outcome
	}{
		"sleep":    {"", `{"slept":true}`, agreement.Pass},
		"file":     {"", `"open /etc/passwd: Not implemented on wasip1"`, agreement.Pass},
		"deadlock": {CodeTrap, "fatal error: all goroutines are asleep - deadlock!", agreement.Fail},
		"memory":   {CodeMemoryLimit, "33554432 bytes", agreement.Fail},
		"panic":    {CodeTrap, "panic: on purpose", agreement.Fail},
		"exit":     {CodeTrap, "status 3", agreement.Fail},
		"big":      {CodeOutputLimit, "at most 65536", agreement.Fail},
		"float":    {CodeBadOutput, "2^53", agreement.Fail},
		"code":     {contract.CodeError, "not a code: why  [2J", agreement.Fail},
		"error":    {contract.CodeError, "plain", agreement.Fail},
	} {
		for i, e := range engines {
			out := execute(t, e, load(t, e, "probe"), probeRun(do))[0]
			text := out.Message
			if out.Outcome == agreement.Pass {
				text = string(out.Content)
			}
			if out.Outcome != want.outcome || out.Code != want.code || !strings.Contains(text, want.message) {
				t.Errorf("%s on engine %d: %s %s %q; want %v", do, i, out.Outcome, out.Code, text, want)
			}
		}
	}
}

func TestRecursionEnds(t *testing.T) {
	e := engine(t, Config{})
	if out := execute(t, e, load(t, e, "probe"), probeRun("recursion"))[0]; out.Outcome != agreement.Fail || out.Code != CodeCallDepth {
		t.Errorf("%+v", out)
	}
}

func TestLogIsBounded(t *testing.T) {
	e := engine(t, Config{LogLimit: 10_000})
	c := load(t, e, "probe")
	for _, do := range []string{"log", "stderr"} {
		out := execute(t, e, c, probeRun(do))[0]
		size := 0
		for _, line := range out.Log {
			size += len(line)
			if strings.ContainsRune(line, 0x1b) {
				t.Fatalf("a log line has a control character: %q", line)
			}
		}
		if out.Outcome != agreement.Pass || size > 10_100 || len(out.Log) < 3 || !strings.Contains(out.Log[len(out.Log)-1], "dropped") {
			t.Errorf("%s: %s, %d lines of %d bytes", do, out.Outcome, len(out.Log), size)
		}
	}
}

// A time-out is this machine's trouble and never a result.
func TestTimeoutIsNotAResult(t *testing.T) {
	for _, e := range []*Engine{engine(t, Config{Timeout: 20 * time.Millisecond}), interpreter(t, Config{Timeout: 20 * time.Millisecond})} {
		c, err := e.Load(t.Context(), handmade{body: []byte{0x03, 0x40, 0x0c, 0, 0x0b}, fuel: contract.DefaultFuel}.module())
		if err != nil {
			t.Fatal(err)
		}
		out, err := e.Execute(t.Context(), c, Run{Time: at})
		wantCode(t, err, agreement.CodeExecutionTimeout, "longer than allowed")
		if out != nil || !agreement.Retryable(err) {
			t.Errorf("outputs %v, retryable %v", out, agreement.Retryable(err))
		}
	}
}

func TestCancelStopsARun(t *testing.T) {
	e := engine(t, Config{Timeout: time.Minute})
	c := load(t, e, "probe")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := e.Execute(ctx, c, probeRun("loop")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v; want context.Canceled", err)
	}
}

func TestRequestIsChecked(t *testing.T) {
	e := engine(t, Config{})
	loan, payment := load(t, e, "loan"), load(t, e, "payment")
	for _, c := range []struct {
		contract *Contract
		change   func(*Run)
		code     agreement.Code
		word     string
	}{
		{loan, func(r *Run) { delete(r.Proposed, "document") }, agreement.CodeMissingInput, "document"},
		{loan, func(r *Run) { r.Proposed["more"] = nil }, agreement.CodeUnexpectedInput, "more"},
		{loan, func(r *Run) { r.Existing = map[string][]byte{"old": nil} }, agreement.CodeUnexpectedInput, "old"},
		{loan, func(r *Run) { r.Proposed["application"] = []byte(`{"a":1e400}`) }, agreement.CodeBadJSON, "application"},
		{loan, func(r *Run) { r.Time = time.Time{} }, agreement.CodeBadRequest, "time"},
		{payment, func(r *Run) { r.Proposed = map[string][]byte{"payment": []byte("{}")} }, agreement.CodeMissingRecord, "terms"},
		{&Contract{ModuleHash: agreement.Hash{1}}, func(r *Run) { r.Proposed = nil }, agreement.CodeUnknownContract, "0100"},
	} {
		r := loanRun(t)
		c.change(&r)
		_, err := e.Execute(t.Context(), c.contract, r)
		wantCode(t, err, c.code, c.word)
	}
}

// Runs at once neither disturb one another nor pass the number of workers.
func TestRunsAtOnce(t *testing.T) {
	e := engine(t, Config{Workers: 2})
	c := load(t, e, "probe")
	want := execute(t, e, c, probeRun("everything"))[0].Content
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			out, err := e.Execute(t.Context(), c, probeRun("everything"))
			if err != nil || !bytes.Equal(out[0].Content, want) {
				t.Errorf("%v, %v", out, err)
			}
		})
	}
	wg.Wait()
}

func TestClosedEngineRefuses(t *testing.T) {
	e := engine(t, Config{})
	c := load(t, e, "probe")
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := e.Execute(t.Context(), c, probeRun("x"))
	wantCode(t, err, agreement.CodeExecution, "closed")
}

func TestImpossibleLimits(t *testing.T) {
	for _, cfg := range []Config{{MemoryLimit: 1}, {MemoryLimit: 5 << 30}, {OutputLimit: -1}, {Workers: -1}, {Timeout: -1}, {ModuleLimit: -1}, {LogLimit: -1}} {
		_, err := New(cfg, nil)
		wantCode(t, err, agreement.CodeBadRequest, "impossible")
	}
}
