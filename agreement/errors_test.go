package agreement

import (
	"errors"
	"testing"
)

// Who quotes another Error takes over what it says and advises, not its code.
func TestErrorQuotesError(t *testing.T) {
	inner := Errorf(CodeBadJSON, "byte 3: odd").WithHint("make it even")
	e := Errorf(CodeBadRequest, "input %q: %w", "a", inner)
	if e.Error() != `BAD_REQUEST: input "a": byte 3: odd` || e.Hint != inner.Hint || !errors.Is(e, inner) {
		t.Errorf("%v, hint %q", e, e.Hint)
	}
	if h := e.WithHint("another").Hint; h != "another" {
		t.Errorf("hint %q", h)
	}
	if e := Errorf(CodeStore, "writing: %w", errors.New("disk full")); e.Text != "writing: disk full" || e.Hint != "" {
		t.Errorf("%v, hint %q", e, e.Hint)
	}
}
