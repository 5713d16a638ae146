package node

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// TestAttestationBinds everything but what is for people.
func TestAttestationBinds(t *testing.T) {
	n := bare(t)
	self := n.ring.Address()
	tm := readTerms(t, sampleTerms())
	good, err := n.attest(&tm, []agreement.RecordResult{{
		Function: "f", Record: "r", Outcome: agreement.Pass, Output: "h", Message: "for people",
		Inputs: []agreement.NamedHash{{Name: "in", Hash: "h", Type: "T"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		change func(*affiliatev1.Attestation)
		want   agreement.Code
	}{
		"nothing":                          {func(*affiliatev1.Attestation) {}, ""},
		"the message":                      {func(a *affiliatev1.Attestation) { a.Records[0].Message = "other" }, ""},
		"the record":                       {func(a *affiliatev1.Attestation) { a.Records[0].Record = "s" }, agreement.CodeBadSignature},
		"the function":                     {func(a *affiliatev1.Attestation) { a.Records[0].Function = "g" }, agreement.CodeBadSignature},
		"the output":                       {func(a *affiliatev1.Attestation) { a.Records[0].OutputHash = "" }, agreement.CodeBadSignature},
		"the code":                         {func(a *affiliatev1.Attestation) { a.Records[0].Code = "NO" }, agreement.CodeBadSignature},
		"the outcome":                      {func(a *affiliatev1.Attestation) { a.Records[0].Outcome++ }, agreement.CodeBadSignature},
		"an outcome that reads as another": {func(a *affiliatev1.Attestation) { a.Records[0].Outcome += 256 }, agreement.CodeBadMessage},
		"the fuel":                         {func(a *affiliatev1.Attestation) { a.Records[0].Fuel++ }, agreement.CodeBadSignature},
		"an input":                         {func(a *affiliatev1.Attestation) { a.Records[0].Inputs[0].Hash = "i" }, agreement.CodeBadSignature},
		"an input's type":                  {func(a *affiliatev1.Attestation) { a.Records[0].Inputs[0].TypeName = "U" }, agreement.CodeBadSignature},
		"where fields end": {func(a *affiliatev1.Attestation) {
			a.Records[0].Function, a.Records[0].Record = "fr", ""
		}, agreement.CodeBadSignature},
		"a record more": {func(a *affiliatev1.Attestation) { a.Records = append(a.Records, a.Records[0]) }, agreement.CodeBadSignature},
		"the terms":     {func(a *affiliatev1.Attestation) { a.TermsDigest[0]++ }, agreement.CodeBadMessage},
		"the address":   {func(a *affiliatev1.Attestation) { a.Address = "tp1a" }, agreement.CodeBadMessage},
		"the key":       {func(a *affiliatev1.Attestation) { a.AccountKey = newRing(t).AccountKey() }, agreement.CodeBadSignature},
		"the signature": {func(a *affiliatev1.Attestation) { a.Signature[9] ^= 1 }, agreement.CodeBadSignature},
	} {
		a := proto.CloneOf(good)
		c.change(a)
		if _, _, err := n.checkAttestation(&tm, self, a); codeOrNone(err) != c.want {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
	other := bare(t)
	other.cfg.Network = "another-1"
	if _, _, err := other.checkAttestation(&tm, self, good); agreement.CodeOf(err) != agreement.CodeBadSignature {
		t.Errorf("on another chain: %v", err)
	}
}

// TestProposeKeepsToItsOwn doesn't answer with an agreement that another
// affiliate proposed.
func TestProposeKeepsToItsOwn(t *testing.T) {
	n := bare(t)
	e := proposed(n, nil)
	if _, err := n.apply(t.Context(), e.ID, e, mail(t, n, "proposal")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.propose(t.Context(), &affiliatev1.ProposeRequest{AgreementId: e.ID.String()}); agreement.CodeOf(err) != agreement.CodeInUse {
		t.Errorf("got %v", err)
	}
}
