package chainclient

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/affiliate-node/affiliate/agreement"
)

// vectorClients makes one client per signer of the vector.
func vectorClients(t *testing.T, v vector) []*Client {
	t.Helper()
	numbers := map[string]uint64{}
	for _, s := range v.Signers {
		numbers[s.Address] = s.AccountNumber
	}
	var out []*Client
	for _, s := range v.Signers {
		signer := testSigner{secp256k1.PrivKeyFromBytes(s.PrivateKey)}
		if signer.Address() != s.Address || !bytes.Equal(signer.AccountKey(), s.PublicKey) {
			t.Fatalf("the key of %s gives another address or public key", s.Address)
		}
		out = append(out, testClient(t, signer, numbers))
	}
	return out
}

// TestVector reproduces every signature and the transaction of the vector bit
// for bit from its private keys and its body.
func TestVector(t *testing.T) {
	v := loadVector(t)
	clients := vectorClients(t, v)
	tx := unsigned{body: v.Body, mode: signing.SignMode_SIGN_MODE_DIRECT_AUX}
	for i, s := range v.Signers {
		tx.keys = append(tx.keys, s.PublicKey)
		if i == 0 {
			tx.sigs = append(tx.sigs, nil)
			continue
		}
		doc, err := clients[i].auxDoc(t.Context(), v.Body, s.Address, s.PublicKey)
		if err != nil || !bytes.Equal(doc, s.SignDoc) {
			t.Fatalf("signer %d signs other bytes (%v)", i, err)
		}
		sig, err := clients[i].Cosign(t.Context(), v.Body)
		if err != nil || !bytes.Equal(sig, s.Signature) {
			t.Fatalf("signer %d: signature %x, want %x (%v)", i, sig, s.Signature, err)
		}
		if err := clients[0].VerifyCosignature(t.Context(), v.Body, s.Address, s.PublicKey, sig); err != nil {
			t.Fatal(err)
		}
		tx.sigs = append(tx.sigs, sig)
	}
	fee := txtypes.Fee{GasLimit: v.GasLimit}
	auth, err := tx.authInfo(fee)
	if err != nil || !bytes.Equal(auth, v.AuthInfo) {
		t.Fatalf("auth info %x (%v)", auth, err)
	}
	raw, err := clients[0].finish(tx, v.Signers[0].AccountNumber, fee)
	if err != nil || !bytes.Equal(raw, v.Tx) {
		t.Fatalf("transaction differs (%v)", err)
	}
	// Assemble is the same but for the fee.
	var addresses []string
	var cosigs []Cosignature
	for _, s := range v.Signers {
		addresses = append(addresses, s.Address)
		cosigs = append(cosigs, Cosignature{Address: s.Address, AccountKey: s.PublicKey, Signature: s.Signature})
	}
	raw, hash, err := clients[0].Assemble(t.Context(), v.Body, addresses, cosigs[1:])
	if err != nil {
		t.Fatal(err)
	}
	var got, want txtypes.TxRaw
	if got.Unmarshal(raw) != nil || want.Unmarshal(v.Tx) != nil {
		t.Fatal("a transaction does not decode")
	}
	sum := sha256.Sum256(raw)
	if !bytes.Equal(got.BodyBytes, want.BodyBytes) || hash != strings.ToUpper(hex.EncodeToString(sum[:])) {
		t.Fatal("the body or the hash differs")
	}
	for i := 1; i < 3; i++ {
		if !bytes.Equal(got.Signatures[i], want.Signatures[i]) {
			t.Fatalf("signature %d differs", i)
		}
	}
}

func TestAssembleRefuses(t *testing.T) {
	v := loadVector(t)
	c := vectorClients(t, v)[0]
	bob := Cosignature{Address: v.Signers[1].Address, AccountKey: v.Signers[1].PublicKey, Signature: v.Signers[1].Signature}
	carol := Cosignature{Address: v.Signers[2].Address, AccountKey: v.Signers[2].PublicKey, Signature: v.Signers[2].Signature}
	all := []string{v.Signers[0].Address, bob.Address, carol.Address}
	flipped := carol
	flipped.Signature = bytes.Clone(carol.Signature)
	flipped.Signature[5] ^= 1
	short := carol
	short.Signature = carol.Signature[:63]
	highS := carol
	highS.Signature = negateS(t, carol.Signature)
	foreign := carol
	foreign.AccountKey = bob.AccountKey
	badKey := carol
	badKey.AccountKey = []byte{2}
	for name, cosigs := range map[string][]Cosignature{
		"missing": {bob}, "twice": {bob, bob, carol}, "flipped": {bob, flipped}, "short": {bob, short},
		"high S": {bob, highS}, "key of another": {bob, foreign}, "no key": {bob, badKey},
		"outsider": {bob, carol, {Address: newSigner("x").Address(), AccountKey: newSigner("x").AccountKey(), Signature: carol.Signature}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := c.Assemble(t.Context(), v.Body, all, cosigs)
			wantCode(t, err, agreement.CodeBadSignature)
		})
	}
	if _, _, err := c.Assemble(t.Context(), v.Body, all[1:], nil); err == nil {
		t.Error("another proposer is accepted")
	}
}

// negateS gives the other valid signature of the same message.
func negateS(t *testing.T, sig []byte) []byte {
	t.Helper()
	var s secp256k1.ModNScalar
	if s.SetByteSlice(sig[32:]) {
		t.Fatal("S overflows")
	}
	b := s.Negate().Bytes()
	return append(bytes.Clone(sig[:32]), b[:]...)
}
