package chainclient_test

import (
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/contract"
)

// TestOptionalRole commits an agreement without anybody in an optional role,
// and one with somebody there.
func TestOptionalRole(t *testing.T) {
	_, ps := start(t, "alice", "bob", "carol")
	spec := loan("io.example.Optional")
	spec.Manifest.Roles[2] = contract.RoleSpec{Role: "INVESTOR", Optional: true}
	if _, err := ps[0].Publish(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for name, there := range map[string][]party{"without": ps[:2], "with": ps} {
		if err := there[1].CheckSpecification(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		w := write(spec, name, there, agreement.AbsentHash())
		w.Scope, w.NewScope, w.Owners = uid("scope "+name), true, w.Parties[:1]
		submit(t, there, w)
	}
}
