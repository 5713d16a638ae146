package exec_test

import (
	"testing"

	"github.com/affiliate-node/affiliate/exec"
)

func TestLoan(t *testing.T) {
	e := newEngine(t, exec.Config{})
	c := load(t, e, "loan")
	for _, o := range execute(t, e, c, loanRun(t)) {
		t.Logf("%s %s %s %s %.200s %v %s", o.Function.Name, o.Outcome, o.Code, o.Message, o.Content, o.Log, o.Elapsed)
	}
}
