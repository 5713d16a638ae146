package keys

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// The kernel gives back what it was given, until it is told to forget it.
func TestKernelSecret(t *testing.T) {
	name := fmt.Sprintf("affiliate-test:%d:%s", os.Getpid(), t.TempDir())
	if err := SetKernelSecret(name, []byte("first")); err != nil { // as in many containers
		var e *agreement.Error
		if !errors.As(err, &e) || e.Code != agreement.CodeBadRequest || e.Hint == "" {
			t.Errorf("refused with %v", err)
		}
		return
	}
	t.Cleanup(func() { DropKernelSecret(name) }) //nolint:errcheck // checked below
	for _, secret := range []string{"first", "second, which is longer"} {
		if err := SetKernelSecret(name, []byte(secret)); err != nil {
			t.Fatal(err)
		}
		if got, err := KernelSecret(name); err != nil || string(got) != secret {
			t.Errorf("got %q, %v", got, err)
		}
	}
	for range 2 {
		if err := DropKernelSecret(name); err != nil {
			t.Error(err)
		}
	}
	_, err := KernelSecret(name)
	wantCode(t, err, agreement.CodeNotFound)
}
